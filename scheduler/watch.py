"""A workflow as it changes: from a position on, several commits in one message, to the end of its handlers.

A position is the workflow's uid, its revision and a digest of its nodes: nodes of running handlers change without it.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import suppress
from typing import NamedTuple

import msgspec

from exeunt.driver.turns import Turns
from exeunt.scheduler.entry import OpenWorkflow
from exeunt.scheduler.peers import Peers
from exeunt.scheduler.view import WorkflowView, parts, whole
from exeunt.service.bounds import PART_BYTES
from exeunt.service.errors import RpcError, invalid, unavailable
from exeunt.v1 import workflow_service_pb2 as pb

REST = 10  # a watch rests so many times as long as a message took to make
SHORTEST_REST = 0.02
POSITION = re.compile(r"[A-Za-z0-9-]{1,64}\.\d{1,18}\.[0-9a-f]{16}")
EXITS_SECONDS = 0.5
"""How often running exit handlers are asked for their nodes: their commits are not in our log."""


async def merged(peers: Peers, entry: OpenWorkflow, found: WorkflowView) -> WorkflowView:
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


class KnownNodes(NamedTuple):
    """What a client has of a workflow: hashes of its nodes, by id, and one of all of them and its status."""

    hashes: dict[str, int]
    digest: int

    def position(self, uid: str, revision: int) -> str:
        """The same as text."""
        return f"{uid}.{revision}.{self.digest:016x}"


NOTHING = KnownNodes({}, 0)


def check_position(position: str) -> None:
    """Raises INVALID_ARGUMENT for what is no position."""
    if position and not POSITION.fullmatch(position):
        raise invalid("position cannot be read", [("position", "give the last position as it came, or none")])


async def over(
    turns: Turns, found: WorkflowView, position: str, *, in_parts: bool
) -> AsyncGenerator[pb.WatchWorkflowResponse, None]:
    """The one change of a workflow that is over."""
    news, known = await turns.through(_compared(found, NOTHING))
    here = known.position(found.head["metadata"]["uid"], found.version)
    reset = here != position
    shown = found._replace(nodes=news if reset else {})
    for message in _messages(shown, here, in_parts=in_parts, reset=reset, final=True):
        yield message
        await asyncio.sleep(0)


async def watch(
    peers: Peers, entry: OpenWorkflow, position: str, *, in_parts: bool
) -> AsyncGenerator[pb.WatchWorkflowResponse, None]:
    """The whole workflow, unless it is as at that position; then each change, until its exit handlers have ended."""
    changed, over = asyncio.Event(), asyncio.Event()

    def look() -> None:
        changed.set()
        if entry.closed or entry.driver.dropped:
            over.set()

    entry.changed.add(look)
    known: KnownNodes | None = None
    try:
        while True:
            changed.clear()
            began = time.monotonic()
            closed = entry.closed
            if entry.driver.dropped and not closed:
                raise unavailable("MOVED", "the workflow has moved to another scheduler; go on from this position")
            found = await merged(peers, entry, await entry.view())
            news, now = await entry.driver.turns.through(_compared(found, known or NOTHING))
            here = now.position(entry.uid, found.version)
            reset = known is None and here != position
            told = known is None and not reset
            made = time.monotonic() - began  # sending is no work: a client that is slow to take does not make it rest
            if reset or closed or (here != position and not told):
                began = time.monotonic()
                shown = found._replace(nodes={} if told else news)
                for message in _messages(shown, here, in_parts=in_parts, reset=reset, final=closed):
                    made += time.monotonic() - began
                    yield message
                    await asyncio.sleep(0)
                    began = time.monotonic()
            position, known = here, now
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


def _compared(found: WorkflowView, known: KnownNodes) -> Generator[None, None, tuple[dict[str, bytes], KnownNodes]]:
    """The nodes that are new or different, and what is known now."""
    news: dict[str, bytes] = {}
    now: dict[str, int] = {}
    digest = _hash(msgspec.json.encode(found.head["status"]))
    for id, node in found.nodes.items():
        now[id] = one = _hash(node)
        digest ^= one
        if known.hashes.get(id) != one:
            news[id] = node
        yield
    return news, KnownNodes(now, digest)


def _hash(text: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())


def _messages(
    found: WorkflowView, position: str, *, in_parts: bool, reset: bool, final: bool
) -> Iterator[pb.WatchWorkflowResponse]:
    """A change as one message; a large one as several. Raises RESOURCE_EXHAUSTED where the caller takes no parts."""
    if not in_parts or found.size <= PART_BYTES:
        try:
            workflow = whole(found, "ask for parts (`parts`)")
        except RpcError:
            if not in_parts:
                raise
        else:
            yield pb.WatchWorkflowResponse(workflow=workflow, reset=reset, final=final, position=position)
            return
    before: pb.WorkflowPart | None = None
    for part in parts(found.head, found.nodes.items(), found.version):
        if before is not None:
            yield pb.WatchWorkflowResponse(part=before, reset=reset, more=True)
            reset = False
        before = part
    yield pb.WatchWorkflowResponse(part=before, reset=reset, final=final, position=position)
