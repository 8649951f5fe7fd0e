"""Waiting for a started workflow: the scheduler that owns it tells of it, or its archive record if it has ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

import grpc
import msgspec

from exeunt.actions import StartedWorkflow
from exeunt.journal.owners import Owners
from exeunt.journal.projections import Projections
from exeunt.journal.repeat import Repeat
from exeunt.journal.subjects import partition_of
from exeunt.service.channel import metadata, open_channel
from exeunt.v1 import workflow_service_pb2 as pb
from exeunt.v1 import workflow_service_pb2_grpc as rpc

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
"""Seconds before it is asked for again: it is not begun yet, or its scheduler is away or changes."""

DELETED = {"phase": "Error", "message": "the workflow was deleted before its end was seen"}

Tree = Mapping[str, Any]


class ChildWaiter:
    """Follows children. One for each process."""

    def __init__(self, projections: Projections, repeat: Repeat, owners: Owners) -> None:
        self._projections = projections
        self._repeat = repeat
        self._owners = owners
        self._channels: dict[str, tuple[grpc.aio.Channel, int]] = {}  # and how many use it

    async def follow(self, child: StartedWorkflow) -> AsyncIterator[Tree]:
        """The child whenever it changes, in Argo's shape without nodes; ends with its final state (port WaitWorkflow).

        A child that is deleted ends in Error.
        """
        pause = FIRST_PAUSE
        while True:
            found = await self._repeat(lambda: self._projections.archive.get(child.uid))
            if found is not None:
                yield found[1]["workflow"]
                return
            if await self._repeat(lambda: self._projections.names.deleted(child.uid)):
                yield {"metadata": child._asdict(), "status": DELETED}
                return
            address = self._owners.scheduler_of(partition_of(child.uid))
            if address:
                async with contextlib.aclosing(self._watch(address, child.uid)) as changes:
                    async for tree, final in changes:
                        pause = FIRST_PAUSE
                        yield tree
                        if final:
                            return
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _watch(self, address: str, uid: str) -> AsyncGenerator[tuple[Tree, bool], None]:
        """What this scheduler tells of the child, and whether that is its end; ends when the stream does."""
        text = ""
        async with self._channel(address) as channel:
            call = rpc.WorkflowServiceStub(channel).WatchWorkflow(
                pb.WatchWorkflowRequest(uid=uid, parts=True), metadata=metadata()
            )
            try:
                async for change in call:
                    text += change.workflow.json if change.HasField("workflow") else change.part.workflow.json
                    if not change.more:
                        yield _without_nodes(msgspec.json.decode(text)), change.final
                        text = ""
            except grpc.aio.AioRpcError as error:
                log.debug("the scheduler at %s tells nothing of %s: %s", address, uid, error.code().name)
            finally:
                call.cancel()

    @contextlib.asynccontextmanager
    async def _channel(self, address: str) -> AsyncIterator[grpc.aio.Channel]:
        """The channel to an address, shared by all that watch there."""
        channel, users = self._channels.get(address) or (open_channel(address, retries=False), 0)
        self._channels[address] = channel, users + 1
        try:
            yield channel
        finally:
            channel, users = self._channels[address]
            self._channels[address] = channel, users - 1
            if users == 1:
                del self._channels[address]
                await channel.close()


def _without_nodes(tree: dict[str, Any]) -> Tree:
    status = {name: value for name, value in tree.get("status", {}).items() if name != "nodes"}
    return {**tree, "status": status}
