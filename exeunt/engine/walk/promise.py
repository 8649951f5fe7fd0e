"""The promise, kept at the end of a run: whatever began and ended has its exit handler, or a record that says why not.

Handlers become due where things end (steps, DAGs, what ends early). Before a run is over, all of it is looked through
once more; what is still owed is started then, late rather than never.
"""

from __future__ import annotations

from collections.abc import Iterator

from exeunt.engine.facts import phases
from exeunt.engine.facts.nodes import Node
from exeunt.engine.facts.run import Run
from exeunt.engine.values import handlers
from exeunt.engine.walk import dag_frame, steps
from exeunt.engine.walk.walking import Walk


def keep(run: Run) -> Walk:
    """Starts every exit handler of a step or task that is owed and was not started."""
    for node in list(_owed(run)):
        owner = run.nodes[node.owner]
        if owner.type == phases.STEP_GROUP:
            yield from steps.handler(run, run.nodes[owner.owner], owner, node)
        else:
            holder = owner if owner.type == phases.DAG else run.nodes[owner.owner]
            yield from dag_frame.look_exit(run, holder, dag_frame.frame_of(run, holder), node.index, node)


def _owed(run: Run) -> Iterator[Node]:
    if not run.shared.handled:
        return
    for node in run.nodes:
        if not node.completed or node.hook or node.owner < 0 or node.type == phases.STEP_GROUP:
            continue
        if run.nodes[node.owner].type in _HOLDERS and handlers.hook_of_name(run, node, handlers.EXIT) is None:
            yield node


_HOLDERS = frozenset({phases.STEP_GROUP, phases.DAG, phases.TASK_GROUP})
