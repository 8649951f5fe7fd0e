"""What the log still holds of runs, read once more beside the work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection

from exeunt.journal.reader import Reader, first_of
from exeunt.journal.replay import OpenRun
from exeunt.journal.streams import last_on
from exeunt.journal.subjects import (
    CLOSING,
    EVERYTHING,
    STREAM,
    Family,
    Joiner,
    Piece,
    Record,
    Role,
    commit_subject,
    parse,
)
from exeunt.journal.wire import Wire


async def history(wire: Wire, role: Role, partitions: Collection[int], *, closed: bool) -> AsyncIterator[OpenRun]:
    """The runs of these partitions up to now, with their commits from the first or from the latest snapshot on.

    Either those that are open now, or the `closed` ones, each as its last commit comes by; one that was opened again
    comes again.
    """
    until, _ = await last_on(wire, STREAM, EVERYTHING[0])
    if not until:
        return
    joiner = Joiner()
    runs: dict[Family, list[Record]] = {}
    async for item in Reader(wire, STREAM, EVERYTHING):
        piece = parse(item.sequence, item.subject, item.headers, item.data)
        if isinstance(piece, Piece) and piece.family.partition in partitions:
            record = joiner.join(piece) if bool(piece.family.hook_id) == (role == "x") else None
            if record is not None and _kept(runs, record) and record.kind in CLOSING[role]:
                found = runs.pop(record.family)
                if closed:
                    yield OpenRun(record.family, found)
        if item.sequence >= until:
            break
    if not closed:
        first = await first_of(wire, STREAM)  # what begins before it has closed, and its end was cut away meanwhile
        for family, records in runs.items():
            if records[0].first >= first:
                yield OpenRun(family, records)


def _kept(runs: dict[Family, list[Record]], record: Record) -> bool:
    """Adds a commit to its run; False when what it continues is not there any more."""
    if record.snapshot or record.number == 1:
        runs[record.family] = [record]
    elif record.family in runs:
        runs[record.family].append(record)
    else:
        return False
    return True


async def records_of(wire: Wire, family: Family, start: int) -> list[Record]:
    """The commits of one run from a position on, or from the latest snapshot behind it; [] when there are none."""
    last, _ = await last_on(wire, STREAM, commit_subject(family, "*"))
    records: list[Record] = []
    if last < start:
        return records
    joiner = Joiner()
    async for item in Reader(wire, STREAM, [commit_subject(family, "*")], start):
        piece = parse(item.sequence, item.subject, item.headers, item.data)
        record = joiner.join(piece) if isinstance(piece, Piece) else None
        if record is not None:
            records = [record] if record.snapshot else [*records, record]
        if item.sequence >= last:
            break
    return records
