"""The run as a whole: its first node, its own hooks, its end (Argo: operate)."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import msgspec

from exeunt.engine.facts import phases, timers
from exeunt.engine.facts.events import HookOutcome, HookSkipped, MainEnded, NodeEnded, RunClosed, TimerCleared, TimerSet
from exeunt.engine.facts.nodes import Node
from exeunt.engine.facts.run import Run
from exeunt.engine.shown.argo_nodes import hook_nodes, outputs_tree
from exeunt.engine.values import handlers, workflow_failures
from exeunt.engine.values.cause import told
from exeunt.engine.values.durations import seconds
from exeunt.engine.values.exeunt_variables import add_summary
from exeunt.engine.values.handlers import exit_hooks, finalization
from exeunt.engine.values.scope import global_scope, workflow_parameters
from exeunt.engine.walk import hooks, promise
from exeunt.engine.walk.start import Caller, Spot, begin
from exeunt.language.handlers import FAIL_WORKFLOW
from exeunt.language.manifest import LifecycleHook, Step
from exeunt.language.variables import NOTHING

Walk = Generator[Node, None, Any]


def start(run: Run) -> Walk:
    """The first node: of the entrypoint, or of the handler."""
    owed = run.obligation
    if owed is not None:
        hook = msgspec.convert(owed.caller, LifecycleHook)
        spot = Spot(-1, owed.hook_node_name, hook=owed.hook, hooked=True)
        begun = begin(run, spot, Caller(hook, owed.caller_scope, _texts(owed.arguments)), owed.problem)
    else:
        set_deadline(run)
        entrypoint = run.state.started.entrypoint or run.spec.entrypoint
        caller = Caller(Step(template=entrypoint), run.templates.local, workflow_parameters(run))
        begun = begin(run, Spot(-1, run.name), caller)
    if begun.node.type in phases.COMPOSITES and not begun.node.fulfilled:
        yield begun.node


def set_deadline(run: Run) -> None:
    """The workflow's deadline counts from here."""
    if run.spec.active_deadline_seconds not in (None, ""):
        due = float(int(run.now)) + seconds(run.spec.active_deadline_seconds)
        run.emit(TimerSet(timers.DEADLINE, due))


def _texts(arguments: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in arguments.items()}


def look(run: Run) -> Walk:
    """Is the run over? Its hooks first, then its exit handler, then the end."""
    if run.closed or not run.nodes:
        return
    if run.exit:
        yield from _close_exit(run)
        return
    root = run.root
    done = yield from _hooks(run, root)
    if not root.fulfilled or _busy(run):
        return  # what failed at once waits for what runs in it: its work and handlers are over before the last handler
    if not run.state.outcome:
        _sweep(run)
        yield from promise.keep(run)
        if _busy(run):
            return
    if not run.state.outcome:
        _main_ended(run, root)
    if not done or run.state.suspended or not (yield from _exit(run, root)):
        return
    if run.state.open_hooks or timers.CLOSE in run.state.timers:
        return
    if any(isinstance(event, HookSkipped) for event in run.events):
        # the exit handler reads commits of kind h; the closing one is of kind z, so it is another
        run.emit(TimerSet(timers.CLOSE, run.now))
    else:
        _close(run, root)


def _outcome(run: Run, root: Node) -> str:
    """The phase of the main run: in Error when it was given up, however far it had come."""
    return phases.ERROR if run.state.shutdown_reason == phases.ERROR else phases.WORKFLOW_STATUS[root.phase]


def _busy(run: Run) -> bool:
    """Whether anything runs inside, handlers of nodes included."""
    return run.under_way or run.state.open_hooks > (0 if run.exit else run.root.open_hooks)


def _main_ended(run: Run, root: Node) -> None:
    outcome = _outcome(run, root)
    reason = run.state.shutdown_reason if root.failed and run.state.shutdown_reason else ""
    if not reason:
        reason = {"Succeeded": "Completed"}.get(outcome, outcome)
    run.emit(MainEnded(outcome, reason, _message(run, root)))
    if timers.DEADLINE in run.state.timers:
        run.emit(TimerCleared(timers.DEADLINE))


