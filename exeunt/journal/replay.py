"""Sorts what a load reads: open runs with what they need, what the other role told, messages. Pure (docs/log.md §4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from exeunt.journal.subjects import (
    CLOSING,
    TOLD,
    Family,
    Fence,
    Joiner,
    MailboxMessage,
    MessagePiece,
    Piece,
    Record,
    Role,
    partition_in,
)


class OpenRun(NamedTuple):
    """A run with all commits that its fold needs, from the first or from the latest snapshot on."""

    family: Family
    records: list[Record]


class FenceNote(msgspec.Struct, omit_defaults=True):
    """What a fence says: who wrote it, and up to where finished runs are projected (0: not known)."""

    replica: str
    nonce: str
    count: int = 0
    projected: int = 0


@dataclass(slots=True)
class LoadedLog:
    """What a new owner finds in its partitions."""

    runs: list[OpenRun] = field(default_factory=list)
    """Open runs of the role."""
    closed: list[OpenRun] = field(default_factory=list)
    """Closed runs whose projections may not be out: project them (again), then `Log.done(family)`."""
    told: list[Record] = field(default_factory=list)
    """For `m`: closing commits of exit runs of open main runs. For `x`: kinds `h` and `e`. Each needs `Log.finish`."""
    messages: list[MailboxMessage] = field(default_factory=list)
    """The role's mailbox. Each needs `Log.finish`."""
    hooks: set[str] = field(default_factory=set)
    """For `x`: hook ids that have an exit run in the log, open or closed."""
    positions: dict[int, int] = field(default_factory=dict)
    """For each partition, the fence up to which it was read."""


class Sorter:
    """Takes the messages of a load in their order; `result` is what is left of them.

    A closed run is dropped as soon as a fence says that its projections are out; before that it is kept, because a
    crash may have come in between. Whatever lies behind a partition's fence is left to those who follow.
    """

    def __init__(self, role: Role, positions: Mapping[int, int]) -> None:
        self._role = role
        self._positions = dict(positions)
        self._joiner = Joiner()
        self._open: dict[Family, list[Record]] = {}
        self._closed: dict[int, dict[Family, list[Record]]] = {p: {} for p in positions}
        self._told: list[Record] = []
        self._messages: list[MailboxMessage] = []
        self._hooks: set[str] = set()
        self.unknown = 0

    def take(self, sequence: int, what: Piece | MessagePiece | Fence | None) -> None:
        """The next message; None is one that this program does not know."""
        if what is None:
            self.unknown += 1
            return
        partition = partition_in(what)
        if sequence > self._positions.get(partition, 0):
            return
        match what:
            case Piece():
                own = bool(what.family.hook_id) == (self._role == "x")
                if not own and what.kind not in TOLD[self._role]:
                    return
                record = self._joiner.join(what)
                if record is not None and own:
                    self._record(record)
                elif record is not None:
                    self._told.append(record)
            case MessagePiece():
                message = self._joiner.join_message(what) if what.message.role == self._role else None
                if message is not None:
                    self._messages.append(message)
            case Fence():
                if what.role == self._role:
                    self._projected(what)

    def _record(self, record: Record) -> None:
        family = record.family
        if family.hook_id:
            self._hooks.add(family.hook_id)
        closed = self._closed[family.partition].pop(family, None)
        records = self._open.pop(family, None) or closed or []
        if record.snapshot:
            records = []
        elif not records and record.number != 1:
            return  # what it continues was cut: it had closed, or a snapshot follows
        records.append(record)
        if record.kind in CLOSING[self._role]:
            self._closed[family.partition][family] = records
        else:
            self._open[family] = records

    def _projected(self, fence: Fence) -> None:
        try:
            note = msgspec.json.decode(fence.data, type=FenceNote)
        except msgspec.DecodeError:
            return
        if note.projected:
            kept = self._closed[fence.partition]
            for family in [f for f, records in kept.items() if records[-1].sequence < note.projected]:
                del kept[family]

    def result(self, first: int = 0) -> LoadedLog:
        """What was found. For `m`, results of runs that are not open are of no use to anyone.

        `first` is the log's first message when all was read. Whoever owned the partitions before may have had the log
        cut meanwhile: then the beginning of a run was read and its end was not. Nobody needs what begins before that.
        """
        if first:
            self._open = {f: records for f, records in self._open.items() if records[0].first >= first}
            self._closed = {
                p: {f: records for f, records in kept.items() if records[0].first >= first}
                for p, kept in self._closed.items()
            }
            self._told = [record for record in self._told if record.first >= first]
            self._messages = [message for message in self._messages if message.sequence >= first]
        told = self._told
        if self._role == "m":
            told = [r for r in told if Family(r.family.partition, r.family.uid) in self._open]
        return LoadedLog(
            runs=[OpenRun(f, records) for f, records in self._open.items()],
            closed=[OpenRun(f, records) for kept in self._closed.values() for f, records in kept.items()],
            told=told,
            messages=self._messages,
            hooks=self._hooks,
            positions=self._positions,
        )
