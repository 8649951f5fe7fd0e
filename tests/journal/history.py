"""Reads the whole log as it is stored, and what must hold of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from exeunt.journal.reader import Reader
from exeunt.journal.replay import FenceNote
from exeunt.journal.subjects import STREAM, Family, Fence, MailboxMessage, MessagePiece, Piece, parse
from exeunt.journal.wire import Wire


@dataclass
class History:
    """Everything in the log, in its order."""

    pieces: list[Piece] = field(default_factory=list)
    fences: list[tuple[Fence, str]] = field(default_factory=list)
    messages: list[MailboxMessage] = field(default_factory=list)
    first: int = 0

    def commits(self) -> Counter[tuple[Family, int]]:
        """How often each commit is stored."""
        return Counter((p.family, p.number) for p in self.pieces if p.index == p.count)

    def written_after_dismissal(self) -> list[Piece]:
        """Commits of a writer (their data begins with its name) that lie behind somebody else's fence."""
        owners: dict[int, str] = {}
        wrong: list[Piece] = []
        marks = sorted([*((f.sequence, f, who) for f, who in self.fences), *((p.sequence, p, "") for p in self.pieces)])
        for _, what, who in marks:
            if isinstance(what, Fence):
                owners[what.partition] = who
            elif owners[what.family.partition] != what.data.split(b" ")[0].decode():
                wrong.append(what)
        return wrong


async def eventually(condition: Callable[[], bool]) -> None:
    """Waits for something that only shows from outside; half a minute at most."""
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to that")


async def history(wire: Wire) -> History:
    """The log from its first message to its present last one."""
    state = (await wire.api(f"STREAM.INFO.{STREAM}"))["state"]
    found = History(first=int(state["first_seq"]))
    if not state["messages"]:
        return found
    async for item in Reader(wire, STREAM, ["xj.>"]):
        what = parse(item.sequence, item.subject, item.headers, item.data)
        match what:
            case Fence():
                found.fences.append((what, msgspec.json.decode(what.data, type=FenceNote).replica))
            case Piece():
                found.pieces.append(what)
            case MessagePiece():
                found.messages.append(what.message)
            case None:
                raise AssertionError(f"unknown message in the log: {item}")
        if item.sequence >= int(state["last_seq"]):
            break
    return found
