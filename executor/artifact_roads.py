"""The executor's ways to the embedded store: straight to NATS where it is told an address, else through a scheduler."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from typing import Any

import grpc
from nats.errors import Error as NatsError

from exeunt.artifacts.embedded import EmbeddedStore
from exeunt.artifacts.embedded_port import (
    ArtifactHolder,
    EmbeddedRoad,
    EmbeddedStoreError,
    KeptArtifact,
    checked,
    in_parts,
)
from exeunt.artifacts.embedded_stream import STREAM, ArtifactStream
from exeunt.artifacts.embedded_wire import from_wire, said
from exeunt.executor.attempt import SchedulerLink
from exeunt.internal.v1 import artifact_service_pb2 as pb
from exeunt.internal.v1 import artifact_service_pb2_grpc
from exeunt.journal.wire import connect
from exeunt.natspy import whole
from exeunt.service.channel import metadata, open_channel
from exeunt.service.errors import Code, received
from exeunt.service.program import ProgramError

RESUMES = 8
"""How often a download goes on after a break, and a short call is made again."""
PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 4.0
"""Before that; doubled each time."""
CONNECT_SECONDS = 15.0
"""How long a first connection to NATS is waited for."""
CALL_SECONDS = 60.0
"""A short call without an answer for so long has failed."""
API = "exeunt.artifacts"
"""Under which the user of executors has the part of JetStream's API that it may use (deploy/executors.conf)."""
INBOX = "_INBOX_executor"
"""Below which answers of NATS come: what the user of executors may listen to, and no other answers."""


@contextlib.asynccontextmanager
async def open_road(
    servers: str, password: str, name: str, links: Callable[[], Sequence[SchedulerLink]]
) -> AsyncIterator[EmbeddedRoad]:
    """The road that the settings ask for. It connects when it is used first."""
    if servers:
        direct = NATSRoad([one.strip() for one in servers.split(",")], password, name)
        try:
            yield direct
        finally:
            await direct.close()
    else:
        through = SchedulerRoad(links)
        try:
            yield through
        finally:
            await through.close()


class NATSRoad:
    """Straight to NATS (an EmbeddedRoad)."""

    def __init__(self, servers: list[str], password: str, name: str) -> None:
        self._servers, self._password, self._name = servers, password, name
        self._connecting = asyncio.Lock()
        self._client: Any = None
        self._known: EmbeddedStore | None = None

    async def save(self, holder: ArtifactHolder, key: str, content: AsyncIterable[bytes]) -> KeptArtifact:
        """See `EmbeddedRoad`."""
        return await (await self._store()).save(holder, key, content)

    async def open(self, holder: ArtifactHolder, key: str) -> AsyncIterator[bytes]:
        """See `EmbeddedRoad`."""
        store = await self._store()
        async with contextlib.aclosing(store.open(holder, key)) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                yield piece

    async def list(self, holder: ArtifactHolder, prefix: str = "", most: int = 0) -> list[KeptArtifact]:
        """See `EmbeddedRoad`."""
        return await (await self._store()).list(holder, prefix, most)

    async def delete(self, holder: ArtifactHolder, key: str) -> None:
        """See `EmbeddedRoad`."""
        await (await self._store()).delete(holder, key)

    async def close(self) -> None:
        """Lets go of the connection."""
        if self._client is not None:
            await whole(self._client.close())

    async def _store(self) -> EmbeddedStore:
        async with self._connecting:
            if self._known is None:
                try:
                    async with asyncio.timeout(CONNECT_SECONDS):
                        await self._connect()
                except (TimeoutError, NatsError, ProgramError) as error:
                    where = ", ".join(server.rpartition("@")[2] for server in self._servers)
                    raise EmbeddedStoreError(
                        f"NATS at {where} is not reached from this executor, or does not let it keep artifacts "
                        f"({str(error) or type(error).__name__}); look at the executor's EXEUNT_NATS_URL, or leave it "
                        "empty: artifacts go through the schedulers then",
                        temporary=True,
                    ) from None
                self._known = EmbeddedStore(ArtifactStream(self._client, api=API))
            return self._known

    async def _connect(self) -> None:
        if self._client is None:
            self._client = await connect(self._servers, self._name, password=self._password, inbox=INBOX)
        # a user who has not got this part of the API would be answered by nobody, for ever
        await whole(self._client.request(f"{API}.STREAM.MSG.GET.{STREAM}", b"{}", timeout=CONNECT_SECONDS))


