"""What membership gives is taken, what it takes is handed over, and what could not be taken is looked at again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from types import SimpleNamespace
from typing import Any

import pytest

from exeunt.journal.errors import NotOwner
from exeunt.journal.holdings import Holdings


class StandInMembership:
    """Gives this process partitions as a test says."""

    def __init__(self) -> None:
        self.on_change: list[Callable[[], None]] = []
        self.given: set[int] = set()
        self.left = False

    def mine(self) -> set[int]:
        return set(self.given)

    def give(self, *partitions: int) -> None:
        self.given = set(partitions)
        for told in self.on_change:
            told()

    async def leave(self) -> None:
        self.left = True


class StandInHolder:
    """Takes partitions; `quicker` are those that somebody else takes at the same moment, once."""

    def __init__(self) -> None:
        self.loaded: set[int] = set()
        self.quicker: set[int] = set()
        self.released: list[set[int]] = []
        self.changed = asyncio.Event()

    async def take(self, partitions: Collection[int]) -> None:
        stolen, self.quicker = self.quicker & set(partitions), set()
        if stolen:
            raise NotOwner("somebody was quicker")
        self.loaded |= set(partitions)
        self.changed.set()

    def release(self, partitions: Collection[int]) -> None:
        self.released.append(set(partitions))
        self.loaded -= set(partitions)
        self.changed.set()


class Kept:
    """Holdings that are kept, and what they have to do with."""

    def __init__(self) -> None:
        self.membership: Any = StandInMembership()
        self.holder = StandInHolder()
        self.journal: Any = SimpleNamespace(on_lost=[])
        self.holdings = Holdings(self.membership, self.journal, self.holder)

    async def until(self, *partitions: int) -> None:
        async with asyncio.timeout(5):
            while self.holder.loaded != set(partitions):
                self.holder.changed.clear()
                await self.holder.changed.wait()


@pytest.fixture
async def kept() -> AsyncIterator[Kept]:
    kept = Kept()
    task = asyncio.create_task(kept.holdings.keep())
    yield kept
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_is_given_is_taken_and_what_is_not_is_handed_over(kept: Kept) -> None:
    kept.membership.give(1, 2)
    await kept.until(1, 2)
    kept.membership.give(2, 3)
    await kept.until(2, 3)
    assert kept.holder.released == [{1}]


async def test_what_somebody_was_quicker_with_is_given_up_and_taken_again(kept: Kept) -> None:
    kept.holder.quicker = {1}
    kept.membership.give(1, 2)
    await kept.until(1, 2)
    assert kept.holder.released == [{1, 2}]


async def test_what_is_lost_is_looked_at_again(kept: Kept) -> None:
    kept.membership.give(1)
    await kept.until(1)
    kept.holder.loaded.discard(1)
    for lost in kept.journal.on_lost:
        lost(1)
    await kept.until(1)


async def test_who_leaves_takes_nothing_any_more(kept: Kept) -> None:
    kept.membership.give(1)
    await kept.until(1)

    async def finish() -> None:
        kept.membership.give(1, 2)
        await asyncio.sleep(0.05)
        assert kept.holder.loaded == {1}

    await kept.holdings.leave(finish)
    assert kept.holder.loaded == set()
    assert kept.membership.left
