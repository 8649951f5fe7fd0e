"""One exit run that is open in this process; and how a run begins, and how it ends where it cannot be carried out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from exeunt.driver.driver import Driver
from exeunt.engine.facts import MESSAGE_BYTES, HookOutcome, Obligation, RunClosed, RunStarted
from exeunt.exithandler.commits import RunCommits
from exeunt.exithandler.record import ExitRecord
from exeunt.journal.subjects import Family
from exeunt.utf8 import cut


class OpenExitRun:
    """An exit run that is open here. `driver` is None while it only waits to be closed as parked."""

    __slots__ = (
        "announced",
        "commits",
        "driver",
        "ending",
        "gone",
        "obligation",
        "record",
        "taken_up",
    )

    commits: RunCommits

    def __init__(self, obligation: Obligation, record: ExitRecord) -> None:
        self.obligation = obligation
        self.record = record
        self.driver: Driver | None = None
        self.taken_up: Callable[[], None] | None = None  # to be called once, when something of it is in the log
        self.gone = asyncio.Event()  # not open here any more
        self.announced = -1  # the replay whose exit.started was given out
        self.ending: RunClosed | None = None  # read from the log: settled, but not yet told

    @property
    def id(self) -> str:
        """The hook id: what the ledger knows it by."""
        return self.obligation.hook_id

    @property
    def family(self) -> Family:
        """What the log knows it by."""
        return self.commits.family

    def on_durable(self) -> None:
        """The log has one more commit of it."""
        if self.taken_up is not None:
            self.taken_up()
            self.taken_up = None


def obligation_of_driver(driver: Driver) -> Obligation:
    """What the driver's run was made from."""
    obligation = driver.run.obligation
    assert obligation is not None
    return obligation


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
