"""The fold: how each event changes the state of a run. Nothing is decided here."""

from __future__ import annotations

from typing import Any

from exeunt.engine.facts import claims, fold_containers, fold_hooks, phases, timers, transitions
from exeunt.engine.facts.events import (
    Asked,
    ChildKnown,
    Event,
    GlobalsSet,
    HookCancelled,
    HookDue,
    HookFinished,
    HookOmitted,
    HookReplayed,
    HookSkipped,
    HookStarted,
    InputsSet,
    MainEnded,
    MoreToDecide,
    NodeDaemoned,
    NodeEnded,
    NodeNoted,
    NodeStarted,
    Reopened,
    Retried,
    RunClosed,
    RunStarted,
    ShutdownSet,
    Snapshot,
    StepCancelled,
    StepDue,
    StepFinished,
    StepPlaced,
    StepProgressed,
    StepReady,
    SuspensionSet,
    TimerCleared,
    TimerSet,
)
from exeunt.engine.facts.fold_hooks import inner_hook_ended
from exeunt.engine.facts.nodes import Node, counts_as_bad, fnv, hook_of, outputs_of, tail_of
from exeunt.engine.facts.reopen import reopened
from exeunt.engine.facts.standing import attempt, life, node_at, node_of
from exeunt.engine.facts.state import Facts, State
from exeunt.engine.facts.transitions import IllegalStep


def fold(run: Facts, event: Event) -> None:
    """One event. Events of a decision are folded as they are emitted, those of the log as they are read.

    Raises IllegalStep for one that cannot follow what is true; then nothing has changed.
    """
    kind = type(event)
    if kind in transitions.OF_A_RUN or run.state.closed or not run.state.phase:
        transitions.of_run(life(run), event, exit=run.exit)
    FOLDS[kind](run, event)


def _run_started(run: Facts, event: RunStarted) -> None:
    state = run.state
    state.phase = phases.RUNNING
    state.started_at = state.now


def _node_started(run: Facts, event: NodeStarted) -> None:
    nodes = run.nodes
    transitions.step("node", transitions.NOTHING, event, event.phase)
    owner = node_at(run, event.owner) if event.owner >= 0 else None
    for parent in event.links or ():
        _parent(run, parent)
    boundary = -1
    if owner is not None:
        inside = (owner.type in phases.BOUNDARIES or event.kind == phases.CONTAINER) and not event.hook
        boundary = owner.key if inside else owner.boundary
    node = Node(
        key=len(nodes),
        owner=event.owner,
        boundary=boundary,
        suffix=event.suffix,
        hash=fnv(event.suffix) if owner is None else fnv(event.suffix, owner.hash),
        type=event.kind,
        phase=event.phase,
        template=event.template,
        ref=event.ref,
        scope=event.scope,
        index=event.index,
        item=event.item,
        hook=event.hook,
        hooked=event.hooked,
        retried=event.retried,
        inputs=event.inputs,
        outputs=event.outputs,
        message=event.message,
        started=run.state.now,
        depth=0 if boundary < 0 else nodes[boundary].depth + 1,
        raised=event.raised,
        shown=event.display,
        effect=_effect(owner, event),
        artifacts=event.artifacts,
    )
    nodes.append(node)
    run.by_id[run.names.id(node)] = node.key
    _link(run, node, owner, event.links)
    if owner is not None and not event.hook:
        owner.members.append(node.key)
    if node.fulfilled:
        node.finished = run.state.now
        _count_bad(run, node)
        if node.hook:
            inner_hook_ended(run, node)
        return
    _count(run, node, 1)
    if owner is not None and not event.hook:
        owner.open_members += 1


def _effect(owner: Node | None, event: NodeStarted) -> int:
    if owner is None or not (owner.effect or event.retried):
        return 0
    return owner.effect or owner.hash if event.retried else fnv(event.suffix, owner.effect)


def _link(run: Facts, node: Node, owner: Node | None, links: list[int] | None) -> None:
    if links is None:
        if owner is not None:
            owner.children.append(node.key)
        return
    for parent in links:
        below = _parent(run, parent)
        if node.key not in below[-1:]:
            below.append(node.key)


def _parent(run: Facts, end: int) -> list[int]:
    """What hangs below a node, or below one end of a hook."""
    if end >= 0:
        return node_at(run, end).children
    number, own = hook_of(end)
    if number >= len(run.state.hooks):
        raise IllegalStep(f"there is no hook {number}")
    hook = run.state.hooks[number]
    return hook.own_links if own else hook.links


def _count(run: Facts, node: Node, step: int) -> None:
    """Counts an open node in or out, in its boundary and in the run."""
    if node.type == phases.SUSPEND:
        run.state.suspends += step
    if node.type == phases.POD:
        run.state.active_pods += step
    if node.boundary >= 0 and node.type in phases.COUNTED:
        boundary = run.nodes[node.boundary]
        boundary.active += step
        if node.type == phases.POD:
            boundary.active_pods += step


