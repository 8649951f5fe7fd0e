"""The open exit runs of this process: made of obligations, taken up from the log, driven, closed, given away.

An obligation is an open HookDue in the log. What cannot be carried out is parked, and holds up nobody (docs/log.md §6).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Mapping
from functools import partial
from typing import Any

from exeunt.driver import Clock, Driver
from exeunt.engine import decide
from exeunt.engine.commands import Cancel, Rejected, Replay
from exeunt.engine.decide import Run
from exeunt.engine.facts import Event, HookCancelled, HookDue, HookSkipped, Obligation, RunClosed, commit
from exeunt.exithandler import spans
from exeunt.exithandler.announce import Announcer, told
from exeunt.exithandler.bundles import Bundles, BundleUnusable
from exeunt.exithandler.closing import ClosingJournal
from exeunt.exithandler.ledger import Ledger
from exeunt.exithandler.perform import ExitSteps
from exeunt.exithandler.record import ENDED, SKIPPED, ExitRecord, fold, new_record, obligation_of, unreadable
from exeunt.exithandler.run import (
    Counted,
    ExitRun,
    Taken,
    Tasks,
    after,
    cancel_of,
    closed_run,
    closed_runs,
    failed,
    parked,
    started_by,
    tell_replayed,
    withdrawn_in,
)
from exeunt.journal.log import PARTITIONS, Family, Loaded, Log, NotOwner, OpenRun, Record, family_of, partition_of
from exeunt.journal.steady import surely
from exeunt.language.manifest import Bundle
from exeunt.turns import Turns

log = logging.getLogger(__name__)

Withdrawn = Mapping[str, Cancel]


class ExitRuns:
    """All of them. `run()` holds their tasks."""

    def __init__(
        self, journal: Log, bundles: Bundles, ledger: Ledger, announcer: Announcer, clock: Clock | None = None
    ) -> None:
        self.runs: dict[str, ExitRun] = {}
        self.steps: ExitSteps | None = None  # set before anything is loaded
        self.ready = asyncio.Event()  # the first load is complete
        self.stopping = False  # obligations are left to the next owner
        self._journal = journal
        self._bundles = bundles
        self._ledger = ledger
        self._announcer = announcer
        self._clock = clock or Clock()
        self._closing = ClosingJournal(journal, self._settled)
        self._of_uid: dict[str, set[str]] = {}
        self._beginning: dict[Family, list[tuple[Cancel, Taken]]] = {}  # cancelled before they began
        self._replaying: dict[str, int] = {}  # exit runs that are about to run again, and their partitions
        self._tasks = Tasks()
        self._turns = Turns()

    # --- owning -------------------------------------------------------------------------------------------------------

    async def take(self, partitions: Collection[int]) -> None:
        """Makes the partitions ours and takes up what is open in them."""
        await self._journal.take(partitions)
        loaded = await self._journal.load(partitions)
        await self._restore(loaded)
        self.ready.set()

    def lose(self, partitions: Collection[int]) -> None:
        """The partitions are somebody else's: drop their runs, stop acting."""
        gone = set(partitions)
        for run in [r for r in self.runs.values() if r.family.partition in gone]:
            if run.driver is not None:
                run.driver.drop()
            self._forget(run)
        self._beginning = {f: cancelled for f, cancelled in self._beginning.items() if f.partition not in gone}
        self._replaying = {id: partition for id, partition in self._replaying.items() if partition not in gone}
        self._tasks.end(gone)
        self._closing.lose(gone)

    async def drain(self) -> None:
        """Waits for closings that are under way and for the ledger."""
        await self._closing.drain()
        await self._ledger.close()

    async def close(self) -> None:
        """Stops everything; what is open comes again from the log."""
        self.lose(range(PARTITIONS))
        await self._tasks.close()

    def obligation_of(self, driver: Driver) -> Obligation:
        """What the driver's run was made from."""
        obligation = driver.run.obligation
        assert obligation is not None
        return obligation

    @property
    def beginning(self) -> int:
        """How many are due and wait for their manifests."""
        return len(self._beginning)

    def of_uid(self, uid: str) -> list[ExitRun]:
        """The open exit runs of a workflow."""
        return [self.runs[id] for id in self._of_uid.get(uid, ())]

    # --- obligations --------------------------------------------------------------------------------------------------

    def oblige(self, record: Record, known: Collection[str] = (), withdrawn: Withdrawn | None = None) -> None:
        """Takes up what a commit of kind `h` asks for.

        `known` are hook ids whose exit run is in the log already; `withdrawn` those that a later commit takes back:
        their runs begin and end at once, and nothing is done.
        """
        if self.stopping:
            return
        taken = Taken(self._journal, record)
        try:
            decoded = commit.decode(record.data)
        except Exception as error:
            log.exception("a commit of %s cannot be read", record.family.uid)
            self._tasks.add(record.family.partition, self._park_unread(record, error))
            return
        for event in decoded.events:
            match event:
                case HookDue():
                    id = event.obligation.hook_id
                    family = family_of(event.obligation.uid, id)
                    if id not in known and id not in self.runs and family not in self._beginning:
                        taken.one()
                        self._begin(family, event.obligation, taken, (withdrawn or {}).get(id))
                case HookCancelled():
                    taken.one()
                    self._cancel(record.family.uid, event.hook_id, cancel_of(event), taken)
                case HookSkipped():
                    taken.one()
                    self._tasks.add(record.family.partition, self._skip(event, decoded.now, taken))
        taken.done()

    def _begin(self, family: Family, obligation: Obligation, taken: Taken, withdrawn: Cancel | None) -> None:
        bundle = self._bundles.known(obligation.bundle)
        if bundle is not None and not self._turns.over:
            self._begin_with(obligation, bundle, taken, withdrawn)
            return
        self._beginning[family] = []
        self._tasks.add(family.partition, self._begin_later(family, obligation, taken, withdrawn))

    async def _begin_later(self, family: Family, owed: Obligation, taken: Taken, withdrawn: Cancel | None) -> None:
        try:
            bundle: Bundle | BundleUnusable = await self._bundles.get(owed.bundle)
        except BundleUnusable as error:
            bundle = error
        await self._turns.do(lambda: None)
        cancelled = self._beginning.pop(family, [])
        if isinstance(bundle, BundleUnusable):
            self._park(owed, str(bundle), taken)
        else:
            self._begin_with(owed, bundle, taken, cancelled[0][0] if cancelled else withdrawn)
        for cancel, waiting in cancelled:
            self._cancel(owed.uid, owed.hook_id, cancel, waiting)

    def _begin_with(self, obligation: Obligation, bundle: Bundle, taken: Taken, withdrawn: Cancel | None) -> None:
        now = max(self._clock.now(), obligation.due_at)
        try:
            run, events = decide.begin(started_by(obligation), bundle, now)
            if withdrawn is not None:
                events += decide.decide(run, withdrawn, now)
        except Exception as error:
            log.exception("the exit run %s of %s cannot begin", obligation.hook_id, obligation.name)
            self._park(obligation, f"the handler cannot be started: {error}", taken)
            return
        opened = self._open(obligation, new_record(obligation))
        opened.driver = self._driver(run, opened)
        opened.taken = taken
        opened.driver.start(events)

    def _park(self, obligation: Obligation, error: str, taken: Taken) -> None:
        """Closes a run that could not even begin: parked."""
        now = max(self._clock.now(), obligation.due_at)
        opened = self._open(obligation, new_record(obligation))
        events: list[Event] = [started_by(obligation), parked(obligation, error, now)]
        closed = self._append(opened, 1, "r", commit.encode(now, events))

        def over(done: asyncio.Future[int]) -> None:
            if not failed(done):
                taken.done()
                self._closed(opened)

        closed.add_done_callback(over)

    def _cancel(self, uid: str, hook_id: str, cancel: Cancel, taken: Taken) -> None:
        beginning = self._beginning.get(family_of(uid, hook_id))
        if beginning is not None:
            beginning.append((cancel, taken))
            return
        run = self.runs.get(hook_id)
        if run is None or run.driver is None:
            taken.done()
            return
        run.driver.ask(cancel).add_done_callback(lambda done: after(done, taken.done))

    async def _skip(self, event: HookSkipped, now: float, taken: Taken) -> None:
        record = new_record(event.obligation)
        record.state, record.error = SKIPPED, event.why
        record.due_at = record.due_at or now
        record.finished_at = now
        await self._until_written(record)
        taken.done()

    async def _park_unread(self, record: Record, error: Exception) -> None:
        uid = record.family.uid
        why = f"commit {record.number} of workflow {uid} cannot be read: {error}"
        await self._until_written(unreadable(f"unread-{uid}-{record.sequence}", uid, why, self._clock.now()))

    # --- runs ---------------------------------------------------------------------------------------------------------

    def _open(self, obligation: Obligation, record: ExitRecord) -> ExitRun:
        opened = ExitRun(family_of(obligation.uid, obligation.hook_id), obligation, record)
        self.runs[opened.id] = opened
        self._of_uid.setdefault(obligation.uid, set()).add(opened.id)
        self._ledger.hold(record)
        return opened

    def _driver(self, run: Run, opened: ExitRun) -> Driver:
        assert self.steps is not None
        return Driver(
            run,
            opened.family,
            journal=Counted(self._append, opened),
            steps=self.steps,
            clock=self._clock,
            turns=self._turns,
            on_commit=lambda driver, events, _: self._committed(opened, driver, events),
            on_lost=lambda _: self._forget(opened),
            on_broken=lambda driver: self._broken(opened, driver),
        )

    def _append(
        self, opened: ExitRun, number: int, kind: str, data: bytes, *, snapshot: bool = False
    ) -> asyncio.Future[int]:
        opened.number = number + 1 if kind == "r" else number
        if opened.driver is not None:
            opened.driver.run.commits = opened.number
        written = self._closing.append(opened.family, number, kind, data, snapshot=snapshot)
        written.add_done_callback(lambda done: None if failed(done) else self._written(opened, number))
        return written

    def _written(self, opened: ExitRun, number: int) -> None:
        opened.durable = number
        if opened.taken is not None:
            opened.taken.done()
            opened.taken = None

    def _committed(self, opened: ExitRun, driver: Driver, events: list[Event]) -> None:
        record = opened.record
        if driver.run.closed:
            self._closed(opened)
            return
        before = (record.state, record.error, record.replays, len(record.children))
        fold(record, events, driver.run.now)
        record.commits = driver.run.commits
        self._started(opened)
        if (record.state, record.error, record.replays, len(record.children)) != before:
            self._ledger.changed(record)

    async def _settled(self, family: Family, number: int, now: float, events: list[Event]) -> None:
        """The outcome is in the log: the ledger and subscribers learn it before the main run does."""
        opened = self.runs[family.hook_id]
        record = opened.record
        if record.state not in ENDED or record.commits != number + 1:
            fold(record, events, now)
            record.commits = number + 1
        self._started(opened)  # it may have begun and ended in one commit
        async with asyncio.TaskGroup() as group:
            group.create_task(self._announcer.ended(opened.obligation, record))
            group.create_task(self._ledger.settle(record))
        if record.replays:  # the workflow's new state comes behind the end of the handler
            await tell_replayed(self._journal, opened)
        spans.export(opened.obligation, record)

    def _started(self, opened: ExitRun) -> None:
        if opened.announced != opened.record.replays:
            opened.announced = opened.record.replays
            self._announcer.started(opened.obligation, opened.record)

    def _closed(self, opened: ExitRun) -> None:
        closed_runs.add(1, (("state", opened.record.state),))
        if opened.driver is not None and self.steps is not None:
            self.steps.close(opened.driver)
        self._forget(opened)
        self._journal.done(opened.family)

    def _forget(self, opened: ExitRun) -> None:
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
            assert self.steps is not None
            self.steps.drop(opened.driver)

    def _broken(self, opened: ExitRun, driver: Driver) -> bool:
        """What this run is to do cannot be worked out, or not be written: it is parked, and the main run goes on."""
        assert self.steps is not None
        self.steps.drop(driver)
        now = max(self._clock.now(), opened.obligation.due_at)
        attempt = max((node.attempt for node in driver.run.nodes), default=-1)
        closed = parked(opened.obligation, driver.broken, now, attempt, driver.run.state.replay)
        # a commit of this run may be on its way still: two with one number are never written, the log knows the first
        self._tasks.add(opened.family.partition, self._close_broken(opened, driver, now, closed))
        return False

    async def _close_broken(self, opened: ExitRun, driver: Driver, now: float, closed: RunClosed) -> None:
        await driver.settled()
        events: list[Event] = [closed] if opened.durable else [started_by(opened.obligation), closed]
        try:
            await self._append(opened, opened.durable + 1, "r", commit.encode(now, events))
        except NotOwner:
            return
        self._closed(opened)

    # --- taking up ----------------------------------------------------------------------------------------------------

    async def _restore(self, loaded: Loaded) -> None:
        for closed in loaded.closed:  # everything of them was out before they closed
            self._journal.done(closed.family)
        restored = [run for found in loaded.runs if (run := await self._read(found)) is not None]
        oldest = min((r.obligation.due_at for r in restored), default=0.0)
        await surely(lambda: self._announcer.look([r.obligation.uid for r in restored], oldest))
        self.lose([r.family.partition for r in restored if not self._journal.owns(r.family.partition)])
        for opened in restored:
            if self.runs.get(opened.id) is opened:
                self._resume(opened)
        withdrawn = withdrawn_in(loaded.told)
        for record in sorted(loaded.told, key=lambda r: r.sequence):
            if self._journal.owns(record.family.partition):
                self.oblige(record, loaded.hooks, withdrawn)
        for message in loaded.messages:
            self._journal.finish(message)

    async def _read(self, found: OpenRun) -> ExitRun | None:
        """A run as its commits say; None when they cannot be read: then it is parked, and what it needs is kept."""
        family = found.family
        stored = await surely(lambda: self._ledger.get(family.hook_id)) if found.records[0].snapshot else None
        try:
            commits = [commit.decode(r.data) for r in found.records]
            run = await self._bundles.replayed(commits)
            obligation = run.obligation
            if obligation is None:
                raise ValueError("it does not begin with an obligation")
            record = stored or new_record(obligation)
            for one in commits:
                fold(record, one.events, one.now)
        except Exception as error:
            log.exception("the exit run %s of %s cannot be read", family.hook_id, family.uid)
            await self._park_unreadable(family, error)
            return None
        opened = self._open(obligation, record)
        opened.number = opened.durable = found.records[-1].number
        record.commits = opened.number
        opened.driver = self._driver(run, opened)
        opened.ending = next((e for e in commits[-1].events if isinstance(e, RunClosed)), None)
        if run.closed and opened.ending is None:  # a replay that was never begun; the next one comes behind it
            await self._until_written(record)
            self._closed(opened)
            return None
        return opened

    def _resume(self, opened: ExitRun) -> None:
        driver = opened.driver
        assert driver is not None
        run = driver.run
        self._started(opened)
        if opened.ending is None:
            driver.resume()
            return
        finished = self._closing.finish(opened.family, opened.number, run.now, opened.ending)
        finished.add_done_callback(lambda done: None if failed(done) else self._closed(opened))

    async def _park_unreadable(self, family: Family, error: Exception) -> None:
        stored = await surely(lambda: self._ledger.get(family.hook_id))
        why, now = f"its commits cannot be read: {error}", self._clock.now()
        await self._until_written(unreadable(family.hook_id, family.uid, why, now, stored))

    def snapshot(self, families: Collection[Family]) -> None:
        """These runs shall write their whole state, so that the log can be cut behind it."""
        for run in [self.runs[family.hook_id] for family in families if family.hook_id in self.runs]:
            if run.driver is not None:  # one that is read from its snapshot takes its attempts from the ledger
                run.driver.write_snapshot(partial(self._written_soon, run.record))

    async def told_again(self, closed: bool) -> AsyncIterator[list[dict[str, Any]]]:
        """What the log tells of exit runs of ours, one after the other: of closed ones, or of those that are open."""
        async for found in self._journal.history(closed=closed):
            family = found.family
            try:
                stored = None
                if found.records[0].snapshot:
                    stored = await surely(lambda: self._ledger.get(family.hook_id))  # noqa: B023 - used within the turn
                commits = [commit.decode(r.data) for r in found.records]
                obligation = (await self._bundles.replayed(commits[:1])).obligation
                if obligation is None:
                    raise ValueError("it does not begin with an obligation")
                record = stored or new_record(obligation)
                for one in commits:
                    fold(record, one.events, one.now)
            except Exception as error:  # noqa: BLE001 - one that cannot be read is met by whoever takes it up
                log.warning("what the exit run %s told is not told again: %s", family.hook_id, error)
                continue
            yield told(obligation, record)

    # --- replay -------------------------------------------------------------------------------------------------------

    async def replay(self, record: ExitRecord, request_id: str, *, again: bool) -> ExitRecord:
        """Runs a closed exit run once more. Raises Rejected when it cannot be, NotOwner when it is not ours."""
        closing = self.runs.get(record.id)
        if closing is not None and closing.record.state in ENDED:  # its last commit is on its way
            await closing.gone.wait()
        if record.id in self.runs or record.id in self._replaying:
            raise Rejected("EXIT_RUNNING", f"the exit run {record.id} is running")
        partition = partition_of(record.uid)
        if not self._journal.owns(partition):
            raise NotOwner(f"partition {partition:02x} is not ours")
        self._replaying[record.id] = partition
        try:
            return await self._replay(record, request_id, again)
        finally:
            self._replaying.pop(record.id, None)

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
            run = closed_run(started_by(obligation), bundle, record, max(self._clock.now(), record.finished_at))
        except Exception as error:
            raise Rejected("EXIT_UNUSABLE", f"the exit run {id} cannot be run again: {error}") from error
        if id not in self._replaying:
            raise NotOwner("the exit run has moved to another owner")
        opened = self._open(obligation, record)
        opened.driver = driver = self._driver(run, opened)
        try:
            # whatever the log still holds of this run, its fold begins anew from here
            snapshot = decide.snapshot(run)  # numbered as the commit after those that were
            await self._append(opened, record.commits + 1, "c", commit.encode(run.now, [snapshot]), snapshot=True)
            await driver.ask(Replay(request_id, again))
        except BaseException:
            driver.drop()
            self._forget(opened)
            raise
        return record

    # --- inside -------------------------------------------------------------------------------------------------------

    def _written_soon(self, record: ExitRecord) -> asyncio.Task[None]:
        return self._tasks.add(partition_of(record.uid), self._until_written(record))

    async def _until_written(self, record: ExitRecord) -> None:
        await surely(lambda: self._ledger.settle(record))
