"""The bounds of an expression: how long, how deep, how many steps, how much text; errors say which was met."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Final

from exeunt.language.expression.errors import ExpressionError

MAX_SOURCE: Final = 64 * 1024  # characters of one expression
MAX_NODES: Final = 10_000  # parts of one expression (expr-lang's own limit)
MAX_DEPTH: Final = 64  # what is innermost counts: 63 parentheses, lists, calls and members inside each other
MAX_STEPS: Final = 200_000  # parts worked out, items passed over, items compared: a quarter of a second
MAX_TEXT: Final = 4 * 1024 * 1024  # characters of one text
MAX_MEMORY: Final = 16 * 1024 * 1024  # characters and items made during one evaluation
MADE: Final = 500  # characters and items that take as long to make as a step


class Allowance:
    """What several evaluations may spend together, as those of one template; each has its own bounds as well."""

    __slots__ = ("memory", "spent", "steps")

    def __init__(self) -> None:
        self.spent = 0  # steps
        self.steps = MAX_STEPS
        self.memory = MAX_MEMORY

    def settle(self, spent: int, memory: int) -> None:
        """An evaluation is over: it took so many steps, and left so much memory."""
        self.spent += spent
        self.steps = max(0, self.steps - spent)
        self.memory = max(0, memory)


class Meter(Allowance):
    """Counts what is spent, and bounds nothing."""

    __slots__ = ()

    def settle(self, spent: int, memory: int) -> None:
        """As of an allowance that is never used up; what is made counts as well."""
        self.spent += spent + (self.memory - memory) // MADE


_shared: contextvars.ContextVar[Allowance | None] = contextvars.ContextVar("shared", default=None)


@contextlib.contextmanager
def sharing(allowance: Allowance) -> Iterator[None]:
    """All evaluations inside spend of this allowance, and of the one outside of it."""
    outer = _shared.get()
    token = _shared.set(allowance)
    before = allowance.spent
    try:
        yield
    finally:
        _shared.reset(token)
        if outer is not None:
            outer.settle(allowance.spent - before, allowance.memory)


def charge(steps: int) -> None:
    """Counts work that has bounds of its own, as reading is."""
    shared = _shared.get()
    if shared is not None:
        shared.spent += steps


class Budget:
    """What one evaluation may still spend."""

    __slots__ = ("_given", "_shared", "memory", "steps")

    def __init__(self) -> None:
        shared = self._shared = _shared.get()
        self.steps = MAX_STEPS if shared is None else shared.steps
        self.memory = MAX_MEMORY if shared is None else shared.memory
        self._given = self.steps

    def settle(self) -> None:
        """The evaluation is over: what it has spent is missing to those that share with it."""
        if self._shared is not None:
            self._shared.settle(self._given - self.steps, self.memory)

    def spend(self, steps: int) -> None:
        """Take `steps` from what is left; raises ExpressionError when it is not enough."""
        self.steps -= steps
        if self.steps < 0:
            raise ExpressionError(f"{self._who()} more than {MAX_STEPS} steps")

    def _who(self) -> str:
        return (
            "the expression takes"
            if self._given == MAX_STEPS
            else "the expressions of one template or step take together"
        )

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
