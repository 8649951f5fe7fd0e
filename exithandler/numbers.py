"""What an exit handler counts, for metrics: read when somebody asks, at no cost otherwise (docs/telemetry.md)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from exeunt.exithandler.record import DUE, RUNNING, ExitRecord
from exeunt.service.metrics import Gauge, Labels

if TYPE_CHECKING:
    from exeunt.exithandler.handler import Handler


def register(handler: Handler) -> None:
    """Makes the numbers known. To be called once in a process."""
    journal = handler.journal
    Gauge("exeunt.exits.open", "Exit runs that are not finished, by state", lambda: _counts(handler), "{run}")
    Gauge("exeunt.exits.oldest", "Age of the handler that has been owed the longest", lambda: _oldest(handler), "s")
    Gauge("exeunt.actions.running", "Actions under way", lambda: handler.steps.busy, "{action}")
    Gauge("exeunt.exits.steps", "Container steps of exit runs that wait or run", lambda: len(handler.client), "{step}")
    Gauge("exeunt.log.fullness", "Part of the log's room that is taken, 0 to 1", lambda: journal.fullness)
    Gauge(
        "exeunt.log.distance",
        "Messages from the oldest one that is needed here to the newest",
        lambda: journal.distance,
        "{message}",
    )


def _open(handler: Handler) -> list[ExitRecord]:
    return [run.record for run in handler.runs.runs.values()]


def _counts(handler: Handler) -> dict[Labels, float]:
    states = [record.state for record in _open(handler)]
    return {
        (("state", DUE),): states.count(DUE) + handler.runs.beginning,
        (("state", RUNNING),): states.count(RUNNING),
    }


def _oldest(handler: Handler) -> float:
    """In seconds; 0 when nothing is owed."""
    return max((max(0.0, time.time() - record.due_at) for record in _open(handler)), default=0.0)
