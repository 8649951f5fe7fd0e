"""From the text of a JSONPath to its segments, with the expressions of filters and scripts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NoReturn

from exeunt.language.expression.errors import ExpressionError

MAX_PATH: Final = 1024
_MAX_DEPTH: Final = 20


@dataclass(frozen=True, slots=True)
class Operation:
    """A part of a filter's or script's expression: its operator, or `value`, `path`, `list`, and what belongs to it."""

    name: str
    parts: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Key:
    """`.name`, `['name']`."""

    name: str


@dataclass(frozen=True, slots=True)
class IndexSelector:
    """`[0]`, `[-1]`."""

    index: int


@dataclass(frozen=True, slots=True)
class Wildcard:
    """`.*`, `[*]`."""


@dataclass(frozen=True, slots=True)
class Recursive:
    """`..`: this value and all inside it."""


@dataclass(frozen=True, slots=True)
class ScriptSelector:
    """`[(@.length-1)]`."""

    expression: Operation


@dataclass(frozen=True, slots=True)
class Union:
    """`[0,1]`, `['a','b']`."""

    keys: tuple[str | int | ScriptSelector, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """`[first:last:step]`."""

    first: Operation | None
    last: Operation | None
    step: Operation | None


@dataclass(frozen=True, slots=True)
class FilterSelector:
    """`[?(@.price < 10)]`."""

    expression: Operation


Segment = Key | IndexSelector | Wildcard | Recursive | ScriptSelector | Union | Range | FilterSelector


@dataclass(frozen=True, slots=True)
class Path:
    """A path from the root (`$`) or from the current value (`@`)."""

    from_root: bool
    segments: tuple[Segment, ...]


_NAME: Final = re.compile(r"[^.\[\]()*]+")
_NAME_IN_FILTER: Final = re.compile(r"[\w$]+")
_BLANK: Final = re.compile(r"\s*")
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,18}(?![\w.])")
_NUMBER: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_WORD: Final = re.compile(r"(true|false|null|nil)\b")
_PATTERN: Final = re.compile(r"/((?:[^/\\]|\\.)*)/")
_LEVELS: Final = (
    re.compile(r"\|\|"),
    re.compile(r"&&"),
    re.compile(r"===?|!=|<=|>=|<|>|=~|in\b|not\s+in\b"),
    re.compile(r"[+-]"),
    re.compile(r"\*(?!\*)|/|%"),
    re.compile(r"\*\*"),
)


@lru_cache(maxsize=512)
def _read(text: str) -> Path | ExpressionError:
    try:
        reader = _PathReader(text)
        path = reader.path(in_filter=False)
        if reader.place < len(text):
            reader.fail("unexpected character")
    except ExpressionError as error:
        return error
    return path


def parse_path(text: str) -> Path:
    """Read a path; raises ExpressionError."""
    if len(text) > MAX_PATH:
        raise ExpressionError(f"the JSONPath is longer than {MAX_PATH} characters")
    found = _read(text)
    if isinstance(found, ExpressionError):
        raise ExpressionError(found.message)
    return found


class _PathReader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.place = 0
        self.depth = 0

    def fail(self, what: str) -> NoReturn:
        raise ExpressionError(f"invalid JSONPath selector '{self.text}': {what} at {self.place + 1}")

    def blank(self) -> None:
        match = _BLANK.match(self.text, self.place)
        self.place = match.end() if match else self.place

    def takes(self, mark: str) -> bool:
        self.blank()
        if self.text.startswith(mark, self.place):
            self.place += len(mark)
            return True
        return False

    def expect(self, mark: str) -> None:
        if not self.takes(mark):
            self.fail(f"expected '{mark}'")

    def match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        self.blank()
        found = pattern.match(self.text, self.place)
        if found:
            self.place = found.end()
        return found

    def path(self, *, in_filter: bool) -> Path:
        if self.takes("$"):
            from_root = True
        elif self.takes("@"):
            from_root = False
        else:
            self.fail("it must start with '$'")
        segments: list[Segment] = []
        while self.place < len(self.text):
            if self.text.startswith("..", self.place):
                self.place += 2
                segments.append(Recursive())
                if self.place < len(self.text) and self.text[self.place] not in "[)":
                    segments.append(self.child(in_filter=in_filter))
            elif self.text[self.place] == ".":
                self.place += 1
                if not self.text.startswith("[", self.place):
                    segments.append(self.child(in_filter=in_filter))
            elif self.text[self.place] == "[":
                self.place += 1
                segments.append(self.subscript())
            else:
                break
        return Path(from_root, tuple(segments))

    def child(self, *, in_filter: bool) -> Segment:
        if self.text.startswith("*", self.place):
            self.place += 1
            return Wildcard()
        found = (_NAME_IN_FILTER if in_filter else _NAME).match(self.text, self.place)
        if found is None:
            self.fail("expected a name")
        self.place = found.end()
        return Key(found.group().strip())

    def subscript(self) -> Segment:
        if self.takes("*"):
            self.expect("]")
            return Wildcard()
        if self.takes("?"):
            expression = self.expression()
            self.expect("]")
            return FilterSelector(expression)
        first = None if self.sees(":") else self.argument()
        if self.takes(":"):
            return self.range(first)
        if first is None:
            self.fail("expected a key or an index")
        keys = [first]
        while self.takes(","):
            keys.append(self.argument())
        self.expect("]")
        if len(keys) > 1:
            return Union(tuple(keys))
        return (
            Key(first)
            if isinstance(first, str)
            else first
            if isinstance(first, ScriptSelector)
            else IndexSelector(first)
        )

    def sees(self, marks: str) -> bool:
        self.blank()
        return self.text[self.place : self.place + 1] in marks if self.place < len(self.text) else False

    def range(self, first: str | int | ScriptSelector | None) -> Range:
        last = None if self.sees(":]") else self.argument()
        step = self.argument() if self.takes(":") and not self.sees("]") else None
        self.expect("]")
        return Range(self.bound(first), self.bound(last), self.bound(step))

    def bound(self, value: str | int | ScriptSelector | None) -> Operation | None:
        if isinstance(value, str):
            self.fail("a range takes numbers")
        if value is None:
            return None
        return value.expression if isinstance(value, ScriptSelector) else Operation("value", (value,))

    def argument(self) -> str | int | ScriptSelector:
        if self.sees("'\""):
            return self.string()
        number = self.match(_INTEGER)
        if number:
            return int(number.group())
        if self.takes("("):
            expression = self.expression()
            self.expect(")")
            return ScriptSelector(expression)
        return self.fail("expected a key in quotes, an index, or a script in parentheses")

    def string(self) -> str:
        quote = self.text[self.place]
        found: list[str] = []
        self.place += 1
        while self.place < len(self.text):
            character = self.text[self.place]
            if character == "\\":
                self.place += 1
                found.append(self.text[self.place : self.place + 1])
            elif character == quote:
                self.place += 1
                return "".join(found)
            else:
                found.append(character)
            self.place += 1
        return self.fail("a text in quotes does not end")

    def expression(self, level: int = 0) -> Operation:
        if level == len(_LEVELS):
            return self.operand()
        left = self.expression(level + 1)
        while operator := self.match(_LEVELS[level]):
            name = " ".join(operator.group().replace("===", "==").split())
            if name == "=~" and (pattern := self.match(_PATTERN)):
                left = Operation(name, (left, Operation("value", (pattern[1],))))
            else:
                left = Operation(name, (left, self.expression(level + 1)))
        return left

    def operand(self) -> Operation:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            self.fail(f"it is nested more than {_MAX_DEPTH} deep")
        try:
            if self.takes("!"):
                return Operation("!", (self.operand(),))
            if self.takes("-"):
                return Operation("negative", (self.operand(),))
            if self.takes("("):
                inner = self.expression()
                self.expect(")")
                return inner
            if self.takes("["):
                return self.items()
            return self.literal()
        finally:
            self.depth -= 1

    def items(self) -> Operation:
        found: list[Operation] = []
        while not self.takes("]"):
            if found:
                self.expect(",")
            found.append(self.expression())
        return Operation("list", tuple(found))

    def literal(self) -> Operation:
        if self.sees("$@"):
            return Operation("path", (self.path(in_filter=True),))
        if self.sees("'\""):
            return Operation("value", (self.string(),))
        if number := self.match(_NUMBER):
            return Operation("value", (float(number.group()),))
        if word := self.match(_WORD):
            return Operation("value", ({"true": True, "false": False}.get(word.group()),))
        return self.fail("expected a value")
