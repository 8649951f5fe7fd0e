"""How long the texts are that callers send with a request, and how large the answers that they get.

Texts are written down, and shown in many places. An answer has to fit into a message of gRPC: what does not comes in
parts, in pages, or without what is largest.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from exeunt.service.errors import invalid

REQUEST_ID_CHARACTERS = 128
BY_CHARACTERS = 200
"""Who asks, as people shall read it."""
MESSAGE_BYTES = 16 * 1024
"""Why an operator does something: as much as a step may say."""
SELECTOR_CHARACTERS = 4096
"""Each workflow of a list is held against it."""
WORD_CHARACTERS = 1024

_WORDS = ("name", "generate_name", "entrypoint", "workflow", "hook", "id", "page_token", "position", "artifact")
_SELECTORS = ("selector", "node_field_selector", "node")
TEXTS = {
    "request_id": REQUEST_ID_CHARACTERS,
    "by": BY_CHARACTERS,
    **dict.fromkeys(_WORDS, WORD_CHARACTERS),
    **dict.fromkeys(_SELECTORS, SELECTOR_CHARACTERS),  # the full name of a node holds the item that it is for
}
"""The fields of requests with texts that are no manifest, value or message, and how many characters they may have."""

LATEST = 253_402_300_800
"""The end of the year 9999."""

ANSWER_BYTES = 16 * 1024 * 1024
"""Of an answer that is one message."""
PART_BYTES = 1024 * 1024
"""Of a part of a larger one."""
PART_NODES = 1000
LISTED_BYTES = 256 * 1024
"""Of each workflow, or exit run, in a list."""
PAGE_BYTES = 3 * 1024 * 1024
"""Of a page of a list, but for its last line; one that has more has fewer lines. Clients take 4 MB unless told."""


def check_fields(request: Any) -> None:
    """Raises INVALID_ARGUMENT for what is wrong whatever the request is: a text that is too long, a revision that none
    has, a view that there is not."""
    for field, most in TEXTS.items():
        value = getattr(request, field, "")
        if isinstance(value, str):
            check_characters(field, value, most)
    if getattr(request, "revision", 0) < 0:
        raise invalid("revision is negative", [("revision", "that of the object as it was seen is expected, or 0")])
    view = request.DESCRIPTOR.fields_by_name.get("view")
    if view is not None and request.view not in view.enum_type.values_by_number:
        known = ", ".join(value.name for value in view.enum_type.values if value.number)
        raise invalid("view is none", [("view", f"{known} are")])


def moment(stamp: Timestamp, field: str) -> float:
    """Seconds since the epoch; 0 for an unset time. Raises INVALID_ARGUMENT for what is no time."""
    if not (0 <= stamp.seconds < LATEST and 0 <= stamp.nanos < 1_000_000_000):
        raise invalid(f"{field} is no time", [(field, "a time from 1970 to 9999 is expected")])
    return float(stamp.seconds) + stamp.nanos / 1e9


def check_message(request: Any) -> None:
    """Why somebody asks for something. Raises INVALID_ARGUMENT for what is too long."""
    check_bytes("message", request.message, MESSAGE_BYTES)


def check_characters(field: str, text: str, most: int) -> None:
    """Raises INVALID_ARGUMENT, with the limit, for a text of more characters."""
    _check(field, len(text), most, "characters")


def check_bytes(field: str, text: str, most: int) -> None:
    """The same, counted in UTF-8."""
    _check(field, len(text.encode()), most, "bytes")


def _check(field: str, size: int, most: int, unit: str) -> None:
    if size > most:
        text = f"{field} has {size:,} {unit}; at most {most:,} may be"
        raise invalid(text, [(field, text)])
