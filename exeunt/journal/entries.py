"""Commits and messages as what is written: in parts where they are large, and very large commits in several requests.

A message of the log has at most 512 KB. A commit is there for readers when its last part is, so that one whose writer
died in between was never there; its number is written anew.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from exeunt.journal.gather import QueuedWrite
from exeunt.journal.sizes import TooLarge
from exeunt.journal.subjects import (
    COMMIT,
    PART,
    PART_BYTES,
    SNAPSHOT,
    Address,
    Family,
    commit_subject,
    message_subject,
)

TOGETHER_BYTES = 8 * PART_BYTES
"""Of a large commit so much goes out as one request, and other runs' commits between its requests."""
MESSAGE_BYTES = 12 * PART_BYTES
"""Of a message to another partition, which goes out as one request."""
COMMIT_BYTES = 256 * 1024**2

Key = tuple[object, ...]


class Write(NamedTuple):
    """What a request writes: one commit or message, or some of its parts, up to number `part`.

    A commit is known by its family and number, a message by its address and id.
    """

    of: Family | Address
    ident: int | str
    part: int
    kind: str = ""
    snapshot: bool = False
    last: bool = True

    @property
    def key(self) -> Key:
        """What tells it from all others."""
        return (self.of, self.ident, self.part)


def of_commit(family: Family, number: int, kind: str, data: bytes, most: int, *, snapshot: bool) -> list[QueuedWrite]:
    """The requests that write a commit, one after the other. One over `most` bytes has failed with TooLarge."""
    headers = b"%b: %d\r\n" % (COMMIT.encode(), number)
    if snapshot:
        headers += b"%b: 1\r\n" % SNAPSHOT.encode()
    count = -(-len(data) // PART_BYTES)
    entries = []
    for start in range(0, max(1, len(data)), TOGETHER_BYTES):
        some = data[start : start + TOGETHER_BYTES]
        entry = _entry(commit_subject(family, kind), headers, some, family.partition)
        part = _divide(entry, headers, start // PART_BYTES, count)
        entry.tag = Write(family, number, part, kind, snapshot, last=start + len(some) == len(data))
        entries.append(entry)
    if len(data) > most:
        del entries[1:]
        entries[0].fail(TooLarge("a decision", len(data), most, "EXEUNT_COMMIT_BYTES"))
    return entries


def of_message(sender: int, to: Address, ident: str, data: bytes) -> QueuedWrite:
    """The request that writes a message. One over MESSAGE_BYTES has failed with TooLarge."""
    entry = _entry(message_subject(to, ident), b"", data, sender)
    entry.tag = Write(to, ident, _divide(entry, b"", 0, -(-len(data) // PART_BYTES)))
    if len(data) > MESSAGE_BYTES:
        entry.fail(TooLarge("a message to another workflow", len(data), MESSAGE_BYTES))
    return entry


def _entry(subject: str, headers: bytes, data: bytes, partition: int) -> QueuedWrite:
    return QueuedWrite(subject, headers, data, partition, asyncio.get_running_loop().create_future())


def _divide(entry: QueuedWrite, headers: bytes, before: int, count: int) -> int:
    """Makes parts of the entry's data where the whole has several: number `before + 1` and so on. Answers the last."""
    if count <= 1:
        return 1
    pieces = [entry.data[i : i + PART_BYTES] for i in range(0, len(entry.data), PART_BYTES)]
    part = PART.encode()
    entry.parts = [(headers + b"%b: %d/%d\r\n" % (part, i, count), piece) for i, piece in enumerate(pieces, before + 1)]
    return before + len(pieces)
