"""What comes from outside: results, placements, timers, operators (Argo: exec_control.go, util.go)."""

from __future__ import annotations

import msgspec

from exeunt.engine import phases
from exeunt.engine.events import (
    Asked,
    ChildKnown,
    HookCancelled,
    HookFinished,
    HookReplayed,
    NodeEnded,
    NodeNoted,
    Reopened,
    Retried,
    ShutdownSet,
    StepCancelled,
    StepDue,
    StepFinished,
    StepPlaced,
    SuspensionSet,
    TimerCleared,
    TimerSet,
)
from exeunt.engine.hooks import is_handler
from exeunt.engine.inputs import (
    Cancel,
    ChildStarting,
    HookEnded,
    Placed,
    Rejected,
    Replay,
    ReplayEnded,
    ResumeRun,
    RetryRun,
    SetNodes,
    Shutdown,
    StepEnded,
    StepLost,
    SuspendRun,
    TimerFired,
)
from exeunt.engine.nodes import Node, Outputs, ended_early
from exeunt.engine.outputs import export
from exeunt.engine.problem import MESSAGE_BYTES
from exeunt.engine.replayed import replayable
from exeunt.engine.selection import check_phase, waiting
from exeunt.engine.start import exempt, found_of
from exeunt.engine.state import Hook, Run
from exeunt.engine.steps import StepOutcome, starts_workflow
from exeunt.engine.suspension import defaults
from exeunt.engine.workflow import set_deadline
from exeunt.language.manifest import Template
from exeunt.language.templates import TemplateNotFoundError
from exeunt.utf8 import cut

KILLED = "killed"
"""The timer of killed steps that have not said yet that they are over."""
PATIENCE_SECONDS = 60.0

_REASONS = {"Stop": "Stopped", "Terminate": "Terminated"}
_VERBS = {"Stopped": "stop", "Terminated": "terminate", "Deleted": "delete", "Error": "an error"}


def _current(run: Run, node_id: str, attempt: int) -> Node | None:
    """The node, when this is the attempt that it waits for."""
    key = run.by_id.get(node_id)
    if key is None or run.closed:
        return None
    node = run.nodes[key]
    open_ = node.phase not in phases.FULFILLED
    return node if node.attempt == attempt and node.step is not None and open_ else None


def placed(run: Run, given: Placed) -> None:
    node = _current(run, given.node, given.attempt)
    if node is None or node.executor:
        return
    run.emit(StepPlaced(given.node, given.attempt, given.executor))
    if run.lively and node.owner >= 0:  # a hook may wait for it to run
        run.ended(node)


def step_ended(run: Run, given: StepEnded) -> None:
    node = _current(run, given.node, given.attempt)
    if node is None:
        _late(run, given)
        return
    run.emit(StepFinished(given.node, given.attempt, _bounded(given.outcome)))
    _export(run, node)
    _clear(run, f"timeout:{given.node}")


def _late(run: Run, given: StepEnded) -> None:
    """The result of an attempt that was cancelled before: the node keeps its phase, and says what became of it."""
    key = run.by_id.get(given.node)
    if key is not None and (key, given.attempt) in run.state.cancelled and not run.closed:
        run.emit(StepFinished(given.node, given.attempt, _bounded(given.outcome)))
        _export(run, run.nodes[key])


def _bounded(outcome: StepOutcome) -> StepOutcome:
    """What an attempt says of its end goes into many places: whoever did it may have said too much."""
    return msgspec.structs.replace(outcome, message=cut(outcome.message, MESSAGE_BYTES))


def _export(run: Run, node: Node) -> None:
    if node.type == phases.POD and node.outputs is not None and node.outputs.parameters:
        template = _template(run, node)
        if template is not None:
            export(run, node, template, node.outputs)


def _template(run: Run, node: Node) -> Template | None:
    owner = run.nodes[node.owner] if node.owner >= 0 else None
    try:
        return found_of(run, owner if owner is not None and owner.type == phases.RETRY else node).template
    except TemplateNotFoundError:
        return None


def step_lost(run: Run, given: StepLost) -> None:
    node = _current(run, given.node, given.attempt)
    if node is None:
        key = run.by_id.get(given.node)
        if key is not None and (key, given.attempt) in run.state.cancelled and not run.closed:
            _over(run, run.nodes[key], given.attempt)
        return
    if node.step is not None and (run.exit or starts_workflow(node.step)):
        run.emit(StepDue(given.node, given.attempt + 1, node.step, exit=run.exit))
        return
    run.emit(StepFinished(given.node, given.attempt, StepOutcome(phase=phases.ERROR, message=given.message)))
    _clear(run, f"timeout:{given.node}")


