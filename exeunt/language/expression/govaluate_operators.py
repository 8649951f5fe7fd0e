"""The operators of `when`: levels, what they take, and what they do (govaluate's evaluation stages)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from exeunt.language.expression.errors import ExpressionError
from exeunt.language.expression.limits import Budget
from exeunt.language.expression.regex import search
from exeunt.language.expression.render import format_value
from exeunt.language.expression.values import divide, power, to_int

Test = Callable[[Any], bool]
Decide = Callable[[Any], tuple[bool, Any]]


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator: what its sides must be, the message when they are not, and when the left side decides alone."""

    work: Callable[[Budget, Any, Any], Any]
    message: str = ""
    left: Test | None = None
    right: Test | None = None
    both: Callable[[Any, Any], bool] | None = None
    decide: Decide | None = None


def _is_number(value: Any) -> bool:
    return isinstance(value, float)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _comparable(left: Any, right: Any) -> bool:
    return (_is_number(left) and _is_number(right)) or (_is_text(left) and _is_text(right))


def _addable(left: Any, right: Any) -> bool:
    return (_is_number(left) and _is_number(right)) or _is_text(left) or _is_text(right)


def check(operator: Operator, symbol: str, left: Any, right: Any) -> None:
    """Raise ExpressionError, with govaluate's words, when a side is not what the operator takes."""
    wrong: Any
    if operator.both is not None:
        if operator.both(left, right):
            return
        wrong = left
    elif operator.left is not None and not operator.left(left):
        wrong = left
    elif operator.right is not None and not operator.right(right):
        wrong = right
    else:
        return
    raise ExpressionError(operator.message.format(value=format_value(Budget(), wrong), symbol=symbol))


def symbol_name(symbol: str) -> str:
    """A prefix as a message shows it."""
    return symbol


_LOGICAL: Final = "Value '{value}' cannot be used with the logical operator '{symbol}', it is not a bool"
_MODIFIER: Final = "Value '{value}' cannot be used with the modifier '{symbol}', it is not a number"
_COMPARATOR: Final = "Value '{value}' cannot be used with the comparator '{symbol}', it is not a number"
_TERNARY: Final = "Value '{value}' cannot be used with the ternary operator '{symbol}', it is not a bool"
_PREFIX: Final = "Value '{value}' cannot be used with the prefix '{symbol}'"


def _equal(left: Any, right: Any) -> bool:
    return type(left) is type(right) and bool(left == right)


def _ordered(test: Callable[[Any, Any], bool]) -> Operator:
    def work(_: Budget, left: Any, right: Any) -> bool:
        if isinstance(left, str):
            return test(left.encode(), right.encode())
        return test(left, right)

    return Operator(work, _COMPARATOR, both=_comparable)


def _matching(*, wanted: bool) -> Operator:
    def work(budget: Budget, left: Any, right: Any) -> bool:
        return search(budget, right, left) is wanted

    return Operator(work, _COMPARATOR, left=_is_text, right=_is_text)


def _in(budget: Budget, left: Any, right: Any) -> bool:
    budget.spend(len(right))
    return any(_equal(left, item) for item in right)


def _numeric(work: Callable[[float, float], float]) -> Operator:
    return Operator(lambda _, left, right: work(left, right), _MODIFIER, left=_is_number, right=_is_number)


def _bits(work: Callable[[int, int], int]) -> Operator:
    def run(left: float, right: float) -> float:
        made = work(to_int(left), to_int(right)) % (1 << 64)
        return float(made - (1 << 64) if made >= 1 << 63 else made)

    return _numeric(run)


def _shift(work: Callable[[int, int], int]) -> Operator:
    def run(left: float, right: float) -> float:
        return float(work(to_int(left) % (1 << 64), min(to_int(right) % (1 << 64), 64)) % (1 << 64))

    return _numeric(run)


def _add(budget: Budget, left: Any, right: Any) -> Any:
    if isinstance(left, float) and isinstance(right, float):
        return left + right
    return budget.text(format_value(budget, left) + format_value(budget, right))


def _modulus(left: float, right: float) -> float:
    return math.fmod(left, right) if right != 0 and math.isfinite(left) else math.nan


def _separate(budget: Budget, left: Any, right: Any) -> list[Any]:
    budget.spend(1)
    return [*left, right] if isinstance(left, list) else [left, right]


def _decided_when(value: bool) -> Decide:
    return lambda left: (left is value, value)


# From the loosest to the tightest.
BINARY: Final[tuple[dict[str, Operator], ...]] = (
    {",": Operator(_separate)},
    {
        "?": Operator(lambda _, left, right: right, _TERNARY, left=_is_bool, decide=lambda left: (left is False, None)),
        ":": Operator(lambda _, left, right: right, decide=lambda left: (left is not None, left)),
        "??": Operator(lambda _, left, right: right, decide=lambda left: (left is not None, left)),
    },
    {"||": Operator(lambda _, left, right: right, _LOGICAL, _is_bool, _is_bool, decide=_decided_when(True))},
    {"&&": Operator(lambda _, left, right: right, _LOGICAL, _is_bool, _is_bool, decide=_decided_when(False))},
    {
        "==": Operator(lambda _, left, right: _equal(left, right)),
        "!=": Operator(lambda _, left, right: not _equal(left, right)),
        ">": _ordered(lambda left, right: left > right),
        ">=": _ordered(lambda left, right: left >= right),
        "<": _ordered(lambda left, right: left < right),
        "<=": _ordered(lambda left, right: left <= right),
        "=~": _matching(wanted=True),
        "!~": _matching(wanted=False),
        "in": Operator(_in, _COMPARATOR, right=_is_list),
    },
    {
        "&": _bits(lambda left, right: left & right),
        "|": _bits(lambda left, right: left | right),
        "^": _bits(lambda left, right: left ^ right),
    },
    {"<<": _shift(lambda left, right: left << right), ">>": _shift(lambda left, right: left >> right)},
    {
        "+": Operator(_add, _MODIFIER, both=_addable),
        "-": _numeric(lambda left, right: left - right),
    },
    {
        "*": _numeric(lambda left, right: left * right),
        "/": _numeric(divide),
        "%": _numeric(_modulus),
    },
    {"**": _numeric(power)},
)

PREFIXES: Final[dict[str, Operator]] = {
    "-": Operator(lambda _, __, right: -right, _PREFIX, right=_is_number),
    "!": Operator(lambda _, __, right: not right, _PREFIX, right=_is_bool),
    "~": Operator(lambda _, __, right: float(~to_int(right)), _PREFIX, right=_is_number),
}
