"""Ending what runs, for a stop, a deadline or a timeout (Argo: exec_control.go); what killed steps say afterwards."""

from __future__ import annotations

from exeunt.engine.facts import phases, timers
from exeunt.engine.facts.events import (
    HookCancelled,
    NodeEnded,
    StepFinished,
    TimerSet,
)
from exeunt.engine.facts.nodes import Node, ended_early
from exeunt.engine.facts.run import Run
from exeunt.engine.facts.state import Hook
from exeunt.engine.facts.work import StepOutcome
from exeunt.engine.values.handlers import is_handler
from exeunt.engine.walk.ending import kill_one, patience
from exeunt.engine.walk.start import exempt

_VERBS = {"Stopped": "stop", "Terminated": "terminate", "Deleted": "delete", "Error": "an error"}


def kill(run: Run, work: str, waiting: str) -> None:
    """Ends everything that is under way; composites end by themselves then, and daemons with what they are in."""
    for node in list(run.nodes):
        if node.phase in phases.FULFILLED or node.daemoned or node.type in phases.COMPOSITES or exempt(run, node):
            continue
        kill_one(run, node, waiting if node.type != phases.POD else work)
        for hook in (run.state.hooks[number] for number in node.hooks if node.type == phases.POD):
            if hook.open and hook.inner >= 0:
                fail_below(run, run.nodes[hook.inner], work)
    wake_all(run)


def fail_below(run: Run, node: Node, message: str) -> None:
    """What hangs below a pod that was killed has failed with its word (Argo: handleExecutionControlError)."""
    stack = [node]
    while stack:
        below = stack.pop()
        if exempt(run, below):
            continue
        if below.type in phases.COMPOSITES and not below.fulfilled:
            run.emit(NodeEnded(below.key, phases.FAILED, message, killed=True))
        stack += [run.nodes[key] for key in below.members]


def say_over(run: Run, node: Node, attempt: int) -> None:
    """A killed step that will say nothing more: what was said of it stands."""
    run.emit(StepFinished(run.id(node), attempt, StepOutcome(phase=node.phase, message=node.message)))


def give_up_unheard(run: Run) -> None:
    """Killed steps that nobody has heard of for too long are taken for over: nothing waits for them for ever."""
    for key, attempt in [one for one in run.state.cancelled if run.nodes[one[0]].ending]:
        if patience(run.nodes[key]) <= run.now:
            say_over(run, run.nodes[key], attempt)
    left = [patience(run.nodes[key]) for key, _ in run.state.cancelled if run.nodes[key].ending]
    if left:
        run.emit(TimerSet(timers.KILLED, min(left)))


def fail_waiting(run: Run, since: int) -> bool:
    """After a stop, suspended nodes fail, also those that began in this decision. Says whether there were any."""
    if not run.state.shutdown:
        return False
    waiting = [node for node in run.nodes[since:] if node.type == phases.SUSPEND and not node.fulfilled]
    waiting = [node for node in waiting if not exempt(run, node)]
    for node in waiting:
        kill_one(run, node, f"Stopped with strategy '{run.state.shutdown}'")
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


def shut_down(run: Run, strategy: str) -> None:
    """Ends what runs, and withdraws handlers where they are not to run."""
    kill(run, f"workflow shutdown with strategy:  {strategy}", f"Stopped with strategy '{strategy}'")
    why = f"ended by {_VERBS[run.state.shutdown_reason]}"
    if run.state.shutdown_message:
        why = f"{why}: {run.state.shutdown_message}"
    stop_hooks(run, strategy, why)
    wake_all(run)


def stop_hooks(run: Run, strategy: str, why: str) -> None:
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
