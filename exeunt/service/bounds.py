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
SELECTOR_CHARACTERS = 4096
"""Each workflow of a list is held against it."""
WORD_CHARACTERS = 1024

_WORDS = ("name", "generate_name", "entrypoint", "workflow", "hook", "id", "page_token", "position")
_SELECTORS = ("selector", "node_field_selector", "node")
TEXTS = {
    "request_id": REQUEST_ID_CHARACTERS,
    "by": BY_CHARACTERS,
    **dict.fromkeys(_WORDS, WORD_CHARACTERS),
    **dict.fromkeys(_SELECTORS, SELECTOR_CHARACTERS),  # the full name of a node holds the item that it is for
}
"""The fields of requests with texts that are no manifest, value or message, and how many characters they may have."""

ANSWER_BYTES = 16 * 1024 * 1024
"""Of an answer that is one message."""
PART_BYTES = 1024 * 1024
"""Of a part of a larger one."""
PART_NODES = 1000
LISTED_BYTES = 256 * 1024
"""Of each workflow, or exit run, in a list."""
PAGE_BYTES = 3 * 1024 * 1024
"""Of a page of a list, but for its last line; one that has more has fewer lines. Clients take 4 MB unless told."""


def check_texts(request: Any) -> None:
    """Raises INVALID_ARGUMENT for a text of a request that is too long, whatever the request is."""
    for field, most in TEXTS.items():
        value = getattr(request, field, "")
        if isinstance(value, str):
            check_characters(field, value, most)


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
