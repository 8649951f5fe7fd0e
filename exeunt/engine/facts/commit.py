"""Commits on the wire: one message of the log, the events of one decision."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import or_
from typing import Any, Literal, cast

import msgspec

from exeunt.engine.facts import events as kinds
from exeunt.engine.facts.events import FORMAT, Event
from exeunt.engine.facts.struct import Struct

Kind = Literal["c", "h", "r", "z", "e"]


def _event_types() -> tuple[type[Event], ...]:
    found = [value for value in vars(kinds).values() if isinstance(value, type) and issubclass(value, Event)]
    return tuple(one for one in found if one is not Event)


_ANY: Any = reduce(or_, cast("Any", _event_types()))


class Commit(Struct):
    """The events of one decision, and when it was made (seconds since the epoch)."""

    format: int
    now: float
    events: list[_ANY]


class UnknownFormatError(Exception):
    """A commit of a later format, or no commit at all."""


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Commit)


def kind(events: Sequence[Event]) -> Kind:
    """c: plain; h: what the exit handler must see; r: closes an exit run; z: closes a main run; e: h and z in one."""
    for_exits = any(isinstance(event, kinds.HookDue | kinds.HookCancelled | kinds.HookSkipped) for event in events)
    for event in events:
        if isinstance(event, kinds.RunClosed):
            return "r" if event.hook is not None else "e" if for_exits else "z"
    return "h" if for_exits else "c"


def encode(now: float, events: Sequence[Event]) -> bytes:
    return _ENCODER.encode(Commit(format=FORMAT, now=now, events=list(events)))


def decode(data: bytes) -> Commit:
    """Raises UnknownFormatError."""
    try:
        commit = _DECODER.decode(data)
    except msgspec.MsgspecError as error:
        raise UnknownFormatError(f"this is no commit of format {FORMAT}: {error}") from error
    if commit.format != FORMAT:
        raise UnknownFormatError(f"commit format {commit.format} is not known here: {FORMAT} is")
    return commit
