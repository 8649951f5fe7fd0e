"""Members: `.name`, `[index]`, `[a:b]` and the methods of dates and durations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from exeunt.language.expression.dates import DATE_METHODS, DURATION_METHODS
from exeunt.language.expression.errors import ExpressionError
from exeunt.language.expression.frame import Frame
from exeunt.language.expression.limits import Budget
from exeunt.language.expression.render import format_value
from exeunt.language.expression.semver import VERSION_METHODS, Version
from exeunt.language.expression.signature import methods
from exeunt.language.expression.values import Duration, Function, is_number, to_int, type_name


def fetch(value: Any, key: Any) -> Any:
    """A member: nil for a key that a map does not have; raises ExpressionError for nil and for a place outside a list.

    A text is indexed by its bytes, as in Go.
    """
    match value:
        case dict():
            return value.get(key) if isinstance(key, str | int | float | bool | None) else None
        case str():
            data = value.encode()
            return data[_place(key, len(data))]
        case list() | bytes():
            return value[_place(key, len(value))]
        case datetime() | Duration() | Version():
            found = _methods(value).get(str(key))
            if found:
                return Function(str(key), lambda frame, *given: found(frame, value, *given))
        case Mapping():
            return value.get(key)
    shown = "<nil>" if value is None else type_name(value)
    raise ExpressionError(f"cannot fetch {format_value(Budget(), key)} from {shown}")


def _place(key: Any, length: int) -> int:
    if not is_number(key):
        raise ExpressionError(f"invalid operation: int({type_name(key)})")
    index = to_int(key)
    place = index + length if index < 0 else index
    if not 0 <= place < length:
        raise ExpressionError(f"index out of range: {index} (array length is {length})")
    return place


def slice_of(frame: Frame, value: Any, first: Any, last: Any) -> Any:
    """`value[first:last]`; bounds beyond the ends are drawn in. A text is cut by its bytes, as in Go."""
    if not isinstance(value, str | list | bytes):
        raise ExpressionError(f"cannot slice {type_name(value)}")
    items = value.encode() if isinstance(value, str) and not value.isascii() else value
    length = len(items)
    start = 0 if first is None else to_int(first)
    end = length if last is None else to_int(last)
    start = max(start + length, 0) if start < 0 else start
    end = max(end + length, 0) if end < 0 else min(end, length)
    part = items[min(start, end) : end]
    frame.allocate(len(part))
    return part.decode("utf-8", "replace") if isinstance(value, str) and isinstance(part, bytes) else part


def call_method(frame: Frame, value: Any, name: str, arguments: list[Any]) -> Any:
    """Call a method of a date or a duration; raises ExpressionError when there is none of that name."""
    if value is None:
        raise ExpressionError(f"cannot fetch {name} from <nil>")
    found = _methods(value).get(name)
    if found is None:
        raise ExpressionError(f"type {type_name(value)} has no method {name}")
    return found(frame, value, *arguments)


_VERSION: Final = methods(VERSION_METHODS)


def _methods(value: Any) -> dict[str, Callable[..., Any]]:
    match value:
        case datetime():
            return DATE_METHODS
        case Duration():
            return DURATION_METHODS
        case Version():
            return _VERSION
    return {}
