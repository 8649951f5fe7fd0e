"""An event as it is sent: its headers, and its body cut to its size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import msgspec

from exeunt.cloudevents.bodies import Outputs
from exeunt.cloudevents.names import (
    BODY_BYTES,
    LOG_BYTES,
    LOG_LINES,
    SOURCE,
    SUBJECT_CHARACTERS,
    VALUE_CHARACTERS,
    VALUES_BYTES,
    Kind,
    event_type,
)
from exeunt.cloudevents.types import schema
from exeunt.utf8 import cut


def moment(at: float) -> str:
    """A time as bodies have it; empty for 0."""
    return f"{_second(int(at))}.{int(at * 1000) % 1000:03d}Z" if at else ""


def few(values: dict[str, str]) -> dict[str, str]:
    """Labels or annotations as every body has them: without what is large."""
    if sum(map(len, values.values())) + sum(map(len, values)) <= VALUE_CHARACTERS:
        return values
    found: dict[str, str] = {}
    room = VALUES_BYTES
    for name, value in values.items():
        if len(value) <= VALUE_CHARACTERS and room >= (size := len(name.encode()) + len(value.encode())):
            found[name] = value
            room -= size
    return found


def last_lines(lines: Sequence[str]) -> list[str]:
    """Of the output of a step that failed: its end, as far as bodies have it."""
    found: list[str] = []
    room = LOG_BYTES
    for line in reversed(lines[-LOG_LINES:]):
        room -= len(line.encode()) + 1
        if room < 0:
            break
        found.append(line)
    return found[::-1]


def outputs(parameters: Iterable[tuple[str, str | None]], result: str | None = None) -> Outputs:
    """What was given, as bodies have it."""
    return Outputs(parameters=dict(parameters), result=result)


def headers(
    *, uid: str, number: str, kind: Kind, namespace: str, workflow: str, subject: str, at: float, trace: dict[str, str]
) -> dict[str, str]:
    """The headers of one event. `number` counts within its run: `7`, or `<hook id>.3` of an exit run."""
    identity = f"{uid}.{number}"
    found = {
        "ce-specversion": "1.0",
        "ce-id": identity,
        "ce-source": SOURCE.format(namespace, workflow),
        "ce-type": event_type(kind),
        "ce-subject": quote(subject[:SUBJECT_CHARACTERS], safe="!#$&'()*+,/:;=?@[]~"),
        "ce-time": moment(at),
        "ce-datacontenttype": "application/json",
        "ce-dataschema": schema(kind),
    }
    for key in ("traceparent", "tracestate"):
        if trace.get(key):
            found[key] = trace[key]
    return found


def body(data: Any, most: int = BODY_BYTES) -> bytes:
    """The body as JSON, in at most so many bytes: what is largest in it is left out, or cut where it is a text.

    `data` may have `truncated` already, for what whoever made it has left out.
    """
    encoded = msgspec.json.encode(data)
    if len(encoded) <= most:
        return encoded
    tree: dict[str, Any] = dict(msgspec.to_builtins(data))
    places: list[tuple[int, str, dict[str, Any], str]] = []  # size, path, where it stands, name
    for name, value in list(tree.items()):
        if name in _LOOKED_INTO and isinstance(value, dict):
            tree[name] = inner = dict(value)
            places += [(len(msgspec.json.encode(v)), f"{name}.{k}", inner, k) for k, v in inner.items()]
        else:
            places.append((len(msgspec.json.encode(value)), name, tree, name))
    room = most - _TRUNCATED_BYTES
    total = len(encoded)
    truncated: list[str] = [*tree.get("truncated", ())]
    for size, path, holder, name in sorted(places, key=lambda place: place[0], reverse=True):
        if total <= room:
            break
        value = holder[name]
        if isinstance(value, str):
            holder[name] = cut(value, _TEXT_BYTES)
            total -= size - len(msgspec.json.encode(holder[name]))
        else:
            del holder[name]
            total -= size
        truncated.append(path)
    tree["truncated"] = truncated
    return msgspec.json.encode(tree)


_LOOKED_INTO = ("status", "metadata", "outputs")
_TRUNCATED_BYTES = 4096  # for the names of what was left out
_TEXT_BYTES = 4000


@lru_cache(maxsize=64)
def _second(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S")
