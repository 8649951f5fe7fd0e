"""What became of commits without an answer: read up to a newer fence, behind which they cannot come any more."""

from __future__ import annotations

from exeunt.journal.reader import Reader
from exeunt.journal.subjects import EVERYTHING, STREAM, Address, Family, Fence, Joiner, Message, Piece, Role, parse
from exeunt.journal.wire import Wire

Key = tuple[object, ...]


def key_of(what: Piece | Message) -> Key:
    """What tells one write from another: a run's commit by its number, a message by its id."""
    if isinstance(what, Piece):
        return ("commit", what.family, what.number)
    return ("message", Address(what.partition, what.role, what.to), what.id)


def key_of_write(tag: object) -> Key:
    """The same of what `Log` is writing, by its tag."""
    assert isinstance(tag, tuple)
    return ("commit", tag[0], tag[1]) if isinstance(tag[0], Family) else tag


async def find(wire: Wire, role: Role, start: int, until: int, partitions: set[int]) -> dict[Key, int]:
    """Everything that these partitions' owner wrote from `start` up to its fence at `until`: key → (last) position."""
    found: dict[Key, int] = {}
    joiner = Joiner()
    async for item in Reader(wire, STREAM, EVERYTHING, start):
        what = parse(item.sequence, item.subject, item.headers, item.data)
        if isinstance(what, Piece):
            record = joiner.join(what)
            if record is not None:
                found[key_of(what)] = record.sequence
        elif isinstance(what, Message):
            found[key_of(what)] = what.sequence
        elif isinstance(what, Fence) and what.role == role and what.partition in partitions and what.sequence >= until:
            break
    return found
