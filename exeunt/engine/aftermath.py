"""What is left inside of a composite that has ended before its members: a DAG after a stop, steps with failFast.

Argo leaves it alone, and the handlers that it owes with it. Here nothing new begins in there either, but what comes to
its end gets its exit handler, and then what holds it ends too (rule stop-runs-handlers).
"""

from __future__ import annotations

from exeunt.engine import dag_items, hooks, phases, steps_template
from exeunt.engine.dag_frame import Frame, Walk, frame_of, look_exit
from exeunt.engine.events import NodeEnded, ShutdownSet
from exeunt.engine.nodes import Node
from exeunt.engine.problem import NodeError
from exeunt.engine.state import Run


def concerns(run: Run, node: Node) -> bool:
    """Whether the node has ended before its members, or stands in one that has."""
    if not run.early or any(isinstance(event, ShutdownSet) for event in run.events):
        return False
    while not node.fulfilled:
        if node.owner < 0:
            return False
        node = run.nodes[node.owner]
    return True


def left_in(run: Run, node: Node) -> bool:
    """Whether work runs in a node all of whose members have ended: a DAG waits for that (assessDAGPhase)."""
    if run.early:
        for work in (*run.state.placed, *run.state.due):
            at = work
            while at > node.key:
                at = run.nodes[at].owner
            if at == node.key:
                return True
    return False


def ended_early(node: Node) -> bool:
    return node.type in phases.COMPOSITES and node.fulfilled and node.open_members > 0


def look(run: Run, node: Node) -> Walk:
    """Runs the exit handlers that are owed now, and ends what is over."""
    holder = node
    while holder.fulfilled and holder.owner >= 0:
        holder = run.nodes[holder.owner]
    if holder is not node and holder.type == phases.DAG and not holder.fulfilled:
        run.wake(holder)
    if node.type == phases.DAG:
        yield from _dag(run, node)
        if not node.fulfilled and not node.open_members and not node.hooks_below:
            run.emit(NodeEnded(node.key, phases.FAILED))
    elif node.fulfilled:
        return
    elif node.type == phases.RETRY:
        last = run.nodes[node.members[-1]] if node.members else None
        if last is None or last.fulfilled:
            stopped = f"Stopped with strategy '{run.state.shutdown}'" if run.state.shutdown else ""
            phase = phases.FAILED if last is None or stopped else last.phase
            run.emit(NodeEnded(node.key, phase, stopped, killed=bool(stopped)))
    elif node.members:
        yield from steps_template.finish(run, node)


def _dag(run: Run, node: Node) -> Walk:
    frame = frame_of(run, node)
    changed = run.changes(node.key)
    for key in node.members if changed is None else changed:
        child = run.nodes[key]
        if child.type == phases.TASK_GROUP and not child.fulfilled:
            yield from _items(run, node, frame, child)
        if child.completed:
            yield from _handler(run, node, frame, child.index, child)


def _items(run: Run, node: Node, frame: Frame, group: Node) -> Walk:
    changed = run.changes(group.key)
    for key in group.members if changed is None else changed:
        if run.nodes[key].completed:
            yield from _handler(run, node, frame, group.index, run.nodes[key])
    dag_items.end(run, group)


def _handler(run: Run, node: Node, frame: Frame, number: int, child: Node) -> Walk:
    try:
        yield from look_exit(run, node, frame, number, child)
    except NodeError as error:
        hook = hooks.exit_hook(run, frame.graph.tasks[number])
        assert hook is not None
        hooks.skip(run, child, hook, hooks.View({}, "", node.scope), str(error))