def _message(run: Run, root: Node) -> str:
    if run.state.shutdown_reason == phases.ERROR:
        return run.state.shutdown_message
    if root.raised:
        told = run.nodes[root.members[-1]] if root.type == phases.RETRY and root.members else root
        return f"error in entry template execution: {told.message}"
    if root.failed and run.state.shutdown:
        return f"Stopped with strategy '{run.state.shutdown}'"
    if root.phase == phases.ERROR and root.type == phases.STEPS and root.members:
        group = run.nodes[root.members[-1]]
        if group.phase == phases.ERROR:
            return group.message
    return root.message


def _view(run: Run) -> hooks.View:
    scope = global_scope(run)
    scope["workflow.status"] = _outcome(run, run.root)
    scope["workflow.failures"] = workflow_failures.failures(run)
    scope["workflow.outputs.parameters"] = NOTHING
    add_summary(run, scope, told(run, run.root, _message(run, run.root)))
    return hooks.View(scope, "", run.templates.local)


def _hooks(run: Run, root: Node) -> Walk:
    others = {name: hook for name, hook in run.spec.hooks.items() if name != handlers.EXIT}
    if not others:
        return True
    return (yield from hooks.look(run, root, others, _view(run)))


def _exit(run: Run, root: Node) -> Walk:
    """The exit handlers of the workflow, each when those before it are over. Returns whether all are."""
    handlers = exit_hooks(run)
    if not handlers:
        return True
    view = _view(run)
    open_: set[str] = set()
    for name, hook in handlers.items():
        if not open_.isdisjoint(run.order.get(name, ())):
            open_.add(name)
            continue
        if not (yield from hooks.look_exit(run, root, hook, view, name)):
            open_.add(name)
    return not open_


def _close(run: Run, root: Node) -> None:
    phase = run.state.outcome
    # a stop that comes when the main part has ended is not why it did; Argo says so all the same
    message = _message(run, root) if run.state.shutdown == "Terminate" else run.state.main_message
    lenient = run.annotations.get(FAIL_WORKFLOW, "") == "false"
    for name in () if lenient else (handlers.EXIT, *run.handlers):
        handler = handlers.hook_of_name(run, root, name)
        if phase == "Succeeded" and handler is not None and handler.phase in phases.BAD:
            phase = handler.phase
            message = handler.outcome.message if handler.outcome is not None else handler.why
            if handler.outcome is not None and handler.outcome.state == "parked":
                message = f"error in exit template execution : {message}"
    _sweep(run)
    run.emit(RunClosed(phase, message, finalization(run)))


def _sweep(run: Run) -> None:
    """Nothing stays open in a run that is over; what began has its handlers also where it is ended here."""
    for node in reversed(run.nodes):
        if not node.fulfilled:
            run.emit(NodeEnded(node.key, phases.FAILED, node.message))


def _close_exit(run: Run) -> Walk:
    root, owed = run.root, run.obligation
    if owed is None or not root.fulfilled or _busy(run):
        return
    _sweep(run)
    yield from promise.keep(run)
    if _busy(run):
        return
    state = "succeeded"
    if run.state.shutdown:
        state = "cancelled"
    elif root.failed:
        state = "parked" if root.type == phases.SKIPPED_TYPE else "failed"
    run.emit(
        RunClosed(
            phases.WORKFLOW_STATUS[root.phase],
            root.message,
            hook=HookOutcome(
                hook_id=owed.hook_id,
                phase=root.phase,
                message=root.message,
                state=state,
                nodes=hook_nodes(run),
                outputs={} if root.outputs is None else outputs_tree(root.outputs),
                global_outputs=dict(run.state.global_outputs),
                finished_at=run.now,
                attempt=max(node.attempt for node in run.nodes),
                replay=run.state.replay,
            ),
        )
    )
