"""Calls about artifacts: which ones a workflow has kept, and their bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc

from exeunt.client.calls import Calls
from exeunt.client.errors import error_of, unanswered
from exeunt.v1 import workflow_service_pb2 as pb


class Artifacts(Calls):
    """The part of a client that is about artifacts."""

    async def artifacts(
        self, name: str = "", namespace: str = "", *, uid: str = "", node: str = "", limit: int = 0
    ) -> list[pb.KeptArtifact]:
        """The artifacts that a workflow's nodes have kept, or one node's (by id, name or display name)."""

        def request(token: str, size: int) -> pb.ListArtifactsRequest:
            return pb.ListArtifactsRequest(
                namespace=namespace, name=name, uid=uid, node=node, page_size=size, page_token=token
            )

        return await self._pages(self._workflows.ListArtifacts, request, lambda answer: answer.artifacts, limit)

    async def artifact(
        self, name: str = "", namespace: str = "", *, artifact: str, uid: str = "", node: str = ""
    ) -> AsyncIterator[pb.GetArtifactResponse]:
        """The pieces of an artifact: what it is, then its bytes as they were kept, or its files one after the other.

        One that breaks off is an error; the call has to be made again.
        """
        request = pb.GetArtifactRequest(namespace=namespace, name=name, uid=uid, node=node, artifact=artifact)
        stream = self._workflows.GetArtifact(request, metadata=self._metadata)
        try:
            async for answer in stream:
                yield answer
        except grpc.aio.AioRpcError as error:
            raise unanswered(error_of(error), self.server) from error
        finally:
            stream.cancel()
