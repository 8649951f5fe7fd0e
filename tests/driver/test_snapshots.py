"""A run whose log shall be cut writes its whole state, whatever else is under way."""

from __future__ import annotations

import asyncio

from exeunt.driver.driver import Driver
from exeunt.driver.ports import Clock
from exeunt.driver.turns import Turns
from exeunt.engine import decide
from exeunt.engine.commands.inputs import SuspendRun
from exeunt.engine.facts import commit
from exeunt.engine.facts.events import RunStarted, Snapshot, StepDue
from exeunt.journal.subjects import Family, family_of
from tests.engine.world import bundle_of

MANIFEST = {"entrypoint": "main", "templates": [{"name": "main", "suspend": {}}]}
STARTED = 1_000.0


class Journal:
    """Keeps commits; answers when the test says so."""

    def __init__(self) -> None:
        self.commits: list[commit.Commit] = []
        self.snapshots: list[bool] = []
        self._answers: list[asyncio.Future[int]] = []

    def append(
        self, family: Family, number: int, kind: str, data: bytes, *, snapshot: bool = False
    ) -> asyncio.Future[int]:
        assert number == len(self.commits) + 1
        self.commits.append(commit.decode(data))
        self.snapshots.append(snapshot)
        self._answers.append(asyncio.get_running_loop().create_future())
        return self._answers[-1]

    async def answer(self) -> None:
        """The last commit is durable; what follows of that has happened."""
        self._answers[-1].set_result(len(self.commits))
        for _ in range(3):
            await asyncio.sleep(0)


class NoSteps:
    """Suspended workflows have none."""

    def place(self, driver: Driver, due: StepDue) -> str | None:
        return None

    def wait(self, driver: Driver, due: StepDue) -> None: ...

    def dispatch(self, driver: Driver, due: StepDue, executor: str, again: bool) -> None: ...

    def cancel(self, driver: Driver, node: str, attempt: int) -> None: ...

    def recorded(self, driver: Driver, node: str, attempt: int) -> None: ...


def driver_on(journal: Journal) -> Driver:
    """A driver whose run's first commit is on its way."""
    run, events = decide.begin(RunStarted("u", "w", "default", "b"), bundle_of(MANIFEST), STARTED)
    driver = Driver(
        run,
        family_of("u"),
        journal=journal,
        steps=NoSteps(),
        clock=Clock(),
        turns=Turns(),
        on_commit=lambda driver, events, sequence: None,
        on_lost=lambda driver: None,
    )
    driver.start(events)
    return driver


async def test_asked_for_often_while_the_log_does_not_answer_it_comes_once() -> None:
    journal = Journal()
    driver = driver_on(journal)
    for _ in range(3):
        driver.write_snapshot()
    await journal.answer()
    assert journal.snapshots == [False, True]
    await journal.answer()
    assert journal.snapshots == [False, True]


async def test_it_stands_alone_behind_what_was_decided_meanwhile() -> None:
    journal = Journal()
    driver = driver_on(journal)
    driver.write_snapshot()
    driver.feed(SuspendRun())
    await journal.answer()
    assert journal.snapshots == [False, False]
    await journal.answer()
    assert journal.snapshots == [False, False, True]
    [event] = journal.commits[-1].events
    assert isinstance(event, Snapshot)


async def test_it_waits_until_what_came_before_has_been_told() -> None:
    journal = Journal()
    driver = driver_on(journal)
    await journal.answer()
    told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    driver.write_snapshot(lambda: told)
    driver.feed(SuspendRun())
    await asyncio.sleep(0)
    assert journal.snapshots == [False], "nothing is decided that a load from the snapshot would not tell"
    told.set_result(None)
    await asyncio.sleep(0)
    assert journal.snapshots == [False, True]
    await journal.answer()
    assert journal.snapshots == [False, True, False]


async def test_it_is_dated_when_it_is_written() -> None:
    journal = Journal()
    driver = driver_on(journal)
    await journal.answer()
    driver.write_snapshot()
    assert journal.commits[-1].now > STARTED, "so that a load looks for events from there on only"
    again = decide.replay(lambda digest: bundle_of(MANIFEST), journal.commits[-1:])
    assert (again.now, again.commits) == (journal.commits[-1].now, 2)