def child_starting(run: Run, given: ChildStarting) -> None:
    if _current(run, given.node, given.attempt) is None:
        raise Rejected("ATTEMPT_OVER", f"attempt {given.attempt} of {given.node} is not wanted any more")
    run.emit(ChildKnown(given.node, given.attempt, given.child))


def replay_ended(run: Run, given: ReplayEnded) -> None:
    if run.closed:
        raise Rejected("WORKFLOW_FINISHED", f"workflow {run.name} has finished")
    hook = replayable(run.state, given.hook_id)
    if hook is not None and (hook.replayed, hook.replay_message) != (given.phase, given.message):
        run.emit(HookReplayed(given.hook_id, given.phase, given.message))


def hook_ended(run: Run, given: HookEnded) -> None:
    number = run.state.hook_numbers.get(given.outcome.hook_id)
    if number is None or not run.state.hooks[number].open or run.closed:
        return
    run.emit(HookFinished(given.outcome))
    parent = run.nodes[run.state.hooks[number].parent]
    run.ended(parent)
    if parent.type == phases.DAG:
        run.wake(parent)
    run.release()


def _clear(run: Run, timer: str) -> None:
    if timer in run.state.timers:
        run.emit(TimerCleared(timer))


def _clear_waits(run: Run, node: Node) -> None:
    for kind in ("timeout", "suspend"):
        _clear(run, f"{kind}:{run.id(node)}")


# --- timers -----------------------------------------------------------------------------------------------------------


def timer_fired(run: Run, given: TimerFired) -> None:
    if given.timer not in run.state.timers or run.closed:
        return
    run.emit(TimerCleared(given.timer))
    kind, _, node_id = given.timer.partition(":")
    if kind == "close":
        return
    if kind == KILLED:
        _unheard(run)
        return
    if kind == "deadline":
        run.emit(ShutdownSet("", "the workflow exceeded its deadline", reason="Deadline"))
        _kill(run, phases.EXCEEDED, phases.EXCEEDED)
        _stop_hooks(run, "Stop", phases.EXCEEDED)
        return
    node = run.nodes[run.by_id[node_id]]
    if node.fulfilled:
        return
    if kind == "suspend":
        _resume(run, node, _outputs_at_resume(run, node))
    elif kind == "timeout":
        _kill_one(run, node, phases.EXCEEDED)
    elif kind == "retry":
        run.wake(node)


def _kill(run: Run, work: str, waiting: str) -> None:
    """Ends everything that is under way; composites end by themselves then."""
    for node in list(run.nodes):
        if node.phase in phases.FULFILLED or node.type in phases.COMPOSITES or exempt(run, node):
            continue
        _kill_one(run, node, waiting if node.type != phases.POD else work)
        for hook in (run.state.hooks[number] for number in node.hooks if node.type == phases.POD):
            if hook.open and hook.inner >= 0:
                _fail_below(run, run.nodes[hook.inner], work)
    wake_all(run)


def _fail_below(run: Run, node: Node, message: str) -> None:
    """What hangs below a pod that was killed has failed with its word (Argo: handleExecutionControlError)."""
    stack = [node]
    while stack:
        below = stack.pop()
        if exempt(run, below):
            continue
        if below.type in phases.COMPOSITES and not below.fulfilled:
            run.emit(NodeEnded(below.key, phases.FAILED, message, killed=True))
        stack += [run.nodes[key] for key in below.members]


def _kill_one(run: Run, node: Node, message: str) -> None:
    _clear_waits(run, node)
    if node.step is not None:
        run.emit(StepCancelled(run.id(node), node.attempt))
    run.emit(NodeEnded(node.key, phases.FAILED, message, node.outputs, killed=True))
    if node.ending and KILLED not in run.state.timers:
        run.emit(TimerSet(KILLED, _patience(node)))


def _patience(node: Node) -> float:
    """Until when a killed step's own word is waited for: its grace is over, and a lost executor has been given up."""
    return node.finished + PATIENCE_SECONDS + (node.step.grace_seconds if node.step is not None else 0.0)


def _over(run: Run, node: Node, attempt: int) -> None:
    """A killed step that will say nothing more: what was said of it stands."""
    run.emit(StepFinished(run.id(node), attempt, StepOutcome(phase=node.phase, message=node.message)))


def _unheard(run: Run) -> None:
    """Killed steps that nobody has heard of for too long are taken for over: nothing waits for them for ever."""
    for key, attempt in [one for one in run.state.cancelled if run.nodes[one[0]].ending]:
        if _patience(run.nodes[key]) <= run.now:
            _over(run, run.nodes[key], attempt)
    left = [_patience(run.nodes[key]) for key, _ in run.state.cancelled if run.nodes[key].ending]
    if left:
        run.emit(TimerSet(KILLED, min(left)))


