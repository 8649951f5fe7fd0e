"""What lists need of finished workflows, or of exit runs, at hand and in order: kept up to date from the stream.

It is read when the first list asks, and then follows what is written. Only the newest records are held; what is older
is read from the stream by whoever goes that far.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_left, insort
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Generic, NamedTuple, TypeVar

import msgspec

from exeunt.journal.records import Gone, Records, hour_of

log = logging.getLogger(__name__)

MOST = 200_000
"""Records that are held: some 140 MB with summaries of 350 bytes."""
TOGETHER = 200
"""Records that are looked at before others get a turn."""
REOPENED = 1000
"""Records that are remembered for pages that are being made when they go."""
REACH_SECONDS = 0.5
PAUSE_SECONDS = 1.0

S = TypeVar("S", bound=msgspec.Struct)
Place = tuple[float, str]
"""Where a record stands in lists: by a time, then by its key."""
LAST: Place = (2.0**62, "")
"""Behind every other one."""


class _Held(NamedTuple):
    place: Place
    sequence: int
    raw: bytes


class RecordIndex(Generic[S]):
    """One for each process and stream. `place_of` says where a record stands; that must not change but by a rewrite."""

    def __init__(self, records: Records[S], place_of: Callable[[S], Place], most: int = MOST) -> None:
        self._records = records
        self._place_of = place_of
        self._most = most
        self._held: dict[str, _Held] = {}
        self._reopened: deque[_Held] = deque(maxlen=REOPENED)
        self._order: list[Place] = []  # the newest is the last
        self._cut: Place | None = None  # the newest of those that are not held
        self._sequence = 0  # of what was taken in last
        self._far = True  # much is to be read yet
        self._moved = asyncio.Event()
        self._wanted = asyncio.Event()

    async def run(self) -> None:
        """Follows the stream from the first time that it is asked for, until it is cancelled."""
        await self._wanted.wait()
        while True:
            try:
                async with aclosing(self._records.changes(start=self._sequence + 1)) as changes:
                    async for change in changes:
                        if isinstance(change.found, Gone):
                            held = self._drop(change.key)
                            if held is not None and change.found.again:
                                self._reopened.append(_Held(held.place, change.sequence, held.raw))
                        else:
                            self._put(change.key, self._place_of(change.found), change.sequence, change.raw)
                        self._sequence = max(change.sequence, self._sequence)
                        self._far = change.pending > TOGETHER
                        self._moved.set()
            except Exception as error:  # noqa: BLE001 - lists are read from the stream meanwhile
                log.warning("the index of lists is not up to date: %s", error)
            await asyncio.sleep(PAUSE_SECONDS)

    async def at(self, position: int) -> bool:
        """Whether all that was written up to there is in it; waits a moment for what is on its way."""
        self._wanted.set()
        if self._sequence >= position:
            return True
        if self._far:
            return False
        try:
            async with asyncio.timeout(REACH_SECONDS):
                while self._sequence < position:
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            here = self._sequence
            async with aclosing(self._records.changes(start=here + 1, follow=False)) as changes:
                async for _ in changes:
                    return False
            self._sequence = max(here, position)  # what was written there last is not there any more
        return True

    @property
    def sequence(self) -> int:
        """Up to where all that was written is in it."""
        return self._sequence

    def reopened(self, sequence: int) -> list[tuple[Place, S]]:
        """Records that went behind that position because what they tell of goes on, as after a retry.

        Whoever has read what is open before may have missed these.
        """
        return [(place, self._records.decoded(raw)) for place, gone, raw in self._reopened if gone > sequence]

    async def below(self, place: Place, namespace: str = "*") -> AsyncGenerator[tuple[Place, S], None]:
        """Records from there on, newest first: those that are held, and behind them those of the stream."""
        while True:
            number = bisect_left(self._order, place)
            some = self._order[max(0, number - TOGETHER) : number]
            if not some:
                break
            for one in reversed(some):
                held = self._held.get(one[1])
                if held is not None and held.place == one:
                    yield one, self._records.decoded(held.raw)
            place = some[0]
            await asyncio.sleep(0)
        if self._cut is not None:
            just_above = self._cut[0], self._cut[1] + "\0"
            async with aclosing(stored(self._records, self._place_of, min(place, just_above), namespace)) as older:
                async for found in older:
                    yield found

    def _put(self, key: str, place: Place, sequence: int, raw: bytes) -> None:
        self._drop(key)
        if self._cut is not None and place <= self._cut:
            return
        insort(self._order, place)
        self._held[key] = _Held(place, sequence, raw)
        if len(self._order) > self._most:
            self._cut = self._order[0]
            self._drop(self._cut[1])

    def _drop(self, key: str) -> _Held | None:
        held = self._held.pop(key, None)
        if held is not None:
            del self._order[bisect_left(self._order, held.place)]
        return held


async def stored(
    records: Records[S], place_of: Callable[[S], Place], place: Place, namespace: str = "*"
) -> AsyncGenerator[tuple[Place, S], None]:
    """Records below a place, newest first, from the stream: hour by hour, and in order within each."""
    some: list[tuple[Place, S]] = []
    at = ""
    async with aclosing(records.walk(namespace, "" if place == LAST else hour_of(place[0]))) as walked:
        async for hour, record in walked:
            if hour != at:
                for one in sorted(some, key=_place, reverse=True):
                    yield one
                some, at = [], hour
            own = place_of(record)
            if own < place:
                some.append((own, record))
    for one in sorted(some, key=_place, reverse=True):
        yield one


def _place(one: tuple[Place, S]) -> Place:
    return one[0]
