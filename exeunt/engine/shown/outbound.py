"""The lines between nodes as Argo draws them: what comes next hangs below the last nodes of what came before.

A link end is the number of a node, or for hook n of a main run -1-n: below the last nodes of its exit run. Where the
hook's own node is meant, OWN is taken off.
"""

from __future__ import annotations

from exeunt.engine.facts import fold_containers, phases
from exeunt.engine.facts.nodes import OWN, hook_of
from exeunt.engine.facts.run import Run
from exeunt.engine.values.graph import graph_of
from exeunt.engine.values.processed import processed_of


def outbound(run: Run, end: int) -> list[int]:
    """The last nodes inside a node (Argo: getOutboundNodes). Walks with a stack: nests may be deep.

    A Retry gives its last child as it is. What steps and DAGs have as their last nodes is gone into once more.
    """
    found: list[int] = []
    stack = [(end, False)]  # and whether what comes of it is gone into once more
    while stack:
        key, again = stack.pop()
        if key < 0:
            number, own = hook_of(key)
            found.append(-1 - number if own else key)
            continue
        node = run.nodes[key]
        if node.type == phases.RETRY:
            if node.children:
                last = node.children[-1]
                if again:
                    stack.append((last, False))
                else:
                    found.append(last if last >= 0 else last - OWN)
        elif node.type == phases.CONTAINER and node.children:
            inside = [child for child in node.children if child >= 0 and run.nodes[child].boundary == node.boundary]
            stack.extend((child, again) for child in reversed(inside))
            if len(inside) < len(node.children):
                found.append(key)
        elif node.children and (node.type == phases.TASK_GROUP or fold_containers.is_set(run, node)):
            stack.extend((child, again) for child in reversed(node.children))
        elif node.type in phases.BOUNDARIES:
            stack.extend((child, True) for child in reversed(last_of(run, key)))
        else:
            found.append(key)
    return found


def last_of(run: Run, key: int) -> list[int]:
    """The ends that a steps or DAG node itself leads to."""
    node = run.nodes[key]
    if not (node.members and node.fulfilled):
        return []  # what has no end yet, in a graph that was stopped, leads nowhere
    if node.type == phases.DAG and node.raised:
        return []  # Argo comes to the outputs first, and not to the links where they cannot be worked out
    if node.type == phases.STEPS:
        return list(run.nodes[node.members[-1]].children)
    dag = processed_of(run, node).template.dag
    targets = set(graph_of(run, node, dag).targets) if dag is not None else set()
    return [member for member in node.members if run.nodes[member].index in targets]
