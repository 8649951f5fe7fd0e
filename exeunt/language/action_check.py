"""The check of an action's arguments against the fields that it has."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import msgspec
from msgspec import inspect

from exeunt.language.actions import ACTIONS
from exeunt.language.problems import Path, nearest, quoted_list, shorten


class Wrong(NamedTuple):
    """A value that an action does not understand; `path` leads to it from the action's name."""

    path: Path
    message: str


def wrong(action: str, arguments: Any) -> list[Wrong]:
    """What is wrong with the arguments of one of our own actions, 20 at most; values with `{{…}}` are left out."""
    shape = ACTIONS[action].fields
    found = list(_struct({} if arguments is None else arguments, _fields(shape), ()))
    return found[:20]


Kinds = inspect.Type


@cache
def _fields(shape: type[msgspec.Struct]) -> inspect.StructType:
    kind = inspect.type_info(shape)
    assert isinstance(kind, inspect.StructType)
    return kind


def _struct(value: Any, kind: inspect.StructType, path: Path) -> Iterator[Wrong]:
    if not isinstance(value, dict):
        yield Wrong(path, f"fields are expected here, not {_said(value)}")
        return
    fields = {field.encode_name: field for field in kind.fields}
    for name, inner in value.items():
        field = fields.get(str(name))
        if field is None:
            hint = nearest(str(name), fields) or f"; there are {quoted_list(fields)}"
            yield Wrong((*path, str(name)), f"there is no field {shorten(str(name))!r}{hint}")
        else:
            yield from _check(inner, field.type, (*path, field.encode_name))
    for name, field in fields.items():
        if field.required and name not in value:
            yield Wrong(path, f"the field {name!r} is missing")


def _check(value: Any, kind: Kinds, path: Path) -> Iterator[Wrong]:
    if isinstance(value, str) and "{{" in value:
        return
    choices = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    for choice in choices:
        if isinstance(value, dict) and isinstance(choice, inspect.StructType):
            yield from _struct(value, choice, path)
            return
        if isinstance(value, dict) and isinstance(choice, inspect.DictType):
            for name, inner in value.items():
                yield from _check(inner, choice.value_type, (*path, str(name)))
            return
        if isinstance(value, list) and isinstance(choice, inspect.ListType):
            for at, inner in enumerate(value):
                yield from _check(inner, choice.item_type, (*path, at))
            return
        if _fits(value, choice):
            return
    yield Wrong(path, f"{' or '.join(_words(choice) for choice in choices)} is expected, not {_said(value)}")


def _fits(value: Any, kind: Kinds) -> bool:
    match kind:
        case inspect.AnyType():
            return True
        case inspect.NoneType():
            return value is None
        case inspect.StrType():
            return isinstance(value, str)
        case inspect.BoolType():
            return isinstance(value, bool) or value in ("true", "false")
        case inspect.IntType() | inspect.FloatType():
            if isinstance(value, bool) or not isinstance(value, int | float | str):
                return False
            try:
                number = float(value)
            except ValueError:
                return False
            return isinstance(kind, inspect.FloatType) or number.is_integer()
    return False


_WORDS: dict[type[Kinds], str] = {
    inspect.StructType: "fields",
    inspect.DictType: "fields",
    inspect.ListType: "a list",
    inspect.StrType: "a text",
    inspect.BoolType: "true or false",
    inspect.IntType: "a whole number",
    inspect.FloatType: "a number",
    inspect.NoneType: "nothing",
}


def _words(kind: Kinds) -> str:
    return _WORDS.get(type(kind), "a value")


def _said(value: Any) -> str:
    names = {str: "a text", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "fields"}
    return "nothing" if value is None else names.get(type(value), type(value).__name__)
