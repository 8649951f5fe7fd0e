"""Announces what is still needed of the log and cuts what nobody needs (docs/log.md §4)."""

from __future__ import annotations

import logging

import msgspec

from exeunt.journal.errors import JetStreamError
from exeunt.journal.marks import Marks
from exeunt.journal.streams import MEMBERS, ensure_stream, last_on, members_stream
from exeunt.journal.subjects import PARTITIONS, STREAM, Role, fence_subject
from exeunt.journal.wire import Wire

log = logging.getLogger(__name__)

_SECONDS = 5.0


class MarkAnnouncement(msgspec.Struct):
    """What one process announces: partition → (its fence, its mark)."""

    role: Role
    marks: dict[int, tuple[int, int]]


class Cutter:
    """Both sides of cutting: every owner announces its marks; the scheduler that owns partition 0 cuts."""

    def __init__(self, wire: Wire, role: Role, replica: str, replicas: int) -> None:
        self._wire = wire
        self._replicas = replicas
        self._role: Role = role
        self._subject = f"$KV.{MEMBERS}.mark.{role}.{replica}"
        self._made_on = -1.0

    async def announce(self, marks: Marks) -> None:
        """Says what this process needs of each partition, each with the fence that it belongs to."""
        found = {p: (needs.fence, needs.mark()) for p, needs in marks}
        data = msgspec.json.encode(MarkAnnouncement(self._role, found))
        if self._made_on != self._wire.connected_since:  # the bucket lives in memory: gone when the server was
            await ensure_stream(self._wire, members_stream(self._replicas))
            self._made_on = self._wire.connected_since
        answer = await self._wire.ask(self._subject, b"", data, _SECONDS)
        if answer is None or answer.code:
            self._made_on = -1.0

    async def cut(self, first: int, distance: int) -> int:
        """Cuts the log at the smallest mark when that frees at least `distance` messages; answers how many went.

        Nothing goes while a partition has no mark in one of the roles whose fence is the last one.
        """
        announced = await self._announced()
        wanted = self._smallest(announced)
        if wanted is None or wanted - first < distance:
            return 0
        valid: dict[tuple[Role, int], tuple[int, int]] = {}
        for (role, partition), candidates in announced.items():
            fence, _ = await last_on(self._wire, STREAM, fence_subject(partition, role))
            for candidate in candidates:
                if candidate[0] == fence:
                    valid[role, partition] = candidate
        if len(valid) < 2 * PARTITIONS:
            return 0
        mark = min(m for _, m in valid.values())
        if mark - first < distance:
            return 0
        answer = await self._wire.api(f"STREAM.PURGE.{STREAM}", {"seq": mark})
        gone = int(answer.get("purged", 0))
        log.info("cut %d messages of the log, up to %d", gone, mark)
        return gone

    async def _announced(self) -> dict[tuple[Role, int], list[tuple[int, int]]]:
        """Role and partition → what processes say of it: fence and mark."""
        found: dict[tuple[Role, int], list[tuple[int, int]]] = {}
        try:
            info = await self._wire.api(f"STREAM.INFO.KV_{MEMBERS}", {"subjects_filter": f"$KV.{MEMBERS}.mark.>"})
        except JetStreamError:
            return found
        for subject in info["state"].get("subjects") or {}:
            _, data = await last_on(self._wire, f"KV_{MEMBERS}", subject)
            if not data:
                continue
            said = msgspec.json.decode(data, type=MarkAnnouncement)
            for partition, (fence, mark) in said.marks.items():
                found.setdefault((said.role, partition), []).append((fence, mark))
        return found

    @staticmethod
    def _smallest(announced: dict[tuple[Role, int], list[tuple[int, int]]]) -> int | None:
        """The smallest mark if every partition has one in both roles: not yet whose fence is the last."""
        if len(announced) < 2 * PARTITIONS:
            return None
        return min(max(m for _, m in candidates) for candidates in announced.values())
