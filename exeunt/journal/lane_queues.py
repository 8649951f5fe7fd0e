"""What waits to be published, in lanes: which message goes next, what is held back, how much may wait. No I/O.

Of a lane one message is out at a time: `next` gives the first one of a lane, and the lane's next one only after `end`.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque

MESSAGE_BYTES = 400
"""What a waiting message takes besides its own text."""


class LaneMessage:
    """One to publish. `ident` is the id by which the stream drops a repeat."""

    __slots__ = ("data", "done", "headers", "ident", "over", "size", "subject", "suffix")

    def __init__(self, subject: str, headers: bytes, data: bytes, ident: str, done: asyncio.Future[int]) -> None:
        self.subject = subject
        self.headers = headers
        self.data = data
        self.ident = ident
        self.done = done
        self.over = False
        self.suffix = ""  # behind the id, which somebody else had used, or the stream remembers of what is gone
        self.size = len(subject) + len(headers) + len(data) + MESSAGE_BYTES

    def another_id(self) -> None:
        """From now on it goes under an id that nobody has used."""
        self.suffix = f"/{uuid.uuid4().hex}"

    def fail(self, error: Exception) -> None:
        """It is not published."""
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()  # nobody may be listening any more


class LaneQueues:
    """The messages of all lanes."""

    def __init__(self) -> None:
        self.held = False  # only lanes go on that begin now, or were let go on
        self.bytes = 0  # of all that wait or are out
        self._lanes: dict[str, deque[LaneMessage]] = {}
        self._ready: deque[str] = deque()  # lanes of which none is out
        self._out: set[str] = set()  # lanes whose first message is out
        self._order: deque[LaneMessage] = deque()  # in which they were given
        self._given = self._over = 0  # how many were given, and of how many of the first nothing is to be done
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._free: set[str] = set()  # lanes that go on while the others are held
        self._aside: list[str] = []  # ready, and held

    def __len__(self) -> int:
        return len(self._order)

    def __contains__(self, lane: str) -> bool:
        """Whether messages of the lane wait or are out."""
        return lane in self._lanes

    @property
    def ready(self) -> bool:
        """Whether a message may be next."""
        return bool(self._ready)

    # --- in -----------------------------------------------------------------------------------------------------------

    def put(self, lane: str, message: LaneMessage) -> None:
        """Puts a message behind all others of its lane."""
        self._count(message)
        waiting = self._lanes.get(lane)
        if waiting is None:
            self._lanes[lane] = deque([message])
            self._ready.append(lane)
        else:
            waiting.append(message)

    def before(self, lane: str, messages: list[LaneMessage]) -> list[LaneMessage]:
        """Puts messages ahead of what waits in a lane, but behind the one that is out; answers those that it took.

        Those that wait in it already are left out.
        """
        waiting = self._lanes.get(lane)
        there = {message.ident for message in waiting} if waiting else set()
        added = [message for message in messages if message.ident not in there]
        for message in added:
            self._count(message)
        if added and waiting is None:
            self._lanes[lane] = deque(added)
            self._ready.append(lane)
        elif waiting is not None:
            first = [waiting.popleft()] if lane in self._out else []
            waiting.extendleft(reversed([*first, *added]))
        return added

    def _count(self, message: LaneMessage) -> None:
        self.bytes += message.size
        self._given += 1
        self._order.append(message)

    # --- held back ----------------------------------------------------------------------------------------------------

    def hold(self) -> None:
        """From now on only lanes go on that begin now, or that are freed."""
        self.held = True
        self._free.clear()

    def free(self, lane: str) -> None:
        """Lets a lane go on that is held."""
        if self.held:
            self._free.add(lane)
            if lane in self._aside:
                self._aside.remove(lane)
                self._ready.append(lane)

    def release(self) -> None:
        """All lanes go on."""
        self.held = False
        self._free.clear()
        self._ready.extend(self._aside)
        self._aside.clear()

    def _passes(self, lane: str) -> bool:
        """Whether the lane is not held, or begins now."""
        if not self.held or lane in self._free:
            return True
        if not self._lanes[lane][0].ident.endswith(".1"):
            return False
        self._free.add(lane)
        return True

    # --- out ----------------------------------------------------------------------------------------------------------

    def next(self) -> tuple[str, LaneMessage] | None:
        """The next lane that is ready and may go on, and its first message; that is out from now on."""
        while self._ready:
            lane = self._ready.popleft()
            if self._passes(lane):
                self._out.add(lane)
                return lane, self._lanes[lane][0]
            self._aside.append(lane)
        return None

    def back(self, lane: str, *, first: bool) -> None:
        """The lane's first message has to go once more; `first`: before those of others."""
        self._out.discard(lane)
        if first:
            self._ready.appendleft(lane)
        else:
            self._ready.append(lane)

    def end(self, lane: str, message: LaneMessage) -> None:
        """The message is dealt with; its lane goes on."""
        message.over = True
        self.bytes -= message.size
        self._out.discard(lane)
        waiting = self._lanes[lane]
        waiting.popleft()
        if waiting:
            self._ready.append(lane)
        else:
            del self._lanes[lane]
        while self._order and self._order[0].over:
            self._order.popleft()
            self._over += 1
        while self._waiting and self._waiting[0][0] <= self._over:
            _done(self._waiting.popleft()[1])

    def all_over(self, done: asyncio.Future[None]) -> None:
        """`done` is done when all that was given so far is dealt with, or with `wait_no_more`."""
        if self._over == self._given:
            done.set_result(None)
        else:
            self._waiting.append((self._given, done))

    def wait_no_more(self) -> None:
        """Whoever waits for `all_over` goes on."""
        while self._waiting:
            _done(self._waiting.popleft()[1])

    def fail(self, error: Exception) -> None:
        """Nothing that waits is published any more."""
        for waiting in self._lanes.values():
            for message in waiting:
                message.fail(error)
        self._lanes.clear()
        self._ready.clear()


def _done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
