"""What subscribers hear of a commit (contract.md, the table of events)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from exeunt.cloudevents import STEP_ENDED, WORKFLOW_ENDED, Exiting, Kind, StepEnded, Workflow
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

    type: Kind
    subject: str
    data: msgspec.Struct | dict[str, Any]


def public_events(run: Run, events: Sequence[Event]) -> list[PublicEvent]:
    """The public events of one commit of a main run, in their order. The same commit always gives the same ones.

    What is told of exit runs is the exit handler's to say (exithandler/announce.py).
    """
    if run.exit:
        return []
    told: list[PublicEvent] = []
    for event in events:
        told += _of(run, event)
    return told


def _of(run: Run, event: Event) -> list[PublicEvent]:
    match event:
        case RunStarted():
            return [PublicEvent("workflow.submitted", run.name, Workflow(**_identity(run)))]
        case Retried():
            return [PublicEvent("workflow.running", run.name, Workflow(**_identity(run)))]
        case StepPlaced():
            return _first(run, event)
        case StepFinished():
            return _step(run, run.nodes[run.by_id[event.node]], event.outcome.phase)
        case NodeEnded():
            return _step(run, run.nodes[event.node], event.phase)
        case MainEnded():
            return [PublicEvent("workflow.exiting", run.name, _exiting(run, event))]
        case RunClosed():
            return [PublicEvent(WORKFLOW_ENDED[event.phase], run.name, status(run))]
    return []


def _identity(run: Run) -> dict[str, Any]:
    labels = {**run.workflow.metadata.labels, **run.state.started.labels}
    return {"name": run.name, "uid": run.uid, "namespace": run.namespace, "labels": labels}


def _first(run: Run, event: StepPlaced) -> list[PublicEvent]:
    key = run.by_id[event.node]
    first = next((node.key for node in run.nodes if node.executor), -1)
    if key != first or event.attempt:
        return []
    return [PublicEvent("workflow.running", run.name, Workflow(**_identity(run)))]


def _step(run: Run, node: Node, phase: str) -> list[PublicEvent]:
    """A step's end: of a retried one only the end of all its attempts."""
    if node.type not in _STEP_TYPES or node.retried or phase not in STEP_ENDED:
        return []
    body = StepEnded(
        **_identity(run),
        node=run.id(node),
        node_name=run.names.full(node),
        template=node.template,
        phase=phase,
        message=node.message,
        exit_code=node.outputs.exit_code if node.outputs is not None else None,
        outputs=outputs_tree(node.outputs) if node.outputs is not None else {},
        started_at=rfc3339(node.started),
        finished_at=rfc3339(node.finished),
    )
    return [PublicEvent(STEP_ENDED[phase], run.names.full(node), body)]


def _exiting(run: Run, event: MainEnded) -> Exiting:
    return Exiting(
        **_identity(run),
        phase=event.outcome,
        reason=event.reason,
        outputs=dict(run.state.global_outputs),
        failures=hooks.failures_list(run),
        duration=run.now - run.state.started_at,
    )
