"""What an owner hears of the other role and in its mailbox, behind its loads: each once, in the log's order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping

from exeunt.journal.marks import Marks
from exeunt.journal.reader import Reader
from exeunt.journal.subjects import (
    STREAM,
    Fence,
    Joiner,
    MailboxMessage,
    MessagePiece,
    Piece,
    Record,
    Role,
    follow_filters,
    parse,
)
from exeunt.journal.wire import Wire

Given = Record | MailboxMessage
OnFence = Callable[[int, int, bytes], None]


class Follower:
    """Reads from the oldest load's end on. What arrives for a partition that is still loading waits for its load."""

    def __init__(self, wire: Wire, role: Role, marks: Marks, on_fence: OnFence) -> None:
        self._wire = wire
        self._role: Role = role
        self._marks = marks
        self._on_fence = on_fence
        self._loaded: dict[int, int] = {}  # partition → position up to which the load has read
        self._early: dict[int, list[Given]] = {}  # partition that is being taken → what came meanwhile
        self._queue: asyncio.Queue[Given | None] = asyncio.Queue()
        self._begin: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def expect(self, partitions: Collection[int]) -> None:
        """The partitions are about to be taken: keep what comes in them from now on."""
        for partition in partitions:
            self._loaded.pop(partition, None)
            self._early.setdefault(partition, [])

    def loaded(self, positions: Mapping[int, int]) -> None:
        """Loads have ended: give out what came behind them meanwhile."""
        if not positions:
            return
        waiting: list[Given] = []
        for partition, position in positions.items():
            if partition in self._early:
                waiting += [g for g in self._early.pop(partition) if g.sequence > position]
                self._loaded[partition] = position
        for given in sorted(waiting, key=lambda g: g.sequence):
            self._give(given)
        if not self._begin.done():
            self._begin.set_result(min(positions.values()) + 1)

    def drop(self, partition: int) -> None:
        """Nothing more of this partition."""
        self._loaded.pop(partition, None)
        self._early.pop(partition, None)

    def close(self) -> None:
        """Ends `given`."""
        self._queue.put_nowait(None)

    async def given(self) -> AsyncIterator[Given]:
        """What is given out, until the log closes."""
        while True:
            given = await self._queue.get()
            if given is None:
                self._queue.put_nowait(None)  # for whoever asks again
                return
            yield given

    async def run(self) -> None:
        """Reads, from the end of the first load on."""
        start = await self._begin
        joiner = Joiner()
        async for item in Reader(self._wire, STREAM, follow_filters(self._role), start):
            what = parse(item.sequence, item.subject, item.headers, item.data)
            if isinstance(what, Fence):
                self._on_fence(what.partition, what.sequence, what.data)
            elif isinstance(what, MessagePiece):
                message = joiner.join_message(what)
                if message is not None:
                    self._arrived(message.partition, message)
            elif isinstance(what, Piece):
                record = joiner.join(what)
                if record is not None:
                    self._arrived(what.family.partition, record)
            self._marks.read(min(item.sequence, joiner.waits_from - 1))

    def _arrived(self, partition: int, given: Given) -> None:
        if partition in self._early:
            self._early[partition].append(given)
        elif given.sequence > self._loaded.get(partition, given.sequence):
            self._give(given)

    def _give(self, given: Given) -> None:
        partition = given.family.partition if isinstance(given, Record) else given.partition
        self._marks.handed(partition, given.sequence, given.first)
        self._queue.put_nowait(given)
