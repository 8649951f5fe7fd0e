"""The decider: what an input makes true of a run. Pure: the same log and the same inputs give the same events.

A decision folds the input, then looks at what it changed until nothing moves any more. Looks are generators: where one
starts a composite it yields it, and the walk goes there first; so nests of any depth need no recursion.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec

from exeunt.engine.commands import firing, killing, operators, results
from exeunt.engine.commands import give_up as ending
from exeunt.engine.commands.inputs import (
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
    Shutdown,
    StepEnded,
    StepLost,
    SuspendRun,
    TimerFired,
)
from exeunt.engine.commands.selection import waiting
from exeunt.engine.facts import phases
from exeunt.engine.facts.commit import Commit
from exeunt.engine.facts.events import (
    Event,
    InputsSet,
    MoreToDecide,
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
from exeunt.engine.facts.turn import TurnOver
from exeunt.engine.shown.public_events import PublicEvent, public_events
from exeunt.engine.shown.status import status
from exeunt.engine.values.graph import graph_of
from exeunt.engine.values.labels import labelled
from exeunt.engine.values.processed import found_of, locals_of, processed_of
from exeunt.engine.values.templating import argument_values, process
from exeunt.engine.walk import dag, dag_frame, dag_items, left_inside, parallelism, retry, steps, workflow
from exeunt.language.expression.limits import sharing
from exeunt.language.manifest import Bundle, Template

__all__ = [
    "GoOn", "Pending", "PublicEvent", "Rejected", "Run", "apply", "begin", "decide", "end", "pending", "public_events",
    "replay", "snapshot", "status", "take_up", "waiting",
]  # fmt: skip
INPUTS: dict[type, Callable[[Run, Any], None]] = {
    Placed: results.placed,
    StepEnded: results.step_ended,
    StepLost: results.step_lost,
    ChildStarting: results.child_starting,
    HookEnded: results.hook_ended,
    ReplayEnded: results.replay_ended,
    TimerFired: firing.timer_fired,
    Shutdown: operators.shutdown,
    SuspendRun: operators.suspend_run,
    ResumeRun: operators.resume_run,
    SetNodes: operators.set_nodes,
    Cancel: operators.cancel,
    Replay: operators.replay,
    RetryRun: operators.retry_run,
    GoOn: lambda run, given: None,
    GiveUp: ending.give_up,
}
LOOKS: dict[str, Callable[[Run, Node], Generator[Node, None, Any]]] = {
    phases.STEPS: steps.look,
    phases.DAG: dag.look,
    phases.RETRY: retry.look,
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
        if _settle(run):
            run.first = False
            run.outputs_version += 1
            _restate(run)
            if run.lively:  # hooks may ask for `workflow.status`
                killing.wake_all(run)
                _settle(run)
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
        ending = run.ending or isinstance(input, Shutdown | Cancel)
        INPUTS[type(input)](run, input)
        if ending and not run.ending:
            killing.fail_retries(run)
            run.graphs_ended.clear()  # they end before anything is looked at
        if run.unfinished and not isinstance(input, GoOn):
            return
        if run.fresh:
            killing.wake_all(run)
        elif run.watching and run.events:
            _wake_watchers(run)
        decided = _settle(run)
        while decided and killing.fail_waiting(run, since):
            since = len(run.nodes)
            decided = _settle(run)
        if decided:
            run.fresh = False
    except Rejected:
        run.events = []
        raise


def end(run: Run, given: Shutdown, why: str, now: float) -> list[Event]:
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
                plan = (steps if boundary.type == phases.STEPS else dag).plan_of(run, boundary, node)
                arguments = argument_values(plan.step.arguments)
                given = process(run, found_of(run, node).template, arguments, locals_of(run, node)).inputs
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
    plan = (steps if boundary.type == phases.STEPS else dag).plan_of(run, boundary, current)
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


# --- the walk ---------------------------------------------------------------------------------------------------------


def _settle(run: Run) -> bool:
    """Looks until nothing moves any more, or this decision has done its share. Returns whether all is decided."""
    try:
        _look(run)
    except TurnOver:
        run.fresh = True  # what the looks knew that were left is lost
        run.left = True
        if run.events and not run.state.unfinished:
            run.emit(MoreToDecide(more=True))
        run.turn.over(decided=False, ending=run.state.shutdown_reason == phases.ERROR)
        return False
    run.left = False
    run.turn.over(decided=True, ending=False)
    if run.state.unfinished:
        run.emit(MoreToDecide(more=False))
    return True


def _look(run: Run) -> None:
    if run.closed:
        return
    if not run.nodes and not run.state.suspended:
        _walk(run, workflow.start(run))
    for key in run.blocked:
        run.pend(key)
    run.blocked.clear()
    entered: set[int] = set()  # what holds the composites that were looked at
    alone: dict[int, int] = {}  # what was left alone, and for what that holds it
    while True:
        while run.dirty and not run.state.suspended:
            full = parallelism.full(run)
            if full and run.dirty.isdisjoint(entered):
                break  # no walk of the tree gets past a limit that was reached before; one under way comes to its end
            node = _next(run, entered if full else None)
            if node is None:
                continue
            run.turn.check()
            left = left_inside.concerns(run, node)  # nothing begins in there, and nothing holds back what ends
            closed = [] if left else [key for key in _holders(run, node) if parallelism.closed(run, run.nodes[key])]
            if closed:
                run.blocked[node.key] = None
                alone[node.key] = closed[-1]
                run.pend(closed[-1])
                continue
            entered.update(_holders(run, node))
            if left or not node.fulfilled:
                _walk(run, (left_inside.look if left else LOOKS[node.type])(run, node))
            elif run.stopping:
                run.late[node.key] = None
        if not run.dirty and _go_on(run, alone):
            continue
        if run.stopping and not run.dirty:
            run.stopping = False
            for key in run.late:
                run.pend(key)
            run.late.clear()
            continue
        before = len(run.events)
        _walk(run, workflow.look(run))
        if len(run.events) == before or run.closed:
            return


def _go_on(run: Run, alone: dict[int, int]) -> bool:
    """Has looked at what was left alone for something that has ended meanwhile: nothing else may wake it any more."""
    ended = [key for key, holder in alone.items() if run.nodes[holder].fulfilled]
    for key in ended:
        del alone[key]
        if not run.nodes[key].fulfilled:
            run.blocked.pop(key, None)
            run.pend(key)
    return bool(run.dirty)


def _holders(run: Run, node: Node) -> Iterator[int]:
    """All that a node stands in."""
    while node.owner >= 0:
        yield node.owner
        node = run.nodes[node.owner]


def _wake_watchers(run: Run) -> None:
    """Hooks that look at the workflow's outputs are looked at whenever something happened."""
    for node in run.nodes:
        if node.type in phases.BOUNDARIES and not node.fulfilled:
            run.pend(node.key)


