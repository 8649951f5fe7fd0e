"""What subscribers hear of exit runs: `exit.started`, then `exit.succeeded` or `exit.failed` (docs/events.md).

The events of a run are numbered two for each time it runs, so that each has the same id whenever it is published again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from functools import partial
from typing import Any

import msgspec

from exeunt import traces
from exeunt.cloudevents import ExitAttempt, ExitRun, Kind
from exeunt.engine.events import Obligation
from exeunt.engine.scope import rfc3339
from exeunt.exithandler.record import ENDED, RUNNING, SUCCEEDED, ExitRecord
from exeunt.journal.errors import LogClosed
from exeunt.journal.public import Events

log = logging.getLogger(__name__)


class Announcer:
    """Publishes. One for each process."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._out: set[str] = set()  # ids that a former owner has published

    async def look(self, uids: Collection[str], since: float) -> None:
        """Learns what is out already of these workflows, before runs are taken up."""
        if uids:
            self._out |= await self._events.published(uids, since)

    def started(self, obligation: Obligation, record: ExitRecord) -> None:
        """The run has begun: that is published soon, and in any case before its end. One that cannot begin has none."""
        if not record.started_at or f"{obligation.uid}.{_number(record, 1)}" in self._out:
            return
        body = _body(obligation, record)
        posted = self._post(obligation, _number(record, 1), "exit.started", record.started_at, body)
        posted.add_done_callback(partial(_given_up, record.id, "exit.started"))

    async def ended(self, obligation: Obligation, record: ExitRecord) -> None:
        """The run has ended. Returns when that is durable, or events are not to be waited for (`Events.out`)."""
        kind = _kind(record)
        posted = self._post(obligation, _number(record, 2), kind, record.finished_at, _body(obligation, record))
        posted.add_done_callback(partial(_given_up, record.id, kind))
        await self._events.out()

    def _post(self, obligation: Obligation, number: str, kind: Kind, at: float, body: ExitRun) -> asyncio.Future[int]:
        return self._events.post(**_event(obligation, number, kind, at, body))


def told(obligation: Obligation, record: ExitRecord) -> list[dict[str, Any]]:
    """What was published of an exit run, as its record stands: of its last replay."""
    body = _body(obligation, record)
    found = []
    if record.started_at:
        begun = msgspec.structs.replace(body, state=RUNNING, attempts=[], error="")
        found.append(_event(obligation, _number(record, 1), "exit.started", record.started_at, begun))
    if record.state in ENDED:
        found.append(_event(obligation, _number(record, 2), _kind(record), record.finished_at, body))
    return found


def _kind(record: ExitRecord) -> Kind:
    return "exit.succeeded" if record.state == SUCCEEDED else "exit.failed"


def _event(obligation: Obligation, number: str, kind: Kind, at: float, body: ExitRun) -> dict[str, Any]:
    hook_id, _, count = number.partition(".")
    return {
        "namespace": obligation.namespace,
        "uid": obligation.uid,
        "workflow": obligation.name,
        "number": number,
        "kind": kind,
        "subject": obligation.hook_node_name,
        "at": at,
        "data": body,
        "trace": traces.of_exit(obligation.trace, hook_id, (int(count) - 1) // 2) if obligation.trace else {},
    }


def _given_up(id: str, kind: Kind, posted: asyncio.Future[int]) -> None:
    error = None if posted.cancelled() else posted.exception()
    if error is not None and not isinstance(error, LogClosed):
        log.error("%s of %s is given up: %s", kind, id, error)


def _number(record: ExitRecord, which: int) -> str:
    return f"{record.id}.{2 * record.replays + which}"


def _body(obligation: Obligation, record: ExitRecord) -> ExitRun:
    return ExitRun(
        id=record.id,
        workflow=record.workflow,
        uid=record.uid,
        namespace=record.namespace,
        node=record.node,
        hook=record.hook,
        state=record.state,
        reason=obligation.reason,
        replays=record.replays,
        attempts=[
            ExitAttempt(
                node=a.node,
                phase=a.phase,
                started_at=rfc3339(a.started_at),
                finished_at=rfc3339(a.finished_at),
                error=a.error,
            )
            for a in record.attempts
        ],
        error=record.error,
    )
