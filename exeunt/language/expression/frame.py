"""What one evaluation carries with it: variables, the item that a predicate looks at, time, chance, and its budget."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from exeunt.language.expression.errors import ExpressionError
from exeunt.language.expression.limits import Budget


class Frame(Budget):
    """The state of one evaluation.

    `now` is the time it happens at, in seconds since the epoch, and `seed` what its chance comes from: an evaluation
    has neither a clock nor dice of its own, so that the same evaluation always gives the same value.
    """

    __slots__ = ("accumulator", "draws", "env", "index", "item", "now", "seed", "variables")

    def __init__(self, env: Mapping[str, Any], variables: int = 0, now: float | None = None, seed: str = "") -> None:
        super().__init__()
        self.env = env
        self.variables: list[Any] = [None] * variables
        self.item: Any = None
        self.index = 0
        self.accumulator: Any = None
        self.now = now
        self.seed = seed
        self.draws = 0

    def moment(self) -> datetime:
        """The time of the evaluation, in UTC; raises ExpressionError where there is none."""
        if self.now is None:
            raise ExpressionError("now() has no time here: this expression is worked out without a clock")
        return datetime.fromtimestamp(self.now, UTC)

    def random(self, count: int) -> bytes:
        """The next `count` bytes of chance; raises ExpressionError where there is none."""
        if not self.seed:
            raise ExpressionError("nothing random may happen here: the same expression must always give the same value")
        self.allocate(count)
        self.draws += 1
        return hashlib.shake_256(f"{self.seed}\0{self.draws}".encode()).digest(count)
