"""What several functions do with texts, within the bounds and as Go counts and cuts them."""

from __future__ import annotations

import base64
import re
from typing import Final

from exeunt.language.expression.errors import ExpressionError
from exeunt.language.expression.frame import Frame

_BASE64: Final = re.compile(r"(?:[A-Za-z0-9+/]{4})*+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")

# Go's unicode.IsSpace
BLANKS: Final = (
    "\t\n\v\f\r \u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)


def _by_character(text: str, made: str, change: dict[str, str]) -> str:
    return made if text.isascii() else "".join(change.get(one, one) for one in text)


def upper(frame: Frame, text: str) -> str:
    """Capital letters, one for one: a letter that would become two stays (Go's strings.ToUpper)."""
    change = {one: one.upper() for one in set(text) if len(one.upper()) == 1}
    return frame.text(_by_character(text, text.upper(), change))


def lower(frame: Frame, text: str) -> str:
    """Small letters, one for one."""
    change = {one: one.lower() for one in set(text) if len(one.lower()) == 1}
    return frame.text(_by_character(text, text.lower(), change))


def split_text(frame: Frame, text: str, separator: str, most: int = -1) -> list[str]:
    """Go's strings.SplitN: an empty separator splits into characters, `most` of 0 gives nothing."""
    frame.allocate(len(text) + 1)
    if most == 0:
        return []
    if separator == "":
        return list(text) if most < 0 or most >= len(text) else [*text[: most - 1], text[most - 1 :]]
    return text.split(separator, most - 1 if most > 0 else -1)


def replace_text(frame: Frame, text: str, old: str, new: str, most: int = -1) -> str:
    """Go's strings.Replace, within the bounds."""
    count = text.count(old) if most < 0 else min(text.count(old), most)
    frame.allocate(max(len(text) + count * (len(new) - len(old)), 0))
    return text.replace(old, new, most)


def repeat_text(frame: Frame, text: str, count: int) -> str:
    """A text over and over, within the bounds."""
    if count < 0:
        raise ExpressionError(f"invalid argument for repeat (expected positive integer, got {count})")
    frame.allocate(len(text) * count)
    return text * count


def byte_index(text: str, place: int) -> int:
    """A place in characters as a place in bytes, which is how Go counts."""
    return place if place < 0 or text.isascii() else len(text[:place].encode())


def from_base64(text: str) -> str:
    """The text behind standard Base64; raises ExpressionError with the place of what does not belong."""
    plain = text.replace("\n", "").replace("\r", "")
    good = _BASE64.match(plain)
    if good is None or good.end() < len(plain):
        place = good.end() if good else 0
        raise ExpressionError(f"illegal base64 data at input byte {place}")
    return base64.b64decode(plain).decode("utf-8", "replace")
