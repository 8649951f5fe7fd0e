"""The end of a main run that cannot go on: what it decided cannot be written down, or not be worked out.

It ends as if it was stopped, so that all handlers that are due run; but in Error, and with what was wrong as message.
"""

from __future__ import annotations

from exeunt.engine.commands import killing
from exeunt.engine.commands.inputs import GiveUp, Rejected, ShutdownRun
from exeunt.engine.facts import phases
from exeunt.engine.facts.events import HookCancelled, MainEnded, RunClosed, ShutdownSet, StepCancelled, SuspensionSet
from exeunt.engine.facts.run import Run
from exeunt.engine.values.handlers import finalization
from exeunt.engine.walk.start import Caller, Spot, fail
from exeunt.language.manifest import Step


def give_up(run: Run, given: GiveUp) -> None:
    """Raises Rejected when the main run is over already."""
    if run.exit or run.closed or run.outcome:
        raise Rejected("MAIN_RUN_OVER", f"the main run of {run.name} is over")
    strategy = run.state.shutdown or "Stop"
    run.emit(ShutdownSet(strategy, given.reason, reason=phases.ERROR))
    if run.suspended:
        run.emit(SuspensionSet(suspended=False))
    if run.nodes:
        killing.shut_down(run, strategy)
        return
    entrypoint = run.state.started.entrypoint or run.spec.entrypoint
    fail(run, Spot(-1, run.name), Caller(Step(template=entrypoint), run.templates.local, {}), given.reason)


def end(run: Run, given: ShutdownRun, why: str) -> None:
    """Ends a run at once, without looking at anything in it: the last resort where nothing can be decided."""
    reason = "Deleted" if given.deleted else "Terminated"
    message = f"{reason.lower()} while it could not go on: {why}"
    run.emit(ShutdownSet("Terminate", message, given.request_id, given.deleted, reason, given.by))
    for key in [*run.state.placed, *run.state.due]:
        run.emit(StepCancelled(run.id(run.nodes[key]), run.nodes[key].attempt))
    for hook in run.state.hooks:
        if hook.open and not hook.cancelled and hook.hook_id:
            run.emit(HookCancelled(hook.hook_id, f"the workflow was {reason.lower()}"))
    if not run.outcome:
        run.emit(MainEnded(phases.ERROR, reason, message))
    run.emit(RunClosed(run.outcome, message, finalization(run)))
