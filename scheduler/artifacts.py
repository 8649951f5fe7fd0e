"""The embedded store for executors without a connection to NATS (ArtifactService): bytes pass through, piece by piece.

What passes is bounded: a piece, the pieces of one transfer, and the transfers at once. A transfer lets others have the
loop after each piece, and the store has a connection to NATS of its own, so that commits do not queue behind it.
"""

# ruff: noqa: N802 - the names of methods are the contract's

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc

from exeunt.artifacts.embedded import EmbeddedStore
from exeunt.artifacts.embedded_port import ArtifactHolder, EmbeddedStoreError
from exeunt.artifacts.embedded_wire import refusal, to_wire
from exeunt.internal.v1 import artifact_service_pb2 as pb
from exeunt.internal.v1 import artifact_service_pb2_grpc
from exeunt.service.errors import Code, RpcError, invalid

TRANSFERS = 48
"""Uploads and downloads at once; further ones wait for their turn."""
WINDOW = 4
"""Pieces of one transfer on their way to NATS or from there: 2 MB of memory for each."""
CHUNK_BYTES = 1024 * 1024
"""Of one message of an upload."""
KEYS_TOGETHER = 2000
"""Artifacts in one message of a list."""

Context = grpc.aio.ServicerContext[Any, Any]


class ArtifactService(artifact_service_pb2_grpc.ArtifactServiceServicer):
    """Serves the calls. Every scheduler can answer for every workflow."""

    def __init__(self, store: EmbeddedStore) -> None:
        self._store = store
        self._turns = asyncio.Semaphore(TRANSFERS)

    async def SaveArtifact(
        self, request_iterator: AsyncIterator[pb.SaveArtifactRequest], context: Context
    ) -> pb.SaveArtifactResponse:
        """Takes an artifact in."""
        upload = _IncomingArtifact(request_iterator)
        async with self._turns:
            holder, key = await upload.begin()
            with _refused(key):
                kept = await self._store.save(holder, key, upload.chunks(), upload.check)
        return pb.SaveArtifactResponse(artifact=to_wire(kept))

    async def ReadArtifact(
        self, request: pb.ReadArtifactRequest, context: Context
    ) -> AsyncIterator[pb.ReadArtifactResponse]:
        """Gives an artifact out; its reader checks it."""
        async with self._turns:
            with _refused(request.key):
                found = await self._store.find(ArtifactHolder(request.namespace, request.uid), request.key)
                if request.digest and request.digest != found.artifact.digest:
                    raise RpcError(Code.ABORTED, "ARTIFACT_CHANGED", "it was written anew while it was read")
                yield pb.ReadArtifactResponse(artifact=to_wire(found.artifact))
                async with contextlib.aclosing(self._store.parts(found, request.first)) as parts:  # type: ignore[type-var]
                    async for part in parts:
                        yield pb.ReadArtifactResponse(chunk=part)
                        await asyncio.sleep(0)

    async def ReadArtifactKeys(
        self, request: pb.ReadArtifactKeysRequest, context: Context
    ) -> AsyncIterator[pb.ReadArtifactKeysResponse]:
        """Tells what artifacts a workflow has."""
        with _refused(""):
            holder = ArtifactHolder(request.namespace, request.uid)
            found = await self._store.list(holder, request.prefix, max(0, request.most))
        for start in range(0, len(found), KEYS_TOGETHER):
            together = found[start : start + KEYS_TOGETHER]
            yield pb.ReadArtifactKeysResponse(artifacts=[to_wire(one) for one in together])

    async def RemoveArtifact(self, request: pb.RemoveArtifactRequest, context: Context) -> pb.RemoveArtifactResponse:
        """Removes an artifact."""
        with _refused(request.key):
            await self._store.delete(ArtifactHolder(request.namespace, request.uid), request.key)
        return pb.RemoveArtifactResponse()


class _IncomingArtifact:
    """The messages of an upload, in their order. Raises INVALID_ARGUMENT where they have none."""

    def __init__(self, requests: AsyncIterator[pb.SaveArtifactRequest]) -> None:
        self._requests = aiter(requests)
        self._end: pb.ContentEnd | None = None

    async def begin(self) -> tuple[ArtifactHolder, str]:
        """What the first message says: whose artifact it is, and its key."""
        first = await anext(self._requests, None)
        if first is None or not first.key:
            raise _wrong("key", "the first message of an upload names the artifact")
        return ArtifactHolder(first.namespace, first.uid), first.key

    async def chunks(self) -> AsyncIterator[bytes]:
        """The content. Raises EmbeddedStoreError where it breaks off."""
        async for request in self._requests:
            if request.HasField("end"):
                self._end = request.end
                return
            if len(request.chunk) > CHUNK_BYTES:
                raise _wrong("chunk", f"a chunk has at most {CHUNK_BYTES:,} bytes")
            yield request.chunk
            await asyncio.sleep(0)
        raise EmbeddedStoreError("the upload broke off", temporary=True)

    def check(self, digest: str, size: int) -> None:
        """Holds what came against what was said to be sent."""
        assert self._end is not None
        if (digest, size) != (self._end.digest, self._end.size):
            said = f"{size} bytes of SHA-256 {digest} came, {self._end.size} of {self._end.digest} were sent"
            raise EmbeddedStoreError(f"the upload was damaged: {said}", temporary=True)


def _wrong(field: str, text: str) -> RpcError:
    return invalid(text, [(field, text)])


@contextlib.contextmanager
def _refused(key: str) -> Iterator[None]:
    try:
        yield
    except EmbeddedStoreError as error:
        raise refusal(error, key) from error
