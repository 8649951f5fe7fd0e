"""Retry of a workflow that ended: what failed is taken out and runs again, what went well stays (Argo: `argo retry`).

As in Argo's FormulateRetryWorkflow: work that failed goes, with all that hangs below it, and what holds it is open
again; a failure after which something went well (`continueOn`, `depends: a.Failed`) is left alone. Beyond Argo, a graph
that failed with nothing inside that did (a stop before anything began) is open again too, and the workflow's own hooks
are all due anew: each attempt of a workflow has exit runs of its own.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from exeunt.engine.facts import phases
from exeunt.engine.facts.claims import ClaimsHome
from exeunt.engine.facts.events import Retried
from exeunt.engine.facts.nodes import Node, counts_as_bad
from exeunt.engine.facts.state import Hook, State


def reopened(old: State, event: Retried, *, claims: ClaimsHome) -> State:
    """The state with which the next attempt of the workflow begins. Its nodes are numbered anew, in their order.

    `claims` is where the workflow's own volumes still are.
    """
    gone, again = _judged(old.nodes)
    started = msgspec.structs.replace(
        old.started,
        run_attempt=old.started.run_attempt + 1,
        parameters={**old.started.parameters, **event.parameters},
    )
    state = State(
        started=started,
        phase=phases.RUNNING,
        commits=old.commits,
        now=old.now,
        started_at=old.now,
        created_at=old.created_at or old.started_at,
        first_attempt=1 + max([old.first_attempt, *(node.attempt for node in old.nodes)]),
        global_outputs=dict(old.global_outputs),
        global_artifacts=dict(old.global_artifacts),
        requests=[*old.requests, event.request_id] if event.request_id else list(old.requests),
        outgoing=old.outgoing,
        claims=claims,
    )
    numbers: dict[int, int] = {}
    for node in old.nodes:
        if node.key not in gone:
            numbers[node.key] = len(numbers)
    hooks: dict[int, int] = {}
    for number, hook in enumerate(old.hooks):
        if hook.parent in numbers and hook.parent not in again and old.nodes[hook.parent].owner >= 0:
            hooks[number] = len(hooks)
            state.hooks.append(_moved_hook(hook, numbers))
            state.hook_numbers[hook.hook_id] = hooks[number]
    for node in old.nodes:
        if node.key in numbers:
            state.nodes.append(_moved(node, numbers, hooks, again=node.key in again))
    for node in old.nodes:
        if node.daemoned and node.owner in numbers and node.key not in numbers:  # what hung below it hangs there now
            state.nodes[numbers[node.owner]].children += _links(node.children, numbers, hooks)
    state.bad = list(_links((key for key in old.bad if key not in again), numbers, hooks))
    _count(state.nodes)
    return state


def _judged(nodes: list[Node]) -> tuple[set[int], set[int]]:
    """The nodes that are taken out, and those that are open again."""
    gone: set[int] = set()
    again: set[int] = set()
    if not nodes or not nodes[0].failed:
        return gone, again
    past = _past(nodes)
    for node in nodes:
        if node.type == phases.CONTAINER:  # judged by its pod
            continue
        if node.failed and node.key not in past and node.key not in gone and not _holds(nodes, node):
            below = _below(nodes, node)
            if not any(nodes[key].phase == phases.SUCCEEDED and nodes[key].owner != node.key for key in below):
                gone.update({node.key, *below})
    gone = _with_members(nodes, gone)
    for key in gone:
        _open_above(nodes, nodes[key], gone, again)
    for node in reversed(nodes):  # the inner ones first
        if node.key in past or node.key in gone or node.key in again or node.type == phases.CONTAINER:
            continue
        if node.failed and _holds(nodes, node) and _barren(nodes, node, gone):
            again.add(node.key)
            _open_above(nodes, node, gone, again)
    if nodes[0].key not in gone:
        again.add(nodes[0].key)
    _begin_daemons(nodes, gone, again)
    return gone, again


def _begin_daemons(nodes: list[Node], gone: set[int], again: set[int]) -> None:
    """Daemons of a template that is open again have ended with it: they are begun anew, and what holds them is open."""
    for node in nodes:
        if node.daemoned and node.type not in _GROUPS and node.key not in gone and node.boundary in again:
            gone.update(_with_members(nodes, {node.key}))
            _open_above(nodes, node, gone, again)


_GROUPS = frozenset({phases.STEP_GROUP, phases.TASK_GROUP})


def _holds(nodes: list[Node], node: Node) -> bool:
    """Whether the node only holds others. A Retry counts as what it tries again."""
    while node.type == phases.RETRY and node.members:
        node = nodes[node.members[-1]]
    return node.type in phases.COMPOSITES and node.type != phases.RETRY


def _past(nodes: list[Node]) -> set[int]:
    """Attempts with all that they hold, except a graph's last attempt. Work is judged by its Retry instead."""
    found: set[int] = set()
    for node in nodes:
        owner = nodes[node.owner] if node.owner >= 0 else None
        if owner is None:
            continue
        attempt = owner.type == phases.RETRY
        if owner.key in found or (attempt and not (node.key == owner.members[-1] and _holds(nodes, node))):
            found.add(node.key)
    return found


