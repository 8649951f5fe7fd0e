"""The open main runs of this scheduler: taken and loaded with their partitions, driven, and handed to the archive.

A run is here from its first commit until its archive record is durable. Partitions come and go with membership; a run
of a partition that is not loaded yet is neither there nor absent: whoever asks for it is told to ask again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from bisect import bisect_left, insort
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from functools import partial
from typing import Any

from exeunt.bundles import Bundles
from exeunt.cloudevents import WorkflowEnded
from exeunt.driver.driver import Driver
from exeunt.driver.ports import Clock
from exeunt.driver.turns import Turns
from exeunt.engine import decide
from exeunt.engine.commands import HookEnded, Input
from exeunt.engine.decide import Run
from exeunt.engine.facts import Commit, Event, RunClosed, RunStarted, State, commit
from exeunt.journal.errors import LogClosed, NotOwner
from exeunt.journal.log import Log
from exeunt.journal.public import EventToPublish
from exeunt.journal.repeat import RepeatOnReconnect, until_answered
from exeunt.journal.replay import LoadedLog, OpenRun
from exeunt.journal.subjects import Family, MailboxMessage, Record, family_of, partition_of
from exeunt.language.manifest import Bundle
from exeunt.scheduler.announce import events_to_publish
from exeunt.scheduler.callbacks import RunCallbacks
from exeunt.scheduler.entry import OpenWorkflow
from exeunt.scheduler.run_steps import RunSteps
from exeunt.scheduler.unread import Unread, unread
from exeunt.service.errors import unavailable

log = logging.getLogger(__name__)

BREATH = 100  # runs that are restored before others get a turn


class Runs:
    """All of them. `callbacks` are set before any partition is taken."""

    callbacks: RunCallbacks

    def __init__(
        self, journal: Log, bundles: Bundles, steps: RunSteps, clock: Clock, repeat: RepeatOnReconnect
    ) -> None:
        self.by_uid: dict[str, OpenWorkflow] = {}
        self.by_name: dict[tuple[str, str], OpenWorkflow] = {}
        self.order: list[tuple[float, str]] = []  # time of creation and uid of each, as lists have them
        self.on_changed: set[Callable[[OpenWorkflow], None]] = set()  # who wants to hear of each commit of any run
        self.loaded: set[int] = set()
        self.unread: dict[str, Unread] = {}  # runs that cannot be read
        self.commits = 0
        self.turns = Turns()
        self.loaded_changed: list[Callable[[], None]] = []
        self._journal = journal
        self._bundles = bundles
        self._steps = steps
        self._clock = clock
        self._repeat = repeat
        self._early: dict[int, list[Record | MailboxMessage]] = {}
        self._tenures: dict[int, int] = {}  # how often each partition was taken
        journal.on_lost.append(lambda partition: self.lose([partition]))
        journal.on_snapshot.append(self.snapshot)

    # --- starting -----------------------------------------------------------------------------------------------------

    async def begin(self, started: RunStarted, bundle: Bundle, tenure: int) -> OpenWorkflow:
        """Starts a run; answers when its first commit is durable. A run that is here already is answered as it is.

        `tenure` is that of before the run was looked for elsewhere: another owner may have had the partition meanwhile.
        """
        entry = self.by_uid.get(started.uid)
        if entry is None:
            if self.tenure(partition_of(started.uid)) != tenure:
                raise unavailable("MOVED", "this part of the workflows was elsewhere for a moment; ask again")
            run, events = await self.turns.do(lambda: decide.begin(started, bundle, self._clock.now()))
            entry = self.by_uid.get(started.uid)
        if entry is None:
            if self.tenure(partition_of(started.uid)) != tenure:
                raise unavailable("MOVED", "this part of the workflows was elsewhere for a moment; ask again")
            entry = self._add(run, family_of(started.uid))
            entry.ready = entry.driver.start(events)
        await entry.ready_now()
        return entry

    async def reopen(self, state: State, commits: int, command: Input) -> OpenWorkflow:
        """Takes up a run that had closed after so many commits, and answers when the command has opened it again.

        Raises NotOwner, Rejected.
        """
        uid = state.started.uid
        bundle = await self._bundles.get(state.started.bundle)
        entry = self.by_uid.get(uid)
        if entry is not None:  # somebody else was quicker
            await entry.ready_now()
            await entry.driver.ask(command)
            return entry
        self.require(partition_of(uid))
        run = decide.take_up(state, bundle)
        run.commits = commits
        entry = self._add(run, family_of(uid))
        entry.ready = asyncio.get_running_loop().create_future()
        try:
            snapshot = commit.encode(run.now, [decide.snapshot(run)])
            await self._journal.append(entry.driver.family, commits + 1, "c", snapshot, snapshot=True)
            run.commits = commits + 1
            await entry.driver.ask(command)
        except BaseException as error:
            self._drop(entry)
            entry.ready.set_exception(error if isinstance(error, NotOwner | LogClosed) else NotOwner(str(error)))
            entry.ready.exception()  # whoever waits may be gone
            raise
        entry.ready.set_result(None)
        return entry

    @property
    def resting(self) -> int:
        """How many runs cannot go on, or not be read."""
        return len(self.unread) + sum(1 for e in self.by_uid.values() if e.driver.rests and not e.closed)

    def require(self, partition: int) -> None:
        """Raises UNAVAILABLE unless the partition is ours and loaded."""
        if partition not in self.loaded:
            raise unavailable("LOADING", "this part of the workflows is being loaded; ask again in a moment")

    def tenure(self, partition: int) -> int:
        """How often the partition has become ours. Raises UNAVAILABLE unless it is ours and loaded."""
        self.require(partition)
        return self._tenures[partition]

    # --- partitions ---------------------------------------------------------------------------------------------------

    async def take(self, partitions: Collection[int]) -> None:
        """Makes the partitions ours and takes up the runs in them. Raises NotOwner when somebody was quicker."""
        await self._journal.take(partitions)
        loaded = await self._journal.load(partitions)
        entries = await self._restore(loaded)
        mine = {p for p in partitions if self._journal.owns(p)}
        self.loaded |= mine
        for partition in mine:
            self._tenures[partition] = self._tenures.get(partition, 0) + 1
        for entry in [e for e in self.by_uid.values() if e.driver.family.partition not in self.loaded]:
            self._drop(entry)  # its partition was lost while it was being restored
        for entry in entries:
            if not entry.driver.dropped:
                self._steps.resume(entry.driver)
                self._tell_changed(entry)
        for record in loaded.told:
            self.hook_ended(record)
        self.callbacks.loaded(mine)
        self._tell_loaded()
        for message in loaded.messages:
            await self._message(message)
        for partition in mine:
            for what in self._early.pop(partition, []):
                await self._given(what)
        log.info("%d open workflows in %d partitions", len(entries), len(mine))

    def lose(self, partitions: Collection[int]) -> None:
        """The partitions are somebody else's, or given up: nothing more is done in them."""
        gone = set(partitions)
        self.loaded -= gone
        for partition in gone:
            self._early.pop(partition, None)
        for entry in [e for e in self.by_uid.values() if e.driver.family.partition in gone]:
            self._drop(entry)
        self.unread = {uid: one for uid, one in self.unread.items() if one.family.partition not in gone}
        self.callbacks.lost(gone)
        self._tell_loaded()

    def _tell_loaded(self) -> None:
        for tell in self.loaded_changed:
            tell()

    def release(self, partitions: Collection[int]) -> None:
        """Hands partitions over: the next owner takes them by itself."""
        self.lose(partitions)
        self._journal.release(partitions)

    async def _restore(self, loaded: LoadedLog) -> list[OpenWorkflow]:
        entries: list[OpenWorkflow] = []
        out = await self._told_before(loaded.runs + loaded.closed)
        closed = {found.family for found in loaded.closed}
        for i, found in enumerate(loaded.runs + loaded.closed):
            if i % BREATH == BREATH - 1:
                await asyncio.sleep(0)
            run = await self._read(found, out)
            if run is None:
                self.unread[found.family.uid].closed = found.family in closed
                continue
            entry = self._add(run, found.family)
            entry.driver.sequence = found.records[-1].sequence
            if run.closed:
                entry.closed = True
                self.callbacks.closed(entry)
            else:
                entries.append(entry)
        return entries

    async def _told_before(self, found: list[OpenRun]) -> set[str]:
        """The ids of the events of these runs that are out already."""
        since = float("inf")
        for one in found:
            with contextlib.suppress(Exception):  # one that cannot be read is met again below
                since = min(since, commit.decode(one.records[0].data).now)
        uids = [one.family.uid for one in found]
        return await self._repeat(lambda: self.callbacks.published(uids, since - 1.0)) if uids else set()

    async def _read(self, found: OpenRun, out: set[str]) -> Run | None:
        """The run that these commits make. One that cannot be read rests and holds its place in the log."""
        try:
            run, told = await self.folded(found)
        except Exception as error:
            log.exception("the run %s cannot be read and rests", found.family.uid)
            self.unread[found.family.uid] = unread(found, error)
            return None
        self.callbacks.told([one for one in told if one.id not in out])
        return run

    async def folded(self, found: OpenRun, *, whole: bool = True) -> tuple[Run, list[EventToPublish]]:
        """The run that these commits make, and what they tell; not `whole`: others get turns in between.

        Waits for NATS. Raises what the fold raises.
        """
        commits = [commit.decode(record.data) for record in found.records]
        run = await self._bundles.replayed(commits[:1])
        told = events_to_publish(run, commits[0].events)

        def on(later: Commit) -> list[EventToPublish]:
            for event in later.events:
                decide.apply(run, event, later.now)
            run.commits += 1
            return events_to_publish(run, later.events)

        for later in commits[1:]:
            told += on(later) if whole else await self.turns.do(partial(on, later))
        return run, told

    async def told_again(self, closed: bool) -> AsyncIterator[list[EventToPublish]]:
        """What the log tells of runs of ours, one after the other: of the closed ones, or of those that are open."""
        async for found in self._journal.history(closed=closed):
            if found.family.partition not in self.loaded:
                continue
            try:
                _, told = await self.folded(found, whole=False)
            except (NotOwner, LogClosed):
                raise
            except Exception as error:  # noqa: BLE001 - one that cannot be read is met by whoever takes it up
                log.warning("what %s told is not told again: it cannot be read: %s", found.family.uid, error)
                continue
            yield told

    # --- what comes from the log --------------------------------------------------------------------------------------

    async def follow(self) -> None:
        """Takes in results of exit runs and messages, for as long as the log is open."""
        async for what in self._journal.follow():
            partition = what.family.partition if isinstance(what, Record) else what.partition
            if partition in self.loaded:
                await self._given(what)
            else:  # read, but its runs are still being restored
                self._early.setdefault(partition, []).append(what)

    async def _given(self, what: Record | MailboxMessage) -> None:
        if isinstance(what, Record):
            self.hook_ended(what)
        else:
            await self._message(what)

    def hook_ended(self, record: Record) -> None:
        """An exit run has closed: its result goes into the main run."""
        entry = self.by_uid.get(record.family.uid)
        closed = _closing(record)
        if closed is not None and closed.hook is not None:
            self.callbacks.exit_closed(record.family.uid, record.family.hook_id, closed.hook.attempt)
        if record.family.uid in self.unread:
            return  # it keeps its place in the log until its run can be read
        if entry is None or entry.closed or closed is None or closed.hook is None:
            self._journal.finish(record)  # of a run that is over
            return
        asked = entry.driver.ask(HookEnded(closed.hook))
        asked.add_done_callback(partial(self._folded, record))

    def _folded(self, record: Record, asked: asyncio.Future[None]) -> None:
        if not asked.cancelled() and asked.exception() is None:
            self._journal.finish(record)

    async def _message(self, message: MailboxMessage) -> None:
        try:
            await until_answered(lambda: self.callbacks.message(message))
        except Exception:
            log.exception("the message %s to partition %02x failed", message.id, message.partition)
            return  # it keeps its place in the log: the next load tries again
        self._journal.finish(message)

    def snapshot(self, families: Iterable[Family]) -> None:
        """These runs shall write their whole state, so that the log can be cut behind it."""
        for family in families:
            entry = self.by_uid.get(family.uid)
            if entry is not None:
                entry.driver.write_snapshot(self.callbacks.told_out)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _add(self, run: Run, family: Family) -> OpenWorkflow:
        driver = Driver(
            run,
            family,
            journal=self._journal,
            steps=self._steps,
            clock=self._clock,
            turns=self.turns,
            on_commit=self._committed,
            on_lost=self._driver_lost,
            on_broken=self.callbacks.broken,
        )
        entry = OpenWorkflow(driver, created=run.created_at)
        if run.uid not in self.by_uid:
            insort(self.order, entry.place)
        self.by_uid[run.uid] = entry
        self.by_name[run.namespace, run.name] = entry
        return entry

    def _committed(self, driver: Driver, events: list[Event], sequence: int) -> None:
        entry = self.by_uid.get(driver.run.uid)
        if entry is None or entry.driver is not driver:
            return
        self.commits += 1
        told = events_to_publish(driver.run, events)
        self.callbacks.told(told)
        if driver.run.closed and not entry.closed:
            entry.closed = True
            entry.ending = next((o.data.tree() for o in reversed(told) if isinstance(o.data, WorkflowEnded)), None)
            self._steps.close(driver)
            self.callbacks.closed(entry)
        if entry.waiters or entry.changed:
            entry.show()
        self._tell_changed(entry)

    def _driver_lost(self, driver: Driver) -> None:
        entry = self.by_uid.get(driver.run.uid)
        if entry is None or entry.driver is not driver:
            return
        self._drop(entry)

    def _drop(self, entry: OpenWorkflow) -> None:
        entry.driver.drop()
        self._steps.drop(entry.driver)
        self.forget(entry)
        entry.gone()

    def _tell_changed(self, entry: OpenWorkflow) -> None:
        for tell in list(self.on_changed):
            tell(entry)

    def forget(self, entry: OpenWorkflow) -> None:
        """The run is not kept here any more: it is in the archive, deleted, or somebody else's."""
        run = entry.run
        if self.by_uid.get(run.uid) is entry:
            del self.by_uid[run.uid]
            del self.order[bisect_left(self.order, entry.place)]
        if self.by_name.get((run.namespace, run.name)) is entry:
            del self.by_name[run.namespace, run.name]

    def read_no_more(self, one: Unread) -> None:
        """A run that cannot be read is closed, and what can be told of it is durable elsewhere."""
        self._journal.done(one.family)
        self.unread.pop(one.family.uid, None)

    def done(self, entry: OpenWorkflow) -> None:
        """All that is derived from the closed run is durable elsewhere."""
        self._journal.done(entry.driver.family)
        entry.driver.drop()
        self.forget(entry)


def _closing(record: Record) -> RunClosed | None:
    """The event that closed the exit run; None when the commit cannot be read or is another."""
    try:
        read: Commit = commit.decode(record.data)
    except Exception:
        log.exception("the result at %d of %s cannot be read", record.sequence, record.family)
        return None
    found: list[Any] = [event for event in read.events if isinstance(event, RunClosed)]
    return found[-1] if found else None
