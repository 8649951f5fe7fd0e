"""What is left inside a composite that ended before its members: a DAG after a stop, steps with failFast.

Argo leaves it alone, and the handlers that it owes with it. Here nothing new begins in there either, but what comes to
its end gets its exit handler, and then what holds it ends too (rule stop-runs-handlers).
"""

from __future__ import annotations

from exeunt.engine.facts import phases
from exeunt.engine.facts.nodes import Node
from exeunt.engine.facts.run import Run
from exeunt.engine.walk import dag, parallelism, retry, steps
from exeunt.engine.walk.start import exempt
from exeunt.engine.walk.walking import Walk


def concerns(run: Run, node: Node) -> bool:
    """Whether the node has ended before its members, or stands in one that has.

    In the decision of a stop only what had ended before it: all else is looked at once more, as Argo does in one look.
    What fails fast in that decision has ended all the same: it does so behind what stands in it.
    """
    if not run.early:
        return False
    while not node.fulfilled or _ended_by_the_stop(run, node):
        if node.owner < 0:
            return False
        node = run.nodes[node.owner]
    return True


def _ended_by_the_stop(run: Run, node: Node) -> bool:
    return run.stopping and node.key in run.graphs_ended and node.message != parallelism.FAIL_FAST


def look(run: Run, node: Node) -> Walk:
    """Runs the exit handlers that are owed now, and ends what is over."""
    holder = node
    while holder.fulfilled and holder.owner >= 0:
        holder = run.nodes[holder.owner]
    if holder is not node and holder.type == phases.DAG and not holder.fulfilled:
        run.wake(holder)
    if node.type == phases.DAG:
        yield from dag.drain(run, node)
        if not node.fulfilled and not node.open_members and not node.hooks_below:
            dag.conclude(run, node)
    elif node.fulfilled and node.type == phases.STEPS:
        yield from steps.finish(run, node)
    elif node.fulfilled:
        return
    elif node.type == phases.RETRY:
        last = run.nodes[node.members[-1]] if node.members else None
        if last is None or last.fulfilled:
            told = run.state.shutdown and not exempt(run, node)
            stopped = f"Stopped with strategy '{run.state.shutdown}'" if told else ""
            phase = phases.FAILED if last is None or stopped else last.phase
            retry.end(run, node, phase, stopped or (last.message if last is not None else ""))
    elif node.type == phases.STEPS and not node.retried and parallelism.failed_fast(run, node):
        yield from steps.fail_fast(run, node)
    elif node.members:
        yield from steps.finish(run, node)
