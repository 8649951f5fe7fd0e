"""A workflow as it changes: from a version on, several commits in one message, to the end of its handlers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import suppress

from exeunt.scheduler.entry import Entry
from exeunt.scheduler.peers import Peers
from exeunt.scheduler.view import Seen, parts, whole
from exeunt.service.bounds import PART_BYTES
from exeunt.service.errors import RpcError, unavailable
from exeunt.v1 import workflow_service_pb2 as pb

REST = 10  # a watch rests so many times as long as a message took to make
SHORTEST_REST = 0.02
EXITS_SECONDS = 0.5
"""How often running exit handlers are asked for their nodes: their commits are not in our log."""


async def merged(peers: Peers, entry: Entry, found: Seen) -> Seen:
    """The workflow with the nodes of exit runs that are under way; a condition says so when they cannot be had."""
    status = found.head["status"]
    if not entry.run.state.open_hooks:
        return found
    nodes, trouble = await peers.exit_nodes(entry.driver.family.partition, found.head["metadata"]["uid"])
    if trouble:
        said = {"type": "ExitNodesUnknown", "status": "True", "message": trouble}
        conditions = [*(status.get("conditions") or []), said]
        found = found._replace(head={**found.head, "status": {**status, "conditions": conditions}})
    return found._replace(nodes={**nodes, **found.nodes})  # what the main run has folded already stands as it is there


async def over(found: Seen, *, in_parts: bool) -> AsyncGenerator[pb.WorkflowChange, None]:
    """The one change of a workflow that is over."""
    for message in _messages(found, in_parts=in_parts, reset=True, final=True):
        yield message
        await asyncio.sleep(0)


async def watch(peers: Peers, entry: Entry, version: int, *, in_parts: bool) -> AsyncGenerator[pb.WorkflowChange, None]:
    """Everything since that version, then each change until the workflow and its handlers have ended."""
    changed, over = asyncio.Event(), asyncio.Event()

    def look() -> None:
        changed.set()
        if entry.closed or entry.driver.dropped:
            over.set()

    entry.changed.add(look)
    known: dict[str, int] | None = None
    try:
        while True:
            changed.clear()
            began = time.monotonic()
            closed = entry.closed
            if entry.driver.dropped and not closed:
                raise unavailable("MOVED", "the workflow has moved to another scheduler; go on from this version")
            found = await merged(peers, entry, await entry.view())
            now = found.version
            reset = known is None and not (version == now and not closed)
            told = known is not None or reset
            news, known = await entry.driver.turns.through(_compared(found, {} if known is None else known))
            made = time.monotonic() - began  # sending is no work: a client that is slow to take does not make it rest
            if told and (reset or news or now != version or closed):
                began = time.monotonic()
                for message in _messages(found._replace(nodes=news), in_parts=in_parts, reset=reset, final=closed):
                    made += time.monotonic() - began
                    yield message
                    await asyncio.sleep(0)
                    began = time.monotonic()
            version = now
            if closed:
                return
            with suppress(TimeoutError):  # the end is told at once
                async with asyncio.timeout(max(SHORTEST_REST, REST * made)):
                    await over.wait()
            try:
                async with asyncio.timeout(EXITS_SECONDS if entry.run.state.open_hooks else None):
                    await changed.wait()
            except TimeoutError:
                continue
    finally:
        entry.changed.discard(look)


Known = dict[str, int]
"""A hash of each node, by id: what the client knows."""


def _compared(found: Seen, known: Known) -> Generator[None, None, tuple[dict[str, bytes], Known]]:
    """The nodes that are new or different, and what is known now."""
    news: dict[str, bytes] = {}
    now: Known = {}
    for id, node in found.nodes.items():
        now[id] = hash(node)
        if known.get(id) != now[id]:
            news[id] = node
        yield
    return news, now


def _messages(found: Seen, *, in_parts: bool, reset: bool, final: bool) -> Iterator[pb.WorkflowChange]:
    """A change as one message, or as several where it is large. Raises RESOURCE_EXHAUSTED where it may not be that."""
    if not in_parts or found.size <= PART_BYTES:
        try:
            yield pb.WorkflowChange(workflow=whole(found, "ask for parts (`parts`)"), reset=reset, final=final)
        except RpcError:
            if not in_parts:
                raise
        else:
            return
    before: pb.WorkflowPart | None = None
    for part in parts(found.head, found.nodes.items(), found.version):
        if before is not None:
            yield pb.WorkflowChange(part=before, reset=reset, more=True)
            reset = False
        before = part
    yield pb.WorkflowChange(part=before, reset=reset, final=final)
