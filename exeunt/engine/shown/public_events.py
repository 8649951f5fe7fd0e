"""What subscribers hear of a commit (docs/events.md)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from exeunt.cloudevents import (
    BODY_BYTES,
    FAILURE_BYTES,
    MOST_FAILURES,
    STEP_ENDED,
    WORKFLOW_ENDED,
    About,
    AskedFor,
    AskedOfNode,
    Ending,
    Exiting,
    ExitSkipped,
    Failure,
    Kind,
    Outputs,
    Parent,
    Shutdown,
    StepEnded,
    Workflow,
    WorkflowEnded,
    few,
    last_lines,
    moment,
    outputs,
)
from exeunt.engine.facts import phases, timers
from exeunt.engine.facts.events import (
    Asked,
    Event,
    HookSkipped,
    MainEnded,
    NodeEnded,
    NodeStarted,
    Obligation,
    Retried,
    RunClosed,
    RunStarted,
    ShutdownSet,
    StepFinished,
    SuspensionSet,
    TimerSet,
)
from exeunt.engine.facts.nodes import Node
from exeunt.engine.facts.run import Run
from exeunt.engine.shown.culprit import culprit, handler_words, words
from exeunt.engine.shown.status import OPERATORS, count_nodes, head, status
from exeunt.engine.values.handlers import exit_handlers
from exeunt.language.metadata import CREATOR
from exeunt.utf8 import cut

NODE_BYTES = 100
"""What a node takes at least as JSON."""
_STEP_TYPES = phases.WORK | {phases.SUSPEND, phases.RETRY}


class PublicEvent(NamedTuple):
    """`type` without its prefix, as `workflow.running`; `subject` is the workflow's name or the node's.

    `hook`: the exit run that it is about; it is numbered within that.
    """

    type: Kind
    subject: str
    data: About
    hook: str = ""


def public_events(run: Run, events: Sequence[Event]) -> list[PublicEvent]:
    """The public events of one commit of a main run, in their order. The same commit always gives the same ones.

    What is told of exit runs is the exit handler's to say (exithandler/announce.py), but for those that never are.
    """
    if run.exit:
        return []
    told: list[PublicEvent] = []
    seen = _Commit(run, events)
    for event in events:
        if isinstance(event, NodeEnded):
            node = run.nodes[event.node]
            if not node.ending and run.id(node) not in seen.heard:  # one that was killed is over when it says so itself
                told += _step(run, node)
        else:
            told += _of(run, event, seen)
    return told


class _Commit:
    """What one event of a commit has to know of the others."""

    def __init__(self, run: Run, events: Sequence[Event]) -> None:
        self.heard: set[str] = set()
        self.again = self.stopped = False
        self.ended: list[Node] = []  # suspend nodes
        self._timers: set[str] = set()
        started = 0
        for event in events:
            match event:
                case StepFinished():
                    self.heard.add(event.node)
                case NodeStarted():
                    started += 1
                case NodeEnded() if run.nodes[event.node].type == phases.SUSPEND:
                    self.ended.append(run.nodes[event.node])
                case TimerSet():
                    self._timers.add(event.timer)
                case Retried():
                    self.again = True
                case ShutdownSet():
                    self.stopped = True
        self._run = run
        self._next = len(run.nodes) - started

    def begun(self) -> Node:
        """The node of the next `NodeStarted`: nodes are numbered as they start."""
        self._next += 1
        return self._run.nodes[self._next - 1]

    def waits(self, node: Node) -> bool:
        """Whether it waits for people from here on, and not for a time."""
        return node.type == phases.SUSPEND and timers.wait(self._run.id(node)) not in self._timers


def _of(run: Run, event: Event, seen: _Commit) -> Iterator[PublicEvent]:
    match event:
        case RunStarted():
            yield _workflow(run, "workflow.submitted")
        case Retried():
            yield _asked(run, "workflow.retried", event.by, event.message)
            yield _workflow(run, "workflow.running")
        case NodeStarted():
            node = seen.begun()
            if event.owner < 0 and not seen.again:  # a retry runs as soon as it is one
                yield _workflow(run, "workflow.running")
            if event.phase == phases.RUNNING and seen.waits(node) and not node.ending:
                yield _of_node(run, "workflow.suspended", node, "", node.message)
        case SuspensionSet(suspended=True):
            yield _of_node(run, "workflow.suspended", None, event.by, event.message)
        case SuspensionSet() if not seen.stopped:
            yield _of_node(run, "workflow.resumed", None, event.by, event.message)
            yield from _resumed(run, seen, event)
        case Asked():
            yield from _resumed(run, seen, event)
        case StepFinished():
            yield from _step(run, run.nodes[run.by_id[event.node]])
        case HookSkipped():
            yield _skipped(run, event)
        case MainEnded():
            yield PublicEvent("workflow.exiting", run.name, _exiting(run, event))
        case RunClosed():
            yield PublicEvent(WORKFLOW_ENDED[event.phase], run.name, _ended(run))
            if run.deleted:
                yield deleted(run)


# --- the workflow -----------------------------------------------------------------------------------------------------


def _about(run: Run) -> dict[str, Any]:
    started = run.state.started
    return {
        "workflow": run.name,
        "uid": run.uid,
        "namespace": run.namespace,
        "attempt": started.run_attempt,
        "parent": Parent(**started.started_by) if started.started_by else None,
        "labels": few({**run.workflow.metadata.labels, **started.labels}),
        "annotations": few(run.annotations),
    }


def _state(run: Run) -> dict[str, Any]:
    return {**_about(run), "phase": run.phase, "creator": run.annotations.get(CREATOR, "")}


def _workflow(run: Run, kind: Kind) -> PublicEvent:
    return PublicEvent(kind, run.name, Workflow(**_state(run)))


def _asked(run: Run, kind: Kind, by: str, message: str) -> PublicEvent:
    return PublicEvent(kind, run.name, AskedFor(**_state(run), by=by, message=message))


def _of_node(run: Run, kind: Kind, node: Node | None, by: str, message: str) -> PublicEvent:
    name, id = ("", "") if node is None else (run.names.full(node), run.id(node))
    body = AskedOfNode(**_state(run), by=by, message=message, node=name, node_id=id)
    return PublicEvent(kind, name or run.name, body)


def _resumed(run: Run, seen: _Commit, event: SuspensionSet | Asked) -> Iterator[PublicEvent]:
    """Nodes that somebody has ended."""
    for node in seen.ended:
        yield _of_node(run, "workflow.resumed", node, event.by, event.message)


def deleted(run: Run) -> PublicEvent:
    """The last event of a workflow: it was deleted, and has nothing more to tell."""
    return _asked(run, "workflow.deleted", run.state.shutdown_by, run.state.shutdown_message)


def _shutdown(run: Run) -> Shutdown | None:
    state = run.state
    if state.shutdown_reason not in OPERATORS:
        return None
    return Shutdown(strategy=state.shutdown, by=state.shutdown_by, message=state.shutdown_message)


def _exiting(run: Run, event: MainEnded) -> Exiting:
    state = run.state
    return Exiting(
        **{**_state(run), "phase": event.outcome},
        reason=event.reason,
        message=_message(run, event.message),
        shutdown=_shutdown(run),
        outputs=outputs(state.global_outputs.items()),
        failures=list(_failures(run)),
        started_at=moment(state.started_at),
        finished_at=moment(run.now),
        duration=_seconds(state.started_at, run.now),
    )


def ending(run: Run) -> Ending:
    """What came of a run that has closed, in short."""
    state = run.state
    return Ending(
        **_state(run),
        outcome=state.outcome,
        reason=state.reason,
        finalization=state.finalization,
        message=_last_message(run),
        shutdown=_shutdown(run),
        outputs=outputs(state.global_outputs.items()),
        started_at=moment(state.started_at),
        finished_at=moment(state.finished_at),
        duration=_seconds(state.started_at, state.finished_at),
    )


def _ended(run: Run) -> WorkflowEnded:
    """The whole workflow, without its nodes where no event has room for so many."""
    few_nodes = count_nodes(run) * NODE_BYTES <= BODY_BYTES
    return whole(ending(run), status(run) if few_nodes else head(run), complete=few_nodes)


def whole(short: Ending, tree: dict[str, Any], *, complete: bool = True) -> WorkflowEnded:
    """The body of an event that has the whole workflow; not `complete`: its nodes are left out."""
    if not complete:
        tree = {**tree, "status": {k: v for k, v in tree["status"].items() if k != "nodes"}}
    return WorkflowEnded(
        **msgspec.structs.asdict(short) | {"truncated": msgspec.UNSET if complete else ["status.nodes"]},
        api_version=tree["apiVersion"],
        kind=tree["kind"],
        metadata=tree["metadata"],
        spec=tree["spec"],
        status=tree["status"],
    )


def _message(run: Run, message: str) -> str:
    """Of the main run: with the node that failed, unless the run as a whole was ended."""
    if run.outcome not in phases.BAD or not run.nodes or not run.root.failed or (message and run.state.shutdown_reason):
        return message
    return words(run, run.root, message)


def _last_message(run: Run) -> str:
    state = run.state
    if state.phase not in phases.BAD or state.outcome in phases.BAD:
        return _message(run, state.message)
    failed = [hook for hook in exit_handlers(run) if hook.phase in phases.BAD and hook.parent == 0]
    return handler_words(failed[0], state.message) if failed else state.message


def _failures(run: Run) -> Iterator[Failure]:
    """The first that failed."""
    count = 0
    for key in run.state.bad:
        outcome = run.state.hooks[-1 - key].outcome if key < 0 else None
        trees = outcome.nodes if outcome is not None else []
        found = [_failed(run, run.nodes[key])] if key >= 0 else [_failed_there(t) for t in trees if _bad(t)]
        yield from found[: MOST_FAILURES - count]
        count += len(found)
        if count >= MOST_FAILURES:
            return


def _bad(tree: dict[str, Any]) -> bool:
    return tree.get("phase") in phases.BAD


def _failed(run: Run, node: Node) -> Failure:
    return Failure(
        node=run.names.full(node),
        node_id=run.id(node),
        template=template_of(node),
        phase=node.phase,
        message=cut(node.message, FAILURE_BYTES),
        exit_code=_exit_code(node),
        finished_at=moment(node.finished),
    )


def _failed_there(tree: dict[str, Any]) -> Failure:
    """In an exit run."""
    code = (tree.get("outputs") or {}).get("exitCode")
    finished = str(tree.get("finishedAt") or "")
    return Failure(
        node=str(tree.get("name", "")),
        node_id=str(tree.get("id", "")),
        template=str((tree.get("templateRef") or {}).get("template") or tree.get("templateName", "")),
        phase=str(tree["phase"]),
        message=cut(str(tree.get("message", "")), FAILURE_BYTES),
        exit_code=None if code is None else int(code),
        finished_at=finished.replace("Z", ".000Z"),
    )


# --- steps and handlers -----------------------------------------------------------------------------------------------


def _step(run: Run, node: Node) -> list[PublicEvent]:
    """A step's end, as its node says it: of a retried one only the end of all its attempts."""
    if node.type not in _STEP_TYPES or node.retried or node.phase not in STEP_ENDED or _of_hook(run, node):
        return []
    given = node.outputs
    body = StepEnded(
        **_about(run),
        node=run.names.full(node),
        node_id=run.id(node),
        template=template_of(node),
        phase=node.phase,
        message=words(run, node, node.message) if node.failed else node.message,
        exit_code=_exit_code(node),
        tries=len(node.members) if node.type == phases.RETRY else 1,
        outputs=outputs(given.parameters, given.result) if given is not None else Outputs(),
        started_at=moment(node.started),
        finished_at=moment(node.finished),
        duration=_seconds(node.started, node.finished),
        log=last_lines(culprit(run, node).tail) if node.failed else [],
    )
    return [PublicEvent(STEP_ENDED[node.phase], run.names.full(node), body)]


