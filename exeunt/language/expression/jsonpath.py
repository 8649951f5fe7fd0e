"""Argo's `jsonpath(json, path)`: Goessner's JSONPath, where a path to one thing gives the thing, not a list of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from exeunt.language.expression.errors import ExpressionError
from exeunt.language.expression.frame import Frame
from exeunt.language.expression.jsonpath_parser import (
    FilterSelector,
    IndexSelector,
    Key,
    Operation,
    Path,
    Range,
    Recursive,
    ScriptSelector,
    Segment,
    Union,
    Wildcard,
    parse_path,
)
from exeunt.language.expression.regex import search
from exeunt.language.expression.values import compare, divide, equal, is_number, modulo, power, to_int, type_name


class _NotFoundError(ExpressionError):
    """A path that leads nowhere; where several are followed, this one is left out."""


def query(frame: Frame, path: str, value: Any) -> Any:
    """What a path finds in a value; raises ExpressionError when it cannot be read or leads nowhere."""
    return _Query(frame, value).follow(parse_path(path).segments, value)


_ARITHMETIC: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": divide,
    "**": power,
    "%": lambda left, right: modulo(to_int(left), to_int(right)),
}


def _holds(value: Any) -> bool:
    """Whether a filter takes an item: not nil, false, zero or without items."""
    return value is not None and value is not False and value != 0 and value not in ("", [], {})


class _Query:
    def __init__(self, frame: Frame, root: Any) -> None:
        self.frame = frame
        self.root = root

    def follow(self, segments: tuple[Segment, ...], value: Any) -> Any:
        self.frame.spend(1)
        if not segments:
            return value
        segment, rest = segments[0], segments[1:]
        match segment:
            case Key(name=name):
                return self.follow(rest, self.key(value, name))
            case IndexSelector(index=index):
                return self.follow(rest, self.index(value, index))
            case ScriptSelector(expression=expression):
                return self.follow(rest, self.member(value, self.work(expression, value)))
            case Wildcard():
                return self.each(rest, self.items("wildcard", value))
            case Recursive():
                return self.everywhere(rest, value)
            case Union():
                return self.several(rest, self.union(value, segment))
            case Range():
                return self.several(rest, self.range(value, segment))
            case FilterSelector(expression=expression):
                items = self.items("filter", value)
                return self.several(rest, [item for item in items if self.accepts(expression, item)])
        raise AssertionError(segment)

    # one thing

    def key(self, value: Any, name: str) -> Any:
        if isinstance(value, dict) and name in value:
            return value[name]
        if name == "length" and isinstance(value, dict | list | str):
            return len(value)
        if isinstance(value, dict):
            raise _NotFoundError(f"key: invalid token key '{name}' not found")
        raise _NotFoundError(f"key: invalid token target. expected [map] got [{type_name(value)}]")

    def index(self, value: Any, index: int) -> Any:
        if not isinstance(value, list):
            raise _NotFoundError(f"index: invalid token target. expected [array slice] got [{type_name(value)}]")
        if not -len(value) <= index < len(value):
            raise _NotFoundError("index: invalid token out of range")
        return value[index]

    def member(self, value: Any, key: Any) -> Any:
        return self.key(value, key) if isinstance(key, str) else self.index(value, self.whole(key))

    def whole(self, value: Any) -> int:
        if not is_number(value) or value != to_int(value):
            raise ExpressionError(f"a JSONPath index must be a whole number (got {type_name(value)})")
        return to_int(value)

    # several things

    def items(self, what: str, value: Any) -> list[Any]:
        if isinstance(value, dict):
            self.frame.spend(len(value))
            return [value[key] for key in sorted(value)]
        if not isinstance(value, list):
            raise _NotFoundError(f"{what}: invalid token target. expected [array map slice] got [{type_name(value)}]")
        self.frame.spend(len(value))
        return value

    def each(self, rest: tuple[Segment, ...], items: list[Any]) -> list[Any]:
        """What the rest of the path finds in each item, without what it does not find."""
        self.frame.allocate(len(items))
        if not rest:
            return list(items)
        found: list[Any] = []
        for item in items:
            try:
                value = self.follow(rest, item)
            except _NotFoundError:
                continue
            if value is not None:
                found.append(value)
        return found

    def several(self, rest: tuple[Segment, ...], items: list[Any]) -> Any:
        """As `each`, but an index behind a union, a range or a filter counts in what they found."""
        return self.follow(rest, items) if rest and isinstance(rest[0], IndexSelector) else self.each(rest, items)

    def everywhere(self, rest: tuple[Segment, ...], value: Any) -> list[Any]:
        self.frame.spend(1)
        found: list[Any] = []
        if value is None:
            return found
        try:
            here = self.follow(rest, value)
        except _NotFoundError:
            here = None
        if rest and isinstance(here, list):
            found += here
        elif here is not None:
            found.append(here)
        if isinstance(value, dict | list):
            for item in self.items("recursive", value):
                found += self.everywhere(rest, item)
        self.frame.allocate(len(found))
        return found

    def union(self, value: Any, segment: Union) -> list[Any]:
        keys = [
            self.work(part.expression, value) if isinstance(part, ScriptSelector) else part for part in segment.keys
        ]
        if all(isinstance(key, str) for key in keys):
            if not isinstance(value, dict):
                raise _NotFoundError(f"union: invalid token target. expected [map] got [{type_name(value)}]")
            return [value[key] for key in keys if key in value]
        if not isinstance(value, list):
            raise _NotFoundError(f"union: invalid token target. expected [array slice] got [{type_name(value)}]")
        places = [self.whole(key) for key in keys]
        return [value[place] for place in places if -len(value) <= place < len(value)]

    def range(self, value: Any, segment: Range) -> list[Any]:
        if not isinstance(value, list):
            raise _NotFoundError(f"range: invalid token target. expected [array slice] got [{type_name(value)}]")
        first, last, step = (
            None if part is None else self.whole(self.work(part, value))
            for part in (segment.first, segment.last, segment.step)
        )
        if step == 0:
            raise ExpressionError("range: invalid token argument: the step is 0")
        items = value[first:last]
        return items[::step] if step is None or step > 0 else list(reversed(items))[::-step]

    # filters and scripts

    def accepts(self, expression: Operation, item: Any) -> bool:
        try:
            return _holds(self.work(expression, item))
        except _NotFoundError:
            return False

    def work(self, operation: Operation, current: Any) -> Any:
        """The value of an expression, with `@` as the current value."""
        self.frame.spend(1)
        name, parts = operation.name, operation.parts
        match name:
            case "value":
                return parts[0]
            case "path":
                return self.path(parts[0], current)
            case "list":
                return [self.work(part, current) for part in parts]
            case "!":
                return not self.accepts(parts[0], current)
            case "&&":
                return self.accepts(parts[0], current) and self.accepts(parts[1], current)
            case "||":
                return self.accepts(parts[0], current) or self.accepts(parts[1], current)
            case "negative":
                return -self.number("-", self.work(parts[0], current))
        return self.binary(name, self.work(parts[0], current), self.work(parts[1], current))

    def path(self, path: Path, current: Any) -> Any:
        return self.follow(path.segments, self.root if path.from_root else current)

    def binary(self, name: str, left: Any, right: Any) -> Any:
        match name:
            case "==":
                return equal(self.frame, left, right)
            case "!=":
                return not equal(self.frame, left, right)
            case "<" | "<=" | ">" | ">=":
                comparable = (is_number(left) and is_number(right)) or (
                    isinstance(left, str) and isinstance(right, str)
                )
                return comparable and compare(name, left, right)
            case "=~":
                return isinstance(left, str) and isinstance(right, str) and search(self.frame, right, left)
            case "in" | "not in":
                items = self.items("in", right)
                return any(equal(self.frame, left, item) for item in items) is (name == "in")
        return _ARITHMETIC[name](self.number(name, left), self.number(name, right))

    def number(self, name: str, value: Any) -> Any:
        if not is_number(value):
            raise _NotFoundError(f"JSONPath: {name} takes numbers (got {type_name(value)})")
        return value
