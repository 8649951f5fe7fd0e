"""The spans of an exit run that is over, made from its record in the ledger: its own, and one for each attempt."""

from __future__ import annotations

from collections.abc import Iterator

from exeunt import steps, traces
from exeunt.engine.facts import Obligation
from exeunt.exithandler.record import CANCELLED, PARKED, SKIPPED, SUCCEEDED, AttemptRecord, ExitRecord
from exeunt.service import telemetry
from exeunt.service.past import PastSpan

RESULTS = {SUCCEEDED: "success", SKIPPED: "skip", CANCELLED: "cancellation", PARKED: "error"}


def export(obligation: Obligation, record: ExitRecord) -> None:
    """Hands out the spans of an exit run that has ended. Does nothing while traces are off."""
    if telemetry.current.tracer is not None:
        spans = list(exit_spans(obligation, record))  # now: a replay goes on with the same record
        telemetry.current.export(lambda: spans, len(spans))


def exit_spans(obligation: Obligation, record: ExitRecord) -> Iterator[PastSpan]:
    """Of the latest replay: those before it have been exported."""
    origin = traces.sampled(obligation.trace)
    if origin is None:
        return
    trace_id, _ = origin
    own = traces.span_id(record.id, record.replays)
    tries = [attempt for attempt in record.attempts if attempt.replay == record.replays]
    began = min((attempt.due_at for attempt in tries), default=record.finished_at) if record.replays else record.due_at
    name = handler_name(obligation)
    yield PastSpan(
        name=f"EXIT {name}",
        kind="internal",
        trace_id=trace_id,
        span_id=own,
        parent_id=traces.span_id(obligation.uid),
        started=began,
        ended=record.finished_at,
        attributes={
            **traces.task_attributes(name, record.id, RESULTS.get(record.state, "failure")),
            "cicd.pipeline.task.run.url.full": traces.url(record.namespace, record.workflow, obligation.hook_node),
            "exeunt.hook": record.hook,
            "exeunt.node": record.node,
            "exeunt.state": record.state,
            "exeunt.replay": record.replays,
        },
        failed=record.state != SUCCEEDED,
        message=record.error,
    )
    for attempt in tries:
        if attempt.finished_at:
            yield _attempt_span(obligation, record, attempt, trace_id, own)


def _attempt_span(
    obligation: Obligation, record: ExitRecord, attempt: AttemptRecord, trace_id: str, parent: str
) -> PastSpan:
    id = steps.AttemptKey(obligation.uid, attempt.id, attempt.attempt, record.id).id
    display = traces.task_name(attempt.node)
    own = not display or display == obligation.display  # the handler is this one step
    attributes: dict[str, str | int | float | bool] = {
        **traces.task_attributes(
            handler_name(obligation) if own else display, id, traces.RESULTS.get(attempt.phase, "error")
        ),
        "cicd.pipeline.task.run.url.full": traces.url(record.namespace, record.workflow, attempt.id),
    }
    if attempt.executor:
        attributes["exeunt.executor"] = attempt.executor
    return PastSpan(
        name=str(attributes["cicd.pipeline.task.name"]),
        kind="internal",
        trace_id=trace_id,
        span_id=traces.span_id(id, record.replays),
        parent_id=parent,
        started=attempt.started_at or attempt.due_at,
        ended=attempt.finished_at,
        attributes=attributes,
        failed=attempt.phase != "Succeeded",
        message=attempt.error,
    )


def handler_name(obligation: Obligation) -> str:
    """The template that the hook names."""
    caller = obligation.caller
    ref = caller.get("templateRef") or {}
    return str(ref.get("template") or caller.get("template") or obligation.hook)
