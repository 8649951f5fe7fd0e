"""A run that is lost while a commit of it is on its way keeps nobody waiting."""

from __future__ import annotations

import asyncio

import pytest

from exeunt.driver.driver import Driver
from exeunt.driver.ports import Clock
from exeunt.driver.turns import Turns
from exeunt.engine import decide
from exeunt.engine.facts.events import RunStarted
from exeunt.journal.errors import NotOwner
from exeunt.journal.subjects import Family, family_of
from tests.driver.test_snapshots import MANIFEST, STARTED, NoSteps
from tests.engine.world import bundle_of


class LostLog:
    """Its partition goes to another owner: what is on its way is refused when the test says so."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def append(self, *_: object, **__: object) -> asyncio.Future[int]:
        return self.answer


@pytest.mark.parametrize("first", ["the run is dropped", "the commit is refused"])
async def test_who_waits_for_a_commit_hears_that_the_run_has_moved(first: str) -> None:
    family: Family = family_of("u")
    run, events = decide.begin(RunStarted("u", "w", "default", "b"), bundle_of(MANIFEST), STARTED)
    log = LostLog()
    driver = Driver(
        run,
        family,
        journal=log,
        steps=NoSteps(),
        clock=Clock(),
        turns=Turns(),
        on_commit=lambda driver, events, sequence: None,
        on_lost=lambda driver: None,
    )
    begun = driver.start(events)
    if first == "the run is dropped":
        driver.drop()
        await asyncio.sleep(0)
    log.answer.set_exception(NotOwner("taken"))
    async with asyncio.timeout(5):
        with pytest.raises(NotOwner):
            await begun
