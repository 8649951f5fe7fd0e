"""The language of a plain `when`: govaluate's, in which Argo takes bare words for texts.

Texts compare with texts and numbers with numbers; a text in quotes that looks like a date is its time. Everything
between tokens is as in govaluate, since a `when` that cannot be read fails a workflow and people see why.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

from exeunt.language.expression.errors import ExpressionError
from exeunt.language.expression.govaluate_operators import BINARY, PREFIXES, check, symbol_name
from exeunt.language.expression.layout import parse_date
from exeunt.language.expression.limits import MAX_DEPTH, MAX_SOURCE, Budget, charge
from exeunt.language.expression.regex import pattern
from exeunt.language.expression.render import date_text, format_value


class _Token(NamedTuple):
    kind: str
    value: Any
    shown: str  # as govaluate shows the value in a message


_VALUES: Final = frozenset({"NUMERIC", "BOOLEAN", "VARIABLE", "STRING", "TIME", "PATTERN", "ACCESSOR", "CLAUSE"})
_START: Final = _VALUES | {"PREFIX"}
_AFTER_VALUE: Final = frozenset({"MODIFIER", "COMPARATOR", "LOGICALOP", "CLAUSE_CLOSE", "TERNARY", "SEPARATOR"})
_NO_TERNARY: Final = _AFTER_VALUE - {"TERNARY"}
_FOLLOWS: Final = {
    "UNKNOWN": _START,
    "CLAUSE": _START | {"CLAUSE_CLOSE"},
    "CLAUSE_CLOSE": _AFTER_VALUE | _VALUES - {"ACCESSOR"},
    "NUMERIC": _AFTER_VALUE,
    "BOOLEAN": _AFTER_VALUE,
    "STRING": _AFTER_VALUE,
    "VARIABLE": _AFTER_VALUE,
    "ACCESSOR": _AFTER_VALUE | {"CLAUSE"},
    "TIME": _NO_TERNARY,
    "PATTERN": _NO_TERNARY,
    "MODIFIER": _START - {"TIME", "PATTERN"} | {"CLAUSE_CLOSE"},
    "COMPARATOR": _START | {"CLAUSE_CLOSE"},
    "LOGICALOP": _START - {"PATTERN"} | {"CLAUSE_CLOSE"},
    "PREFIX": frozenset({"NUMERIC", "BOOLEAN", "VARIABLE", "ACCESSOR", "CLAUSE", "CLAUSE_CLOSE"}),
    "TERNARY": _START - {"PATTERN"} | {"SEPARATOR"},
    "SEPARATOR": _START - {"PATTERN"},
}
_ENDS: Final = frozenset({"CLAUSE_CLOSE", "NUMERIC", "BOOLEAN", "STRING", "TIME", "PATTERN", "VARIABLE", "ACCESSOR"})
_PREFIX_SYMBOLS: Final = frozenset({"-", "!", "~"})
_SYMBOLS: Final = (
    ("MODIFIER", frozenset({"+", "-", "*", "/", "%", "**", "&", "|", "^", ">>", "<<"})),
    ("LOGICALOP", frozenset({"&&", "||"})),
    ("COMPARATOR", frozenset({"==", "!=", ">", ">=", "<", "<=", "=~", "!~", "in"})),
    ("TERNARY", frozenset({"?", ":", "??"})),
)
_DATE_LAYOUTS: Final = (
    "Mon Jan _2 15:04:05 2006", "Mon Jan _2 15:04:05 MST 2006", "Mon Jan 02 15:04:05 -0700 2006", "3:04PM",
    "2006-01-02T15:04:05Z07:00", "2006-01-02", "2006-01-02 15:04", "2006-01-02 15:04:05",
    "2006-01-02 15:04:05-07:00", "2006-01-02T15Z0700", "2006-01-02T15:04Z0700", "2006-01-02T15:04:05Z0700",
    "2006-01-02T15:04:05.999999999Z0700",
)  # fmt: skip
_NUMERIC: Final = re.compile(r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+")
_HEXADECIMAL: Final = re.compile(r"[0-9a-f]{1,16}", re.IGNORECASE)


def _parsed(text: str) -> tuple[_Token, ...] | ExpressionError:
    try:
        tokens = _GovaluateLexer(text).tokens()
        _check_grammar(tokens)
        tokens = _compile_patterns(tokens)
    except ExpressionError as error:
        hint = ' (hint: try wrapping the affected expression in quotes ("))' if "Invalid token" in error.message else ""
        return ExpressionError(f"Invalid 'when' expression '{text}': {error.message}{hint}")
    try:
        words = [token._replace(kind="STRING") if token.kind == "VARIABLE" else token for token in tokens]
        _check_grammar(words)
        return tuple(_compile_patterns(words))
    except ExpressionError as error:
        return ExpressionError(f"Failed to parse 'when' expression '{text}': {error.message}")


_recent = lru_cache(maxsize=512)(_parsed)
_SHORT: Final = 500  # characters of a condition that is worth keeping


def when(text: str) -> bool:
    """Whether a step runs, by its `when` after its variables have been put in; an empty one is true.

    Raises ExpressionError with Argo's words when it cannot be read or is no boolean.
    """
    if text == "":
        return True
    if len(text) > MAX_SOURCE:
        raise ExpressionError(f"Invalid 'when' expression: it is longer than {MAX_SOURCE} characters")
    charge(len(text))
    found = _recent(text) if len(text) <= _SHORT else _parsed(text)
    if isinstance(found, ExpressionError):
        raise ExpressionError(found.message)
    try:
        value = _Evaluation(found).run()
    except ExpressionError as error:
        raise ExpressionError(f"Failed to evaluate 'when' expresion '{text}': {error.message}") from error
    if not isinstance(value, bool):
        raise ExpressionError(f"Expected boolean evaluation for '{text}'. Got {format_value(Budget(), value)}")
    return value


class _GovaluateLexer:
    def __init__(self, text: str) -> None:
        self.text = text
        self.place = 0

    def tokens(self) -> list[_Token]:
        found: list[_Token] = []
        state = "UNKNOWN"
        while token := self.token(state):
            found.append(token)
            state = token.kind
        if sum((token.kind == "CLAUSE") - (token.kind == "CLAUSE_CLOSE") for token in found):
            raise ExpressionError("Unbalanced parenthesis")
        return found

    def token(self, state: str) -> _Token | None:
        while self.place < len(self.text) and self.text[self.place].isspace():
            self.place += 1
        if self.place >= len(self.text):
            return None
        character = self.text[self.place]
        if _is_numeric(character):
            return self.number()
        if character in ",()":
            self.place += 1
            kind = {",": "SEPARATOR", "(": "CLAUSE", ")": "CLAUSE_CLOSE"}[character]
            return _Token(kind, character, character if character == "," else str(ord(character)))
        if character == "[":
            self.place += 1
            return _word("VARIABLE", self.quoted("]", "Unclosed parameter bracket"))
        if character.isalpha():
            return self.word()
        if character in "'\"":
            self.place += 1
            value = self.quoted("'\"", "Unclosed string literal")
            moment = _date(value)
            if moment is None:
                return _word("STRING", value)
            return _Token("TIME", float(int(moment.timestamp() // 1)), date_text(moment))
        return self.symbol(state)

    def number(self) -> _Token:
        if self.text.startswith("0x", self.place) and self.place + 2 < len(self.text):
            self.place += 2
            digits = self.read(lambda character: character.isdecimal() or character.lower() in "abcdef", spaces=True)
            if not _HEXADECIMAL.fullmatch(digits):
                raise ExpressionError(f"Unable to parse hex value '{digits}' to uint64\n")
            number = float(int(digits, 16))
        else:
            digits = self.read(_is_numeric)
            if not _NUMERIC.fullmatch(digits):
                raise ExpressionError(f"Unable to parse numeric value '{digits}' to float64\n")
            number = float(digits)
        return _Token("NUMERIC", number, format_value(Budget(), number))

    def word(self) -> _Token:
        word = self.read(lambda character: character.isalpha() or character.isdecimal() or character in "_.")
        if word in ("true", "false"):
            return _Token("BOOLEAN", word == "true", word)
        if word in ("in", "IN"):
            return _Token("COMPARATOR", "in", "in")
        if word.find(".") <= 0:
            return _word("VARIABLE", word)
        if word.endswith("."):
            raise ExpressionError(f"Hanging accessor on token '{word}'")
        parts = word.split(".")
        for part in parts[1:]:
            if part[:1].upper() != part[:1]:
                raise ExpressionError(f"Unable to access unexported field '{part}' in token '{word}'")
        return _Token("ACCESSOR", parts, f"[{' '.join(parts)}]")

    def symbol(self, state: str) -> _Token:
        symbol = self.read(
            lambda character: not (character.isalpha() or character.isdecimal() or character in "()[]'\"")
        )
        if symbol in _PREFIX_SYMBOLS and "PREFIX" in _FOLLOWS[state]:
            return _word("PREFIX", symbol)
        for kind, symbols in _SYMBOLS:
            if symbol in symbols:
                return _word(kind, symbol)
        raise ExpressionError(f"Invalid token: '{symbol}'")

    def read(self, fits: Callable[[str], bool], *, spaces: bool = False) -> str:
        """Characters that fit, up to a blank unless `spaces` are passed over; a backslash makes any character fit."""
        found: list[str] = []
        while self.place < len(self.text):
            character = self.text[self.place]
            self.place += 1
            if character == "\\":
                found.append(self.text[self.place : self.place + 1])
                self.place += 1
            elif character.isspace():
                if found and not spaces:
                    break
            elif fits(character):
                found.append(character)
            else:
                self.place -= 1
                break
        return "".join(found)

    def quoted(self, ends: str, unclosed: str) -> str:
        """What stands up to one of `ends`, blanks and all; a backslash makes any character part of it."""
        found: list[str] = []
        while self.place < len(self.text):
            character = self.text[self.place]
            self.place += 1
            if character == "\\":
                found.append(self.text[self.place : self.place + 1])
                self.place += 1
            elif character in ends:
                return "".join(found)
            else:
                found.append(character)
        raise ExpressionError(unclosed)


def _word(kind: str, value: str) -> _Token:
    return _Token(kind, value, value)


def _is_numeric(character: str) -> bool:
    return character.isdecimal() or character == "."


def _date(value: str) -> datetime | None:
    """The time behind a text in quotes; a date without a zone is in UTC."""
    if len(value) < 6 or not any(character.isdecimal() for character in value):
        return None
    for layout in _DATE_LAYOUTS:
        try:
            return parse_date(value, layout, UTC)
        except ExpressionError:
            continue
    return None


def _check_grammar(tokens: list[_Token]) -> None:
    """Which token may follow which (the transitions of govaluate's lexer)."""
    last = _Token("UNKNOWN", None, "<nil>")
    for token in tokens:
        if token.kind not in _FOLLOWS[last.kind]:
            if last.kind == "VARIABLE" and token.kind == "CLAUSE":
                raise ExpressionError(f"Undefined function {last.value}")
            raise ExpressionError(
                f"Cannot transition token types from {last.kind} [{last.shown}] to {token.kind} [{token.shown}]"
            )
        last = token
    if last.kind not in _ENDS:
        raise ExpressionError("Unexpected end of expression")


def _compile_patterns(tokens: list[_Token]) -> list[_Token]:
    """A text on the right of `=~` is a pattern and must be one."""
    made = list(tokens)
    for place, token in enumerate(tokens[:-1]):
        if token.kind == "COMPARATOR" and token.value in ("=~", "!~") and tokens[place + 1].kind == "STRING":
            source = tokens[place + 1].value
            pattern(source)
            made[place + 1] = _Token("PATTERN", source, source)
    return made


class _Evaluation:
    """Works tokens out while it reads them. Operators of one level are worked out from left to right."""

    def __init__(self, tokens: tuple[_Token, ...]) -> None:
        self.tokens = tokens
        self.place = 0
        self.depth = 0
        self.budget = Budget()

    def run(self) -> Any:
        return self.level(0, wanted=True) if self.tokens else None

    def level(self, level: int, *, wanted: bool) -> Any:
        """The value of a chain of operators of this level; where nothing is `wanted` it is only read."""
        if level == len(BINARY):
            return self.value(wanted=wanted)
        operators = BINARY[level]
        left = self.level(level + 1, wanted=wanted)
        while self.place < len(self.tokens):
            token = self.tokens[self.place]
            operator = operators.get(token.value) if token.kind in _OPERATOR_KINDS else None
            if operator is None:
                break
            self.place += 1
            decided, result = operator.decide(left) if wanted and operator.decide else (False, None)
            right = self.level(level + 1, wanted=wanted and not decided)
            if decided:
                left = result
            elif wanted:
                check(operator, token.value, left, right)
                left = operator.work(self.budget, left, right)
        return left

    def value(self, *, wanted: bool) -> Any:
        token = self.tokens[self.place] if self.place < len(self.tokens) else None
        if token is None or token.kind == "CLAUSE_CLOSE":
            return None
        self.place += 1
        if token.kind == "CLAUSE":
            self.depth += 1
            if self.depth > MAX_DEPTH:
                raise ExpressionError(f"it is nested more than {MAX_DEPTH - 1} deep")
            value = self.level(0, wanted=wanted)
            self.place += 1  # its closing parenthesis
            self.depth -= 1
            return value
        if token.kind == "PREFIX":
            operator = PREFIXES[token.value]
            value = self.value(wanted=wanted)
            if not wanted:
                return None
            check(operator, symbol_name(token.value), None, value)
            return operator.work(self.budget, None, value)
        if token.kind == "ACCESSOR":
            if wanted:
                raise ExpressionError(f"No parameter '{token.value[0]}' found.")
            return None
        return token.value


_OPERATOR_KINDS: Final = frozenset({"SEPARATOR", "TERNARY", "LOGICALOP", "COMPARATOR", "MODIFIER"})
