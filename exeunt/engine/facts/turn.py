"""How much one decision may do: what is beyond it is for the next one, so that other runs and services have their turn.

What is counted is work, not time: the same inputs always give the same decisions. A unit is about a microsecond.
"""

from __future__ import annotations

from typing import Final

from exeunt.engine.facts.problem import NodeError
from exeunt.language.expression.limits import Meter

WORK: Final = 100_000  # of one decision: some 400 nodes
NODE: Final = 250  # a node appears
ITEM: Final = 60  # an item of a loop is laid out
CHARACTERS: Final = 20  # of a template with tags that are put in, for each unit
STEP: Final = 2  # of an expression
LOOP_STEPS: Final = 10_000_000
"""Steps that the expressions of one loop take together: a hundred for each item of the largest."""
DECISION_STEPS: Final = 50_000_000
"""Steps that all expressions take until everything is decided."""


class TurnOver(Exception):  # noqa: N818 - nothing is wrong
    """This decision has done its share. Raised only where a look may be left and begun again."""


class TooMuchToDecide(Exception):  # noqa: N818 - as TurnOver
    """The expressions of a run take more than they may. It can only be given up."""


class Turn:
    """What one decision has done so far."""

    __slots__ = ("_before", "_done", "_moved", "meter")

    def __init__(self) -> None:
        self.meter = Meter()  # of its expressions
        self._before = 0  # steps of the decisions that this one goes on with
        self._done = 0
        self._moved = False

    def begin(self) -> None:
        """A decision begins."""
        self._before += self.meter.spent
        self.meter.spent = 0
        self._done = 0
        self._moved = False

    def took(self, units: int, *, kept: bool = True) -> None:
        """Counts work that was done; `kept`: it will not have to be done again."""
        self._done += units
        self._moved = self._moved or kept

    def check(self) -> None:
        """Raises TurnOver when the share is used up and something has come of it: each decision gets further."""
        if self._moved and self._done + STEP * self.meter.spent >= WORK:
            raise TurnOver

    @property
    def heavy(self) -> bool:
        """Whether the expressions of this decision alone were half of a share."""
        return 2 * STEP * self.meter.spent >= WORK

    def over(self, *, decided: bool, ending: bool) -> None:
        """A decision ends; `decided`: nothing is left to the next one.

        Raises TooMuchToDecide when it took too many with those before, unless the run is `ending` for that already.
        """
        taken = self._before + self.meter.spent
        if decided:
            self._before = -self.meter.spent
        elif taken > DECISION_STEPS and not ending:
            raise TooMuchToDecide(f"what is to be decided takes more than {DECISION_STEPS:,} steps of expressions")


class LoopBudget:
    """What the expressions of one loop may take, in however many decisions."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = LOOP_STEPS

    def took(self, steps: int) -> None:
        """Raises NodeError when that was too much."""
        self._left -= steps
        if self._left < 0:
            raise NodeError(f"the expressions of the loop take together more than {LOOP_STEPS:,} steps")
