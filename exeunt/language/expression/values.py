"""The values of an expression: their types, when two are equal, which is less, and arithmetic as expr-lang does it.

nil, booleans, 64-bit integers, floats, texts, bytes, lists, maps, dates (datetime with a zone), durations, time zones
and functions stand for the values of Go of the same kind.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any, Final

from exeunt.language.expression.errors import ExpressionError
from exeunt.language.expression.limits import Budget

_BITS: Final = 1 << 64
_HALF: Final = 1 << 63


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """A span of time in nanoseconds (Go's time.Duration)."""

    nanoseconds: int

    @property
    def delta(self) -> timedelta:
        """The same span for a datetime, to the microsecond."""
        return timedelta(microseconds=self.nanoseconds // 1000)


@dataclass(frozen=True, slots=True)
class Function:
    """Something that can be called; `run` gets the evaluation's frame and the arguments."""

    name: str
    run: Callable[..., Any]


def is_number(value: object) -> bool:
    """Whether a value is an integer or a float (booleans are neither)."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_integer(value: object) -> bool:
    """Whether a value is an integer."""
    return isinstance(value, int) and not isinstance(value, bool)


def type_name(value: object) -> str:
    """The name of a value's type, as expr-lang's `type` says it."""
    match value:
        case None:
            return "nil"
        case bool():
            return "bool"
        case int():
            return "int"
        case float():
            return "float"
        case str():
            return "string"
        case list() | bytes():
            return "array"
        case dict():
            return "map"
        case datetime():
            return "time.Time"
        case Duration():
            return "time.Duration"
        case tzinfo():
            return "time.Location"
        case _:
            return "func"


def int64(value: int) -> int:
    """An integer as 64 bits hold it: it wraps round, as in Go."""
    if -_HALF <= value < _HALF:
        return value
    return (value + _HALF) % _BITS - _HALF


def to_int(value: Any) -> int:
    """A number as an integer, cut towards zero; raises ExpressionError for anything else."""
    if is_integer(value):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            return -_HALF
        return int64(int(value)) if abs(value) < _HALF else -_HALF
    raise ExpressionError(f"invalid operation: int({type_name(value)})")


def equal(budget: Budget, left: Any, right: Any) -> bool:
    """`==`: numbers by value whatever their type, lists and maps by their items, everything else by type and value."""
    if isinstance(left, bool) or isinstance(right, bool):
        return isinstance(left, bool) and isinstance(right, bool) and left == right
    if isinstance(left, list) and isinstance(right, list):
        budget.spend(len(left) + 1)
        return len(left) == len(right) and all(equal(budget, a, b) for a, b in zip(left, right, strict=True))
    if isinstance(left, dict) and isinstance(right, dict):
        budget.spend(len(left) + 1)
        return left.keys() == right.keys() and all(equal(budget, value, right[key]) for key, value in left.items())
    if isinstance(left, list) and isinstance(right, bytes):
        left, right = right, left
    if isinstance(left, bytes) and isinstance(right, list):
        return equal(budget, list(left), right)
    return type_group(left) == type_group(right) and bool(left == right)


def type_group(value: object) -> str:
    """The type within which values compare: integers and floats are one."""
    name = type_name(value)
    return "number" if name in ("int", "float") else name


_ORDERED: Final = frozenset({"number", "string", "time.Time", "time.Duration"})


def less(operator: str, left: Any, right: Any) -> bool:
    """`left < right` for numbers, texts (by their bytes), dates and durations; `operator` is for the message."""
    group = type_group(left)
    if group != type_group(right) or group not in _ORDERED:
        raise mismatch(operator, left, right)
    if group == "string":
        return bool(left < right if left.isascii() and right.isascii() else left.encode() < right.encode())
    return bool(left < right)


def compare(operator: str, left: Any, right: Any) -> bool:
    """`<`, `>`, `<=`, `>=`."""
    if isinstance(left, float) or isinstance(right, float):
        less(operator, left, right)
        left, right = float(left), float(right)
        results = {"<": left < right, ">": left > right, "<=": left <= right, ">=": left >= right}
        return bool(results[operator])
    if operator == "<":
        return less(operator, left, right)
    if operator == ">":
        return less(operator, right, left)
    if operator == "<=":
        return not less(operator, right, left)
    return not less(operator, left, right)


def mismatch(operator: str, left: Any, right: Any) -> ExpressionError:
    """The error of an operator between types that do not go together."""
    return ExpressionError(f"invalid operation: {type_name(left)} {operator} {type_name(right)}")


def add(budget: Budget, left: Any, right: Any) -> Any:
    """`+`: numbers, texts, a date and a duration."""
    if isinstance(left, str) and isinstance(right, str):
        budget.allocate(len(left) + len(right))
        return left + right
    if is_number(left) and is_number(right):
        return number(left + right)
    match left, right:
        case Duration(), Duration():
            return Duration(int64(left.nanoseconds + right.nanoseconds))
        case datetime(), Duration():
            return shift(left, right.delta)
        case Duration(), datetime():
            return shift(right, left.delta)
    raise mismatch("+", left, right)


def subtract(left: Any, right: Any) -> Any:
    """`-`: numbers, dates, durations."""
    if is_number(left) and is_number(right):
        return number(left - right)
    match left, right:
        case Duration(), Duration():
            return Duration(int64(left.nanoseconds - right.nanoseconds))
        case datetime(), Duration():
            return shift(left, -right.delta)
        case datetime(), datetime():
            return between(left, right)
    raise mismatch("-", left, right)


def between(left: datetime, right: datetime) -> Duration:
    """How long after `right` `left` is; the longest duration is 292 years, as in Go."""
    nanoseconds = (left - right) // timedelta(microseconds=1) * 1000
    return Duration(max(-_HALF, min(nanoseconds, _HALF - 1)))


def shift(moment: datetime, delta: timedelta) -> datetime:
    """A moment moved by a span of real time, also over a change of the clocks."""
    try:
        zone = moment.tzinfo
        if zone is None:
            return moment + delta
        offset = moment.utcoffset() or timedelta()
        utc = moment.replace(tzinfo=None) - offset + delta
        return from_utc(utc, zone)
    except OverflowError as error:
        raise ExpressionError("the date is out of range (years 1 to 9999)") from error


def from_utc(naive_utc: datetime, zone: tzinfo) -> datetime:
    """A moment given in UTC, seen in a zone."""
    return zone.fromutc(naive_utc.replace(tzinfo=zone))


def multiply(left: Any, right: Any) -> Any:
    """`*`: numbers, a duration and a number."""
    if is_number(left) and is_number(right):
        return number(left * right)
    match left, right:
        case (Duration(), int() | float()) if is_number(right):
            return Duration(to_int(number(left.nanoseconds * right)))
        case (int() | float(), Duration()) if is_number(left):
            return Duration(to_int(number(right.nanoseconds * left)))
    raise mismatch("*", left, right)


def divide(left: Any, right: Any) -> float:
    """`/`: always a float; by zero it is infinite, as IEEE 754 has it."""
    if isinstance(left, Duration) and is_number(right):
        left = left.nanoseconds
    if not (is_number(left) and is_number(right)):
        raise mismatch("/", left, right)
    if right == 0:
        if left == 0 or math.isnan(left):
            return math.nan
        return math.copysign(math.inf, left) * math.copysign(1.0, right)
    return float(left) / float(right)


def modulo(left: Any, right: Any) -> int:
    """`%` of integers, with the sign of the left side."""
    if not (is_integer(left) and is_integer(right)):
        raise mismatch("%", left, right)
    if right == 0:
        raise ExpressionError("integer divide by zero")
    result = abs(left) % abs(right)
    return -result if left < 0 else int(result)


def power(left: Any, right: Any) -> float:
    """`**` and `^`: always a float."""
    if not (is_number(left) and is_number(right)):
        raise mismatch("**", left, right)
    base, exponent = float(left), float(right)
    try:
        return math.pow(base, exponent)
    except OverflowError:
        odd = exponent == int(exponent) and int(exponent) % 2 == 1
        return -math.inf if base < 0 and odd else math.inf
    except ValueError:
        # zero to a negative power is infinite, a negative number to a broken power is not a number (IEEE 754)
        return math.inf if base == 0 else math.nan


def number(value: int | float) -> int | float:
    """The result of arithmetic, within 64 bits."""
    return value if isinstance(value, float) else int64(value)


def negate(value: Any) -> Any:
    """Unary `-`."""
    if is_number(value):
        return number(-value)
    if isinstance(value, Duration):
        return Duration(-value.nanoseconds)
    raise ExpressionError(f"invalid operation: - {type_name(value)}")


def contains(budget: Budget, needle: Any, within: Any) -> bool:
    """`in`: an item of a list, a key of a map; nothing is in nil."""
    match within:
        case None:
            return False
        case list() | bytes():
            budget.spend(len(within))
            return any(equal(budget, needle, item) for item in within)
        case dict():
            return isinstance(needle, str | int | float | bool | None) and needle in within
    raise ExpressionError(f'operator "in" not defined on {type_name(within)}')
