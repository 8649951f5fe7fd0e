"""Text of others on a terminal: what would steer it is shown, not obeyed."""

from __future__ import annotations

import unicodedata
from typing import Any

import click

_KEPT = "\n\t"
_MARKED = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in _KEPT}


def visible(text: str) -> str:
    """The text with its control characters as pictures (ESC as ␛) and what turns the reading direction as \\u202e."""
    if text.isprintable():
        return text
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    code = ord(character)
    if character in _KEPT:
        return character
    if code in _MARKED:
        return _MARKED[code]
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and code != 0x200D:  # joined emoji stay
        return f"\\u{code:04x}"
    return character


def echo(text: Any = "", *, nl: bool = True, err: bool = False) -> None:
    """As click.echo, of visible text."""
    click.echo(visible(str(text)), nl=nl, err=err)
