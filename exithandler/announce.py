"""What subscribers hear of exit runs: `exit.started`, then `exit.succeeded` or `exit.failed` (docs/events.md).

Events are numbered so that each has the same id whenever it is published again. The first time that the run runs has 1
and 2; each replay has three more, the third of which the scheduler publishes (exeunt/replayed.py).
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

from exeunt import traces
from exeunt.actions.masking import Masker
from exeunt.cloudevents import (
    About,
    Child,
    ExitAttempt,
    ExitEnded,
    ExitStarted,
    Kind,
    Outputs,
    Parent,
    few,
    moment,
    outputs,
)
from exeunt.engine.facts import Obligation
from exeunt.engine.shown import handler
from exeunt.exithandler.record import ENDED, SUCCEEDED, ExitRecord
from exeunt.journal.errors import LogClosed
from exeunt.journal.public import Events, EventToPublish
from exeunt.replayed import first_number

log = logging.getLogger(__name__)


class ExitAnnouncer:
    """Publishes the events of exit runs. One for each process."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._out: set[str] = set()  # ids that a former owner has published

    async def look(self, uids: Collection[str], since: float) -> None:
        """Learns what is out already of these workflows, before runs are taken up."""
        if uids:
            self._out |= await self._events.published(uids, since)

    def started(self, obligation: Obligation, record: ExitRecord) -> None:
        """The run has begun: that is published soon, and before its end. A run that cannot begin has no such event."""
        event = _began(obligation, record)
        if event is not None and event.id not in self._out:
            self._events.post(event).add_done_callback(partial(_given_up, event))

    async def ended(self, obligation: Obligation, record: ExitRecord) -> None:
        """The run has ended. Returns when that is durable, or events are not to be waited for (`Events.out`)."""
        event = _over(obligation, record)
        self._events.post(event).add_done_callback(partial(_given_up, event))
        await self._events.out()


def told(obligation: Obligation, record: ExitRecord) -> list[EventToPublish]:
    """The events that were published of the last replay of an exit run, made again from its record."""
    began = _began(obligation, record)
    found = [] if began is None else [began]
    if record.state in ENDED:
        found.append(_over(obligation, record))
    return found


def _began(owed: Obligation, record: ExitRecord) -> EventToPublish | None:
    if not record.started_at:
        return None
    body = ExitStarted(**_about(owed), replays=record.replays, started_at=moment(record.started_at))
    return _event(owed, record, "exit.started", record.started_at, body)


def _over(owed: Obligation, record: ExitRecord) -> EventToPublish:
    given = Masker().tree(record.outputs)
    code = given.get("exitCode")
    body = ExitEnded(
        **_about(owed),
        replays=record.replays,
        state=record.state,
        error=record.error,
        attempts=_attempts(record),
        outputs=_outputs(given),
        exit_code=None if code is None else int(code),
        children=[Child(**{key: str(one.get(key, "")) for key in _CHILD}) for one in record.children],
        started_at=moment(record.started_at),
        finished_at=moment(record.finished_at),
        duration=round(max(0.0, record.finished_at - record.started_at), 3) if record.started_at else 0.0,
    )
    kind: Kind = "exit.succeeded" if record.state == SUCCEEDED else "exit.failed"
    return _event(owed, record, kind, record.finished_at, body)


_CHILD = ("name", "namespace", "uid")


def _about(owed: Obligation) -> dict[str, Any]:
    annotations = owed.scope.get("workflow.annotations") or "null"  # as the variable of this name has them
    return {
        "workflow": owed.name,
        "uid": owed.uid,
        "namespace": owed.namespace,
        "attempt": owed.run_attempt,
        "parent": Parent(**owed.started_by) if owed.started_by else None,
        "labels": few(owed.labels),
        "annotations": few(json.loads(annotations) or {}),
        **handler(owed),
    }


def _attempts(record: ExitRecord) -> list[ExitAttempt]:
    names = {str(node.get("id")): str(node.get("name") or "") for node in record.nodes}
    return [
        ExitAttempt(
            node=names.get(one.id) or one.node,
            node_id=one.id,
            phase=one.phase,
            started_at=moment(one.started_at),
            finished_at=moment(one.finished_at),
            error=one.error,
        )
        for one in record.attempts
    ]


def _outputs(tree: Mapping[str, Any]) -> Outputs:
    """Argo's shape, as events have it."""
    return outputs(((one["name"], one.get("value")) for one in tree.get("parameters", ())), tree.get("result"))


def _event(owed: Obligation, record: ExitRecord, kind: Kind, at: float, body: About) -> EventToPublish:
    number = first_number(record.replays) + (kind != "exit.started")
    return EventToPublish(
        namespace=owed.namespace,
        uid=owed.uid,
        workflow=owed.name,
        number=f"{record.id}.{number}",
        kind=kind,
        subject=owed.hook_node_name,
        at=at,
        data=body,
        trace=traces.of_exit(owed.trace, record.id, record.replays) if owed.trace else {},
        run=record.id,
    )


def _given_up(event: EventToPublish, posted: asyncio.Future[int]) -> None:
    error = None if posted.cancelled() else posted.exception()
    if error is not None and not isinstance(error, LogClosed):
        log.error("%s of %s is given up: %s", event.kind, event.run, error)
