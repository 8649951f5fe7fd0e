"""The executor's two ways to the embedded store: the same is kept, read and refused by both, also over breaks."""

# ruff: noqa: N802 - the names of methods are the contract's

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import nats
import pytest

from exeunt.artifacts.embedded import EmbeddedStore
from exeunt.artifacts.embedded_content import ABANDONED_SECONDS
from exeunt.artifacts.embedded_port import (
    PART_BYTES,
    ArtifactHolder,
    EmbeddedRoad,
    EmbeddedStoreError,
    NoSuchArtifactError,
)
from exeunt.artifacts.embedded_stream import STREAM, ArtifactStream, config
from exeunt.artifacts.embedded_sweep import Sweep
from exeunt.executor.artifact_roads import open_road
from exeunt.internal.v1 import artifact_service_pb2 as pb
from exeunt.internal.v1 import artifact_service_pb2_grpc
from exeunt.internal.v1.artifact_service_pb2_grpc import add_ArtifactServiceServicer_to_server
from exeunt.scheduler.artifacts import CHUNK_BYTES, ArtifactService
from exeunt.service.errors import Code, unavailable
from exeunt.service.grpc import serve_grpc
from tests.nats_server import NatsServer

pytestmark = pytest.mark.services
ONE, TWO = ArtifactHolder("default", "uid-1"), ArtifactHolder("default", "uid-2")


class Breaking(ArtifactService):
    """Downloads break after so many messages, until it is healed."""

    after = 0

    async def ReadArtifact(self, request: pb.ReadArtifactRequest, context: Any) -> AsyncIterator[Any]:  # type: ignore[override]
        count = 0
        async for answer in super().ReadArtifact(request, context):
            count += 1
            if self.after and count > self.after:
                raise unavailable("BROKEN", "it broke")
            yield answer


class Site:
    """A nats-server with its store, and a scheduler's service before it."""

    def __init__(self, server: NatsServer, store: EmbeddedStore, service: Breaking, address: str, nc: Any) -> None:
        self.server, self.store, self.service, self.address, self.nc = server, store, service, address, nc
        self.js = nc.jetstream()

    async def messages(self) -> int:
        """What lies in the stream."""
        return int((await self.js.stream_info(STREAM)).state.messages)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    server = NatsServer(tmp_path / "nats", sync="2m", more='mappings { "exeunt.artifacts.>": "$JS.API.>" }\n')
    await server.begin()
    client = await nats.connect(server.url, max_reconnect_attempts=-1, reconnect_time_wait=0.1)
    await client.jetstream().add_stream(config(1, 1024**3))
    store = EmbeddedStore(ArtifactStream(client))
    service = Breaking(store)
    served = {"exeunt.internal.v1.ArtifactService": partial(add_ArtifactServiceServicer_to_server, service)}
    async with serve_grpc("127.0.0.1:0", served, grace=0.1) as listener:
        yield Site(server, store, service, listener.address, client)
    await client.close()
    await server.stop()


@pytest.fixture(params=["straight", "through a scheduler"])
async def road(request: pytest.FixtureRequest, site: Site) -> AsyncIterator[EmbeddedRoad]:
    servers = site.server.url if request.param == "straight" else ""
    async with open_road(servers, "", "executor", lambda: [SimpleNamespace(address=site.address)]) as road:  # type: ignore[list-item]
        yield road


@pytest.fixture
async def through(site: Site) -> AsyncIterator[EmbeddedRoad]:
    async with open_road("", "", "executor", lambda: [SimpleNamespace(address=site.address)]) as road:  # type: ignore[list-item]
        yield road


