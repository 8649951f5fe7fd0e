"""Text of others where people read it: what would steer a terminal is shown, and what is long is cut."""

from __future__ import annotations

import re
import unicodedata

QUOTED = 100
"""Characters of a given text that a message repeats."""
_KEPT = "\n\t"
_NOT_PLAIN = re.compile(r"[^\x20-\x7e\n\t]+")
_MARKED = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in _KEPT}


def visible(text: str) -> str:
    """The text with its control characters as pictures (ESC as ␛) and what turns the reading direction as \\u202e."""
    if text.isprintable():
        return text
    return _NOT_PLAIN.sub(_part_shown, text)


def begun(text: str) -> str:
    """As much of a given text as a message repeats."""
    return text if len(text) <= QUOTED else text[: QUOTED - 1] + "…"


def quoted(text: str) -> str:
    """The same in quotes, as Python writes it: on one line, with nothing invisible in it."""
    return repr(begun(text))


def _part_shown(part: re.Match[str]) -> str:
    text = part[0]
    return text if text.isprintable() else "".join(map(_shown, text))


def _shown(character: str) -> str:
    code = ord(character)
    if character in _KEPT:
        return character
    if code in _MARKED:
        return _MARKED[code]
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and code != 0x200D:  # joined emoji stay
        return f"\\u{code:04x}"
    return character