def fail_waiting(run: Run, since: int) -> bool:
    """After a stop what is suspended fails, also what has begun in this decision. Says whether there was any."""
    if not run.state.shutdown:
        return False
    waiting = [node for node in run.nodes[since:] if node.type == phases.SUSPEND and not node.fulfilled]
    waiting = [node for node in waiting if not exempt(run, node)]
    for node in waiting:
        _kill_one(run, node, f"Stopped with strategy '{run.state.shutdown}'")
    return bool(waiting)


def fail_retries(run: Run) -> None:
    """After a stop, when all that was killed is over: a Retry in which nothing runs any more has failed, however far
    what it tried has come (failNodesWithoutCreatedPodsAfterDeadlineOrShutdown).
    """
    if not run.state.shutdown:
        return
    alive: set[int] = set()  # nodes in which something runs
    for node in reversed(run.nodes):
        if node.key in alive or node.open_hooks or not (node.members or node.fulfilled):
            alive.update((node.key, node.owner))
        elif node.type == phases.RETRY and not node.fulfilled:
            stopped = f"Stopped with strategy '{run.state.shutdown}'"
            run.emit(NodeEnded(node.key, phases.FAILED, stopped, killed=True))


def wake_all(run: Run) -> None:
    """Looks at every open composite again, the inner ones first, and at what has ended before what it holds."""
    run.dirty.clear()  # what was to be looked at is open, and comes in this order
    for node in reversed(run.nodes):
        if node.type in phases.COMPOSITES and (not node.fulfilled or ended_early(node)):
            run.pend(node.key)


# --- operators --------------------------------------------------------------------------------------------------------


def _done(run: Run, given: Shutdown | SuspendRun | ResumeRun | SetNodes | RetryRun | Replay) -> bool:
    """Whether it was carried out before. Raises Rejected where the run has gone on since it was looked at."""
    if given.request_id and given.request_id in run.state.requests:
        return True
    if given.revision not in (0, run.commits):
        text = f"{run.name} is at revision {run.commits}, not at {given.revision}: look at it again"
        raise Rejected("REVISION_CHANGED", text)
    return False


def _refuse_closed(run: Run, what: str) -> None:
    if run.closed:
        raise Rejected("WORKFLOW_FINISHED", f"workflow {run.name} has finished: it cannot be {what} any more")


def shutdown(run: Run, given: Shutdown) -> None:
    if _done(run, given):
        return
    if run.closed:
        raise Rejected("WORKFLOW_FINISHED", f"workflow {run.name} has finished: there is nothing to stop")
    if given.strategy not in _REASONS:
        raise Rejected("INVALID_STRATEGY", f"{given.strategy!r} is no way to stop: Stop and Terminate are")
    known = run.state.shutdown in ("Terminate", given.strategy)
    if known and (run.state.deleted or not given.deleted):
        return
    reason = "Deleted" if given.deleted else _REASONS[given.strategy]
    run.emit(ShutdownSet(given.strategy, given.message, given.request_id, given.deleted, reason, given.by))
    if run.state.suspended:
        run.emit(SuspensionSet(suspended=False))
    shut_down(run, given.strategy)


def shut_down(run: Run, strategy: str) -> None:
    """Ends what runs, and withdraws handlers where they are not to run."""
    _kill(run, f"workflow shutdown with strategy:  {strategy}", f"Stopped with strategy '{strategy}'")
    why = f"ended by {_VERBS[run.state.shutdown_reason]}"
    if run.state.shutdown_message:
        why = f"{why}: {run.state.shutdown_message}"
    _stop_hooks(run, strategy, why)
    wake_all(run)


def _stop_hooks(run: Run, strategy: str, why: str) -> None:
    """Ends the hooks that run and are not to outlive the shutdown, or the workflow's deadline."""
    killed = {event.node for event in run.events if isinstance(event, NodeEnded) and event.killed}  # just now
    for hook in run.state.hooks:
        told = hook.strategy in (strategy, "Terminate")  # one that was stopped can still be terminated
        if hook.open and not told and hook.hook_id and not _goes_on(run, hook, strategy):
            below = hook.parent in killed and run.nodes[hook.parent].type == phases.POD
            run.emit(HookCancelled(hook.hook_id, why, strategy, below))


def _goes_on(run: Run, hook: Hook, strategy: str) -> bool:
    """Whether a hook that runs outlives the shutdown: exit handlers, and all that runs when the workflow is exiting."""
    if strategy == "Terminate":
        return run.runs_anyway
    return bool(run.state.outcome) or is_handler(run, run.nodes[hook.parent], hook.name)


def cancel(run: Run, given: Cancel) -> None:
    strategy = given.strategy or "Terminate"
    if run.closed or run.state.shutdown in ("Terminate", strategy):
        return
    run.emit(ShutdownSet(strategy, given.reason, reason=_REASONS[strategy]))
    if given.reason == phases.EXCEEDED:  # the deadline of the workflow that this is a hook of
        _kill(run, phases.EXCEEDED, phases.EXCEEDED)
    elif given.strategy:
        shut_down(run, strategy)
        if given.below and run.nodes:
            _fail_below(run, run.root, f"workflow shutdown with strategy:  {strategy}")
    else:
        _kill(run, given.reason, given.reason)


