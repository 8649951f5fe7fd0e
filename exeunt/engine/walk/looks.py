"""Looks at what has changed, in the order of the tree, until nothing moves any more (exeunt.engine)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from exeunt.engine.facts import phases
from exeunt.engine.facts.events import (
    MoreToDecide,
)
from exeunt.engine.facts.nodes import Node
from exeunt.engine.facts.run import Run
from exeunt.engine.facts.turn import TurnOver
from exeunt.engine.walk import daemons, dag, dag_frame, dag_items, left_inside, parallelism, retry, steps, workflow
from exeunt.engine.walk.walking import Walk

LOOKS: dict[str, Callable[[Run, Node], Walk]] = {
    phases.STEPS: steps.look,
    phases.DAG: dag.look,
    phases.RETRY: retry.look,
}


def settle(run: Run) -> bool:
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
            if left or not node.over:
                _walk(run, (left_inside.look if left else LOOKS[node.type])(run, node))
            elif run.stopping:
                run.late[node.key] = None
        if not run.dirty and _go_on(run, alone):
            continue
        if run.stopping and not run.dirty:
            run.stopping = False
            inside = [key for key in run.blocked if left_inside.concerns(run, run.nodes[key])]  # no limit holds there
            for key in (*run.late, *inside):
                run.blocked.pop(key, None)
                run.pend(key)
            run.late.clear()
            continue
        if run.state.daemons and daemons.end_of_scope(run):
            continue
        before = len(run.events)
        _walk(run, workflow.look(run))
        if len(run.events) == before or run.closed:
            return


def _go_on(run: Run, alone: dict[int, int]) -> bool:
    """Wakes what was left alone because of something that has ended by now: nothing else would. Says if any was."""
    ended = [key for key, holder in alone.items() if run.nodes[holder].fulfilled]
    for key in ended:
        del alone[key]
        if not run.nodes[key].fulfilled:
            run.blocked.pop(key, None)
            run.pend(key)
    return bool(run.dirty)


def _holders(run: Run, node: Node) -> Iterator[int]:
    """The keys of all nodes that a node stands in, the inner ones first."""
    while node.owner >= 0:
        yield node.owner
        node = run.nodes[node.owner]


def wake_watchers(run: Run) -> None:
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
    if node.over and not run.early:
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


def _walk(run: Run, first: Walk) -> None:
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
