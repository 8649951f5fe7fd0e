"""A watch of something in which nothing happens outlives a break, however long it was quiet before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from exeunt.client import Client, ClientError
from exeunt.v1 import workflow_service_pb2 as pb
from exeunt.v1 import workflow_service_pb2_grpc as rpc

PATIENCE = 0.3


class Breaks(rpc.WorkflowServiceServicer):
    """Tells one state in each stream, is quiet for longer than the client has patience, and breaks."""

    def __init__(self, breaks: int, states: int = 1) -> None:
        self.left = breaks
        self.states = states

    async def WatchWorkflow(  # noqa: N802 - the name is that of the call
        self, request: Any, context: Any
    ) -> AsyncIterator[pb.WatchWorkflowResponse]:
        """Final when it has broken often enough."""
        final = not self.left
        for _ in range(self.states):
            yield pb.WatchWorkflowResponse(workflow=pb.Workflow(json="{}", revision=1), final=final)
        if not final:
            self.left -= 1
            await asyncio.sleep(2 * PATIENCE if self.states else 0)
            await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")


async def watched(service: Breaks) -> list[bool]:
    server = grpc.aio.server()
    rpc.add_WorkflowServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with Client(f"127.0.0.1:{port}", token="", patience=PATIENCE) as client:
            return [state.final async for state in client.follow(uid="u")]
    finally:
        await server.stop(None)


async def test_a_watch_that_was_quiet_is_taken_up_again() -> None:
    assert await watched(Breaks(2)) == [False, False, True]


async def test_a_watch_that_is_never_answered_ends_when_patience_does() -> None:
    with pytest.raises(ClientError, match="gone"):
        await watched(Breaks(1000, states=0))
