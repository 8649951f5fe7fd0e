"""The run as a whole: its first node, its own hooks, its end (Argo: operate)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from exeunt.engine.facts import phases, timers
from exeunt.engine.facts.events import HookOutcome, HookSkipped, MainEnded, NodeEnded, RunClosed, TimerCleared, TimerSet
from exeunt.engine.facts.nodes import Node
from exeunt.engine.facts.run import Run
from exeunt.engine.shown.argo_nodes import hook_nodes, outputs_tree
from exeunt.engine.values import handlers, workflow_failures
from exeunt.engine.values.artifacts import trees
from exeunt.engine.values.cause import told
from exeunt.engine.values.durations import seconds
from exeunt.engine.values.exeunt_variables import add_summary
from exeunt.engine.values.handlers import exit_hooks, finalization
from exeunt.engine.values.scope import global_scope, workflow_parameters
from exeunt.engine.walk import hooks, promise
from exeunt.engine.walk.start import Caller, Spot, begin
from exeunt.engine.walk.walking import Answer, Walk
from exeunt.language.handlers import FAIL_WORKFLOW
from exeunt.language.manifest import LifecycleHook, Step
from exeunt.language.variables import NOTHING

Rule = Callable[[Run], bool | Answer]
"""What must be so before a run is over. It does what it can for it, and says whether it is so."""


def start(run: Run) -> Walk:
    """The first node: of the entrypoint, or of the handler."""
    owed = run.obligation
    if owed is not None:
        hook = msgspec.convert(owed.caller, LifecycleHook)
        spot = Spot(-1, owed.hook_node_name, hook=owed.hook, hooked=True)
        caller = Caller(hook, owed.caller_scope, _texts(owed.arguments), artifacts=owed.artifacts)
        begun = begin(run, spot, caller, owed.problem)
    else:
        set_deadline(run)
        entrypoint = run.state.started.entrypoint or run.spec.entrypoint
        files = trees(run.spec.arguments.artifacts)
        caller = Caller(Step(template=entrypoint), run.templates.local, workflow_parameters(run), artifacts=files)
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
    """Brings the run as near to its end as it can come now: rule after rule, as far as they hold."""
    if run.closed or not run.nodes:
        return
    for rule in EXIT_RUN if run.exit else MAIN_RUN:
        holds = rule(run)
        if not (holds if isinstance(holds, bool) else (yield from holds)):
            return


def _outcome(run: Run, root: Node) -> str:
    """The phase of the main run: in Error when it was given up, however far it had come."""
    return phases.ERROR if run.state.shutdown_reason == phases.ERROR else phases.WORKFLOW_STATUS[root.phase]


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


def _hooks_beside(run: Run) -> dict[str, LifecycleHook]:
    """The hooks of a workflow that look at how it goes; what an exit run has of them belongs to its own steps."""
    if run.exit:
        return {}
    return {name: hook for name, hook in run.spec.hooks.items() if name != handlers.EXIT}


def _busy(run: Run) -> bool:
    """Whether anything runs inside, handlers of nodes included."""
    return run.under_way or run.state.open_hooks > (0 if run.exit else run.root.open_hooks)


def _sweep(run: Run) -> None:
    """Nothing stays open in a run that is over; what began has its handlers also where it is ended here."""
    for node in reversed(run.nodes):
        if not node.fulfilled:
            run.emit(NodeEnded(node.key, phases.FAILED, node.message))


# --- the way to the end -----------------------------------------------------------------------------------------------
#
# The rules are looked at in their order, in each decision, until nothing moves.


def _work_is_over(run: Run) -> Answer:
    """Nothing runs any more, in the workflow and in the handlers of its steps. Hooks beside the workflow are begun.

    What failed at once waits for what runs in it: its work and handlers are over before the last handler.
    """
    if beside := _hooks_beside(run):
        yield from hooks.look(run, run.root, beside, _view(run))
    return run.root.fulfilled and not _busy(run)


def _promise_is_kept(run: Run) -> Answer:
    """Everything that began has its end, and the handler that is owed to it."""
    if not run.state.outcome:
        _sweep(run)
        yield from promise.keep(run)
    return not _busy(run)


def _main_has_ended(run: Run) -> bool:
    """The workflow has its outcome: from here on only its own hooks and handlers are left."""
    if not run.state.outcome:
        outcome = _outcome(run, run.root)
        reason = run.state.shutdown_reason if run.root.failed and run.state.shutdown_reason else ""
        if not reason:
            reason = {"Succeeded": "Completed"}.get(outcome, outcome)
        run.emit(MainEnded(outcome, reason, _message(run, run.root)))
        if timers.DEADLINE in run.state.timers:
            run.emit(TimerCleared(timers.DEADLINE))
    return True


def _hooks_are_over(run: Run) -> bool:
    """No hook beside the workflow runs; and it is not suspended, where handlers are not begun."""
    begun = (handlers.hook_of_name(run, run.root, name) for name in _hooks_beside(run))
    return not (run.state.suspended or any(hook is not None and hook.open for hook in begun))


def _exit_handlers_are_over(run: Run) -> Answer:
    """The exit handlers of the workflow have been begun, each when those before it were over, and have ended."""
    hooks_of_workflow = exit_hooks(run)
    view = _view(run) if hooks_of_workflow else None
    open_: set[str] = set()
    for name, hook in hooks_of_workflow.items():
        assert view is not None
        if not open_.isdisjoint(run.order.get(name, ())):
            open_.add(name)
            continue
        if not (yield from hooks.look_exit(run, run.root, hook, view, name)):
            open_.add(name)
    return not open_ and not run.state.open_hooks


def _skips_are_told(run: Run) -> bool:
    """Hooks that were skipped in this decision are told by a commit before the last one.

    The exit handler reads commits of kind h; the closing one is of kind z.
    """
    if timers.CLOSE not in run.state.timers and any(isinstance(event, HookSkipped) for event in run.events):
        run.emit(TimerSet(timers.CLOSE, run.now))
    return timers.CLOSE not in run.state.timers


def _closes(run: Run) -> bool:
    """Nothing is left to wait for."""
    root, phase = run.root, run.state.outcome
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
    return True


def _exit_run_closes(run: Run) -> bool:
    """Nothing is left to wait for: what the handler came to goes back to the run that it belongs to."""
    root, owed = run.root, run.obligation
    assert owed is not None
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
                global_artifacts=dict(run.state.global_artifacts),
                finished_at=run.now,
                attempt=max(node.attempt for node in run.nodes),
                replay=run.state.replay,
                claims=run.state.claims,
            ),
        )
    )
    return True


MAIN_RUN: tuple[Rule, ...] = (
    _work_is_over,
    _promise_is_kept,
    _main_has_ended,
    _hooks_are_over,
    _exit_handlers_are_over,
    _skips_are_told,
    _closes,
)
"""A workflow: its work, its outcome, its exit handlers, its end."""

EXIT_RUN: tuple[Rule, ...] = (
    _work_is_over,
    _promise_is_kept,
    _exit_run_closes,
)
"""A handler."""