def _next(run: Run, among: set[int] | None) -> Node | None:
    """The next composite to look at: in the order of the tree, on a stop in the order in which it found them.

    `among`: these alone, the inner ones first.
    """
    key = run.dirty.take(as_they_came=run.stopping) if among is None else run.dirty.take_inner(among)
    node = run.nodes[key]
    while node.type not in LOOKS:
        if node.owner < 0:
            return None
        run.changed.setdefault(node.owner, []).append(node.key)
        node = run.nodes[node.owner]
    if node.key != key and run.stopping and node.key in run.dirty:
        return None  # what else stands in it comes first
    if node.fulfilled and not run.early:
        return None
    if run.state.open_hooks and _gated(run, node):
        run.held[key] = None
        return None
    first = _before(run, node)
    if first is None or run.put_off.get(node.key) == len(run.events):
        return node
    run.put_off[node.key] = len(run.events)
    run.pend(node.key)
    run.dirty.discard(first.key)
    return first


def _before(run: Run, node: Node) -> Node | None:
    """The DAG to be looked at before this node: in its loop an item has ended that stands before this one."""
    while node.owner >= 0:
        owner = run.nodes[node.owner]
        changed = run.changed.get(owner.key, ()) if owner.type == phases.TASK_GROUP else ()
        if any(key < node.key and run.nodes[key].fulfilled for key in changed):
            dag_node = run.nodes[owner.owner]
            if not node.hook and not owner.fulfilled and not dag_node.fulfilled and dag_node.key not in run.blocked:
                run.changed.setdefault(dag_node.key, []).append(owner.key)
                run.dirty.discard(owner.key)
                return dag_node
        node = owner
    return None


def _gated(run: Run, node: Node) -> bool:
    """Whether a hook that runs holds this node up: in a DAG, what stands under a task with an open hook rests.

    So does an item behind one whose exit handler runs. What stands in the hook itself does not.
    """
    child, inside = node, False
    while child.owner >= 0:
        owner = run.nodes[child.owner]
        behind = owner.type == phases.TASK_GROUP and dag_items.rests(run, owner, child)
        if not inside and not child.fulfilled and (behind or (owner.type == phases.DAG and child.open_hooks)):
            return True
        child, inside = owner, bool(child.hook)
    return False


def _walk(run: Run, first: Generator[Node, None, Any]) -> None:
    """Runs a look, and first those of the composites that it starts."""
    stack = [first]
    while stack:
        try:
            node = next(stack[-1])
        except StopIteration:
            stack.pop()
            continue
        except TurnOver:
            run.memory.forget_kind(dag_frame.NodeFrame)
            raise
        if not node.fulfilled and node.type in LOOKS:
            run.dirty.discard(node.key)
            stack.append(LOOKS[node.type](run, node))
