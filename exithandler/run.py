"""One exit run in this process: its driver, its record, and what waits for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine
from contextlib import suppress
from typing import Any

from exeunt import traces
from exeunt.driver import Driver
from exeunt.engine import decide
from exeunt.engine.commands import Cancel, GoOn
from exeunt.engine.decide import Run
from exeunt.engine.facts import (
    EXIT,
    MESSAGE_BYTES,
    HookCancelled,
    HookOutcome,
    Obligation,
    RunClosed,
    RunStarted,
    commit,
)
from exeunt.exithandler.record import ENDED, SKIPPED, ExitRecord
from exeunt.journal.log import Address, Family, Log, Record
from exeunt.language.manifest import Bundle
from exeunt.replayed import FORMAT, REPLAYED, Replayed, encode_replayed, replayed_id
from exeunt.service.metrics import Counter
from exeunt.utf8 import cut

log = logging.getLogger(__name__)

closed_runs = Counter("exeunt.exits.closed", "Exit runs that ended, by state", "{run}")
for _state in sorted(ENDED - {SKIPPED}):  # a count that begins at 1 would not show as an increase
    closed_runs.add(0, (("state", _state),))


class Tasks:
    """What is under way for partitions. It ends with their ownership: nothing of it goes on under a later one."""

    def __init__(self) -> None:
        self._partitions: dict[asyncio.Task[None], int] = {}

    def add(self, partition: int, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begins it; an error of it is logged."""
        task = asyncio.create_task(work)
        self._partitions[task] = partition
        task.add_done_callback(self._over)
        return task

    def end(self, partitions: Collection[int]) -> None:
        """These partitions are somebody else's."""
        for task, partition in self._partitions.items():
            if partition in partitions:
                task.cancel()

    async def drain(self) -> None:
        """Waits for all of it."""
        if self._partitions:
            await asyncio.wait(list(self._partitions))

    async def close(self) -> None:
        """Ends all of it; what is open comes again from the log."""
        self.end(set(self._partitions.values()))
        await self.drain()

    def _over(self, task: asyncio.Task[None]) -> None:
        del self._partitions[task]
        if not task.cancelled() and task.exception() is not None:
            log.error("something about an exit run failed", exc_info=task.exception())


class Taken:
    """A commit of kind `h` whose obligations are taken up one by one; when all are durable, the mark may pass it."""

    def __init__(self, journal: Log, record: Record) -> None:
        self._journal = journal
        self._record = record
        self._open = 1

    def one(self) -> None:
        """One more thing of it is being taken up."""
        self._open += 1

    def done(self) -> None:
        """One of them is durable. Called once more when the whole commit has been looked through."""
        self._open -= 1
        if self._open == 0:
            self._journal.finish(self._record)


class ExitRun:
    """An exit run that is open here. `driver` is None while it only waits to be closed as parked."""

    __slots__ = (
        "announced",
        "driver",
        "durable",
        "ending",
        "family",
        "gone",
        "number",
        "obligation",
        "record",
        "taken",
    )

    def __init__(self, family: Family, obligation: Obligation, record: ExitRecord) -> None:
        self.family = family
        self.obligation = obligation
        self.record = record
        self.driver: Driver | None = None
        self.number = 0  # of the last commit that was given to the log
        self.durable = 0  # of the last one that is in it
        self.taken: Taken | None = None  # what asked for it, until something of it is in the log
        self.gone = asyncio.Event()  # not open here any more
        self.announced = -1  # the replay whose exit.started was given out
        self.ending: RunClosed | None = None  # read from the log: settled, but not yet told

    @property
    def id(self) -> str:
        """The hook id: what the ledger knows it by."""
        return self.obligation.hook_id


def started_by(obligation: Obligation) -> RunStarted:
    """The first event of the run that an obligation asks for."""
    return RunStarted(
        uid=obligation.uid,
        name=obligation.name,
        namespace=obligation.namespace,
        bundle=obligation.bundle,
        labels=obligation.labels,
        obligation=obligation,
        run_attempt=obligation.run_attempt,
        trace=obligation.trace,
    )


def parked(obligation: Obligation, error: str, now: float, attempt: int = -1, replay: int = 0) -> RunClosed:
    """How a run closes that cannot be carried out: the main run goes on, and the ledger keeps it for a replay.

    `attempt` is the greatest number of an attempt that it began.
    """
    error = cut(error, MESSAGE_BYTES)
    node = {
        "id": obligation.hook_node,
        "name": obligation.hook_node_name,
        "displayName": obligation.display or obligation.hook_node_name,
        "type": "Skipped",
        "phase": "Error",
        "message": error,
    }
    outcome = HookOutcome(
        obligation.hook_id,
        "Error",
        message=error,
        state="parked",
        nodes=[node],
        finished_at=now,
        attempt=attempt,
        replay=replay,
    )
    return RunClosed(phase="Error", message=error, hook=outcome)


class Counted:
    """The journal of one run: commits are numbered one after the other, closing commits count twice."""

    def __init__(self, append: Callable[..., asyncio.Future[int]], opened: ExitRun) -> None:
        self._append = append
        self._opened = opened

    def append(
        self, family: Family, number: int, kind: str, data: bytes, *, snapshot: bool = False
    ) -> asyncio.Future[int]:
        return self._append(self._opened, self._opened.number + 1, kind, data, snapshot=snapshot)


def cancel_of(event: HookCancelled) -> Cancel:
    """What the exit run is told of an obligation that is taken back."""
    return Cancel(event.reason, event.strategy, event.below)


def withdrawn_in(told: list[Record]) -> dict[str, Cancel]:
    """Obligations that are taken back somewhere in these commits, and how. Those that cannot be read say nothing."""
    found: dict[str, Cancel] = {}
    for record in told:
        with suppress(Exception):
            events = commit.decode(record.data).events
            found |= {e.hook_id: cancel_of(e) for e in events if isinstance(e, HookCancelled)}
    return found


def closed_run(started: RunStarted, bundle: Bundle, record: ExitRecord, now: float) -> Run:
    """A closed run with these inputs, numbered to come behind what the log may still hold of it."""
    run, _ = decide.begin(started, bundle, now)
    decide.decide(run, Cancel("replayed"), now)
    while run.unfinished:
        decide.decide(run, GoOn(), now)
    run.state.replay = record.replays
    run.state.first_attempt = max([0, *(attempt.attempt for attempt in record.attempts)])  # an executor may know them
    run.commits = record.commits
    return run


async def tell_replayed(journal: Log, opened: ExitRun) -> None:
    """The owner of the workflow hears how a replay ended; done when that is durable."""
    owed, record = opened.obligation, opened.record
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
    to = Address(opened.family.partition, "m", REPLAYED)
    await journal.send(opened.family.partition, to, replayed_id(told), encode_replayed(told))


def after(done: asyncio.Future[Any], call: Callable[[], None]) -> None:
    """Whatever came of it: a run that is over, or somebody else's, has nothing to be cancelled here."""
    failed(done)
    call()


def failed(done: asyncio.Future[Any]) -> bool:
    """Whether it did not come about; whoever asked may be gone, so nobody else looks at the error."""
    return done.cancelled() or done.exception() is not None