def template_of(node: Node) -> str:
    """The template's name, as the step or task calls it."""
    return node.template if node.ref is None else node.ref[1]


def _exit_code(node: Node) -> int | None:
    return node.outputs.exit_code if node.outputs is not None else None


def _seconds(start: float, end: float) -> float:
    return round(max(0.0, end - start), 3)


def _of_hook(run: Run, node: Node) -> bool:
    """Whether the node belongs to a hook: of a main run only to one that a stop has kept from running."""
    if run.state.shutdown and any(hook.inner >= 0 for hook in run.state.hooks):
        while not node.hook and node.owner >= 0:
            node = run.nodes[node.owner]
    return bool(node.hook)


def _skipped(run: Run, event: HookSkipped) -> PublicEvent:
    owed = event.obligation
    body = ExitSkipped(**{**_about(run), **handler(owed)}, error=event.why)
    return PublicEvent("exit.skipped", owed.hook_node_name, body, hook=owed.hook_id)


def handler(owed: Obligation) -> dict[str, Any]:
    """Which handler an obligation asks for, as events of exit runs say it."""
    ref = owed.caller.get("templateRef") or {}
    return {
        "id": owed.hook_id,
        "node": owed.node_name,
        "node_id": owed.node,
        "hook": owed.hook,
        "template": f"{ref['name']}/{ref['template']}" if ref.get("name") else owed.caller.get("template", ""),
        "reason": owed.reason or "Running",
    }
