"""What a scheduler counts, for metrics: read when somebody asks, at no cost otherwise (docs/telemetry.md)."""

from __future__ import annotations

from collections import Counter as Tally

from exeunt.journal.checks import ServerCheck
from exeunt.journal.log import Log
from exeunt.scheduler.archive import Archiver
from exeunt.scheduler.dispatch import Dispatch
from exeunt.scheduler.runs import Runs
from exeunt.service.metrics import Gauge, Labels, Total

STATE = "cicd.pipeline.run.state"


def register(journal: Log, runs: Runs, dispatch: Dispatch, archiver: Archiver, server: ServerCheck) -> None:
    """Makes the numbers known. To be called once in a process."""
    Gauge("exeunt.workflows.open", "Workflows that are not finished", lambda: len(runs.by_uid), "{workflow}")
    Gauge("cicd.pipeline.run.active", "The same by state", lambda: _states(runs), "{run}")
    Gauge(
        "exeunt.workflows.unarchived",
        "Finished workflows that are not archived yet",
        lambda: archiver.waiting,
        "{workflow}",
    )
    Gauge("exeunt.workflows.resting", "Runs that do not go on: the log says why", lambda: runs.resting, "{workflow}")
    Gauge("exeunt.partitions", "Partitions that are loaded here", lambda: len(runs.loaded), "{partition}")
    Total("exeunt.commits", "Commits of main runs", lambda: runs.commits, "{commit}")
    Gauge("exeunt.log.fullness", "Part of the log's room that is taken, 0 to 1", lambda: journal.fullness)
    Gauge(
        "exeunt.log.distance",
        "Messages from the oldest one that is needed here to the newest",
        lambda: journal.distance,
        "{message}",
    )
    Gauge(
        "exeunt.nats.problems", "What is wrong with how NATS is set up: the log says it", lambda: len(server.problems)
    )
    _steps(dispatch)


def _steps(dispatch: Dispatch) -> None:
    placement = dispatch.placement

    def waiting() -> dict[Labels, float]:
        return {(("exit", str(exit).lower()),): placement.waiting(exit=exit) for exit in (False, True)}

    Gauge("exeunt.steps.waiting", "Steps that wait for a slot", waiting, "{step}")
    Gauge(
        "exeunt.steps.dispatched",
        "Steps that are with executors",
        lambda: sum(len(executor.flights) for executor in dispatch.executors.values()),
        "{step}",
    )
    Total("exeunt.steps.sent", "Steps sent to executors", lambda: dispatch.sent, "{step}")
    Total("exeunt.steps.wait", "Time that sent steps have waited for a slot", lambda: dispatch.waited_seconds, "s")
    Gauge(
        "exeunt.executors",
        "Executors that are connected",
        lambda: sum(1 for executor in dispatch.executors.values() if executor.link is not None),
        "{executor}",
    )


def _states(runs: Runs) -> dict[Labels, float]:
    """In the conventions' words: a workflow whose main run is over and whose exit handlers run is finalizing."""
    tally = Tally("finalizing" if entry.run.outcome else "executing" for entry in runs.by_uid.values())
    return {((STATE, state),): tally[state] for state in ("executing", "finalizing")}
