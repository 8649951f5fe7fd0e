"""The names in the log as NATS subjects and back: partitions, families, commits, fences, messages (docs/log.md §1)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal, NamedTuple

STREAM = "EXEUNT_LOG"
PARTITIONS = 64
PART_BYTES = 512 * 1024
TOKEN_CHARACTERS = 255

COMMIT = "Exeunt-Commit"
PART = "Exeunt-Part"
SNAPSHOT = "Exeunt-Snapshot"

Role = Literal["m", "x"]
"""`m`: schedulers, which write main runs; `x`: exit handlers, which write exit runs."""

CLOSING: dict[Role, str] = {"m": "ze", "x": "r"}
"""The kinds of commits that close a role's own runs: `e` also tells the exit handler something."""
TOLD: dict[Role, str] = {"m": "r", "x": "he"}
"""The kinds of commits of the other role that a role hears of."""

_FAR = 2**63
_RUN_TOKENS = 5
_EXIT_TOKENS = 6


class Family(NamedTuple):
    """All commits of one run. `hook_id` is empty for a main run."""

    partition: int
    uid: str
    hook_id: str = ""


class Record(NamedTuple):
    """One commit, its parts joined. `sequence` is the position of its last part; `first` that of its first."""

    sequence: int
    family: Family
    number: int
    kind: str
    data: bytes
    snapshot: bool = False
    first: int = 0


class Address(NamedTuple):
    """Whom a message is for: the owner of a partition in a role, and there a run or whatever `to` names."""

    partition: int
    role: Role
    to: str


class MailboxMessage(NamedTuple):
    """Something that an owner of another partition tells the owner of this one (docs/log.md §7).

    `sequence` is the position of its last part, `first` that of its first.
    """

    sequence: int
    partition: int
    role: Role
    to: str
    id: str
    data: bytes
    first: int = 0


class Fence(NamedTuple):
    """Who owns the partition in this role from here on."""

    sequence: int
    partition: int
    role: Role
    data: bytes


def partition_of(uid: str) -> int:
    """The partition of a main run's uid (and of its exit runs), 0 to 63."""
    return hashlib.blake2b(uid.encode(), digest_size=2).digest()[0] % PARTITIONS


def family_of(uid: str, hook_id: str = "") -> Family:
    """The family of a run by its ids."""
    return Family(partition_of(uid), uid, hook_id)


def commit_subject(family: Family, kind: str) -> str:
    """Where a commit of that kind goes."""
    if family.hook_id:
        return f"xj.{family.partition:02x}.{family.uid}.x.{family.hook_id}.{kind}"
    return f"xj.{family.partition:02x}.{family.uid}.m.{kind}"


def fence_subject(partition: int, role: Role) -> str:
    """Where the owner of a partition in a role writes its fences."""
    return f"xj.{partition:02x}.own.{role}"


def message_subject(to: Address, ident: str) -> str:
    """Where a message to the owner of a partition goes."""
    return f"xj.{to.partition:02x}.q.{to.role}.{to.to}.{ident}"


def is_token(text: str) -> bool:
    """Whether the text can stand in a subject, and means nothing but itself there: no wildcard, no dot, no blank."""
    return 0 < len(text) <= TOKEN_CHARACTERS and not any(c in text for c in ".*> \t\r\n\0")


def check_token(token: str) -> str:
    """Answers the token when it can stand in a subject. Raises ValueError."""
    if not is_token(token):
        raise ValueError(
            f"{token[:80]!r} cannot stand in a subject: it is empty, too long, or holds a dot, a star, '>' or a blank"
        )
    return token


EVERYTHING = ["xj.>"]
"""What a load reads. Several filters cost the server 0.1 ms a message; reading all and dropping here costs 0.01 ms."""


