"""What became of commits without an answer: read up to a newer fence, behind which they cannot come any more."""

from __future__ import annotations

from exeunt.journal.entries import Key
from exeunt.journal.reader import Reader
from exeunt.journal.subjects import EVERYTHING, STREAM, Address, Fence, MessagePiece, Piece, Role, parse
from exeunt.journal.wire import Wire


def _key_of(what: Piece | MessagePiece) -> Key:
    if isinstance(what, Piece):
        return (what.family, what.number, what.index)
    message = what.message
    return (Address(message.partition, message.role, message.to), message.id, what.index)


async def find(wire: Wire, role: Role, start: int, until: int, partitions: set[int]) -> dict[Key, int]:
    """Everything that these partitions' owner wrote from `start` up to its fence at `until`: key → position.

    Parts of one request are stored together or not at all: where its last one is, all of them are.
    """
    found: dict[Key, int] = {}
    async for item in Reader(wire, STREAM, EVERYTHING, start):
        what = parse(item.sequence, item.subject, item.headers, item.data)
        if isinstance(what, Piece | MessagePiece):
            found[_key_of(what)] = item.sequence
        elif isinstance(what, Fence) and what.role == role and what.partition in partitions and what.sequence >= until:
            break
    return found
