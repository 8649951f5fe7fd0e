"""Where a failure began: the innermost node that made another one fail, and what it says. Beyond Argo, for events.

Argo's message of a graph names a child by its id (`child 'w-123' failed`), or is empty (a DAG's): the child's name and
its words stand in place of that.
"""

from __future__ import annotations

import re
from typing import Any

from exeunt.engine.facts import phases
from exeunt.engine.facts.nodes import Node
from exeunt.engine.facts.problem import MESSAGE_BYTES
from exeunt.engine.facts.run import Run
from exeunt.engine.facts.state import Hook
from exeunt.engine.values.processed import found_of
from exeunt.utf8 import cut

_CHILD = re.compile(r"child '[^']*' failed")


def culprit(run: Run, node: Node) -> Node:
    """The node itself, unless it failed since one inside of it did."""
    while (inner := _inner(run, node)) is not None:
        node = inner
    return node


def _inner(run: Run, node: Node) -> Node | None:
    if not node.failed or node.type not in phases.COMPOSITES:
        return None
    if node.type == phases.RETRY:
        last = run.nodes[node.members[-1]] if node.members else node
        return last if last is not node and last.failed else None
    bad = [run.nodes[key] for key in node.members if run.nodes[key].failed]
    if node.raised or not bad:
        return None
    named = [one for one in bad if f"'{run.id(one)}'" in node.message]
    return min(named or bad, key=lambda one: (_forgiven(run, node, one), one.killed, one.finished, one.key))


def _forgiven(run: Run, node: Node, child: Node) -> bool:
    """Whether a DAG goes on although this task of it failed."""
    dag = found_of(run, node).template.dag if node.type == phases.DAG else None
    lenient = dag.tasks[child.index].continue_on if dag is not None and child.index < len(dag.tasks) else None
    return lenient is not None and (lenient.error if child.phase == phases.ERROR else lenient.failed)


def words(run: Run, node: Node, message: str) -> str:
    """A message about a node that failed, with what failed in it and the words of that; never empty."""
    inner = culprit(run, node)
    said = inner.message or inner.phase
    if message and said in message:
        return message
    if _CHILD.fullmatch(message):
        message = ""
    attempt = node.type == phases.RETRY and inner.key == node.members[-1]
    return _joined(message, said if attempt else f"{run.names.full(inner)}: {said}")


def handler_words(hook: Hook, message: str) -> str:
    """The same of a handler that failed, from what its exit run brought back."""
    trees: list[dict[str, Any]] = hook.outcome.nodes if hook.outcome is not None else []
    bad = [tree for tree in trees if tree.get("phase") in phases.BAD and tree.get("type") not in phases.COMPOSITES]
    if not bad:
        return message or f"the handler {hook.name} has failed"
    if _CHILD.fullmatch(message):
        message = ""
    tree = bad[-1]
    said = str(tree.get("message") or tree.get("phase"))
    return message if message and said in message else _joined(message, f"{tree.get('name')}: {said}")


def _joined(message: str, cause: str) -> str:
    return cut(f"{message}: {cause}" if message else cause, MESSAGE_BYTES)
