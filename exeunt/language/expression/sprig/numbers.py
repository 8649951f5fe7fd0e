"""Sprig's arithmetic."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Any, Final

from exeunt.language.expression.errors import ExpressionError
from exeunt.language.expression.frame import Frame
from exeunt.language.expression.render import format_value
from exeunt.language.expression.signature import Registry
from exeunt.language.expression.values import Duration, int64, modulo, to_int

NUMBERS: Final = Registry()
_sprig = NUMBERS.add
_ZERO_DECIMALS: Final = re.compile(r"\.0*$")
_INTEGER: Final = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F]+|0[oO]?[0-7]+|0[bB][01]+|[1-9][0-9]*|0)")
_PLAIN: Final = re.compile(r"[+-]?[0-9]{1,19}")
_FLOAT: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def integer(value: Any) -> int:
    """A value as an integer, 0 where it is none: Sprig's numbers never fail."""
    match value:
        case bool():
            return int(value)
        case int() | float():
            return to_int(value)
        case Duration():
            return value.nanoseconds
        case str():
            text = _ZERO_DECIMALS.sub("", value)
            if not _INTEGER.fullmatch(text) or len(text) > 70:
                return 0
            digits = text.lstrip("+-")
            base = 8 if digits.startswith("0") and digits[1:].isdigit() else 0
            made = int(digits, base) * (-1 if text.startswith("-") else 1)
            return made if int64(made) == made else 0
    return 0


def floating(value: Any) -> float:
    """A value as a float, 0 where it is none."""
    match value:
        case bool() | int() | float():
            return float(value)
        case Duration():
            return float(value.nanoseconds)
        case str() if _FLOAT.fullmatch(value):
            return float(value)
    return 0.0


@_sprig("atoi", "s")
def _atoi(_: Frame, text: str) -> int:
    return int64(int(text)) if _PLAIN.fullmatch(text) else 0


@_sprig("int", "*")
@_sprig("int64", "*")
def _int(_: Frame, value: Any) -> int:
    return integer(value)


@_sprig("float64", "*")
def _float64(_: Frame, value: Any) -> float:
    return floating(value)


@_sprig("toDecimal", "*")
def _to_decimal(frame: Frame, value: Any) -> int:
    text = format_value(frame, value)
    made = int(text, 8) if re.fullmatch(r"[+-]?[0-7]{1,22}", text) else 0
    return made if int64(made) == made else 0


@_sprig("add1", "*")
def _add1(_: Frame, value: Any) -> int:
    return int64(integer(value) + 1)


@_sprig("add", "*…")
def _add(_: Frame, *given: Any) -> int:
    return int64(sum(map(integer, given)))


@_sprig("sub", "**")
def _sub(_: Frame, left: Any, right: Any) -> int:
    return int64(integer(left) - integer(right))


@_sprig("mul", "**…")
def _mul(_: Frame, value: Any, *given: Any) -> int:
    made = integer(value)
    for other in given:
        made = int64(made * integer(other))
    return made


@_sprig("div", "**")
def _div(_: Frame, left: Any, right: Any) -> int:
    dividend, divisor = integer(left), integer(right)
    if divisor == 0:
        raise ExpressionError("integer divide by zero")
    quotient = abs(dividend) // abs(divisor)
    return int64(quotient if (dividend < 0) == (divisor < 0) else -quotient)


@_sprig("mod", "**")
def _mod(_: Frame, left: Any, right: Any) -> int:
    return modulo(integer(left), integer(right))


@_sprig("max", "**…")
@_sprig("biggest", "**…")
def _max(_: Frame, *given: Any) -> int:
    return max(map(integer, given))


@_sprig("min", "**…")
def _min(_: Frame, *given: Any) -> int:
    return min(map(integer, given))


@_sprig("maxf", "**…")
def _maxf(_: Frame, *given: Any) -> float:
    return max(map(floating, given))


@_sprig("minf", "**…")
def _minf(_: Frame, *given: Any) -> float:
    return min(map(floating, given))


def _decimal(value: Any) -> Decimal:
    number = floating(value)
    if not math.isfinite(number):
        raise ExpressionError(f"{number} is no decimal number")
    return Decimal(repr(number))


def _exact(start: Any, given: tuple[Any, ...], work: Callable[[Decimal, Decimal], Decimal]) -> float:
    """Decimal arithmetic, so that 0.1 and 0.2 make 0.3."""
    with localcontext() as context:
        context.prec = 700  # digits of the largest float over the smallest
        made = _decimal(start)
        for value in given:
            made = work(made, _decimal(value))
        return float(made)


def _quotient(left: Decimal, right: Decimal) -> Decimal:
    if right == 0:
        raise ExpressionError("decimal division by 0")
    return round(left / right, 16)


@_sprig("add1f", "*")
def _add1f(_: Frame, value: Any) -> float:
    return _exact(value, (1,), lambda left, right: left + right)


@_sprig("addf", "*…")
def _addf(_: Frame, *given: Any) -> float:
    return _exact(0, given, lambda left, right: left + right)


@_sprig("subf", "**…")
def _subf(_: Frame, value: Any, *given: Any) -> float:
    return _exact(value, given, lambda left, right: left - right)


@_sprig("mulf", "**…")
def _mulf(_: Frame, value: Any, *given: Any) -> float:
    return _exact(value, given, lambda left, right: left * right)


@_sprig("divf", "**…")
def _divf(_: Frame, value: Any, *given: Any) -> float:
    return _exact(value, given, _quotient)


@_sprig("floor", "*")
def _floor(_: Frame, value: Any) -> float:
    return float(math.floor(floating(value))) if math.isfinite(floating(value)) else floating(value)


@_sprig("ceil", "*")
def _ceil(_: Frame, value: Any) -> float:
    return float(math.ceil(floating(value))) if math.isfinite(floating(value)) else floating(value)


@_sprig("round", "*in?")
def _round(_: Frame, value: Any, places: int, turn: float = 0.5) -> float:
    number = floating(value)
    if not math.isfinite(number) or not -300 <= places <= 300:
        raise ExpressionError("round takes a finite number and at most 300 places")
    power = math.pow(10, places)
    digits = number * power
    if not math.isfinite(digits):
        return number
    fraction = math.modf(digits)[0]
    return float(math.ceil(digits) if fraction >= turn else math.floor(digits)) / power


def _steps(frame: Frame, start: int, stop: int, step: int) -> list[int]:
    if step == 0 or (stop < start) != (step < 0):
        return []
    size = len(range(start, stop, step))
    frame.allocate(size)
    frame.spend(size)
    return list(range(start, stop, step))


@_sprig("until", "i")
def _until(frame: Frame, count: int) -> list[int]:
    return _steps(frame, 0, count, -1 if count < 0 else 1)


@_sprig("untilStep", "iii")
def _until_step(frame: Frame, start: int, stop: int, step: int) -> list[int]:
    return _steps(frame, start, stop, step)


@_sprig("seq", "i…")
def _seq(frame: Frame, *given: int) -> str:
    if len(given) not in (1, 2, 3):
        return ""
    start = 1 if len(given) == 1 else given[0]
    end = given[-1]
    towards = -1 if end < start else 1
    step = given[1] if len(given) == 3 else towards
    if end < start and step > 0:
        return ""
    return frame.text(" ".join(map(str, _steps(frame, start, end + towards, step))))


@_sprig("randInt", "ii")
def _rand_int(frame: Frame, least: int, most: int) -> int:
    if most <= least:
        raise ExpressionError("randInt needs a range of at least one number")
    return least + int.from_bytes(frame.random(16)) % (most - least)
