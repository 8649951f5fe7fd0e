"""Reading one workflow for a call: found, wherever it is, and looked at as a whole."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

import grpc

from exeunt.driver.turns import Turns
from exeunt.journal.access import NatsAccess
from exeunt.scheduler import watch
from exeunt.scheduler.archive import Archived
from exeunt.scheduler.entry import OpenWorkflow
from exeunt.scheduler.find import Elsewhere, Finder, Found
from exeunt.scheduler.peers import PASSED_ON, Peers
from exeunt.scheduler.unread import Unread
from exeunt.scheduler.view import WorkflowView, seen
from exeunt.service.channel import metadata
from exeunt.service.errors import received
from exeunt.v1 import workflow_service_pb2 as pb

Context = grpc.aio.ServicerContext[Any, Any]


class WorkflowReader:
    """Reads workflows."""

    def __init__(self, finder: Finder, peers: Peers, access: NatsAccess, turns: Turns) -> None:
        self._finder = finder
        self._peers = peers
        self._access = access
        self._turns = turns

    async def find(self, context: Context, request: Any) -> Found:
        """The workflow that a request names (`Finder.find`). Raises NOT_FOUND, UNAVAILABLE."""
        return await self._finder.find(context, request.namespace, request.name, request.uid)

    async def whole(self, found: OpenWorkflow | Archived | Unread) -> WorkflowView:
        """All of a workflow, with the nodes of running exit handlers."""
        if isinstance(found, Unread):
            return seen(found.tree(), found.number)
        if isinstance(found, Archived):
            return await self._turns.through(found.looking())
        async with self._access.writing.required():  # what is decided is shown once it is durable
            looked = await found.view()
        return await watch.merged(self._peers, found, looked)

    async def manifest(self, namespace: str, name: str, uid: str) -> tuple[dict[str, Any], int]:
        """A workflow without its nodes, and its version; whoever has it."""
        found = await self._finder.find(None, namespace, name, uid)
        if isinstance(found, OpenWorkflow):
            looked = await found.view(nodes=False)
            return looked.head, looked.version
        if isinstance(found, Archived):
            return found.head, found.version
        if isinstance(found, Unread):
            return found.tree(), found.number
        text, version = "", 0
        request = pb.ReadWorkflowRequest(namespace=namespace, name=name, uid=uid)
        async for answer in self.stream(found, "ReadWorkflow", request):
            text += answer.part.workflow.json
            version = version or answer.part.workflow.revision
            if not answer.part.unfinished:
                break
        tree: dict[str, Any] = json.loads(text)
        return tree, version

    async def pass_on(self, found: Elsewhere, method: str, request: Any) -> Any:
        """The other scheduler's answer, or its error as it came."""
        return await self._peers.pass_on(found.address, method, request)

    async def stream(self, found: Elsewhere, method: str, request: Any) -> AsyncGenerator[Any, None]:
        """What the other scheduler streams, or its error as it came."""
        asked = getattr(self._peers.workflows(found.address), method)
        call = asked(request, metadata=[(PASSED_ON, "1"), *metadata()])
        try:
            async for answer in call:
                yield answer
        except grpc.aio.AioRpcError as error:
            raise received(error) from None
        finally:
            call.cancel()