def suspend_run(run: Run, given: SuspendRun) -> None:
    if _done(run, given):
        return
    _refuse_closed(run, "suspended")
    if not run.state.suspended:
        run.emit(SuspensionSet(True, given.request_id, given.message, given.by))


def resume_run(run: Run, given: ResumeRun) -> None:
    if _done(run, given) or (run.closed and given.elsewhere):
        return
    _refuse_closed(run, "resumed")
    nodes = waiting(run, given.selector)
    if given.selector and not nodes and not given.elsewhere:
        raise Rejected("NO_SUCH_NODE", f"no suspended node of {run.name} matches {given.selector!r}")
    ready = [(node, _outputs_at_resume(run, node)) for node in nodes]
    for node, outputs in ready:
        missing = [name for name, value in outputs.parameters if value is None] if outputs is not None else []
        if missing:
            raise Rejected(
                "OUTPUT_MISSING",
                f"node {run.names.display(node, run.display)} waits for output parameter {missing[0]!r}: "
                "set it, or give it a default",
            )
    if run.state.suspended:
        run.emit(SuspensionSet(False, given.request_id, given.message, given.by))
        wake_all(run)
    elif given.request_id:
        run.emit(Asked(given.request_id, given.message, given.by))
        wake_all(run)
    for node, outputs in ready:
        _resume(run, node, outputs)


def _resume(run: Run, node: Node, outputs: Outputs | None) -> None:
    """A suspended node goes on."""
    _clear_waits(run, node)
    missing = [name for name, value in outputs.parameters if value is None] if outputs is not None else []
    if missing:
        run.emit(NodeEnded(node.key, phases.ERROR, f"output parameter {missing[0]} was not supplied", outputs))
        return
    run.emit(NodeEnded(node.key, phases.SUCCEEDED, node.message, outputs))
    template = _template(run, node)
    if template is not None:
        export(run, node, template, outputs)


def _outputs_at_resume(run: Run, node: Node) -> Outputs | None:
    """The outputs that a node was given, with the defaults of those that nobody gave it."""
    if node.outputs is None:
        return None
    template = _template(run, node)
    known = {} if template is None else defaults(run, node, template)
    return Outputs(
        parameters=[(name, known.get(name) if value is None else value) for name, value in node.outputs.parameters]
    )


def set_nodes(run: Run, given: SetNodes) -> None:
    if _done(run, given) or (run.closed and given.elsewhere):
        return
    _refuse_closed(run, "changed")
    nodes = waiting(run, given.selector)
    if not nodes and not given.elsewhere:
        raise Rejected("NO_SUCH_NODE", f"no suspended node of {run.name} matches {given.selector!r}")
    check_phase(given.phase)
    for node in nodes:
        known = dict(node.outputs.parameters) if node.outputs is not None else {}
        where = f"node {run.names.display(node, run.display)}"
        for name in given.parameters:
            if name not in known:
                raise Rejected("NO_SUCH_OUTPUT", f"{where} has no output parameter {name!r} to be supplied")
            if known[name] is not None:
                raise Rejected("ALREADY_SET", f"{where}: output parameter {name!r} stays: it was already set")
    for node in nodes:
        outputs = node.outputs
        if outputs is not None:
            outputs = Outputs(
                parameters=[(name, given.parameters.get(name, value)) for name, value in outputs.parameters]
            )
        message = given.message or node.message
        if given.phase:
            _clear_waits(run, node)
            run.emit(NodeEnded(node.key, given.phase, message, outputs))
        else:
            run.emit(NodeNoted(node.key, message, outputs))
    if given.request_id:
        run.emit(Asked(given.request_id, given.message, given.by))


def retry_run(run: Run, given: RetryRun) -> None:
    if _done(run, given):
        return
    if not run.closed:
        raise Rejected(
            "WORKFLOW_RUNNING", f"workflow {run.name} runs, or its exit handlers do: wait until it has ended"
        )
    if run.phase not in phases.BAD:
        raise Rejected("WORKFLOW_SUCCEEDED", f"workflow {run.name} is {run.phase}: there is nothing to retry")
    run.emit(Retried(given.request_id, given.parameters, given.message, given.by))
    if run.nodes:  # with the first node it starts by itself
        set_deadline(run)


def replay(run: Run, given: Replay) -> None:
    if _done(run, given):
        return
    if not run.exit or not run.closed:
        raise Rejected("NOT_FINISHED", "only an exit run that has finished can be run again")
    run.emit(Reopened(run.state.replay + 1, given.again, given.request_id))
