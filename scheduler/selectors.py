"""Label selectors and field selectors of lists, as in Kubernetes: `a=b,c!=d,e in (f,g),h,!i`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from exeunt.visible import quoted

Matches = Callable[[Mapping[str, str]], bool]

_KEY = r"[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?"
_SET = re.compile(rf"^(?P<key>{_KEY})\s+(?P<op>in|notin)\s*\((?P<values>[^()]*)\)$")
_EQUAL = re.compile(rf"^(?P<key>{_KEY})\s*(?P<op>==|=|!=)\s*(?P<value>[^\s,()=!]*)$")
_EXISTS = re.compile(rf"^(?P<not>!?)\s*(?P<key>{_KEY})$")


class SelectorError(ValueError):
    """A selector that cannot be read; the text says which part."""


def selector(text: str) -> Matches:
    """What a selector means. Every part must hold; an empty one holds for all. Raises SelectorError."""
    parts = [_part(part.strip()) for part in _parts(text)] if text.strip() else []
    return lambda labels: all(part(labels) for part in parts)


def _parts(text: str) -> Iterator[str]:
    """What stands between the commas outside of parentheses."""
    begin, inside = 0, False
    for place, character in enumerate(text):
        if character in "()":
            inside = character == "("
        elif character == "," and not inside:
            yield text[begin:place]
            begin = place + 1
    yield text[begin:]


def _part(text: str) -> Matches:
    if found := _SET.match(text):
        key, values = found["key"], {v.strip() for v in found["values"].split(",")}
        if found["op"] == "in":
            return lambda labels: key in labels and labels[key] in values
        return lambda labels: labels.get(key) not in values
    if found := _EQUAL.match(text):
        key, value = found["key"], found["value"]
        if found["op"] == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if found := _EXISTS.match(text):
        key = found["key"]
        if found["not"]:
            return lambda labels: key not in labels
        return lambda labels: key in labels
    raise SelectorError(f"{quoted(text)} is no part of a selector; write a=b, a!=b, a in (b,c), a notin (b,c), a or !a")
