"""Slots: how many steps run at once, and which scheduler may fill which free ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Generic, TypeVar

Link = TypeVar("Link")

only_waits: ContextVar[Callable[[], None]] = ContextVar("only_waits", default=lambda: None)
"""Work calls this when all that it has left to do is to wait for other work: its slot is free from then on.

Otherwise as many waiting steps as there are slots would block what they wait for, for ever.
"""


class Pool:
    """Slots of one kind: `used` of `size` are taken, and `waiting` attempts came in beyond them."""

    __slots__ = ("size", "used", "waiting")

    def __init__(self, size: int) -> None:
        self.size = size
        self.used = 0
        self.waiting = 0

    @property
    def free(self) -> int:
        """How many can be lent."""
        return max(0, self.size - self.used - self.waiting)


class Slots(Generic[Link]):
    """The slots of an executor. Exit steps take those kept for them first, and ordinary ones when these are all taken.

    Each free slot is lent to one scheduler at a time: the free ones are dealt out evenly, and the turn goes round.
    """

    def __init__(self, ordinary: int, kept: int) -> None:
        self.ordinary = Pool(ordinary)
        self.kept = Pool(kept)
        self._turn = 0

    def take(self, *, exit: bool) -> Pool | None:
        """A free slot, taken; None when there is none."""
        for pool in (self.kept, self.ordinary) if exit else (self.ordinary,):
            if pool.used < pool.size:
                pool.used += 1
                return pool
        return None

    def give(self, pool: Pool) -> None:
        """The slot is free again."""
        pool.used -= 1
        self._turn += 1

    def shares(self, link: Link, links: Sequence[Link]) -> tuple[int, int]:
        """How many ordinary and kept slots are lent to this one of several schedulers now."""
        place = links.index(link)
        return self._share(self.ordinary.free, place, len(links)), self._share(self.kept.free, place, len(links))

    def _share(self, free: int, place: int, count: int) -> int:
        return free // count + ((place + self._turn) % count < free % count)
