"""The loop of a service is shared between its runs: what takes long waits for a later round of the loop.

Between two rounds sockets are read and timers fire, so heartbeats, health checks and other people's requests are
answered however much there is to decide. A call is answered in many rounds, though. So who has used a whole turn rests
until others have had the loop for several times as long.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Generator
from typing import TypeVar

T = TypeVar("T")
SHARE_SECONDS = 0.05
"""How long work may take in one round of the loop. What has begun is finished."""
REST_BESIDE = 3.0
"""A run rests so many times as long as its turn took: all that rest have a quarter of the loop together."""
REST_ALONE = 0.5
"""The same where nobody else has done anything for a while."""
ALONE_SECONDS = 1.0


class Turns:
    """Does pieces of work in their order, as many in one round of the loop as the share allows."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Callable[[], None], bool]] = deque()  # and whether who rests gives way to it
        self._spent = 0.0
        self._began: float | None = None  # the piece of work under way
        self._armed = False
        self._others = float("-inf")  # when somebody did something that does not rest
        self._rested = 0.0  # when all that rest will have rested

    @property
    def over(self) -> bool:
        """Whether this round has no time left: what can wait should."""
        under_way = 0.0 if self._began is None else asyncio.get_running_loop().time() - self._began
        return self._spent + under_way >= SHARE_SECONDS

    def take(self, work: Callable[[], None]) -> None:
        """Does the work now, or in its turn when others wait or this round has no time left. It must not raise."""
        self._take(work, ordinary=True)

    def _take(self, work: Callable[[], None], *, ordinary: bool) -> None:
        if self._waiting or self.over:
            self._wait(work, ordinary=ordinary)
        elif self._began is not None:  # a part of the work under way
            work()
        else:
            self._do(work, ordinary=ordinary)

    def wait(self, work: Callable[[], None]) -> None:
        """Does the work in a later round."""
        self._wait(work, ordinary=True)

    def _wait(self, work: Callable[[], None], *, ordinary: bool) -> None:
        self._waiting.append((work, ordinary))
        self._arm()

    def rest(self, work: Callable[[], None], took: float) -> None:
        """Does the work after a rest from a turn that took so many seconds. All rests stand in one line."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        beside = now - self._others < ALONE_SECONDS
        self._rested = max(now, self._rested + took) + took * (REST_BESIDE if beside else REST_ALONE)
        loop.call_at(self._rested, self._do, work)

    async def do(self, work: Callable[[], T]) -> T:
        """Does work that only looks at something, in its turn, and returns what it gives. No run that rests gives way.

        Otherwise a large workflow would be slower for being watched.
        """
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def in_turn() -> None:
            if done.cancelled():
                return
            try:
                done.set_result(work())
            except Exception as error:  # noqa: BLE001 - whoever waits gets it
                done.set_exception(error)

        self._take(in_turn, ordinary=False)
        return await done

    async def through(self, work: Generator[None, None, T]) -> T:
        """Does the work in as many rounds of the loop as it takes. It yields where it may be left for others."""
        while True:
            done = await self.do(lambda: self._some(work))
            if done is not None:
                return done[0]

    def _some(self, work: Generator[None, None, T]) -> tuple[T] | None:
        """As much of the work as this round has time for; what it gives when it is done."""
        try:
            while True:
                next(work)
                if self.over:
                    return None
        except StopIteration as end:
            return (end.value,)

    def _do(self, work: Callable[[], None], *, ordinary: bool = False) -> None:
        loop = asyncio.get_running_loop()
        self._began = loop.time()
        if ordinary:
            self._others = self._began
        try:
            work()
        finally:
            self._spent += loop.time() - self._began
            self._began = None
            self._arm()

    def _arm(self) -> None:
        if not self._armed:
            self._armed = True
            asyncio.get_running_loop().call_soon(self._round)

    def _round(self) -> None:
        """A new round of the loop."""
        self._armed = False
        self._spent = 0.0
        while self._waiting and self._spent < SHARE_SECONDS:
            work, ordinary = self._waiting.popleft()
            self._do(work, ordinary=ordinary)
