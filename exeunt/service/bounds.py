"""How long the texts are that callers send with a request, and how large the answers that they get.

Texts are written down, and shown in many places. An answer has to fit into a message of gRPC: what does not comes in
parts, in pages, or without what is largest.
"""

from __future__ import annotations

from typing import Any

from exeunt.service.errors import invalid

REQUEST_ID_CHARACTERS = 128
BY_CHARACTERS = 200
"""Who asks, as people shall read it."""
MESSAGE_BYTES = 16 * 1024
"""Why an operator does something: as much as a step may say."""

ANSWER_BYTES = 16 * 1024 * 1024
"""Of an answer that is one message."""
PART_BYTES = 1024 * 1024
"""Of a part of a larger one."""
PART_NODES = 1000
LISTED_BYTES = 256 * 1024
"""Of each workflow, or exit run, in a list."""
PAGE_BYTES = 4 * 1024 * 1024
"""Of a page of a list; one that has more has fewer lines."""


def check_word(request: Any) -> None:
    """Who asks for something, and why. Raises INVALID_ARGUMENT for what is too long."""
    check_characters("by", request.by, BY_CHARACTERS)
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
