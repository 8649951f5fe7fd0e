"""How a DAG ends: its targets decide; one that never ran inherits from its branch (Argo: assessDAGPhase).

Phases go down the lines between nodes as they are drawn, breadth first: where several arrive at a task that never ran,
the first failure counts. Handlers and hooks have no vote: they pass on what came from their task, and so does all that
is in them (rule handlers-do-not-vote).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from exeunt.engine.facts import phases
from exeunt.engine.facts.nodes import Node
from exeunt.engine.facts.run import Run
from exeunt.engine.facts.state import Hook
from exeunt.engine.values.graph import Graph


def verdict(run: Run, dag: Node, graph: Graph, nodes: dict[int, Node], *, lenient: bool) -> str:
    """The phase of a DAG in which nothing is open. Running: a target has no node yet."""
    idle = [nodes[target] for target in graph.targets if target in nodes and not nodes[target].completed]
    never_ran = {node.key for node in idle if not node.serving}
    arrived = _Branches(run, dag).arriving(never_ran) if never_ran else {}
    result = phases.SUCCEEDED
    for target in graph.targets:
        if target not in nodes:
            result = phases.RUNNING
            if lenient:
                break
            continue
        node = nodes[target]
        phase = node.phase if node.completed else arrived.get(node.key, phases.SUCCEEDED)  # a daemon serves well
        if phase in phases.BAD:
            task = graph.tasks[target].continue_on
            if task is not None and (task.error if phase == phases.ERROR else task.failed):
                continue
            result = phase
            if not lenient:
                break
    return result


class _Branches:
    """A walk along all lines below a DAG, with the phase that each branch carries."""

    def __init__(self, run: Run, dag: Node) -> None:
        self.run = run
        self.dag = dag
        self.within: dict[int, bool] = {dag.key: False}

    def arriving(self, wanted: set[int]) -> dict[int, str]:
        """For each of the nodes the first failure that comes down to it, or else what came last."""
        found: dict[int, str] = {}
        seen: set[tuple[int, str]] = set()
        queue = deque((key, phases.SUCCEEDED, 0) for key in self.dag.children)
        while queue:
            key, phase, far = queue.popleft()
            if far:  # the nodes of a hook's own run, which are not here: they are passed through all the same
                queue.append((key, phase, far - 1))
                continue
            if (key, phase) in seen:
                continue
            seen.add((key, phase))
            if key < 0:
                queue.extend((below, phase, depth) for below, depth in _below_hook(self.run.state.hooks[-1 - key]))
                continue
            node = self.run.nodes[key]
            if (node.completed or node.serving) and not self._in_hook(node):
                phase = phases.SUCCEEDED if node.serving else node.phase
            if key in wanted and found.get(key) not in phases.BAD:
                found[key] = phase
            queue.extend((below, phase, 0) for below in self._below(node))
        return found

    def _below(self, node: Node) -> Iterator[int]:
        """Of a Retry not its attempts, but what hangs below them, its hooks and its links (getRetryNodeChildrenIds)."""
        if node.type != phases.RETRY:
            yield from node.children
            return
        for key in reversed(node.children):
            if key >= 0 and self.run.nodes[key].retried and self.run.nodes[key].owner == node.key:
                yield from self.run.nodes[key].children
            else:
                yield key

    def _in_hook(self, node: Node) -> bool:
        """Whether a node is that of a hook of the DAG's, or stands in one."""
        path = []
        while node.key not in self.within:
            path.append(node.key)
            if node.hook or node.owner < 0:
                self.within[node.key] = bool(node.hook)
                break
            node = self.run.nodes[node.owner]
        known = self.within[node.key]
        self.within.update(dict.fromkeys(path, known))
        return known


def _below_hook(hook: Hook) -> Iterator[tuple[int, int]]:
    """What was linked below a hook of a main run, and how many nodes of its run lie between."""
    for key in hook.own_links:
        yield key, 0
    if hook.links:
        depth = _depth(hook)
        for key in hook.links:
            yield key, depth


def _depth(hook: Hook) -> int:
    """How many lines lead from a hook's own node to the nearest of its last ones."""
    trees = {tree["id"]: tree for tree in (hook.outcome.nodes if hook.outcome is not None else [])}
    if not trees:
        return 0
    root = next(iter(trees.values()))
    ends = set(root.get("outboundNodes") or [root["id"]])
    seen, queue = {root["id"]}, deque([(root["id"], 0)])
    while queue:
        key, depth = queue.popleft()
        if key in ends:
            return depth
        for child in trees.get(key, {}).get("children", ()):
            if child not in seen:
                seen.add(child)
                queue.append((child, depth + 1))
    return 0
