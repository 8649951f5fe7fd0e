"""Fences: taking partitions, renewing, finding out whether they are still ours (docs/log.md §2, §3).

Every fence is written with an expectation: a renewal expects the old fence, a take-over expects the last fence that
it has just read, whoever wrote it, and reads again when somebody was quicker. So a fence whose answer was lost can
never come late and depose its own writer.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Collection

import msgspec

from exeunt.journal.errors import JetStreamError
from exeunt.journal.gather import FULL, PASSING
from exeunt.journal.replay import FenceNote
from exeunt.journal.streams import last_on
from exeunt.journal.subjects import STREAM, Role, fence_subject
from exeunt.journal.wire import Wire
from exeunt.natspy import WRONG_LAST_SEQUENCE

log = logging.getLogger(__name__)

AT_ONCE = 32


class Fences:
    """The fences that this process holds in one role. `lost(partition)` is called when one turns out to be gone."""

    def __init__(self, wire: Wire, role: Role, replica: str, deadline: float, lost: Callable[[int], None]) -> None:
        self._wire = wire
        self._role: Role = role
        self._replica = replica
        self._deadline = deadline
        self._lost = lost
        self._nonce = uuid.uuid4().hex
        self._count = 0
        self._held: dict[int, int] = {}
        self._stamps: dict[int, bytes] = {}

    def __contains__(self, partition: int) -> bool:
        return partition in self._held

    @property
    def held(self) -> dict[int, int]:
        """Partition → position of its fence."""
        return self._held

    def stamp(self, partition: int) -> bytes | None:
        """The headers of a write under the partition's fence; None when it is not ours."""
        return self._stamps.get(partition)

    def drop(self, partition: int) -> None:
        """Writes nothing under this fence any more."""
        self._held.pop(partition, None)
        self._stamps.pop(partition, None)

    def is_mine(self, data: bytes) -> bool:
        """Whether a fence with that content was written by this process."""
        try:
            return msgspec.json.decode(data, type=FenceNote).nonce == self._nonce
        except msgspec.DecodeError:
            return False

    async def take(self, partitions: Collection[int]) -> None:
        """Writes new fences, whoever had the partitions before. To be called with nothing on its way."""
        last = await self._last(partitions)
        await self._write({p: sequence for p, (sequence, _) in last.items()}, {}, steal=True)

    async def renew(self, partitions: Collection[int], projected: dict[int, int], *, patient: bool = True) -> None:
        """New fences in place of our own. Those that somebody else took meanwhile are lost.

        Not `patient`: when there is no room for them the old ones stay.
        """
        expected = {p: self._held[p] for p in partitions if p in self._held}
        await self._write(expected, projected, steal=False, patient=patient)

    async def verify(self) -> bool:
        """Reads the last fences of all partitions that are held. False when one turned out to be lost."""
        held = dict(self._held)
        last = await self._last(held)
        gone = [p for p, (sequence, _) in last.items() if sequence != held[p] and self._held.get(p) == held[p]]
        for partition in gone:
            self._gone(partition)
        return not gone

    async def _write(
        self, expected: dict[int, int], projected: dict[int, int], *, steal: bool, patient: bool = True
    ) -> None:
        while expected:
            self._count += 1
            answer = await self._wire.ask_batch(
                [self._message(p, e, projected.get(p, 0)) for p, e in expected.items()], self._deadline
            )
            if answer is not None and not answer.code:
                first = answer.sequence - len(expected) + 1
                for i, partition in enumerate(expected):
                    self._hold(partition, first + i)
                return
            if answer is not None and answer.code in FULL and not patient:
                return
            if answer is not None and answer.code != WRONG_LAST_SEQUENCE:
                if answer.code not in FULL | PASSING and self._count % 10 == 1:
                    log.error("fences cannot be written (%d: %s); trying again", answer.code, answer.description)
                await asyncio.sleep(0.05)
                continue
            # refused, or no answer: the last fences tell
            for partition, (sequence, data) in (await self._last(expected)).items():
                if sequence == expected[partition]:
                    continue
                if self.is_mine(data):
                    self._hold(partition, sequence)
                    del expected[partition]
                elif steal:
                    expected[partition] = sequence
                else:
                    del expected[partition]
                    self._gone(partition)

    def _message(self, partition: int, expected: int, projected: int) -> tuple[str, bytes, bytes]:
        note = FenceNote(self._replica, self._nonce, self._count, projected)
        headers = b"Nats-Expected-Last-Subject-Sequence: %d\r\n" % expected
        return fence_subject(partition, self._role), headers, msgspec.json.encode(note)

    def _hold(self, partition: int, sequence: int) -> None:
        self._held[partition] = sequence
        self._stamps[partition] = (
            b"Nats-Expected-Last-Subject-Sequence: %d\r\nNats-Expected-Last-Subject-Sequence-Subject: %b\r\n"
            % (sequence, fence_subject(partition, self._role).encode())
        )

    def _gone(self, partition: int) -> None:
        self.drop(partition)
        self._lost(partition)

    async def _last(self, partitions: Collection[int]) -> dict[int, tuple[int, bytes]]:
        """The last fence of each partition, as the stream's leader has it."""
        found: dict[int, tuple[int, bytes]] = {}
        room = asyncio.Semaphore(AT_ONCE)

        async def read(partition: int) -> None:
            async with room:
                while True:
                    try:
                        found[partition] = await last_on(self._wire, STREAM, fence_subject(partition, self._role))
                    except (JetStreamError, TimeoutError) as error:
                        log.warning("cannot read a fence: %s; trying again", error or "no answer")
                        await asyncio.sleep(0.1)
                    else:
                        return

        async with asyncio.TaskGroup() as group:
            for partition in partitions:
                group.create_task(read(partition))
        return {p: found[p] for p in partitions}
