"""What is wrong with an expression, and where."""

from __future__ import annotations

from typing import Final, Self

_LONGEST: Final = 4000  # characters of a message: values may be long, what is wrong with them stands around them
_SHOWN: Final = 400  # characters of the line


class ExpressionError(Exception):
    """An expression that cannot be read or worked out.

    Its text is made for people: what is wrong, `(line:column)`, and the line with a mark under the place,
    in the form that expr-lang uses and Argo shows in a node's message.
    """

    def __init__(self, message: str, source: str = "", offset: int = -1) -> None:
        if len(message) > _LONGEST:
            message = f"{message[: _LONGEST // 2]} … {message[-_LONGEST // 4 :]}"
        super().__init__(message)
        self.message = message
        self.source = source
        self.offset = offset

    def at(self, source: str, offset: int) -> Self:
        """Name the place, unless an inner part of the expression has named a closer one."""
        if self.offset < 0 <= offset:
            self.source, self.offset = source, offset
        return self

    @property
    def place(self) -> tuple[int, int] | None:
        """Line and column, both from 1; None where no place is known."""
        if self.offset < 0:
            return None
        before = self.source[: self.offset]
        return before.count("\n") + 1, self.offset - (before.rfind("\n") + 1) + 1

    def __str__(self) -> str:
        place = self.place
        if place is None:
            return self.message
        line, column = place
        lines = self.source.split("\n")
        shown = lines[line - 1] if line <= len(lines) else ""
        if len(shown) > _SHOWN:
            return f"{self.message} ({line}:{column})"
        return f"{self.message} ({line}:{column})\n | {shown}\n | {'.' * (column - 1)}^"
