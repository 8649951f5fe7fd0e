"""Daemons: who waits for one need not wait when it is ready, and it ends with the template that it was begun in.

A daemon is Running until then, and so are the group and the Retry that hold it (Argo: killDaemonedChildren in
exec_control.go, and its page on daemon containers). One that nothing holds, as an entrypoint or a handler of its
own, has nobody to serve, and ends as soon as it is ready.
"""

from __future__ import annotations

from exeunt.engine.facts import phases
from exeunt.engine.facts.events import NodeDaemoned, NodeEnded
from exeunt.engine.facts.nodes import Node
from exeunt.engine.facts.run import Run
from exeunt.engine.values.processed import found_of
from exeunt.engine.walk.ending import kill_one

NEVER_READY = "ended with the template that it was begun in, before it was ready"


def tell(run: Run, node: Node) -> None:
    """A daemon is ready: so is the Retry around it, and whoever waits for either is told."""
    run.ended(node)
    while node.owner >= 0 and run.nodes[node.owner].type == phases.RETRY:
        node = run.nodes[node.owner]
        if not node.serving and not node.hook:
            run.emit(NodeDaemoned(node.key))
            run.ended(node)


def holds_one(run: Run, group: Node) -> bool:
    """Whether a group whose members nobody waits for any more goes on, since one of them is a daemon."""
    return bool(run.state.daemons) and any(run.nodes[key].serving for key in group.members)


def serve(run: Run, group: Node) -> None:
    """Such a group: nobody waits for it."""
    run.emit(NodeDaemoned(group.key))


def end_of_scope(run: Run) -> bool:
    """Ends the daemons whose template is over, and what holds them. Says whether there were any."""
    found = False
    for key, ready in sorted(run.state.daemons.items(), reverse=True):  # the inner ones first
        node = run.nodes[key]
        if not _scope_is_over(run, node, ready=ready):
            continue
        found = True
        if node.type not in phases.COMPOSITES:
            kill_one(run, node, node.message if ready else NEVER_READY, phases.SUCCEEDED if ready else phases.FAILED)
            continue
        below = node.members[-1:] if node.type == phases.RETRY else node.members
        bad = next((run.nodes[one] for one in below if run.nodes[one].failed and not _forgiven(run, node, one)), None)
        phase = phases.SUCCEEDED if bad is None else phases.FAILED if node.type == phases.STEP_GROUP else bad.phase
        run.emit(NodeEnded(key, phase, node.message, killed=True))
    return found


def _forgiven(run: Run, group: Node, key: int) -> bool:
    """Whether a step of a group may fail as it did."""
    if group.type != phases.STEP_GROUP:
        return False
    steps = (found_of(run, run.nodes[group.owner]).template.steps or [])[group.index]
    lenient, child = steps[run.nodes[key].index].continue_on, run.nodes[key]
    return lenient is not None and (lenient.error if child.phase == phases.ERROR else lenient.failed)


def _scope_is_over(run: Run, node: Node, *, ready: bool) -> bool:
    top = node
    while top.owner >= 0 and run.nodes[top.owner].type == phases.RETRY:
        top = run.nodes[top.owner]
    if top.hook or top.boundary < 0:
        return ready
    return run.nodes[top.boundary].over
