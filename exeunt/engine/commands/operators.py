"""What people ask for: stop, terminate, suspend, resume, set, retry, replay, cancel (Argo: util.go)."""

from __future__ import annotations

from exeunt.engine.commands.gates import go_on, outputs_at_resume
from exeunt.engine.commands.inputs import (
    Cancel,
    Rejected,
    Replay,
    ResumeRun,
    RetryRun,
    SetNodes,
    ShutdownRun,
    SuspendRun,
)
from exeunt.engine.commands.killing import fail_below, kill, shut_down, wake_all
from exeunt.engine.commands.selection import check_phase, waiting
from exeunt.engine.facts import phases
from exeunt.engine.facts.events import (
    Asked,
    NodeEnded,
    NodeNoted,
    Reopened,
    Retried,
    ShutdownSet,
    SuspensionSet,
)
from exeunt.engine.facts.nodes import NodeOutputs
from exeunt.engine.facts.run import Run
from exeunt.engine.walk.ending import clear_waits
from exeunt.engine.walk.workflow import set_deadline

_REASONS = {"Stop": "Stopped", "Terminate": "Terminated"}


def _done(run: Run, given: ShutdownRun | SuspendRun | ResumeRun | SetNodes | RetryRun | Replay) -> bool:
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


def shutdown(run: Run, given: ShutdownRun) -> None:
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


def cancel(run: Run, given: Cancel) -> None:
    strategy = given.strategy or "Terminate"
    if run.closed or run.state.shutdown in ("Terminate", strategy):
        return
    run.emit(ShutdownSet(strategy, given.reason, given.request_id, reason=_REASONS[strategy]))
    if given.reason == phases.EXCEEDED:  # the deadline of the workflow that this is a hook of
        kill(run, phases.EXCEEDED, phases.EXCEEDED)
    elif given.strategy:
        shut_down(run, strategy)
        if given.below and run.nodes:
            fail_below(run, run.root, f"workflow shutdown with strategy:  {strategy}")
    else:
        kill(run, given.reason, given.reason)


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
    ready = [(node, outputs_at_resume(run, node)) for node in nodes]
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
        go_on(run, node, outputs)


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
            outputs = NodeOutputs(
                parameters=[(name, given.parameters.get(name, value)) for name, value in outputs.parameters]
            )
        message = given.message or node.message
        if given.phase:
            clear_waits(run, node)
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
