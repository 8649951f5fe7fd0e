"""From the text of an expression to its tokens."""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple, NoReturn

from exeunt.language.expression.errors import ExpressionError

Kind = Literal["identifier", "number", "string", "bytes", "operator", "bracket", "end"]

_WORD_OPERATORS: Final = frozenset(
    {"not", "in", "or", "and", "matches", "contains", "startsWith", "endsWith", "let", "if", "else"}
)
_BLANK: Final = re.compile(r"(?:\s+|//[^\n]*|/\*.*?\*/)+", re.DOTALL)
_IDENTIFIER: Final = re.compile(r"[^\W\d][\w$]*|\$[\w$]*")
_NUMBER: Final = re.compile(
    r"0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+"
    r"|(?:[0-9][0-9_]*(?:\.(?!\.)[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9_]+)?"
)
_OPERATOR: Final = re.compile(r"\?\.|\?\?|\?|\|\||\||::|:|\.\.|\.|##|#|\*\*|&&|==|!=|<=|>=|[,;%+\-^!*<>/=&]")
_SIMPLE_ESCAPES: Final = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
    "\\": "\\", "'": "'", '"': '"', "`": "`", "?": "?",
}  # fmt: skip
_ESCAPE: Final = re.compile(
    r"\\(?:([abfnrtv\\'\"`?])|([0-7]{3})|x([0-9a-fA-F]{2})|u\{([0-9a-fA-F]{1,6})\}|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|)"
)
_SURROGATES: Final = range(0xD800, 0xE000)
_LAST_CHARACTER: Final = 0x10FFFF


class Token(NamedTuple):
    """One word or sign; `value` of a string is what it stands for."""

    kind: Kind
    value: str
    offset: int
    data: bytes = b""

    def __str__(self) -> str:
        """The way that expr-lang shows a token in its errors."""
        names = {"identifier": "Identifier", "number": "Number", "string": "String", "bytes": "Bytes"}
        names |= {"operator": "Operator", "bracket": "Bracket"}
        return "EOF" if self.kind == "end" else f'{names[self.kind]}("{self.value}")'


def tokens(source: str) -> list[Token]:
    """All tokens of an expression and an end mark; raises ExpressionError."""
    return _Lexer(source).all()


class _Lexer:
    def __init__(self, source: str) -> None:
        self.source = source
        self.position = 0
        self.found: list[Token] = []

    def all(self) -> list[Token]:
        while self._skip():
            self._one()
        self.found.append(Token("end", "", max(len(self.source) - 1, 0)))
        return self.found

    def _fail(self, message: str, offset: int) -> NoReturn:
        raise ExpressionError(message, self.source, offset)

    def _skip(self) -> bool:
        blank = _BLANK.match(self.source, self.position)
        if blank:
            self.position = blank.end()
        if self.source.startswith("/*", self.position):
            self._fail("unclosed comment", len(self.source))
        return self.position < len(self.source)

    def _add(self, kind: Kind, value: str, end: int, data: bytes = b"") -> None:
        self.found.append(Token(kind, value, self.position, data))
        self.position = end

    def _one(self) -> None:
        source, start = self.source, self.position
        character = source[start]
        if character in "'\"":
            text, end = self._quoted(start)
            self._add("string", text, end)
        elif character in "bB" and source[start + 1 : start + 2] in ("'", '"'):
            self._bytes(start)
        elif character == "`":
            self._raw(start)
        elif character in "()[]{}":
            self._add("bracket", character, start + 1)
        elif number := _NUMBER.match(source, start):
            end = number.end()
            if end < len(source) and (source[end].isalnum() or source[end] in "_$"):
                self._fail(f'bad number syntax: "{source[start : end + 1]}"', end)
            self._add("number", number.group(), end)
        elif operator := _OPERATOR.match(source, start):
            self._add("operator", operator.group(), operator.end())
        elif word := _IDENTIFIER.match(source, start):
            kind: Kind = "operator" if word.group() in _WORD_OPERATORS else "identifier"
            self._add(kind, word.group(), word.end())
        else:
            self._fail(f"unrecognized character: U+{ord(character):04X} '{character}'", start)

    def _raw(self, start: int) -> None:
        end = start + 1
        while True:
            end = self.source.find("`", end)
            if end < 0:
                self._fail("literal not terminated", len(self.source))
            if not self.source.startswith("``", end):
                break
            end += 2
        self._add("string", self.source[start + 1 : end].replace("``", "`"), end + 1)

    def _end_of_quoted(self, start: int) -> int:
        quote, end = self.source[start], start + 1
        while end < len(self.source) and self.source[end] not in (quote, "\n"):
            end += 2 if self.source[end] == "\\" else 1
        if end >= len(self.source) or self.source[end] == "\n":
            self._fail("literal not terminated", min(end, len(self.source)))
        return end

    def _quoted(self, start: int) -> tuple[str, int]:
        end = self._end_of_quoted(start)
        body = self.source[start + 1 : end]
        if "\\" not in body:
            return body, end + 1

        def replaced(match: re.Match[str]) -> str:
            simple, octal, *hexadecimal = match.groups()
            if simple is not None:
                return _SIMPLE_ESCAPES[simple]
            digits = next((group for group in hexadecimal if group is not None), None)
            code = int(octal, 8) if octal is not None else int(digits, 16) if digits is not None else -1
            if not 0 <= code <= _LAST_CHARACTER or code in _SURROGATES:
                self._fail("invalid char escape", start + 1 + match.start())
            return chr(code)

        return _ESCAPE.sub(replaced, body), end + 1

    def _bytes(self, start: int) -> None:
        end = self._end_of_quoted(start + 1)

        def replaced(match: re.Match[str]) -> str:
            simple, octal, hexadecimal, *unicode = match.groups()
            if simple is not None:
                return _SIMPLE_ESCAPES[simple]
            code = int(octal, 8) if octal is not None else int(hexadecimal, 16) if hexadecimal is not None else -1
            if not 0 <= code <= 0xFF or any(unicode):
                self._fail("invalid char escape in bytes", start + 2 + match.start())
            # an escaped byte is kept apart from the characters around it until all is encoded
            return chr(code) if code < 0x80 else chr(0xDC00 + code)

        body = _ESCAPE.sub(replaced, self.source[start + 2 : end])
        self._add("bytes", self.source[start : end + 1], end + 1, body.encode("utf-8", "surrogateescape"))
