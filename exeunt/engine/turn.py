"""How much one decision may do: what is beyond it is for the next one, so that other runs and services have their turn.

What is counted is work, not time: the same inputs always give the same decisions. A unit is about a microsecond.
"""

from __future__ import annotations

from typing import Final

from exeunt.language.expression.limits import Meter

WORK: Final = 100_000  # of one decision: some 400 nodes
NODE: Final = 250  # a node appears
ITEM: Final = 60  # an item of a loop is laid out
CHARACTERS: Final = 20  # of a template with tags that are put in, for each unit


class TurnOver(Exception):  # noqa: N818 - nothing is wrong
    """This decision has done its share. Raised only where a look may be left and begun again."""


class Turn:
    """What one decision has done so far."""

    __slots__ = ("_done", "_moved", "meter")

    def __init__(self) -> None:
        self.meter = Meter()  # of its expressions
        self._done = 0
        self._moved = False

    def begin(self) -> None:
        """A decision begins."""
        self.meter.spent = 0
        self._done = 0
        self._moved = False

    def took(self, units: int, *, kept: bool = True) -> None:
        """So much was done; `kept`: and will not have to be done again."""
        self._done += units
        self._moved = self._moved or kept

    def check(self) -> None:
        """Raises TurnOver when the share is used up and something has come of it: each decision gets further."""
        if self._moved and self._done + self.meter.spent >= WORK:
            raise TurnOver
