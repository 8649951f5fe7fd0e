"""The lines between nodes as Argo draws them: what comes next hangs below the last nodes of what came before.

A link end is the number of a node, or -1-n for what hangs below hook n of a main run.
"""

from __future__ import annotations

from exeunt.engine import phases
from exeunt.engine.graph import graph_of
from exeunt.engine.start import processed_of
from exeunt.engine.state import Run


def outbound(run: Run, end: int) -> list[int]:
    """The last nodes inside a node (Argo: getOutboundNodes). Walks with a stack: nests may be deep."""
    found: list[int] = []
    stack = [end]
    while stack:
        key = stack.pop()
        if key < 0:
            found.append(key)
            continue
        node = run.nodes[key]
        if node.type == phases.RETRY:
            if node.children:
                found.append(node.children[-1])
        elif node.type == phases.TASK_GROUP:
            stack.extend(reversed(node.children))
            if not node.children:
                found.append(key)
        elif node.type in phases.BOUNDARIES:
            stack.extend(reversed(last_of(run, key)))
        else:
            found.append(key)
    return found


def last_of(run: Run, key: int) -> list[int]:
    """The ends that a steps or DAG node itself leads to."""
    node = run.nodes[key]
    if not node.members:
        return []
    if node.type == phases.STEPS:
        return list(run.nodes[node.members[-1]].children)
    dag = processed_of(run, node).template.dag
    targets = set(graph_of(run, node, dag).targets) if dag is not None else set()
    return [member for member in node.members if run.nodes[member].index in targets]
