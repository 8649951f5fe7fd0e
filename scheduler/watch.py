"""A workflow as it changes: from a version on, several commits in one message, to the end of its handlers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from exeunt.scheduler.archive import Archived
from exeunt.scheduler.peers import Peers
from exeunt.scheduler.runs import Entry
from exeunt.scheduler.view import Tree, message
from exeunt.service.errors import unavailable
from exeunt.v1 import workflow_service_pb2 as pb

REST = 10  # a watch rests so many times as long as a message took to make
SHORTEST_REST = 0.02
EXITS_SECONDS = 0.5
"""How often running exit handlers are asked for their nodes: their commits are not in our log."""


async def merged(peers: Peers, entry: Entry, tree: Tree) -> Tree:
    """The workflow with the nodes of exit runs that are under way; a condition says so when they cannot be had."""
    status = tree.get("status", {})
    if not entry.run.state.open_hooks:
        return tree
    nodes, trouble = await peers.exit_nodes(entry.driver.family.partition, tree["metadata"]["uid"])
    changed: dict[str, Any] = dict(status)
    if nodes:
        changed["nodes"] = _join(status.get("nodes") or {}, nodes)
    if trouble:
        said = {"type": "ExitNodesUnknown", "status": "True", "message": trouble}
        changed["conditions"] = [*(status.get("conditions") or []), said]
    return {**tree, "status": changed}


def _join(own: Tree, exits: Tree) -> Tree:
    """All nodes; what the main run has folded already stands as it is there."""
    return {**exits, **own}


async def archived(found: Archived) -> AsyncIterator[pb.WorkflowChange]:
    """The one message about a workflow that is over."""
    yield pb.WorkflowChange(workflow=message(found.tree, found.version), reset=True, final=True)


async def watch(peers: Peers, entry: Entry, version: int) -> AsyncIterator[pb.WorkflowChange]:
    """Everything since that version, then each change until the workflow and its handlers have ended."""
    changed = asyncio.Event()
    entry.changed.add(changed.set)
    known: Tree | None = None
    try:
        while True:
            changed.clear()
            began = time.monotonic()
            closed = entry.closed
            if entry.driver.dropped and not closed:
                raise unavailable("MOVED", "the workflow has moved to another scheduler; go on from this version")
            tree, now = await entry.view()
            tree = await merged(peers, entry, tree)
            nodes: Tree = tree["status"].get("nodes") or {}
            if known is None and version == now and not closed:
                known = nodes  # the client knows all this
            elif known is None:
                known = nodes
                yield pb.WorkflowChange(workflow=message(tree, now), reset=True, final=closed)
            else:
                news = {id: node for id, node in nodes.items() if known.get(id) != node}
                known = nodes
                if news or now != version or closed:
                    part = {**tree, "status": {**tree["status"], "nodes": news}}
                    yield pb.WorkflowChange(workflow=message(part, now), final=closed)
            version = now
            if closed:
                return
            await asyncio.sleep(max(SHORTEST_REST, REST * (time.monotonic() - began)))
            try:
                async with asyncio.timeout(EXITS_SECONDS if entry.run.state.open_hooks else None):
                    await changed.wait()
            except TimeoutError:
                continue
    finally:
        entry.changed.discard(changed.set)
