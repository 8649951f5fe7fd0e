"""What services say of the work that they have: it has a place, it ended, it is lost; a hook or a replay ended."""

from __future__ import annotations

import msgspec

from exeunt.engine.commands.inputs import (
    AttemptEnded,
    AttemptLost,
    AttemptProgressed,
    AttemptReady,
    ChildStarting,
    HookEnded,
    Placed,
    Rejected,
    ReplayEnded,
)
from exeunt.engine.commands.killing import say_over
from exeunt.engine.facts import phases, timers
from exeunt.engine.facts.events import (
    ChildKnown,
    HookFinished,
    HookReplayed,
    StepDue,
    StepFinished,
    StepPlaced,
    StepProgressed,
    StepReady,
)
from exeunt.engine.facts.nodes import Node
from exeunt.engine.facts.problem import MESSAGE_BYTES
from exeunt.engine.facts.replayed import replayable
from exeunt.engine.facts.run import Run
from exeunt.engine.facts.work import StepOutcome, starts_workflow
from exeunt.engine.values.outputs import export
from exeunt.engine.values.processed import template_behind
from exeunt.engine.walk import daemons
from exeunt.engine.walk.ending import clear_timer
from exeunt.language.progress import progress_of
from exeunt.utf8 import cut


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


def step_ready(run: Run, given: AttemptReady) -> None:
    node = _current(run, given.node, given.attempt)
    if node is None or not node.executor or node.step is None or not node.step.daemon or run.state.daemons[node.key]:
        return
    run.emit(StepReady(given.node, given.attempt, given.address))
    clear_timer(run, timers.timeout(given.node))
    daemons.tell(run, node)


def step_progressed(run: Run, given: AttemptProgressed) -> None:
    node = _current(run, given.node, given.attempt)
    if node is None or not node.executor or progress_of(given.progress) is None or node.progress == given.progress:
        return
    run.emit(StepProgressed(given.node, given.attempt, given.progress))


def step_ended(run: Run, given: AttemptEnded) -> None:
    node = _current(run, given.node, given.attempt)
    if node is None:
        _late(run, given)
        return
    outcome = _bounded(given.outcome)
    if node.step is not None and node.step.daemon and outcome.phase == phases.SUCCEEDED:
        outcome.phase = phases.FAILED  # a daemon is to run until it is ended
    run.emit(StepFinished(given.node, given.attempt, outcome))
    _export(run, node)
    clear_timer(run, timers.timeout(given.node))


def _late(run: Run, given: AttemptEnded) -> None:
    """The result of an attempt that was cancelled before: the node keeps its phase, and says what became of it."""
    key = run.by_id.get(given.node)
    if key is not None and (key, given.attempt) in run.state.cancelled and not run.closed:
        run.emit(StepFinished(given.node, given.attempt, _bounded(given.outcome)))
        _export(run, run.nodes[key])


def _bounded(outcome: StepOutcome) -> StepOutcome:
    """What an attempt says of its end goes into many places: whoever did it may have said too much."""
    return msgspec.structs.replace(outcome, message=cut(outcome.message, MESSAGE_BYTES))


def _export(run: Run, node: Node) -> None:
    given = node.outputs
    if node.type == phases.POD and given is not None and (given.parameters or given.artifacts):
        template = template_behind(run, node)
        if template is not None:
            export(run, node, template, given)


def step_lost(run: Run, given: AttemptLost) -> None:
    node = _current(run, given.node, given.attempt)
    if node is None:
        key = run.by_id.get(given.node)
        if key is not None and (key, given.attempt) in run.state.cancelled and not run.closed:
            say_over(run, run.nodes[key], given.attempt)
        return
    if node.step is not None and (run.exit or starts_workflow(node.step)):
        run.emit(StepDue(given.node, given.attempt + 1, node.step, exit=run.exit))
        return
    run.emit(StepFinished(given.node, given.attempt, StepOutcome(phase=phases.ERROR, message=given.message)))
    clear_timer(run, timers.timeout(given.node))


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
