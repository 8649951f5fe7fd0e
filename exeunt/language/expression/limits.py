"""The bounds of an expression: how long, how deep, how many steps, how much text; errors say which was met."""

from __future__ import annotations

from typing import Final

from exeunt.language.expression.errors import ExpressionError

MAX_SOURCE: Final = 64 * 1024  # characters of one expression
MAX_NODES: Final = 10_000  # parts of one expression (expr-lang's own limit)
MAX_DEPTH: Final = 64  # parentheses, lists, calls and members inside each other
MAX_STEPS: Final = 1_000_000  # parts worked out, items passed over, items compared
MAX_TEXT: Final = 4 * 1024 * 1024  # characters of one text
MAX_MEMORY: Final = 16 * 1024 * 1024  # characters and items made during one evaluation


class Budget:
    """What one evaluation may still spend."""

    __slots__ = ("memory", "steps")

    def __init__(self) -> None:
        self.steps = MAX_STEPS
        self.memory = MAX_MEMORY

    def spend(self, steps: int) -> None:
        """Take `steps` from what is left; raises ExpressionError when it is not enough."""
        self.steps -= steps
        if self.steps < 0:
            raise ExpressionError(f"the expression takes more than {MAX_STEPS} steps")

    def allocate(self, size: int) -> None:
        """Announce `size` characters or items that are about to be made."""
        if size > MAX_TEXT:
            raise ExpressionError(f"the expression makes a text or list longer than {MAX_TEXT}")
        self.memory -= size
        if self.memory < 0:
            raise ExpressionError(
                f"memory budget exceeded: the expression makes more than {MAX_MEMORY} items or characters"
            )

    def text(self, value: str) -> str:
        """A text that has just been made, when it is within the bounds."""
        self.allocate(len(value))
        return value
