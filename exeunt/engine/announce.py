"""What subscribers hear of a commit (contract.md, the table of events)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from exeunt.engine import hooks, phases
from exeunt.engine.events import Event, MainEnded, NodeEnded, Retried, RunClosed, RunStarted, StepFinished, StepPlaced
from exeunt.engine.nodes import Node
from exeunt.engine.scope import rfc3339
from exeunt.engine.shape import outputs_tree
from exeunt.engine.state import Run
from exeunt.engine.status import status

_STEP_TYPES = phases.WORK | {phases.SUSPEND, phases.RETRY}


class PublicEvent(NamedTuple):
    """`type` without its prefix, as `workflow.running`; `subject` is the workflow's name or the node's."""

    type: str
    subject: str
    data: dict[str, Any]


def public_events(run: Run, events: Sequence[Event]) -> list[PublicEvent]:
    """The public events of one commit, in their order. The same commit always gives the same ones."""
    told: list[PublicEvent] = []
    for event in events:
        told += _of(run, event)
    return told


def _of(run: Run, event: Event) -> list[PublicEvent]:
    match event:
        case RunStarted():
            return _run_started(run)
        case Retried():
            return [PublicEvent("workflow.running", run.name, _identity(run))]
        case StepPlaced() if not run.exit:
            return _first(run, event)
        case StepFinished():
            return _step(run, run.nodes[run.by_id[event.node]], event.outcome.phase)
        case NodeEnded():
            return _step(run, run.nodes[event.node], event.phase)
        case MainEnded() if not run.exit:
            return [PublicEvent("workflow.exiting", run.name, _exiting(run, event))]
        case RunClosed():
            return _closed(run, event)
    return []


def _run_started(run: Run) -> list[PublicEvent]:
    if run.exit:
        return [PublicEvent("exit.started", _subject(run), _exit_body(run))]
    return [PublicEvent("workflow.submitted", run.name, _identity(run))]


def _identity(run: Run) -> dict[str, Any]:
    labels = {**run.workflow.metadata.labels, **run.state.started.labels}
    return {"name": run.name, "uid": run.uid, "namespace": run.namespace, "labels": labels}


def _first(run: Run, event: StepPlaced) -> list[PublicEvent]:
    key = run.by_id[event.node]
    first = next((node.key for node in run.nodes if node.executor), -1)
    return [PublicEvent("workflow.running", run.name, _identity(run))] if key == first and not event.attempt else []


def _step(run: Run, node: Node, phase: str) -> list[PublicEvent]:
    """A step's end: of a retried one only the end of all its attempts."""
    if run.exit or node.type not in _STEP_TYPES or node.retried or phase not in phases.COMPLETED:
        return []
    body = {
        **_identity(run),
        "node": run.id(node),
        "nodeName": run.names.full(node),
        "template": node.template,
        "phase": phase,
        "message": node.message,
        "exitCode": node.outputs.exit_code if node.outputs is not None else None,
        "outputs": outputs_tree(node.outputs) if node.outputs is not None else {},
        "startedAt": rfc3339(node.started),
        "finishedAt": rfc3339(node.finished),
    }
    return [PublicEvent(f"step.{phase.lower()}", run.names.full(node), body)]


def _exiting(run: Run, event: MainEnded) -> dict[str, Any]:
    return {
        **_identity(run),
        "phase": event.outcome,
        "reason": event.reason,
        "outputs": dict(run.state.global_outputs),
        "failures": hooks.failures_list(run),
        "duration": run.now - run.state.started_at,
    }


def _subject(run: Run) -> str:
    owed = run.obligation
    return owed.hook_node_name if owed is not None else run.name


def _exit_body(run: Run) -> dict[str, Any]:
    owed = run.obligation
    assert owed is not None
    return {
        **_identity(run),
        "id": owed.hook_id,
        "hook": owed.hook,
        "node": owed.node,
        "nodeName": owed.node_name,
        "reason": owed.reason,
        "attempt": run.state.replay + 1,
    }


def _closed(run: Run, event: RunClosed) -> list[PublicEvent]:
    if event.hook is None:
        return [PublicEvent(f"workflow.{event.phase.lower()}", run.name, status(run))]
    kind = "exit.succeeded" if event.hook.state == "succeeded" else "exit.failed"
    body = {**_exit_body(run), "phase": event.hook.phase, "state": event.hook.state, "error": event.hook.message}
    return [PublicEvent(kind, _subject(run), body)]