def _below(nodes: list[Node], node: Node) -> set[int]:
    """All that hangs below a node in the tree as it is shown: what it holds, and what came after it."""
    found: set[int] = set()
    stack = [*node.children, *node.members]
    while stack:
        key = stack.pop()
        if key >= 0 and key not in found:
            found.add(key)
            stack += [*nodes[key].children, *nodes[key].members]
    return found


def _with_members(nodes: list[Node], gone: set[int]) -> set[int]:
    found = set(gone)
    stack = list(gone)
    while stack:
        for key in nodes[stack.pop()].members:
            if key not in found:
                found.add(key)
                stack.append(key)
    return found


def _open_above(nodes: list[Node], node: Node, gone: set[int], again: set[int]) -> None:
    owner = node.owner
    while owner >= 0 and owner not in again:
        if owner not in gone:
            again.add(owner)
        owner = nodes[owner].owner


def _barren(nodes: list[Node], node: Node, gone: set[int]) -> bool:
    """Whether a graph failed by itself: nothing in it is to blame, and nothing after it went well."""
    inside = _with_members(nodes, {node.key}) - {node.key}
    if any(nodes[key].failed and key not in gone for key in inside):
        return False
    return not any(nodes[key].phase == phases.SUCCEEDED for key in _below(nodes, node) - inside)


# --- numbered anew ----------------------------------------------------------------------------------------------------


def _links(keys: Iterable[int], numbers: dict[int, int], hooks: dict[int, int]) -> Iterable[int]:
    """Nodes, and -1-n for hooks, by their new numbers; those that are gone are left out."""
    for key in keys:
        if key >= 0 and key in numbers:
            yield numbers[key]
        elif key < 0 and -1 - key in hooks:
            yield -1 - hooks[-1 - key]


def _moved_hook(hook: Hook, numbers: dict[int, int]) -> Hook:
    return msgspec.structs.replace(
        hook,
        parent=numbers[hook.parent],
        links=[numbers[key] for key in hook.links if key in numbers],
        own_links=[numbers[key] for key in hook.own_links if key in numbers],
    )


def _moved(node: Node, numbers: dict[int, int], hooks: dict[int, int], *, again: bool) -> Node:
    moved = msgspec.structs.replace(
        node,
        key=numbers[node.key],
        owner=numbers.get(node.owner, -1),
        boundary=numbers.get(node.boundary, -1),
        children=list(_links(node.children, numbers, hooks)),
        members=[numbers[key] for key in node.members if key in numbers],
        hooks=[hooks[number] for number in node.hooks if number in hooks],
        open_members=0,
        open_hooks=0,
        hooks_below=0,
        active=0,
        active_pods=0,
        bad=0,
        ending=False,
    )
    if not again:
        return moved
    return msgspec.structs.replace(
        moved,
        phase=phases.RUNNING,
        message="",
        outputs=None,
        finished=0.0,
        killed=False,
        raised=False,
        daemoned=False,
    )


def _count(nodes: list[Node]) -> None:
    """The counters of what holds others. Only they can be open: work that had not ended is gone."""
    for node in nodes:
        if not node.fulfilled and node.owner >= 0:
            nodes[node.owner].open_members += 1
        if node.boundary >= 0 and node.type in phases.COUNTED:
            nodes[node.boundary].active += not node.fulfilled
        if node.boundary >= 0 and counts_as_bad(node):
            nodes[node.boundary].bad += node.failed