def follow_filters(role: Role) -> list[str]:
    """What an owner follows after its load: results or obligations, its mailbox and its fences."""
    told = [f"xj.*.*.x.*.{kind}" if role == "m" else f"xj.*.*.m.{kind}" for kind in TOLD[role]]
    return [*told, f"xj.*.q.{role}.>", f"xj.*.own.{role}"]


def parse(
    sequence: int, subject: str, headers: dict[str, str] | None, data: bytes
) -> Piece | MessagePiece | Fence | None:
    """What a message of the stream is; None for what this program does not know."""
    tokens = subject.split(".")
    headers = headers or {}
    try:
        partition = int(tokens[1], 16)
        if tokens[2] == "own":
            return Fence(sequence, partition, _role(tokens[3]), data)
        index, _, count = headers.get(PART, "1/1").partition("/")
        if tokens[2] == "q":
            message = MailboxMessage(sequence, partition, _role(tokens[3]), tokens[4], tokens[5], data, sequence)
            return MessagePiece(message, int(index), int(count))
        number = int(headers[COMMIT])
        hook, kind = ("", tokens[4]) if len(tokens) == _RUN_TOKENS else (tokens[4], tokens[5])
        family = Family(partition, tokens[2], hook)
        return Piece(sequence, family, number, kind, data, SNAPSHOT in headers, int(index), int(count))
    except (IndexError, KeyError, ValueError):
        return None


def _role(token: str) -> Role:
    if token == "m":  # noqa: S105 - a token of a subject
        return "m"
    if token == "x":  # noqa: S105 - a token of a subject
        return "x"
    raise ValueError(token)


@dataclass(frozen=True, slots=True)
class Piece:
    """One message of a commit: the whole of it unless `count` is more than one."""

    sequence: int
    family: Family
    number: int
    kind: str
    data: bytes
    snapshot: bool
    index: int
    count: int


@dataclass(frozen=True, slots=True)
class MessagePiece:
    """One part of a message between partitions: the whole of it unless `count` is more than one."""

    message: MailboxMessage
    index: int
    count: int


def partition_in(what: Piece | MessagePiece | Fence) -> int:
    """The partition that it stands in."""
    if isinstance(what, Piece):
        return what.family.partition
    return what.message.partition if isinstance(what, MessagePiece) else what.partition


class Joiner:
    """Makes records of pieces. A commit whose parts are not all there, one behind the other, is never given out."""

    def __init__(self) -> None:
        self._open: dict[Family, list[Piece]] = {}
        self._messages: dict[tuple[int, str, str, str], list[MailboxMessage]] = {}

    @property
    def waits_from(self) -> int:
        """The position of the first part of a message whose other parts have not been read yet."""
        return min((parts[0].sequence for parts in self._messages.values()), default=_FAR)

    def join_message(self, piece: MessagePiece) -> MailboxMessage | None:
        """The message that this piece completes, or None."""
        message = piece.message
        key = (message.partition, message.role, message.to, message.id)
        parts = self._messages.pop(key, [])
        if piece.index == 1:
            parts = []
        if piece.index != len(parts) + 1:
            return None
        parts.append(message)
        if piece.index < piece.count:
            self._messages[key] = parts
            return None
        return message._replace(data=b"".join(p.data for p in parts), first=parts[0].sequence)

    def join(self, piece: Piece) -> Record | None:
        """The record that this piece completes, or None."""
        if piece.count == 1:
            self._open.pop(piece.family, None)
            return _record([piece])
        parts = self._open.setdefault(piece.family, [])
        if piece.index == 1 or not parts or parts[-1].index + 1 != piece.index or parts[-1].number != piece.number:
            parts.clear()
        if piece.index == len(parts) + 1:
            parts.append(piece)
        if len(parts) < piece.count:
            return None
        del self._open[piece.family]
        return _record(parts)


def _record(parts: list[Piece]) -> Record:
    last = parts[-1]
    data = last.data if len(parts) == 1 else b"".join(p.data for p in parts)
    return Record(last.sequence, last.family, last.number, last.kind, data, last.snapshot, parts[0].sequence)
