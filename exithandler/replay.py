"""Exit runs that have ended run once more: as people ask for it, from what their ledger records hold."""

from __future__ import annotations

from collections.abc import Collection

from exeunt.bundles import Bundles
from exeunt.engine import decide
from exeunt.engine.commands import Cancel, GoOn, Rejected, Replay
from exeunt.engine.decide import Run
from exeunt.engine.facts import RunStarted
from exeunt.exithandler.exit_runs import ExitRuns
from exeunt.exithandler.ledger import Ledger
from exeunt.exithandler.open_run import started_by
from exeunt.exithandler.record import ENDED, SKIPPED, ExitRecord, obligation_of
from exeunt.journal.errors import NotOwner
from exeunt.journal.log import Log
from exeunt.journal.subjects import partition_of
from exeunt.language.manifest import Bundle


class Replayer:
    """Begins replays, one at a time for each exit run."""

    def __init__(self, journal: Log, runs: ExitRuns, bundles: Bundles, ledger: Ledger) -> None:
        self._journal = journal
        self._runs = runs
        self._bundles = bundles
        self._ledger = ledger
        self._beginning: dict[str, int] = {}  # exit runs that are about to run again, and their partitions
        runs.on_lose.append(self._lose)

    def _lose(self, gone: Collection[int]) -> None:
        self._beginning = {id: partition for id, partition in self._beginning.items() if partition not in gone}

    async def replay(self, record: ExitRecord, request_id: str, *, again: bool) -> ExitRecord:
        """Runs a closed exit run once more. Raises Rejected when it cannot be, NotOwner when it is not ours."""
        closing = self._runs.runs.get(record.id)
        if closing is not None and closing.record.state in ENDED:  # its last commit is on its way
            await closing.gone.wait()
        if record.id in self._runs.runs or record.id in self._beginning:
            raise Rejected("EXIT_RUNNING", f"the exit run {record.id} is running")
        partition = partition_of(record.uid)
        if not self._journal.owns(partition):
            raise NotOwner(f"partition {partition:02x} is not ours")
        self._beginning[record.id] = partition
        try:
            return await self._replay(record, request_id, again)
        finally:
            self._beginning.pop(record.id, None)

    async def _replay(self, record: ExitRecord, request_id: str, again: bool) -> ExitRecord:
        id = record.id
        record = await self._ledger.get(id) or record  # as it is now that nobody else can run it
        if request_id in record.requests:
            return record
        if record.state == SKIPPED:
            raise Rejected("EXIT_SKIPPED", f"the exit run {id} was not due: {record.error}")
        if record.state not in ENDED:
            raise Rejected("EXIT_RUNNING", f"the exit run {id} is {record.state}")
        obligation = obligation_of(record)
        try:
            bundle = await self._bundles.get(obligation.bundle)
            run = _closed_run(started_by(obligation), bundle, record, max(self._runs.clock.now(), record.finished_at))
        except Exception as error:
            raise Rejected("EXIT_UNUSABLE", f"the exit run {id} cannot be run again: {error}") from error
        if id not in self._beginning:
            raise NotOwner("the exit run has moved to another owner")
        opened = self._runs.open(obligation, record)
        driver = self._runs.drive(opened, run)
        try:
            await opened.commits.go_on(run)
            await driver.ask(Replay(request_id, again))
        except BaseException:
            driver.drop()
            self._runs.forget(opened)
            raise
        return record


def _closed_run(started: RunStarted, bundle: Bundle, record: ExitRecord, now: float) -> Run:
    """A closed run with these inputs, numbered to come behind what the log may still hold of it."""
    run, _ = decide.begin(started, bundle, now)
    decide.decide(run, Cancel("replayed"), now)
    while run.unfinished:
        decide.decide(run, GoOn(), now)
    run.state.replay = record.replays
    run.state.first_attempt = max([0, *(attempt.attempt for attempt in record.attempts)])  # an executor may know them
    run.commits = record.commits
    return run
