"""How long the texts are that callers send with a request: they are written down, and shown in many places."""

from __future__ import annotations

from exeunt.service.errors import invalid

REQUEST_ID_CHARACTERS = 128
MESSAGE_BYTES = 16 * 1024
"""Why an operator does something: as much as a step may say."""


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
