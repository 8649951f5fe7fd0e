"""The other services of the cluster: calls that are passed on to them."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from typing import Any

import grpc
import msgspec

from exeunt.engine.commands import ResumeRun, SetNodes
from exeunt.internal.v1 import exit_run_service_pb2 as inside
from exeunt.internal.v1.exit_run_service_pb2_grpc import ExitRunServiceStub
from exeunt.journal.owners import Owners
from exeunt.service.channel import metadata, open_channel
from exeunt.service.errors import received, unavailable
from exeunt.v1 import workflow_service_pb2_grpc

log = logging.getLogger(__name__)

PASSED_ON = "exeunt-passed-on"
"""Metadata of a call that one scheduler passes on to another: it is not passed on again."""
EXITS_SECONDS = 5.0


class Peers:
    """Channels to the others, opened when they are needed and closed together."""

    def __init__(self, owners: Owners) -> None:
        self.owners = owners
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._stack = AsyncExitStack()

    def channel(self, address: str) -> grpc.aio.Channel:
        """The channel to an address."""
        channel = self._channels.get(address)
        if channel is None:
            channel = self._channels[address] = open_channel(address)
            self._stack.push_async_callback(channel.close)
        return channel

    def workflows(self, address: str) -> workflow_service_pb2_grpc.WorkflowServiceAsyncStub:
        """Another scheduler's API."""
        return workflow_service_pb2_grpc.WorkflowServiceStub(self.channel(address))

    def address(self, partition: int, context: grpc.aio.ServicerContext[Any, Any] | None) -> str:
        """Where calls about this partition go; empty when they are ours. Raises UNAVAILABLE while nobody owns it."""
        address = self.owners.scheduler_of(partition)
        if address is None or (address and context is not None and was_passed_on(context)):
            raise unavailable("NO_OWNER", "this part of the workflows is changing hands; ask again in a moment")
        return address

    async def pass_on(self, address: str, method: str, request: Any) -> Any:
        """The other scheduler's answer, or its error as it came."""
        try:
            return await getattr(self.workflows(address), method)(request, metadata=[(PASSED_ON, "1"), *metadata()])
        except grpc.aio.AioRpcError as error:
            raise received(error) from None

    async def exit_nodes(self, partition: int, uid: str) -> tuple[dict[str, bytes], str]:
        """Nodes of the workflow's exit runs as they are now, and why they could not be had (empty when they could)."""
        address = self.owners.exit_handler_of(partition)
        if address is None:
            return {}, "no exit handler is there at the moment"
        stub: Any = ExitRunServiceStub(self.channel(address))
        nodes: dict[str, bytes] = {}
        request = inside.ReadExitNodesRequest(uid=uid)
        call = stub.ReadExitNodes(request, timeout=EXITS_SECONDS, metadata=metadata())
        try:
            async for answer in call:
                some = msgspec.json.decode(answer.nodes_json, type=dict[str, msgspec.Raw])
                nodes.update((id, bytes(node)) for id, node in some.items())
        except grpc.aio.AioRpcError as error:
            return {}, f"the exit handler at {address} does not answer: {error.details()}"
        except ValueError as error:
            return {}, f"the exit handler at {address} answers what cannot be read: {error}"
        return nodes, ""

    async def steer_exits(self, partition: int, uid: str, command: ResumeRun | SetNodes) -> bool:
        """Does it to nodes that wait in the workflow's exit runs; says whether there were any. Raises RpcError."""
        address = self.owners.exit_handler_of(partition)
        if address is None:
            raise unavailable("NO_EXIT_HANDLER", "no exit handler is there that could reach the handlers' steps")
        request = inside.SteerExitNodesRequest(
            uid=uid,
            request_id=command.request_id,
            node_field_selector=command.selector,
            message=command.message,
            by=command.by,
        )
        if isinstance(command, ResumeRun):
            request.resume = True
        else:
            request.output_parameters.update(command.parameters)
            request.phase = command.phase
        stub = ExitRunServiceStub(self.channel(address))
        try:
            answer: inside.SteerExitNodesResponse = await stub.SteerExitNodes(request, metadata=metadata())
        except grpc.aio.AioRpcError as error:
            raise received(error) from None
        return answer.runs > 0

    async def close(self) -> None:
        """Closes all channels."""
        await self._stack.aclose()


def was_passed_on(context: grpc.aio.ServicerContext[Any, Any]) -> bool:
    """Whether another scheduler has passed this call on."""
    return any(key == PASSED_ON for key, _ in context.invocation_metadata() or ())
