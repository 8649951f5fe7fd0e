"""Functions over lists and maps that take no predicate."""

from __future__ import annotations

from typing import Any, Final

from exeunt.language.expression.errors import ExpressionError
from exeunt.language.expression.frame import Frame
from exeunt.language.expression.predicates import sort_values
from exeunt.language.expression.render import format_value
from exeunt.language.expression.signature import Registry
from exeunt.language.expression.values import equal, is_number, less, to_int, type_name

LISTS: Final = Registry()
_builtin = LISTS.add


def sorted_pairs(value: dict[Any, Any]) -> list[tuple[Any, Any]]:
    """A map's pairs by key. Go has no order here; ours is the same every time."""
    return sorted(value.items(), key=lambda pair: (type_name(pair[0]), str(pair[0])))


@_builtin("join", "*s?")
def _join(frame: Frame, value: Any, glue: str = "") -> str:
    if not isinstance(value, list):
        raise ExpressionError(f"invalid argument for join (type {type_name(value)})")
    for item in value:
        if not isinstance(item, str):
            raise ExpressionError(f"cannot use {type_name(item)} as argument (type string) to call join")
    frame.allocate(sum(map(len, value)) + len(glue) * len(value))
    return glue.join(value)


@_builtin("first", "*")
def _first(_: Frame, value: Any) -> Any:
    return _at(value, 0)


@_builtin("last", "*")
def _last(_: Frame, value: Any) -> Any:
    return _at(value, -1)


def _at(value: Any, place: int) -> Any:
    if not isinstance(value, list | bytes):
        raise ExpressionError(f"cannot get {'first' if place == 0 else 'last'} element from {type_name(value)}")
    return value[place] if value else None


@_builtin("get", "**")
def _get(_: Frame, value: Any, key: Any) -> Any:
    match value:
        case dict():
            return value.get(key) if isinstance(key, str | int | float | bool | None) else None
        case list() | bytes() | str() if is_number(key):
            items = value.encode() if isinstance(value, str) else value
            index = to_int(key)
            place = index + len(items) if index < 0 else index
            return items[place] if 0 <= place < len(items) else None
        case list() | bytes() | str():
            raise ExpressionError(f"invalid operation: int({type_name(key)})")
    return None


@_builtin("take", "ai")
def _take(frame: Frame, value: list[Any], count: int) -> list[Any]:
    if count < 0:
        raise ExpressionError(f"cannot take {count} elements")
    part = value[:count]
    frame.allocate(len(part))
    return part


@_builtin("keys", "m")
def _keys(frame: Frame, value: dict[Any, Any]) -> list[Any]:
    frame.allocate(len(value))
    return [key for key, _ in sorted_pairs(value)]


@_builtin("values", "m")
def _values(frame: Frame, value: dict[Any, Any]) -> list[Any]:
    frame.allocate(len(value))
    return [item for _, item in sorted_pairs(value)]


@_builtin("toPairs", "m")
def _to_pairs(frame: Frame, value: dict[Any, Any]) -> list[list[Any]]:
    frame.allocate(3 * len(value))
    return [[key, item] for key, item in sorted_pairs(value)]


@_builtin("fromPairs", "a")
def _from_pairs(frame: Frame, value: list[Any]) -> dict[Any, Any]:
    frame.allocate(len(value))
    made: dict[Any, Any] = {}
    for pair in value:
        if not isinstance(pair, list):
            raise ExpressionError(f"invalid pair {format_value(frame, pair)}")
        if len(pair) != 2:
            raise ExpressionError(f"invalid pair length {format_value(frame, pair)}")
        if not isinstance(pair[0], str | int | float | bool | None):
            raise ExpressionError(f"cannot use {type_name(pair[0])} as a key of a map")
        made[pair[0]] = pair[1]
    return made


@_builtin("reverse", "a")
def _reverse(frame: Frame, value: list[Any]) -> list[Any]:
    frame.allocate(len(value))
    return list(reversed(value))


@_builtin("uniq", "a")
def _uniq(frame: Frame, value: list[Any]) -> list[Any]:
    return unique(frame, value)


def _among(frame: Frame, item: Any, others: list[Any]) -> bool:
    frame.spend(len(others))
    return any(equal(frame, item, other) for other in others)


def unique(frame: Frame, value: list[Any]) -> list[Any]:
    """The items of a list without those that equal an earlier one."""
    frame.allocate(len(value))
    simple: set[Any] = set()
    kept: list[Any] = []
    for item in value:
        frame.spend(1)
        if isinstance(item, str):
            if item in simple:
                continue
            simple.add(item)
        elif _among(frame, item, kept):
            continue
        kept.append(item)
    return kept


@_builtin("concat", "a…")
def _concat(frame: Frame, *values: list[Any]) -> list[Any]:
    if not values:
        raise ExpressionError("invalid number of arguments (expected at least 1, got 0)")
    frame.allocate(sum(map(len, values)))
    return [item for value in values for item in value]


@_builtin("flatten", "a")
def _flatten(frame: Frame, value: list[Any]) -> list[Any]:
    return list(leaves(frame, value))


def leaves(frame: Frame, value: Any) -> list[Any]:
    """The items of lists in lists, in their order."""
    found: list[Any] = []
    stack = [iter(value)]
    while stack:
        for item in stack[-1]:
            frame.spend(1)
            if isinstance(item, list | bytes):
                stack.append(iter(item))
                break
            frame.allocate(1)
            found.append(item)
        else:
            stack.pop()
    return found


@_builtin("sort", "as?")
def _sort(frame: Frame, value: list[Any], order: str = "asc") -> list[Any]:
    return sort_values(frame, [(item, item) for item in value], order)


def _numbers(frame: Frame, name: str, given: tuple[Any, ...]) -> list[Any]:
    if not given:
        raise ExpressionError(f"not enough arguments to call {name}")
    found = leaves(frame, given)
    for item in found:
        if not is_number(item):
            raise ExpressionError(f"invalid argument for {name} (type {type_name(item)})")
    return found


@_builtin("max", "*…")
def _max(frame: Frame, *given: Any) -> Any:
    best: Any = None
    for item in _numbers(frame, "max", given):
        if best is None or less("<", best, item):
            best = item
    return best


@_builtin("min", "*…")
def _min(frame: Frame, *given: Any) -> Any:
    best: Any = None
    for item in _numbers(frame, "min", given):
        if best is None or less("<", item, best):
            best = item
    return best


@_builtin("mean", "*…")
def _mean(frame: Frame, *given: Any) -> float:
    found = _numbers(frame, "mean", given)
    return sum(map(float, found)) / len(found) if found else 0.0


@_builtin("median", "*…")
def _median(frame: Frame, *given: Any) -> float:
    found = sorted(map(float, _numbers(frame, "median", given)))
    if not found:
        return 0.0
    middle = len(found) // 2
    return found[middle] if len(found) % 2 else (found[middle - 1] + found[middle]) / 2
