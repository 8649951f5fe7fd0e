"""The open exit runs of this process: driven, told of as they change, closed, and given away with their partitions.

What cannot be carried out is parked, and holds up nobody (docs/log.md §6).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from functools import partial

from exeunt import traces
from exeunt.driver.driver import Driver
from exeunt.driver.ports import Clock
from exeunt.driver.turns import Turns
from exeunt.engine.decide import Run
from exeunt.engine.facts import EXIT, Event, Obligation, RunClosed
from exeunt.exithandler import spans
from exeunt.exithandler.announce import ExitAnnouncer
from exeunt.exithandler.commits import CommitWriter, RunCommits
from exeunt.exithandler.ledger import Ledger
from exeunt.exithandler.open_run import OpenExitRun, parked, started_by
from exeunt.exithandler.perform import ExitSteps
from exeunt.exithandler.record import ENDED, SKIPPED, ExitRecord, fold, new_record
from exeunt.exithandler.tasks import PartitionTasks, failed
from exeunt.journal.errors import NotOwner
from exeunt.journal.log import Log
from exeunt.journal.repeat import until_answered
from exeunt.journal.subjects import PARTITIONS, Address, Family, family_of, partition_of
from exeunt.replayed import FORMAT, REPLAYED, Replayed, encode_replayed, replayed_id
from exeunt.service.metrics import Counter

closed_runs = Counter("exeunt.exits.closed", "Exit runs that ended, by state", "{run}")
for _state in sorted(ENDED - {SKIPPED}):  # a count that begins at 1 would not show as an increase
    closed_runs.add(0, (("state", _state),))


class ExitRuns:
    """All of them. Whatever else acts for partitions has a callback in `on_lose`; `tasks` end with their partitions."""

    def __init__(
        self, journal: Log, ledger: Ledger, announcer: ExitAnnouncer, steps: ExitSteps, clock: Clock | None = None
    ) -> None:
        self.runs: dict[str, OpenExitRun] = {}
        self.loaded: set[int] = set()
        self.on_lose: list[Callable[[Collection[int]], None]] = []
        self.clock = clock or Clock()
        self.tasks = PartitionTasks()
        self.turns = Turns()
        self._journal = journal
        self._ledger = ledger
        self._announcer = announcer
        self._steps = steps
        self._writer = CommitWriter(journal)
        self._of_uid: dict[str, set[str]] = {}

    # --- owning -------------------------------------------------------------------------------------------------------

    def lose(self, partitions: Collection[int]) -> None:
        """The partitions are somebody else's: drop their runs, stop acting."""
        gone = set(partitions)
        self.loaded -= gone
        for run in [r for r in self.runs.values() if r.family.partition in gone]:
            if run.driver is not None:
                run.driver.drop()
            self.forget(run)
        for lose in self.on_lose:
            lose(gone)
        self.tasks.end(gone)
        self._writer.lose(gone)

    async def drain(self) -> None:
        """Waits for closings that are under way and for the ledger."""
        await self._writer.drain()
        await self._ledger.close()

    async def close(self) -> None:
        """Stops everything; what is open comes again from the log."""
        self.lose(range(PARTITIONS))
        await self.tasks.close()

    def of_uid(self, uid: str) -> list[OpenExitRun]:
        """The open exit runs of a workflow."""
        return [self.runs[id] for id in self._of_uid.get(uid, ())]

    # --- opening ------------------------------------------------------------------------------------------------------

    def open(self, obligation: Obligation, record: ExitRecord, *, durable: int = 0) -> OpenExitRun:
        """Opens a run here. `durable` is the number of its last commit in the log."""
        opened = OpenExitRun(obligation, record)
        family, settled = family_of(obligation.uid, obligation.hook_id), partial(self._settled, opened)
        opened.commits = RunCommits(self._writer, family, settled, durable=durable, on_durable=opened.on_durable)
        self.runs[opened.id] = opened
        self._of_uid.setdefault(obligation.uid, set()).add(opened.id)
        self._ledger.hold(record)
        return opened

    def drive(self, opened: OpenExitRun, run: Run) -> Driver:
        """Gives an open run its driver."""
        opened.driver = Driver(
            run,
            opened.family,
            journal=opened.commits,
            steps=self._steps,
            clock=self.clock,
            turns=self.turns,
            on_commit=lambda driver, events, _: self._committed(opened, driver, events),
            on_lost=lambda _: self.forget(opened),
            on_broken=lambda driver: self._broken(opened, driver),
        )
        return opened.driver

    def park(self, obligation: Obligation, error: str, taken_up: Callable[[], None]) -> None:
        """Closes a run that could not even begin, as parked; `taken_up` is called when that is durable."""
        now = max(self.clock.now(), obligation.due_at)
        opened = self.open(obligation, new_record(obligation))
        opened.taken_up = taken_up
        self.closed_with(opened, opened.commits.end(now, [started_by(obligation), parked(obligation, error, now)]))

    # --- as they go ---------------------------------------------------------------------------------------------------

    def started(self, opened: OpenExitRun) -> None:
        """The run has begun, for the first time or again: subscribers hear of it once."""
        if opened.announced != opened.record.replays:
            opened.announced = opened.record.replays
            self._announcer.started(opened.obligation, opened.record)

    def _committed(self, opened: OpenExitRun, driver: Driver, events: list[Event]) -> None:
        record = opened.record
        if driver.run.closed:
            self.closed(opened)
            return
        before = (record.state, record.error, record.replays, len(record.children))
        fold(record, events, driver.run.now)
        record.commits = driver.run.commits
        self.started(opened)
        if (record.state, record.error, record.replays, len(record.children)) != before:
            self._ledger.changed(record)

    def snapshot(self, families: Collection[Family]) -> None:
        """These runs shall write their whole state, so that the log can be cut behind it."""
        for run in [self.runs[family.hook_id] for family in families if family.hook_id in self.runs]:
            if run.driver is not None:  # one that is read from its snapshot takes its attempts from the ledger
                run.driver.write_snapshot(partial(self._written_soon, run.record))

    def _written_soon(self, record: ExitRecord) -> asyncio.Task[None]:
        return self.tasks.add(partition_of(record.uid), self.until_written(record))

    async def until_written(self, record: ExitRecord) -> None:
        """Writes a record to the ledger, however long that takes."""
        await until_answered(lambda: self._ledger.settle(record))

    # --- the end ------------------------------------------------------------------------------------------------------

    async def _settled(self, opened: OpenExitRun, last: int, now: float, events: list[Event]) -> None:
        """The outcome is in the log: the ledger and subscribers learn it before the main run does."""
        record = opened.record
        if record.state not in ENDED or record.commits != last:
            fold(record, events, now)
            record.commits = last
        self.started(opened)  # it may have begun and ended in one commit
        async with asyncio.TaskGroup() as group:
            group.create_task(self._announcer.ended(opened.obligation, record))
            group.create_task(self._ledger.settle(record))
        if record.replays:  # the workflow's new state comes behind the end of the handler
            await self._tell_replayed(opened)
        spans.export(opened.obligation, record)

    async def _tell_replayed(self, opened: OpenExitRun) -> None:
        """The owner of the workflow hears how a replay ended; done when that is durable."""
        owed, record, partition = opened.obligation, opened.record, opened.family.partition
        root = record.nodes[0] if record.nodes else {}
        told = Replayed(
            FORMAT,
            uid=owed.uid,
            hook_id=record.id,
            replay=record.replays,
            node=str(root.get("name") or owed.hook_node_name),
            handler=owed.hook == EXIT or bool(owed.further),
            phase=str(root.get("phase") or "Error"),
            message=record.error,
            at=record.finished_at,
            trace=traces.of_exit(owed.trace, record.id, record.replays) if owed.trace else {},
        )
        to = Address(partition, "m", REPLAYED)
        await self._journal.send(partition, to, replayed_id(told), encode_replayed(told))

    def closed_with(self, opened: OpenExitRun, closing: asyncio.Future[int]) -> None:
        """The run is closed when its last commit is durable; until then, and if that fails, it stays as it is."""
        closing.add_done_callback(lambda done: None if failed(done) else self.closed(opened))

    def closed(self, opened: OpenExitRun) -> None:
        """Its last commit is durable."""
        closed_runs.add(1, (("state", opened.record.state),))
        if opened.driver is not None:
            self._steps.close(opened.driver)
        self.forget(opened)
        self._journal.done(opened.family)

    def forget(self, opened: OpenExitRun) -> None:
        """It is not open here any more: it has closed, or is somebody else's."""
        if self.runs.get(opened.id) is not opened:
            return
        del self.runs[opened.id]
        opened.gone.set()
        ids = self._of_uid.get(opened.obligation.uid, set())
        ids.discard(opened.id)
        if not ids:
            self._of_uid.pop(opened.obligation.uid, None)
        self._ledger.release(opened.id)
        if opened.driver is not None:
            self._steps.drop(opened.driver)

    def _broken(self, opened: OpenExitRun, driver: Driver) -> bool:
        """A decision of this run cannot be worked out, or not be written: it is parked, and the main run goes on."""
        self._steps.drop(driver)
        now = max(self.clock.now(), opened.obligation.due_at)
        attempt = max((node.attempt for node in driver.run.nodes), default=-1)
        closed = parked(opened.obligation, driver.broken, now, attempt, driver.run.state.replay)
        # a commit of this run may be on its way still: two with one number are never written, the log knows the first
        self.tasks.add(opened.family.partition, self._close_broken(opened, driver, now, closed))
        return False

    async def _close_broken(self, opened: OpenExitRun, driver: Driver, now: float, closed: RunClosed) -> None:
        await driver.settled()
        events: list[Event] = [closed] if opened.commits.durable else [started_by(opened.obligation), closed]
        try:
            await opened.commits.end(now, events)
        except NotOwner:
            return
        self.closed(opened)