def _count_bad(run: Facts, node: Node) -> None:
    if node.phase in phases.BAD:
        run.state.bad.append(node.key)
        if node.boundary >= 0 and counts_as_bad(node):
            run.nodes[node.boundary].bad += 1


def _end(run: Facts, node: Node, phase: str, message: str) -> None:
    node.phase = phase
    node.message = message
    node.finished = run.state.now
    if not node.daemoned:
        _count(run, node, -1)
    _count_bad(run, node)
    if not node.ending:
        _fulfil(run, node)


def _fulfil(run: Facts, node: Node) -> None:
    """Notes that others need not wait for the node any more."""
    if node.daemoned:
        return  # that was noted when it was ready
    if node.hook:
        inner_hook_ended(run, node)
    elif node.owner >= 0:
        run.nodes[node.owner].open_members -= 1


def _node_ended(run: Facts, event: NodeEnded) -> None:
    node = node_at(run, event.node)
    transitions.step("node", node.phase, event, event.phase)
    if event.outputs is not None:
        node.outputs = event.outputs
    node.killed = event.killed
    node.raised = event.raised
    run.state.daemons.pop(node.key, None)
    _forget_step(run, node)
    _end(run, node, event.phase, event.message)
    fold_containers.ended(run, node)
    if node.type == phases.RETRY and node.members and not node.raised and not node.killed:
        node.outputs = run.nodes[node.members[-1]].outputs


def _node_noted(run: Facts, event: NodeNoted) -> None:
    node = node_at(run, event.node)
    transitions.step("node", node.phase, event)
    node.message = event.message
    if event.outputs is not None:
        node.outputs = event.outputs


def _inputs_set(run: Facts, event: InputsSet) -> None:
    node = node_at(run, event.node)
    transitions.step("node", node.phase, event)
    node.anew = event.inputs
    run.memory.clear()  # what is made of them


def _node_daemoned(run: Facts, event: NodeDaemoned) -> None:
    node = node_at(run, event.node)
    transitions.step("node", node.phase, event)
    _serve(run, node)


def _serve(run: Facts, node: Node) -> None:
    """Nobody waits for a daemon that is ready, and no limit counts it. One that is a hook ends at once."""
    run.state.daemons[node.key] = True
    if not (node.hook or node.daemoned):  # it may be ready once more, where it was begun again
        _fulfil(run, node)
        _count(run, node, -1)
        node.daemoned = True


def _forget_step(run: Facts, node: Node) -> None:
    if not node.cancelled:  # a result that comes late is read by what was wanted
        node.step = None
    run.state.placed.pop(node.key, None)
    run.state.due.pop(node.key, None)
    run.state.daemons.pop(node.key, None)


def _step_due(run: Facts, event: StepDue) -> None:
    node = node_of(run, event.node)
    transitions.step("node", node.phase, event)
    transitions.step("attempt", attempt(run, node), event)
    node.step = event.step
    node.attempt = event.attempt
    node.executor = ""
    node.progress = event.step.progress
    run.state.placed.pop(node.key, None)
    run.state.due[node.key] = True
    if event.step.daemon:
        run.state.daemons[node.key] = False


def _step_ready(run: Facts, event: StepReady) -> None:
    node = node_of(run, event.node)
    transitions.step("node", node.phase, event)
    transitions.step("attempt", attempt(run, node), event)
    node.address = event.address
    _serve(run, node)


def _step_progressed(run: Facts, event: StepProgressed) -> None:
    node = node_of(run, event.node)
    transitions.step("node", node.phase, event)
    transitions.step("attempt", attempt(run, node), event)
    node.progress = event.progress


def _step_placed(run: Facts, event: StepPlaced) -> None:
    node = node_of(run, event.node)
    following = transitions.step("node", node.phase, event)
    transitions.step("attempt", attempt(run, node), event)
    node.executor = event.executor
    run.state.claims = claims.placed(run.claims, node.step, event.executor)
    run.state.placed[node.key] = event.executor
    run.state.due.pop(node.key, None)
    node.phase = following
    fold_containers.placed(run, node)


def _step_finished(run: Facts, event: StepFinished) -> None:
    node = node_of(run, event.node)
    outcome = event.outcome
    late = node.phase in phases.FULFILLED  # it was killed before, and its phase stands
    transitions.step("node", node.phase, event, node.phase if late else outcome.phase)
    transitions.step("attempt", attempt(run, node), event)
    if (node.key, event.attempt) in run.state.cancelled:
        run.state.cancelled.remove((node.key, event.attempt))
    declared = node.step.outputs if node.step is not None else []
    run.state.claims = claims.finished(run.claims, node.step, outcome)
    node.cancelled = False
    _forget_step(run, node)
    outputs = outputs_of(outcome, declared)
    node.progress = outcome.progress or node.progress
    if outcome.phase in phases.BAD and outcome.log_tail:
        node.tail = tail_of(outcome.log_tail)
    if late and node.daemoned and node.phase == phases.SUCCEEDED:
        node.ending = False  # it was ended with its scope, and has done what it was for
        return
    if late:
        if node.message != phases.EXCEEDED:
            node.message = outcome.message or node.message
        node.outputs = outputs
        if node.ending:
            node.ending = False
            _fulfil(run, node)
        fold_containers.told(run, node, outcome)
        return
    node.outputs = outputs
    _end(run, node, outcome.phase, outcome.message)
    fold_containers.told(run, node, outcome)
    fold_containers.ended(run, node)