class SchedulerRoad:
    """Through any scheduler that the executor has a link to (an EmbeddedRoad)."""

    def __init__(self, links: Callable[[], Sequence[SchedulerLink]]) -> None:
        self._links = links
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._used: dict[str, int] = {}

    async def save(self, holder: ArtifactHolder, key: str, content: AsyncIterable[bytes]) -> KeptArtifact:
        """See `EmbeddedRoad`. A broken connection is an error that passes: the content has to come again."""
        async with self.stub(key) as stub:
            call = stub.SaveArtifact(metadata=metadata())
            try:
                with contextlib.suppress(asyncio.InvalidStateError):  # it has ended early: its status says why
                    await self._send(call, holder, key, content)
                return from_wire((await call).artifact)
            except grpc.aio.AioRpcError as error:
                raise said(received(error), key) from error
            finally:
                call.cancel()

    async def _send(self, call: Any, holder: ArtifactHolder, key: str, content: AsyncIterable[bytes]) -> None:
        await call.write(pb.SaveArtifactRequest(namespace=holder.namespace, uid=holder.uid, key=key))
        sha, size = hashlib.sha256(), 0
        async for part in in_parts(content):
            sha.update(part)
            size += len(part)
            await call.write(pb.SaveArtifactRequest(chunk=part))
        await call.write(pb.SaveArtifactRequest(end=pb.ContentEnd(size=size, digest=sha.hexdigest())))
        await call.done_writing()

    async def open(self, holder: ArtifactHolder, key: str) -> AsyncIterator[bytes]:
        """See `EmbeddedRoad`. After a break it goes on where it was, through whichever scheduler there is."""
        reading = _Reading(self, holder, key)
        async with contextlib.aclosing(reading.chunks()) as chunks:  # type: ignore[type-var]
            assert await anext(chunks) == b""  # the artifact is known now
            assert reading.artifact is not None
            async for piece in checked(reading.artifact, chunks):
                yield piece

    async def list(self, holder: ArtifactHolder, prefix: str = "", most: int = 0) -> list[KeptArtifact]:
        """See `EmbeddedRoad`."""
        request = pb.ReadArtifactKeysRequest(namespace=holder.namespace, uid=holder.uid, prefix=prefix, most=most)

        async def ask(stub: Any) -> list[KeptArtifact]:
            call = stub.ReadArtifactKeys(request, metadata=metadata())
            try:
                return [from_wire(one) async for answer in call for one in answer.artifacts]
            finally:
                call.cancel()

        found: list[KeptArtifact] = await self._again(prefix, ask)
        return found

    async def delete(self, holder: ArtifactHolder, key: str) -> None:
        """See `EmbeddedRoad`."""
        request = pb.RemoveArtifactRequest(namespace=holder.namespace, uid=holder.uid, key=key)

        async def ask(stub: Any) -> None:
            await stub.RemoveArtifact(request, timeout=CALL_SECONDS, metadata=metadata())

        await self._again(key, ask)

    async def close(self) -> None:
        """Lets go of all connections."""
        for channel in self._channels.values():
            await channel.close()
        self._channels.clear()

    async def _again(self, key: str, ask: Callable[[Any], Any]) -> Any:
        """Asks until it is answered, a few times. For what is the same when it is done twice."""
        tries = 0
        while True:
            try:
                async with self.stub(key) as stub:
                    return await ask(stub)
            except (grpc.aio.AioRpcError, EmbeddedStoreError) as error:
                await pause_or_raise(error, key, tries)
            tries += 1

    @contextlib.asynccontextmanager
    async def stub(self, key: str) -> AsyncIterator[Any]:
        """A way to some scheduler, for one call. Raises EmbeddedStoreError where there is none.

        Connections to those that are gone are closed, once nobody uses them.
        """
        links = self._links()
        if not links:
            raise EmbeddedStoreError(f"artifact {key}: no scheduler can be reached just now", temporary=True)
        address = random.choice(links).address
        if address not in self._channels:
            self._channels[address] = open_channel(address, retries=False, apart=True)
        self._used[address] = self._used.get(address, 0) + 1
        try:
            yield artifact_service_pb2_grpc.ArtifactServiceStub(self._channels[address])
        finally:
            self._used[address] -= 1
            known = {link.address for link in self._links()}
            for gone in [one for one in self._channels if one not in known and not self._used.get(one)]:
                self._used.pop(gone, None)
                await self._channels.pop(gone).close()


class _Reading:
    """One download through schedulers, over its breaks."""

    def __init__(self, road: SchedulerRoad, holder: ArtifactHolder, key: str) -> None:
        self._road, self._holder, self._key = road, holder, key
        self.artifact: KeptArtifact | None = None
        self._count = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        """An empty one when the artifact is known, then its content, unchecked."""
        tries = 0
        while True:
            try:
                async with self._road.stub(self._key) as stub:
                    call = stub.ReadArtifact(self._request(), metadata=metadata())
                    try:
                        async for answer in call:
                            chunk = self._take(answer)
                            if chunk is not None:
                                tries = 0
                                yield chunk
                        return
                    finally:
                        call.cancel()
            except (grpc.aio.AioRpcError, EmbeddedStoreError) as error:
                await pause_or_raise(error, self._key, tries)
            tries += 1

    def _request(self) -> pb.ReadArtifactRequest:
        digest = self.artifact.digest if self.artifact is not None else ""
        return pb.ReadArtifactRequest(
            namespace=self._holder.namespace, uid=self._holder.uid, key=self._key, first=self._count, digest=digest
        )

    def _take(self, answer: pb.ReadArtifactResponse) -> bytes | None:
        if answer.HasField("artifact"):
            known, self.artifact = self.artifact, from_wire(answer.artifact)
            return b"" if known is None else None
        self._count += 1
        return answer.chunk


async def pause_or_raise(error: grpc.aio.AioRpcError | EmbeddedStoreError, key: str, tries: int) -> None:
    """Waits before the next try; raises what the error means where no other will do better."""
    meant = error if isinstance(error, EmbeddedStoreError) else said(received(error), key)
    aborted = isinstance(error, grpc.aio.AioRpcError) and error.code() is Code.ABORTED
    if not meant.temporary or aborted or tries >= RESUMES:
        raise meant from error
    await asyncio.sleep(min(LONGEST_PAUSE_SECONDS, PAUSE_SECONDS * 2**tries) * random.uniform(0.5, 1))
