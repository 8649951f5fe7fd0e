"""Text that can be written: valid UTF-8 whatever came in, and cut to a number of bytes."""

from __future__ import annotations

import json
from typing import Any


def loads(text: str, **options: Any) -> Any:
    """`json.loads`, with the texts in it made valid as Go makes them: half a character becomes U+FFFD."""
    value = json.loads(text, **options)
    return valid_tree(value) if "\\u" in text else value


def valid(text: str) -> str:
    """The text; surrogates (out of JSON, as "\\\\ud800") become the characters that pairs stand for, or U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def valid_tree(value: Any) -> Any:
    """A JSON-like value with all its texts valid, keys too."""
    if isinstance(value, str):
        return valid(value)
    if isinstance(value, dict):
        return {valid(key) if isinstance(key, str) else key: valid_tree(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [valid_tree(item) for item in value]
    return value


def cut(text: str, limit: int) -> str:
    """The text; of one with more bytes than the limit the beginning, with a mark that says how much is left out."""
    data = text.encode()
    if len(data) <= limit:
        return text
    kept = data[: limit - 40].decode(errors="ignore")
    return f"{kept} [{len(data) - len(kept.encode())} bytes are left out]"
