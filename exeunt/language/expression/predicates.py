"""Functions with a predicate: `filter(list, # > 1)`, `reduce(list, #acc + #, 0)` and their like."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cmp_to_key
from typing import Any, Final, TypeAlias

from exeunt.language.expression import tree, values
from exeunt.language.expression.errors import ExpressionError
from exeunt.language.expression.frame import Frame
from exeunt.language.expression.values import type_name

Run: TypeAlias = Callable[[Frame], Any]
Loop: TypeAlias = Callable[[list[Run], list[int]], Run]


def cost(node: tree.Expr) -> int:
    """How many parts a part has: what one round of a predicate costs."""
    count, stack = 0, [node]
    while stack:
        part = stack.pop()
        count += 1
        stack += tree.children(part)
    return count


def _items(frame: Frame, name: str, value: Any) -> list[Any]:
    if isinstance(value, bytes):
        return list(value)
    if not isinstance(value, list):
        raise ExpressionError(f"builtin {name} takes only array (got {type_name(value)})")
    return value


def rounds(
    frame: Frame, items: list[Any], predicate: Run, price: int, *, backwards: bool = False
) -> Iterator[tuple[int, Any]]:
    """The predicate's value for each item; the item of an outer predicate is back afterwards."""
    before = frame.item, frame.index, frame.accumulator
    places = range(len(items) - 1, -1, -1) if backwards else range(len(items))
    try:
        for place in places:
            frame.spend(price)
            frame.item, frame.index = items[place], place
            yield place, predicate(frame)
            frame.accumulator = before[2]
    finally:
        frame.item, frame.index, frame.accumulator = before


def _bool(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ExpressionError(f"predicate of {name} should return boolean (got {type_name(value)})")
    return value


def _looping(name: str, finish: Callable[[Frame, list[Any], Run, int], Any]) -> Loop:
    def make(runs: list[Run], prices: list[int]) -> Run:
        predicate = runs[1] if len(runs) > 1 else _item
        price = prices[1] if len(prices) > 1 else 1

        def run(frame: Frame) -> Any:
            return finish(frame, _items(frame, name, runs[0](frame)), predicate, price)

        return run

    return make


def _item(frame: Frame) -> Any:
    return frame.item


def _quantifier(name: str, stop_at: bool, stopped: bool) -> Loop:
    """`all`, `any`, `none`: stop at the first item that decides."""

    def finish(frame: Frame, items: list[Any], predicate: Run, price: int) -> bool:
        for _, value in rounds(frame, items, predicate, price):
            if _bool(name, value) is stop_at:
                return stopped
        return not stopped

    return _looping(name, finish)


def _count(name: str, answer: Callable[[int], Any]) -> Loop:
    def finish(frame: Frame, items: list[Any], predicate: Run, price: int) -> Any:
        return answer(sum(_bool(name, value) for _, value in rounds(frame, items, predicate, price)))

    return _looping(name, finish)


def _find(name: str, *, backwards: bool, index: bool) -> Loop:
    def finish(frame: Frame, items: list[Any], predicate: Run, price: int) -> Any:
        for place, value in rounds(frame, items, predicate, price, backwards=backwards):
            if _bool(name, value):
                return place if index else items[place]
        return None  # also for the index: expr-lang gives nil, whatever else one might expect

    return _looping(name, finish)


def _map(frame: Frame, items: list[Any], predicate: Run, price: int) -> list[Any]:
    frame.allocate(len(items))
    return [value for _, value in rounds(frame, items, predicate, price)]


def _filter(frame: Frame, items: list[Any], predicate: Run, price: int) -> list[Any]:
    frame.allocate(len(items))
    return [items[place] for place, value in rounds(frame, items, predicate, price) if _bool("filter", value)]


def _sum(frame: Frame, items: list[Any], predicate: Run, price: int) -> Any:
    total: Any = 0
    for _, value in rounds(frame, items, predicate, price):
        total = values.add(frame, total, value)
    return total


def _group_by(frame: Frame, items: list[Any], predicate: Run, price: int) -> dict[Any, list[Any]]:
    groups: dict[Any, list[Any]] = {}
    frame.allocate(len(items))
    for place, value in rounds(frame, items, predicate, price):
        if isinstance(value, list | dict):
            raise ExpressionError(f"cannot use {type_name(value)} as a key for groupBy: type is not comparable")
        groups.setdefault(value, []).append(items[place])
    return groups


def sort_values(frame: Frame, pairs: list[tuple[Any, Any]], order: Any) -> list[Any]:
    """The second of each pair, in the order of the first; raises ExpressionError for what has no order."""
    if order not in ("asc", "desc"):
        raise ExpressionError("unknown order, use asc or desc")
    frame.spend(len(pairs) * max(len(pairs).bit_length(), 1))
    frame.allocate(len(pairs))

    def sign(left: tuple[Any, Any], right: tuple[Any, Any]) -> int:
        if values.less("<", left[0], right[0]):
            return -1
        return 1 if values.less("<", right[0], left[0]) else 0

    return [value for _, value in sorted(pairs, key=cmp_to_key(sign), reverse=order == "desc")]


def _sort_by(runs: list[Run], prices: list[int]) -> Run:
    def run(frame: Frame) -> Any:
        items = _items(frame, "sortBy", runs[0](frame))
        order = runs[2](frame) if len(runs) > 2 else "asc"
        keys = [(value, items[place]) for place, value in rounds(frame, items, runs[1], prices[1])]
        return sort_values(frame, keys, order)

    return run


def _reduce(runs: list[Run], prices: list[int]) -> Run:
    def run(frame: Frame) -> Any:
        items = _items(frame, "reduce", runs[0](frame))
        if len(runs) > 2:
            accumulator, first = runs[2](frame), 0
        elif items:
            accumulator, first = items[0], 1
        else:
            raise ExpressionError("reduce of empty array with no initial value")
        before = frame.item, frame.index, frame.accumulator
        try:
            for place in range(first, len(items)):
                frame.spend(prices[1])
                frame.item, frame.index, frame.accumulator = items[place], place, accumulator
                accumulator = runs[1](frame)
        finally:
            frame.item, frame.index, frame.accumulator = before
        return accumulator

    return run


LOOPS: Final[dict[str, Loop]] = {
    "all": _quantifier("all", stop_at=False, stopped=False),
    "any": _quantifier("any", stop_at=True, stopped=True),
    "none": _quantifier("none", stop_at=True, stopped=False),
    "one": _count("one", lambda count: count == 1),
    "count": _count("count", lambda count: count),
    "filter": _looping("filter", _filter),
    "map": _looping("map", _map),
    "find": _find("find", backwards=False, index=False),
    "findIndex": _find("findIndex", backwards=False, index=True),
    "findLast": _find("findLast", backwards=True, index=False),
    "findLastIndex": _find("findLastIndex", backwards=True, index=True),
    "groupBy": _looping("groupBy", _group_by),
    "sum": _looping("sum", _sum),
    "sortBy": _sort_by,
    "reduce": _reduce,
}
