"""Sprig's functions over lists and maps, for defaults, JSON and types. What is given is never changed in place."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from exeunt.language.expression.errors import ExpressionError
from exeunt.language.expression.frame import Frame
from exeunt.language.expression.json_text import from_json
from exeunt.language.expression.lists import sorted_pairs
from exeunt.language.expression.render import to_json
from exeunt.language.expression.signature import Registry
from exeunt.language.expression.sprig.texts import strval
from exeunt.language.expression.values import Duration, Function, equal, to_int, type_name

DATA: Final = Registry()
_sprig = DATA.add
_twice = DATA.twice
_MAX_MERGE: Final = 50


def empty(value: Any) -> bool:
    """Whether a value counts as none: nil, false, zero, and what has no items."""
    match value:
        case None:
            return True
        case bool() | int() | float():
            return not value
        case str() | list() | dict() | bytes():
            return len(value) == 0
        case Duration():
            return value.nanoseconds == 0
        case _:
            return False


# defaults


@_sprig("default", "**?")
def _default(_: Frame, default: Any, given: Any = None) -> Any:
    return default if empty(given) else given


@_sprig("empty", "*")
def _empty(_: Frame, value: Any) -> bool:
    return empty(value)


@_sprig("coalesce", "*…")
def _coalesce(_: Frame, *given: Any) -> Any:
    return next((value for value in given if not empty(value)), None)


@_sprig("all", "*…")
def _all(_: Frame, *given: Any) -> bool:
    return not any(map(empty, given))


@_sprig("any", "*…")
def _any(_: Frame, *given: Any) -> bool:
    return not all(map(empty, given))


@_sprig("ternary", "**b")
def _ternary(_: Frame, yes: Any, no: Any, test: bool) -> Any:
    return yes if test else no


# JSON


@_sprig("fromJson", "s")
def _from_json(frame: Frame, text: str) -> Any:
    try:
        return from_json(frame, text)
    except ExpressionError:
        return None  # so it is in Sprig; mustFromJson says what is wrong


@_sprig("mustFromJson", "s")
def _must_from_json(frame: Frame, text: str) -> Any:
    return from_json(frame, text)


@_twice("toJson", "*")
def _to_json(frame: Frame, value: Any) -> str:
    return to_json(frame, value)


@_twice("toPrettyJson", "*")
def _to_pretty_json(frame: Frame, value: Any) -> str:
    return to_json(frame, value, indent="  ")


@_twice("toRawJson", "*")
def _to_raw_json(frame: Frame, value: Any) -> str:
    return to_json(frame, value, html=False)


# lists


@_sprig("list", "*…")
@_sprig("tuple", "*…")
def _list(frame: Frame, *given: Any) -> list[Any]:
    frame.allocate(len(given))
    return list(given)


@_twice("push", "a*")
@_twice("append", "a*")
def _push(frame: Frame, items: list[Any], value: Any) -> list[Any]:
    frame.allocate(len(items) + 1)
    return [*items, value]


@_twice("prepend", "a*")
def _prepend(frame: Frame, items: list[Any], value: Any) -> list[Any]:
    frame.allocate(len(items) + 1)
    return [value, *items]


@_twice("first", "a")
def _first(_: Frame, items: list[Any]) -> Any:
    return items[0] if items else None


@_twice("last", "a")
def _last(_: Frame, items: list[Any]) -> Any:
    return items[-1] if items else None


@_twice("rest", "a")
def _rest(frame: Frame, items: list[Any]) -> Any:
    frame.allocate(len(items))
    return items[1:] if items else None


@_twice("initial", "a")
def _initial(frame: Frame, items: list[Any]) -> Any:
    frame.allocate(len(items))
    return items[:-1] if items else None


@_twice("reverse", "a")
def _reverse(frame: Frame, items: list[Any]) -> list[Any]:
    frame.allocate(len(items))
    return list(reversed(items))


@_twice("compact", "a")
def _compact(frame: Frame, items: list[Any]) -> list[Any]:
    frame.allocate(len(items))
    return [item for item in items if not empty(item)]


def _same(frame: Frame, left: Any, right: Any) -> bool:
    """Sprig compares with the type: 1 and 1.0 differ."""
    return type_name(left) == type_name(right) and equal(frame, left, right)


def _among(frame: Frame, item: Any, others: Any) -> bool:
    frame.spend(len(others) + 1)
    return any(_same(frame, item, other) for other in others)


@_twice("uniq", "a")
def _uniq(frame: Frame, items: list[Any]) -> list[Any]:
    kept: list[Any] = []
    for item in items:
        if not _among(frame, item, kept):
            kept.append(item)
    return kept


@_twice("without", "a*…")
def _without(frame: Frame, items: list[Any], *unwanted: Any) -> list[Any]:
    return [item for item in items if not _among(frame, item, unwanted)]


@_twice("has", "**")
def _has(frame: Frame, needle: Any, items: Any) -> bool:
    if items is None:
        return False
    if not isinstance(items, list | bytes):
        raise ExpressionError(f"Cannot find has on type {type_name(items)}")
    return _among(frame, needle, items)


@_twice("slice", "a*?*")
def _slice(frame: Frame, items: list[Any], first: Any = 0, last: Any = None) -> Any:
    if not items:
        return None
    start, end = to_int(first), len(items) if last is None else to_int(last)
    if not 0 <= start <= end <= len(items):
        raise ExpressionError(f"slice bounds out of range [{start}:{end}] with length {len(items)}")
    frame.allocate(end - start)
    return items[start:end]


@_sprig("concat", "a…")
def _concat(frame: Frame, *given: list[Any]) -> list[Any]:
    frame.allocate(sum(map(len, given)))
    return [item for items in given for item in items]


@_twice("chunk", "ia")
def _chunk(frame: Frame, size: int, items: list[Any]) -> list[Any]:
    if size <= 0:
        raise ExpressionError("the size of a chunk must be greater than 0")
    frame.allocate(2 * len(items))
    return [items[place : place + size] for place in range(0, len(items), size)]


# maps


@_sprig("dict", "*…")
def _dict(frame: Frame, *given: Any) -> dict[str, Any]:
    frame.allocate(len(given))
    values = (*given, "") if len(given) % 2 else given
    return {strval(frame, values[place]): values[place + 1] for place in range(0, len(values), 2)}


@_sprig("get", "ms")
def _get(_: Frame, value: dict[str, Any], key: str) -> Any:
    return value.get(key, "")


@_sprig("set", "ms*")
def _set(frame: Frame, value: dict[str, Any], key: str, item: Any) -> dict[str, Any]:
    frame.allocate(len(value) + 1)
    return {**value, key: item}


@_sprig("unset", "ms")
def _unset(frame: Frame, value: dict[str, Any], key: str) -> dict[str, Any]:
    frame.allocate(len(value))
    return {name: item for name, item in value.items() if name != key}


@_sprig("hasKey", "ms")
def _has_key(_: Frame, value: dict[str, Any], key: str) -> bool:
    return key in value


@_sprig("pluck", "sm…")
def _pluck(_: Frame, key: str, *given: dict[str, Any]) -> list[Any]:
    return [value[key] for value in given if key in value]


@_sprig("keys", "m…")
def _keys(frame: Frame, *given: dict[str, Any]) -> list[Any]:
    frame.allocate(sum(map(len, given)))
    return [key for value in given for key, _ in sorted_pairs(value)]


@_sprig("values", "m")
def _values(frame: Frame, value: dict[str, Any]) -> list[Any]:
    frame.allocate(len(value))
    return [item for _, item in sorted_pairs(value)]


@_sprig("pick", "ms…")
def _pick(_: Frame, value: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value[name] for name in names if name in value}


@_sprig("omit", "ms…")
def _omit(frame: Frame, value: dict[str, Any], *names: str) -> dict[str, Any]:
    frame.allocate(len(value))
    unwanted = frozenset(names)
    return {name: item for name, item in value.items() if name not in unwanted}


def _merged(frame: Frame, left: Any, right: Any, *, overwrite: bool, depth: int = 0) -> Any:
    """Two maps as one: what is not empty in `left` wins, or all of `right` where `overwrite`."""
    if depth > _MAX_MERGE:
        raise ExpressionError(f"maps are merged at most {_MAX_MERGE} deep")
    frame.allocate(len(left) + len(right))
    made = dict(left)
    for key, item in right.items():
        held = made.get(key)
        if isinstance(held, dict) and isinstance(item, dict):
            made[key] = _merged(frame, held, item, overwrite=overwrite, depth=depth + 1)
        elif overwrite or (empty(held) and item is not None):
            made[key] = item
    return made


@_twice("merge", "mm…")
def _merge(frame: Frame, value: dict[str, Any], *given: dict[str, Any]) -> dict[str, Any]:
    for other in given:
        value = _merged(frame, value, other, overwrite=False)
    return value


@_twice("mergeOverwrite", "mm…")
def _merge_overwrite(frame: Frame, value: dict[str, Any], *given: dict[str, Any]) -> dict[str, Any]:
    for other in given:
        value = _merged(frame, value, other, overwrite=True)
    return value


@_twice("deepCopy", "*")
def _deep_copy(_: Frame, value: Any) -> Any:
    return value  # nothing changes in place, so there is nothing to guard


@_sprig("dig", "***…")
def _dig(_: Frame, *given: Any) -> Any:
    if len(given) < 3:
        raise ExpressionError("dig needs at least three arguments")
    *keys, default, value = given
    for key in keys:
        if not isinstance(value, dict) or not isinstance(key, str):
            raise ExpressionError(f"cannot dig for {type_name(key)} in {type_name(value)}")
        if key not in value:
            return default
        value = value[key]
    return value


# types

_GO_TYPES: Final = {
    "nil": "<nil>", "float": "float64", "array": "[]interface {}", "map": "map[string]interface {}",
}  # fmt: skip
_KINDS: Final = {
    "nil": "invalid", "float": "float64", "array": "slice", "time.Time": "struct", "time.Duration": "int64",
    "time.Location": "ptr",
}  # fmt: skip


def _go_type(value: Any) -> str:
    if isinstance(value, bytes):
        return "[]uint8"
    return _GO_TYPES.get(type_name(value), type_name(value))


@_sprig("typeOf", "*")
def _type_of(_: Frame, value: Any) -> str:
    return _go_type(value)


@_sprig("typeIs", "s*")
def _type_is(_: Frame, name: str, value: Any) -> bool:
    return name == _go_type(value)


@_sprig("typeIsLike", "s*")
def _type_is_like(_: Frame, name: str, value: Any) -> bool:
    return _go_type(value) in (name, f"*{name}")


@_sprig("kindOf", "*")
def _kind_of(_: Frame, value: Any) -> str:
    return _KINDS.get(type_name(value), type_name(value))


@_sprig("kindIs", "s*")
def _kind_is(_: Frame, name: str, value: Any) -> bool:
    return name == _KINDS.get(type_name(value), type_name(value))


@_sprig("deepEqual", "**")
def _deep_equal(frame: Frame, left: Any, right: Any) -> bool:
    if isinstance(left, datetime | Function) or isinstance(right, datetime | Function):
        return bool(left == right)
    return _same(frame, left, right)


@_sprig("fail", "s")
def _fail(_: Frame, message: str) -> Any:
    raise ExpressionError(message)
