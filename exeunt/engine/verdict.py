"""How a DAG ends: its targets decide; one that never ran inherits from its branch (Argo: assessDAGPhase)."""

from __future__ import annotations

from collections import deque

from exeunt.engine import phases
from exeunt.engine.graph import Graph, graph_of
from exeunt.engine.nodes import Node
from exeunt.engine.start import processed_of
from exeunt.engine.state import Run


def verdict(run: Run, graph: Graph, nodes: dict[int, Node], *, lenient: bool) -> str:
    """The phase of a DAG in which nothing is open. Running: a target has no node yet."""
    never_ran = [target for target in graph.targets if target in nodes and not nodes[target].completed]
    inherited = _inherited(run, graph, nodes, phases.SUCCEEDED) if never_ran else {}
    result = phases.SUCCEEDED
    for target in graph.targets:
        if target not in nodes:
            result = phases.RUNNING
            if lenient:
                break
            continue
        phase = nodes[target].phase if nodes[target].completed else _worst(inherited.get(target, []))
        if phase in phases.BAD:
            task = graph.tasks[target].continue_on
            if task is not None and (task.error if phase == phases.ERROR else task.failed):
                continue
            result = phase
            if not lenient:
                break
    return result


def _worst(arriving: list[str]) -> str:
    """Of what comes down the branches the first failure counts."""
    return next((phase for phase in arriving if phase in phases.BAD), phases.SUCCEEDED)


def _inherited(run: Run, graph: Graph, nodes: dict[int, Node], entry: str) -> dict[int, list[str]]:
    """The phases that come down the branches to each task, in the order in which they arrive."""
    found: dict[int, list[str]] = {}
    roots = [number for number in nodes if not graph.needs[number]]
    queue = deque((number, entry) for number in roots)
    while queue:
        number, phase = queue.popleft()
        arrived = found.setdefault(number, [])
        if phase in arrived:
            continue
        arrived.append(phase)
        node = nodes[number]
        leaves = leaving(run, node) if node.completed else [phase]
        queue.extend((one, leave) for one in graph.dependents[number] if one in nodes for leave in leaves)
    return found


def leaving(run: Run, start: Node) -> list[str]:
    """The phases at the last nodes inside a completed node: what hangs below them inherits these."""
    found: dict[str, None] = {}
    stack: list[tuple[int, str]] = [(start.key, start.phase)]
    while stack:
        key, inherited = stack.pop()
        if key < 0:
            found[run.state.hooks[-1 - key].phase or inherited] = None
            continue
        node = run.nodes[key]
        phase = node.phase if node.completed else inherited
        if node.type == phases.RETRY:
            last = node.children[-1] if node.children else key
            hook = last < 0 or run.nodes[last].hooked
            if hook:
                found[run.state.hooks[-1 - last].phase if last < 0 else run.nodes[last].phase] = None
            else:
                found[phase] = None
        elif node.type == phases.TASK_GROUP and node.children:
            stack.extend((child, phase) for child in reversed(node.children))
        elif node.type == phases.STEPS and node.members:
            group = run.nodes[node.members[-1]]
            stack.extend((child, group.phase) for child in reversed(group.children))
        elif node.type == phases.DAG:
            _leaving_dag(run, node, phase, stack, found)
        else:
            found[phase] = None
    return list(found)


def _leaving_dag(run: Run, node: Node, phase: str, stack: list[tuple[int, str]], found: dict[str, None]) -> None:
    dag = processed_of(run, node).template.dag
    if dag is None:
        return
    graph = graph_of(run, node, dag)
    nodes = {run.nodes[key].index: run.nodes[key] for key in node.members}
    for target in graph.targets:
        child = nodes.get(target)
        if child is None:
            continue
        if child.completed:
            stack.append((child.key, child.phase))
        else:
            found.update(dict.fromkeys(_inherited(run, graph, nodes, phase).get(target, [])))
