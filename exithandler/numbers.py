"""What an exit handler counts, for metrics: read when somebody asks, at no cost otherwise (docs/telemetry.md)."""

from __future__ import annotations

import time

from exeunt.exithandler.exit_runs import ExitRuns
from exeunt.exithandler.obligations import Obligations
from exeunt.exithandler.perform import ExitSteps
from exeunt.exithandler.record import DUE, RUNNING, ExitRecord
from exeunt.exithandler.steps_client import StepsClient
from exeunt.journal.log import Log
from exeunt.service.metrics import Gauge, Labels


def register(journal: Log, runs: ExitRuns, obligations: Obligations, steps: ExitSteps, client: StepsClient) -> None:
    """Makes the numbers known. To be called once in a process."""
    Gauge("exeunt.exits.open", "Exit runs that are not finished, by state", lambda: _counts(runs, obligations), "{run}")
    Gauge("exeunt.exits.oldest", "Age of the handler that has been owed the longest", lambda: _oldest(runs), "s")
    Gauge("exeunt.actions.running", "Actions under way", lambda: steps.busy, "{action}")
    Gauge("exeunt.exits.steps", "Container steps of exit runs that wait or run", lambda: len(client), "{step}")
    Gauge("exeunt.log.fullness", "Part of the log's room that is taken, 0 to 1", lambda: journal.fullness)
    Gauge(
        "exeunt.log.distance",
        "Messages from the oldest one that is needed here to the newest",
        lambda: journal.distance,
        "{message}",
    )


def _open(runs: ExitRuns) -> list[ExitRecord]:
    return [run.record for run in runs.runs.values()]


def _counts(runs: ExitRuns, obligations: Obligations) -> dict[Labels, float]:
    states = [record.state for record in _open(runs)]
    return {
        (("state", DUE),): states.count(DUE) + len(obligations),
        (("state", RUNNING),): states.count(RUNNING),
    }


def _oldest(runs: ExitRuns) -> float:
    """In seconds; 0 when nothing is owed."""
    return max((max(0.0, time.time() - record.due_at) for record in _open(runs)), default=0.0)
