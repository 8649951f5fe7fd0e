"""What subscribers hear of a commit (contract.md, the table of events)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from exeunt.cloudevents import BODY_BYTES, STEP_ENDED, WORKFLOW_ENDED, Exiting, Kind, StepEnded, Workflow
from exeunt.engine import hooks, phases
from exeunt.engine.cause import cause
from exeunt.engine.events import Event, MainEnded, NodeEnded, NodeStarted, Retried, RunClosed, RunStarted, StepFinished
from exeunt.engine.nodes import Node
from exeunt.engine.scope import rfc3339
from exeunt.engine.shape import outputs_tree
from exeunt.engine.state import Run
from exeunt.engine.status import count_nodes, head, status

_NODE_BYTES = 100
"""What a node takes at least as JSON."""
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
    heard = {event.node for event in events if isinstance(event, StepFinished)}
    again = any(isinstance(event, Retried) for event in events)
    for event in events:
        if isinstance(event, NodeEnded):
            node = run.nodes[event.node]
            if not node.ending and run.id(node) not in heard:  # one that was killed is over when it says so itself
                told += _step(run, node)
        elif not (again and isinstance(event, NodeStarted)):  # the retry itself says that it runs
            told += _of(run, event)
    return told


def _of(run: Run, event: Event) -> list[PublicEvent]:
    match event:
        case RunStarted():
            return [PublicEvent("workflow.submitted", run.name, Workflow(**_identity(run)))]
        case Retried():
            return [PublicEvent("workflow.running", run.name, Workflow(**_identity(run)))]
        case NodeStarted(owner=-1):
            return [PublicEvent("workflow.running", run.name, Workflow(**_identity(run)))]
        case StepFinished():
            return _step(run, run.nodes[run.by_id[event.node]])
        case MainEnded():
            return [PublicEvent("workflow.exiting", run.name, _exiting(run, event))]
        case RunClosed():
            return [PublicEvent(WORKFLOW_ENDED[event.phase], run.name, _ended(run))]
    return []


def _ended(run: Run) -> dict[str, Any]:
    """The whole workflow, without its nodes where no event has room for so many."""
    if count_nodes(run) * _NODE_BYTES <= BODY_BYTES:
        return status(run)
    return {**head(run), "truncated": ["status.nodes"]}


def _identity(run: Run) -> dict[str, Any]:
    labels = {**run.workflow.metadata.labels, **run.state.started.labels}
    return {"name": run.name, "uid": run.uid, "namespace": run.namespace, "labels": labels}


def _step(run: Run, node: Node) -> list[PublicEvent]:
    """A step's end, as its node says it: of a retried one only the end of all its attempts."""
    if node.type not in _STEP_TYPES or node.retried or node.phase not in STEP_ENDED or _of_hook(run, node):
        return []
    body = StepEnded(
        **_identity(run),
        node=run.id(node),
        node_name=run.names.full(node),
        template=node.template,
        phase=node.phase,
        message=node.message,
        cause=cause(run, node),
        exit_code=node.outputs.exit_code if node.outputs is not None else None,
        outputs=outputs_tree(node.outputs) if node.outputs is not None else {},
        started_at=rfc3339(node.started),
        finished_at=rfc3339(node.finished),
    )
    return [PublicEvent(STEP_ENDED[node.phase], run.names.full(node), body)]


def _of_hook(run: Run, node: Node) -> bool:
    """Whether the node belongs to a hook: of a main run only to one that a stop has kept from running."""
    if run.state.shutdown and any(hook.inner >= 0 for hook in run.state.hooks):
        while not node.hook and node.owner >= 0:
            node = run.nodes[node.owner]
    return bool(node.hook)


def _exiting(run: Run, event: MainEnded) -> Exiting:
    return Exiting(
        **_identity(run),
        phase=event.outcome,
        reason=event.reason,
        outputs=dict(run.state.global_outputs),
        failures=hooks.failures_list(run),
        duration=run.now - run.state.started_at,
    )
