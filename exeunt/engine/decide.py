"""The decider: what an input makes true of a run. Pure: the same log and the same inputs give the same events.

A decision folds the input, then looks at what it changed until nothing moves any more. Looks are generators: where one
starts a composite it yields it, and the walk goes there first; so nests of any depth need no recursion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec

from exeunt.engine.commands import firing, killing, operators, results
from exeunt.engine.commands import give_up as ending
from exeunt.engine.commands.inputs import (
    AttemptEnded,
    AttemptLost,
    AttemptProgressed,
    AttemptReady,
    Cancel,
    ChildStarting,
    GiveUp,
    GoOn,
    HookEnded,
    Input,
    Placed,
    Rejected,
    Replay,
    ReplayEnded,
    ResumeRun,
    RetryRun,
    SetNodes,
    ShutdownRun,
    SuspendRun,
    TimerFired,
)
from exeunt.engine.commands.selection import waiting
from exeunt.engine.facts import phases
from exeunt.engine.facts.commit import Commit
from exeunt.engine.facts.events import (
    Event,
    InputsSet,
    Obligation,
    RunStarted,
    Snapshot,
    StepDue,
    SuspensionSet,
)
from exeunt.engine.facts.fold import fold
from exeunt.engine.facts.nodes import Node, ended_early
from exeunt.engine.facts.problem import NodeError
from exeunt.engine.facts.run import Plans, Run
from exeunt.engine.facts.state import State, unpack
from exeunt.engine.shown.public_events import PublicEvent, public_events
from exeunt.engine.shown.status import status
from exeunt.engine.values import steps_layout
from exeunt.engine.values.artifacts import trees
from exeunt.engine.values.graph import graph_of
from exeunt.engine.values.labels import labelled
from exeunt.engine.values.processed import found_of, locals_of, processed_of
from exeunt.engine.values.templating import argument_values, process
from exeunt.engine.walk import dag
from exeunt.engine.walk.looks import settle, wake_watchers
from exeunt.language.expression.limits import sharing
from exeunt.language.manifest import Bundle, Template

__all__ = [
    "GoOn", "Pending", "PublicEvent", "Rejected", "Run", "apply", "begin", "decide", "end", "pending", "public_events",
    "replay", "snapshot", "status", "take_up", "waiting",
]  # fmt: skip
INPUTS: dict[type, Callable[[Run, Any], None]] = {
    Placed: results.placed,
    AttemptProgressed: results.step_progressed,
    AttemptReady: results.step_ready,
    AttemptEnded: results.step_ended,
    AttemptLost: results.step_lost,
    ChildStarting: results.child_starting,
    HookEnded: results.hook_ended,
    ReplayEnded: results.replay_ended,
    TimerFired: firing.timer_fired,
    ShutdownRun: operators.shutdown,
    SuspendRun: operators.suspend_run,
    ResumeRun: operators.resume_run,
    SetNodes: operators.set_nodes,
    Cancel: operators.cancel,
    Replay: operators.replay,
    RetryRun: operators.retry_run,
    GoOn: lambda run, given: None,
    GiveUp: ending.give_up,
}


class Pending(NamedTuple):
    """What should be in flight now."""

    due: list[StepDue]
    placed: list[tuple[StepDue, str]]
    cancelled: list[tuple[str, int]]
    timers: dict[str, float]
    hooks: list[Obligation]


def take_up(state: State, bundle: Bundle) -> Run:
    """A run with this state."""
    return Run(state, bundle, Plans(_inline_of, _place_of))


def begin(started: RunStarted, bundle: Bundle, now: float, hopeless: str = "") -> tuple[Run, list[Event]]:
    """A new run, and the events of its first commit. `hopeless`: why it can only end, as soon as it has begun."""
    owed = started.obligation
    run = take_up(State(started=started, now=now if owed is None else max(now, owed.due_at)), bundle)
    run.events = []
    run.first = True
    try:
        run.state.started = labelled(run)
    except NodeError as error:
        hopeless = hopeless or str(error)
    run.memory.clear()  # made before the labels were there
    run.emit(run.state.started)
    if hopeless:
        ending.give_up(run, GiveUp(hopeless))
    elif run.spec.suspend and not run.exit:
        run.emit(SuspensionSet(suspended=True))
    run.fresh = False
    with sharing(run.turn.meter):
        if settle(run):
            run.first = False
            run.outputs_version += 1
            _restate(run)
            if run.lively:  # hooks may ask for `workflow.status`
                killing.wake_all(run)
                settle(run)
    run.first = False
    return run, _taken(run)


def decide(run: Run, input: Input, now: float) -> list[Event]:
    """What the input makes true; it is true of `run` already. Empty when nothing changes. Raises Rejected.

    While the run is `unfinished` other inputs are only taken in, and GoOn decides what follows from them as well.
    """
    run.state.now = max(now, run.state.now)
    run.events = []
    run.turn.begin()
    with sharing(run.turn.meter):
        _decide(run, input)
    return _taken(run)


def _decide(run: Run, input: Input) -> None:
    run.put_off.clear()
    run.stopping = False
    run.graphs_ended.clear()
    run.pods_started.clear()
    run.hooks_before = len(run.state.hooks)
    since = 0 if run.unfinished else len(run.nodes)  # what decisions that were left began counts as begun in this one
    try:
        if run.fresh:
            run.early = any(ended_early(node) for node in run.nodes)
        ending = run.ending or isinstance(input, ShutdownRun | Cancel)
        INPUTS[type(input)](run, input)
        if ending and not run.ending:
            killing.fail_retries(run)
            run.graphs_ended.clear()  # they end before anything is looked at
        if run.unfinished and not isinstance(input, GoOn):
            return
        if run.fresh:
            killing.wake_all(run)
        elif run.watching and run.events:
            wake_watchers(run)
        decided = settle(run)
        while decided and killing.fail_waiting(run, since):
            since = len(run.nodes)
            decided = settle(run)
        if decided:
            run.fresh = False
    except Rejected:
        run.events = []
        raise


def end(run: Run, given: ShutdownRun, why: str, now: float) -> list[Event]:
    """Ends a run in which nothing can be decided any more; nothing further is looked at."""
    run.state.now = max(now, run.state.now)
    run.events = []
    ending.end(run, given, why)
    return _taken(run)


def apply(run: Run, event: Event, now: float) -> None:
    """Folds one event of the log."""
    run.state.now = max(now, run.state.now)
    fold(run, event)
    run.fresh = True


def replay(bundle_of: Callable[[str], Bundle], commits: Iterable[Commit]) -> Run:
    """The run that a log tells of: from its first commit, or from a snapshot, whichever stands first."""
    run: Run | None = None
    for commit in commits:
        for event in commit.events:
            if isinstance(event, RunStarted) and run is None:
                run = take_up(State(started=event, now=commit.now), bundle_of(event.bundle))
            if isinstance(event, Snapshot):
                state = unpack(event.state)
                run = take_up(state, bundle_of(state.started.bundle))
                run.state.commits -= 1
                continue
            if run is None:
                raise ValueError("the log of a run begins with its start or with a snapshot")
            apply(run, event, commit.now)
        if run is not None:
            run.commits += 1
    if run is None:
        raise ValueError("a log without commits tells of no run")
    return run


def snapshot(run: Run, now: float = 0.0) -> Snapshot:
    """The whole state as one event, to be written as the next commit, which is made `now`."""
    run.state.now = max(now, run.state.now)
    kept = msgspec.structs.replace(run.state, commits=run.state.commits + 1)
    return Snapshot(msgspec.Raw(msgspec.msgpack.encode(kept)))


def pending(run: Run) -> Pending:
    """What should be in flight now: to be started, brought back or ended again after a restart."""
    if run.closed:
        return Pending([], [], _cancelled(run), {}, [])
    due = [_due(run, run.nodes[key]) for key in run.state.due]
    placed = [(_due(run, run.nodes[key]), executor) for key, executor in run.state.placed.items()]
    owed = [hook.obligation for hook in run.state.hooks if hook.open and hook.obligation is not None]
    return Pending(due, placed, _cancelled(run), dict(run.state.timers), owed)


def _cancelled(run: Run) -> list[tuple[str, int]]:
    return [(run.id(run.nodes[key]), attempt) for key, attempt in run.state.cancelled]


def _due(run: Run, node: Node) -> StepDue:
    assert node.step is not None
    return StepDue(run.id(node), node.attempt, node.step, run.exit)


def _restate(run: Run) -> None:
    """Composites that were given `workflow.status` in the first decision, when it was empty, go on with what it is now.

    Argo puts arguments in anew at every look, but shows those that a node began with.
    """
    if run.exit or b"workflow.status" not in msgspec.json.encode(run.bundle):
        return
    for node in run.nodes:
        if node.fulfilled or not node.inputs or node.type not in phases.COMPOSITES or node.boundary < 0:
            continue
        boundary = run.nodes[node.boundary]
        try:
            if node.retried:
                given = run.nodes[node.owner].given
            else:
                plan = (steps_layout if boundary.type == phases.STEPS else dag).plan_of(run, boundary, node)
                arguments, files = argument_values(plan.step.arguments), trees(plan.step.arguments.artifacts)
                given = process(run, found_of(run, node).template, arguments, locals_of(run, node), files).inputs
        except NodeError:
            continue
        if given != node.given:
            run.emit(InputsSet(node.key, given))


def _taken(run: Run) -> list[Event]:
    events, run.events = run.events, []
    return events


def _inline_of(run: Run, node: Node) -> Template:
    """What stood in the step or task itself, with its references put in again."""
    current = node
    while current.retried or (current.type == phases.RETRY and run.nodes[current.owner].type == phases.RETRY):
        current = run.nodes[current.owner]
    boundary = run.nodes[node.boundary]
    plan = (steps_layout if boundary.type == phases.STEPS else dag).plan_of(run, boundary, current)
    inline: Template | None = plan.step.inline
    if inline is None:
        raise NodeError(f"the template of {run.names.full(node)} is not there any more")
    return inline


def _place_of(run: Run, node: Node) -> int:
    """Its place in the graph; as it is written where the graph cannot be made."""
    owner = run.nodes[node.owner]
    with suppress(NodeError):
        template = processed_of(run, owner).template
        if template.dag is not None:
            return graph_of(run, owner, template.dag).rank.get(node.index, node.index)
    return node.index
