"""Runs that cannot go on: ended in Error where that can be written, or at rest until somebody terminates them.

A decision that cannot be worked out, or not be written (too large, or refused for good), does not count: the run is
read from the log again, and a small decision ends it instead, for that reason, with its handlers due. A run for which
even this fails rests, and so does one that cannot be read at all; both say so, and can be terminated and deleted.
"""

from __future__ import annotations

import asyncio
import logging

from exeunt.driver.driver import Driver
from exeunt.driver.ports import Clock
from exeunt.engine import decide
from exeunt.engine.commands import ShutdownRun
from exeunt.engine.facts import MESSAGE_BYTES, Event, RunClosed, ShutdownSet, commit
from exeunt.journal.log import Log
from exeunt.journal.repeat import until_answered
from exeunt.journal.replay import OpenRun
from exeunt.scheduler.entry import OpenWorkflow
from exeunt.scheduler.run_steps import RunSteps
from exeunt.scheduler.runs import Runs
from exeunt.scheduler.unread import Unread
from exeunt.utf8 import cut

log = logging.getLogger(__name__)


class Mender:
    """Ends what cannot go on. `run()` does the work."""

    def __init__(self, runs: Runs, journal: Log, steps: RunSteps, clock: Clock) -> None:
        self._runs = runs
        self._journal = journal
        self._steps = steps
        self._clock = clock
        self._queue: asyncio.Queue[Driver] = asyncio.Queue()

    def broken(self, driver: Driver) -> bool:
        """A run cannot go on. True: it will be given up; one that was given up before rests."""
        if driver.given_up or driver.run.closed:
            return False
        self._queue.put_nowait(driver)
        return True

    async def run(self) -> None:
        """Ends broken runs, one after the other, until it is cancelled."""
        while True:
            driver = await self._queue.get()
            try:
                await self._give_up(driver)
            except Exception as error:
                log.exception("the run %s rests", driver.run.uid)
                driver.broken = f"{driver.broken}; and then: {type(error).__name__}: {error}"
                driver.rest()

    async def _give_up(self, driver: Driver) -> None:
        records = await until_answered(lambda: self._journal.read(driver.family))
        if records:
            run, _ = await self._runs.folded(OpenRun(driver.family, records))
            events: list[Event] = []
        else:
            run, events = decide.begin(
                driver.run.state.started, driver.run.bundle, self._clock.now(), cut(driver.broken, MESSAGE_BYTES)
            )
        if not driver.dropped:
            log.warning("the run %s (%s) ends in Error: %s", run.uid, run.name, driver.broken)
            driver.give_up(run, events)
            self._steps.keep(driver)

    async def end(self, entry: OpenWorkflow, command: ShutdownRun) -> None:
        """Ends a run that rests, with all that it owes, as people ask for when nothing else helps."""
        driver = entry.driver
        records = await until_answered(lambda: self._journal.read(driver.family))
        run, _ = await self._runs.folded(OpenRun(driver.family, records))
        events = decide.end(run, command, driver.broken, self._clock.now())
        await driver.end(run, events)

    async def end_unread(self, one: Unread, command: ShutdownRun) -> None:
        """Closes a run that cannot be read. Its exit runs go on by themselves."""
        reason = "Deleted" if command.deleted else "Terminated"
        events: list[Event] = [
            ShutdownSet("Terminate", one.why, command.request_id, command.deleted, reason, command.by),
            RunClosed("Error", one.why),
        ]
        one.number += 1
        await self._journal.append(one.family, one.number, "z", commit.encode(self._clock.now(), events))
        one.closed = True
