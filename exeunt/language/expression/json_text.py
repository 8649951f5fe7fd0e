"""From JSON to values, within the bounds."""

from __future__ import annotations

import math
import re
from typing import Any, Final

from exeunt.language.expression.errors import ExpressionError
from exeunt.language.expression.frame import Frame
from exeunt.utf8 import loads

MAX_NESTING: Final = 200
_MARK: Final = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[\]{}]', re.DOTALL)
_SEPARATOR: Final = re.compile(r'["{\[:,]')


def from_json(frame: Frame, text: str) -> Any:
    """The value of a JSON text; every number is a float, as in Go. Raises ExpressionError."""
    frame.spend(len(text) // 8)
    frame.allocate(len(_SEPARATOR.findall(text)) + len(text))
    depth = deepest = 0  # the decoder calls itself for each level
    for mark in _MARK.findall(text):
        if mark in "[{":
            depth += 1
            deepest = max(depth, deepest)
        elif mark in "]}":
            depth -= 1
    if deepest > MAX_NESTING:
        raise ExpressionError(f"the JSON is nested more than {MAX_NESTING} deep")
    try:
        return loads(text, parse_int=_number, parse_float=_number, parse_constant=_no_constant)
    except ValueError as error:
        raise ExpressionError(f"invalid JSON: {error}") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _number(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"the number {text[:40]} is out of range")
    return value