async def pieces(content: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    for i in range(0, len(content), size):
        yield content[i : i + size]


async def read(road: EmbeddedRoad, key: str, holder: ArtifactHolder = ONE) -> bytes:
    return b"".join([piece async for piece in road.open(holder, key)])


@pytest.mark.parametrize("size", [0, 1, PART_BYTES, 5 * PART_BYTES + 1])
async def test_what_is_saved_is_read(road: EmbeddedRoad, site: Site, size: int) -> None:
    content = os.urandom(size)
    kept = await road.save(ONE, "a/ü", pieces(content))
    assert kept.size == size
    assert await read(road, "a/ü") == content
    assert await road.list(ONE) == [kept] == await site.store.list(ONE)
    await road.delete(ONE, "a/ü")
    await road.delete(ONE, "a/ü")
    with pytest.raises(NoSuchArtifactError, match="artifact a/ü: there is none of this key in workflow uid-1"):
        await read(road, "a/ü")
    assert await site.messages() == 0


async def test_lists(road: EmbeddedRoad, site: Site) -> None:
    for key in ("a/1", "a/2", "b"):
        await site.store.save(ONE, key, pieces(key.encode()))
    assert [one.key for one in await road.list(ONE, "a/")] == ["a/1", "a/2"]
    assert len(await road.list(ONE, "", 2)) == 2
    assert await road.list(TWO) == []


async def test_content_that_fails_or_is_given_up_leaves_nothing(road: EmbeddedRoad, site: Site) -> None:
    begun = asyncio.Event()

    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 3 * PART_BYTES
        raise ConnectionResetError("gone")

    async def endless() -> AsyncIterator[bytes]:
        yield b"x" * 3 * PART_BYTES
        begun.set()
        await asyncio.Event().wait()

    with pytest.raises(ConnectionResetError):
        await road.save(ONE, "a", broken())
    task = asyncio.create_task(road.save(ONE, "a", endless()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await site.store.list(ONE) == []
    sweep = Sweep(site.store, now=lambda: time.time() + 2 * ABANDONED_SECONDS)
    async with asyncio.timeout(10):
        while await site.messages():  # the scheduler learns of it a moment later, and may leave a mark to the sweep
            await sweep.of_contents()


async def test_a_server_that_is_killed_in_the_midst(road: EmbeddedRoad, site: Site) -> None:
    content = os.urandom(30 * PART_BYTES)

    async def with_a_crash(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        count = 0
        async for piece in stream:
            count += 1
            if count == 10:
                await site.server.restart()
            yield piece

    await road.save(ONE, "a", with_a_crash(pieces(content, PART_BYTES)))
    assert b"".join([piece async for piece in with_a_crash(road.open(ONE, "a"))]) == content


async def test_a_download_goes_on_after_each_break(through: EmbeddedRoad, site: Site) -> None:
    content = os.urandom(7 * PART_BYTES)
    await through.save(ONE, "a", pieces(content))
    site.service.after = 3
    assert await read(through, "a") == content


async def test_a_download_of_what_was_written_anew_meanwhile(through: EmbeddedRoad, site: Site) -> None:
    await through.save(ONE, "a", pieces(os.urandom(6 * PART_BYTES)))
    site.service.after = 3
    stream = through.open(ONE, "a")
    await anext(stream)
    await site.store.save(ONE, "a", pieces(b"new"))
    with pytest.raises(EmbeddedStoreError, match=r"artifact a: (it was written anew while it was read|a part of its)"):
        [piece async for piece in stream]


async def test_damage_is_found_by_who_reads(through: EmbeddedRoad, site: Site) -> None:
    await through.save(ONE, "a", pieces(os.urandom(3 * PART_BYTES)))
    part = await site.js.get_msg(STREAM, seq=1, subject="xf.p.*.1", next=True)
    await site.js.publish(part.subject, b"y" * PART_BYTES)
    with pytest.raises(EmbeddedStoreError, match="artifact a: its content in NATS is damaged"):
        await read(through, "a")


END = pb.ContentEnd(size=3, digest="00")
BEGIN = pb.SaveArtifactRequest(namespace="default", uid="uid-1", key="a")
WRONG: list[tuple[list[pb.SaveArtifactRequest], Code, str]] = [
    ([BEGIN, pb.SaveArtifactRequest(chunk=b"abc")], Code.UNAVAILABLE, "the upload broke off"),
    ([BEGIN, pb.SaveArtifactRequest(chunk=b"abc"), pb.SaveArtifactRequest(end=END)], Code.UNAVAILABLE, "damaged"),
    ([BEGIN, pb.SaveArtifactRequest(chunk=b"x" * (CHUNK_BYTES + 1))], Code.INVALID_ARGUMENT, "a chunk has at most"),
    ([pb.SaveArtifactRequest(chunk=b"abc")], Code.INVALID_ARGUMENT, "names the artifact"),
    ([], Code.INVALID_ARGUMENT, "names the artifact"),
    ([pb.SaveArtifactRequest(namespace="A.*", uid="u", key="a")], Code.INVALID_ARGUMENT, "namespace"),
]


@pytest.mark.parametrize(("frames", "code", "said"), WRONG)
async def test_an_upload_that_is_not_whole_is_never_there(
    site: Site, frames: list[pb.SaveArtifactRequest], code: Code, said: str
) -> None:
    async with grpc.aio.insecure_channel(site.address) as channel:
        stub = artifact_service_pb2_grpc.ArtifactServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.SaveArtifact(iter(frames))
    assert caught.value.code() is code
    assert said in str(caught.value.details())
    assert await site.messages() == 0


async def test_without_a_scheduler_or_nats(tmp_path: Path) -> None:
    async with open_road("", "", "executor", list) as road:
        with pytest.raises(EmbeddedStoreError, match="no scheduler can be reached") as caught:
            await road.save(ONE, "a", pieces(b"x"))
    assert caught.value.temporary