def _step_cancelled(run: Facts, event: StepCancelled) -> None:
    node = node_of(run, event.node)
    transitions.step("node", node.phase, event)
    placed = transitions.step("attempt", attempt(run, node), event) == transitions.CANCELLED
    node.cancelled = True
    node.ending = placed
    _forget_step(run, node)
    if placed:
        run.state.cancelled.append((node.key, event.attempt))
    else:
        node.step = None


def _timer_set(run: Facts, event: TimerSet) -> None:
    run.state.timers[event.timer] = event.due
    if event.timer == timers.DEADLINE:
        run.state.deadline = event.due


def _timer_cleared(run: Facts, event: TimerCleared) -> None:
    run.state.timers.pop(event.timer, None)


def _globals_set(run: Facts, event: GlobalsSet) -> None:
    run.state.global_outputs.update(event.values)
    run.state.global_artifacts.update(event.artifacts)
    run.outputs_version += 1


def _shutdown_set(run: Facts, event: ShutdownSet) -> None:
    run.state.shutdown = event.strategy or run.state.shutdown
    run.state.shutdown_message = event.message
    run.state.shutdown_by = event.by
    run.state.deleted = run.state.deleted or event.deleted
    run.state.shutdown_reason = event.reason or run.state.shutdown_reason
    if event.request_id:
        run.state.requests.append(event.request_id)


def _suspension_set(run: Facts, event: SuspensionSet) -> None:
    run.state.suspended = event.suspended
    if event.request_id:
        run.state.requests.append(event.request_id)


def _asked(run: Facts, event: Asked) -> None:
    if event.request_id:
        run.state.requests.append(event.request_id)


def _more_to_decide(run: Facts, event: MoreToDecide) -> None:
    run.state.unfinished = event.more


def _main_ended(run: Facts, event: MainEnded) -> None:
    run.state.outcome = event.outcome
    run.state.reason = event.reason
    run.state.main_message = event.message
    run.memory.clear()


def _run_closed(run: Facts, event: RunClosed) -> None:
    state = run.state
    state.phase = event.phase
    state.message = event.message
    state.finalization = event.finalization
    state.closed = True
    state.unfinished = False
    state.finished_at = state.now
    state.timers.clear()
    state.due.clear()


def _reopened(run: Facts, event: Reopened) -> None:
    old = run.state
    state = State(
        started=old.started,
        phase=phases.RUNNING,
        commits=old.commits,
        now=old.now,
        started_at=old.now,
        replay=event.replay,
        first_attempt=1 + max([old.first_attempt, *(node.attempt for node in old.nodes)]),
        again=event.again,
        outgoing=old.outgoing,
        requests=[*old.requests, event.request_id] if event.request_id else old.requests,
        claims=old.claims,
    )
    run.begin_anew(state)


def _retried(run: Facts, event: Retried) -> None:
    kept = claims.kept_after(run.spec, run.state.phase)
    run.begin_anew(reopened(run.state, event, claims=run.claims if kept else claims.ClaimsHome()))


def _nothing(run: Facts, event: Event) -> None:
    """A snapshot is for `replay` to read, a child for the ledger."""


FOLDS: dict[type[Event], Any] = {
    RunStarted: _run_started,
    NodeStarted: _node_started,
    NodeEnded: _node_ended,
    NodeNoted: _node_noted,
    InputsSet: _inputs_set,
    StepDue: _step_due,
    StepPlaced: _step_placed,
    StepProgressed: _step_progressed,
    StepReady: _step_ready,
    NodeDaemoned: _node_daemoned,
    StepFinished: _step_finished,
    StepCancelled: _step_cancelled,
    TimerSet: _timer_set,
    TimerCleared: _timer_cleared,
    HookDue: fold_hooks.hook_due,
    HookSkipped: fold_hooks.hook_skipped,
    HookOmitted: fold_hooks.hook_omitted,
    HookReplayed: fold_hooks.hook_replayed,
    HookStarted: fold_hooks.hook_started,
    ChildKnown: _nothing,
    HookCancelled: fold_hooks.hook_cancelled,
    HookFinished: fold_hooks.hook_finished,
    GlobalsSet: _globals_set,
    ShutdownSet: _shutdown_set,
    SuspensionSet: _suspension_set,
    Asked: _asked,
    MoreToDecide: _more_to_decide,
    MainEnded: _main_ended,
    RunClosed: _run_closed,
    Reopened: _reopened,
    Retried: _retried,
    Snapshot: _nothing,
}
