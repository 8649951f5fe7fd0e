"""Artifacts in NATS: whole or not there, stored once, removed with their workflow, whatever breaks in between."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext

from exeunt.artifacts.archive import Strategy, pack, unpack
from exeunt.artifacts.embedded import SMALL_BYTES, EmbeddedStore
from exeunt.artifacts.embedded_content import ABANDONED_SECONDS
from exeunt.artifacts.embedded_port import PART_BYTES, ArtifactHolder, EmbeddedStoreError, NoSuchArtifactError
from exeunt.artifacts.embedded_stream import STREAM, ArtifactStream, Stored, config
from exeunt.artifacts.embedded_sweep import Sweep
from tests.nats_server import NatsServer

OTHER = b"other" * SMALL_BYTES
ONE, TWO = ArtifactHolder("default", "uid-1"), ArtifactHolder("default", "uid-2")


async def pieces(content: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    for i in range(0, len(content), size):
        yield content[i : i + size]


async def read(store: EmbeddedStore, holder: ArtifactHolder, key: str) -> bytes:
    return b"".join([piece async for piece in store.open(holder, key)])


async def messages(js: JetStreamContext) -> int:
    return int((await js.stream_info(STREAM)).state.messages)


@pytest.mark.parametrize(
    "size", [0, 1, SMALL_BYTES, SMALL_BYTES + 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 20 * PART_BYTES]
)
async def test_what_is_saved_is_read(store: EmbeddedStore, size: int) -> None:
    content = os.urandom(size)
    kept = await store.save(ONE, "wf/pod/main.tgz", pieces(content))
    assert (kept.digest, kept.size) == (hashlib.sha256(content).hexdigest(), size)
    assert await read(store, ONE, "wf/pod/main.tgz") == content
    assert await store.list(ONE) == [kept]


async def test_keys_and_prefixes(store: EmbeddedStore) -> None:
    for key in ("a/2", "b/ünï *.>", "a/1"):
        await store.save(ONE, key, pieces(key.encode()))
    assert [one.key for one in await store.list(ONE)] == ["a/1", "a/2", "b/ünï *.>"]
    assert [one.key for one in await store.list(ONE, "a/")] == ["a/1", "a/2"]
    assert [one.key[:2] for one in await store.list(ONE, "a/", most=1)] == ["a/"]
    assert await store.list(TWO) == []
    with pytest.raises(NoSuchArtifactError, match="a/3: there is none"):
        await read(store, ONE, "a/3")
    with pytest.raises(EmbeddedStoreError, match="no workflow"):
        await store.list(ArtifactHolder("*", "x"))


async def test_the_same_content_lies_there_once_and_goes_with_its_last_workflow(
    store: EmbeddedStore, js: JetStreamContext
) -> None:
    content = os.urandom(3 * PART_BYTES)
    await store.save(ONE, "a", pieces(content))
    before = await messages(js)
    await store.save(ONE, "a", pieces(content))
    assert await messages(js) == before
    await store.save(TWO, "b", pieces(content))
    assert await messages(js) == before + 1
    await store.delete_workflow(ONE)
    assert await read(store, TWO, "b") == content
    await store.delete_workflow(TWO)
    await store.delete_workflow(TWO)
    assert await messages(js) == 0


async def test_a_key_that_is_written_anew(store: EmbeddedStore, js: JetStreamContext) -> None:
    await store.save(ONE, "a", pieces(b"x" * PART_BYTES))
    for content in (b"new", b"y" * PART_BYTES, b"new", b"newer"):
        await store.save(ONE, "a", pieces(content))
        assert await read(store, ONE, "a") == content
        assert len(await store.list(ONE)) == 1
    assert await messages(js) == 1
    await store.delete(ONE, "a")
    assert await messages(js) == 0


async def test_a_save_that_fails_or_is_given_up_leaves_nothing(store: EmbeddedStore, js: JetStreamContext) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 5 * PART_BYTES
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError):
        await store.save(ONE, "a", broken())
    begun = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield b"x" * 5 * PART_BYTES
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(store.save(ONE, "a", endless()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await store.list(ONE) == []
    assert await messages(js) == 0


async def test_damage_is_found_before_the_last_piece(store: EmbeddedStore, js: JetStreamContext) -> None:
    await store.save(ONE, "a", pieces(os.urandom(3 * PART_BYTES)))
    part = await js.get_msg(STREAM, seq=1, subject="xf.p.*.1", next=True)
    await js.publish(part.subject or "", b"y" * PART_BYTES)
    stream = store.open(ONE, "a")
    assert [len(await anext(stream)) for _ in range(2)] == [PART_BYTES, PART_BYTES]
    with pytest.raises(EmbeddedStoreError, match="artifact a: its content in NATS is damaged"):
        await anext(stream)
    await js.purge_stream(STREAM, subject=part.subject)
    with pytest.raises(EmbeddedStoreError, match="a part of its content is gone"):
        await read(store, ONE, "a")


async def test_a_server_that_is_killed_in_the_midst(store: EmbeddedStore, server: NatsServer) -> None:
    content = os.urandom(40 * PART_BYTES)

    async def with_a_crash(stream: AsyncIterator[bytes], at: int) -> AsyncIterator[bytes]:
        count = 0
        async for piece in stream:
            count += 1
            if count == at:
                await server.restart()
            yield piece

    await store.save(ONE, "a", with_a_crash(pieces(content, PART_BYTES), 15))
    got = [piece async for piece in with_a_crash(store.open(ONE, "a"), 15)]
    assert b"".join(got) == content


async def test_a_full_store_and_one_that_stays_away(
    store: EmbeddedStore, server: NatsServer, nc: Client, js: JetStreamContext
) -> None:
    await js.update_stream(config(1, 4 * PART_BYTES))
    with pytest.raises(EmbeddedStoreError, match="has no room for artifacts") as caught:
        await store.save(ONE, "a", pieces(os.urandom(10 * PART_BYTES)))
    assert not caught.value.temporary
    assert await store.list(ONE) == []
    assert await messages(js) == 0
    await server.stop()
    away = EmbeddedStore(ArtifactStream(nc, stall_seconds=0.5))
    with pytest.raises(EmbeddedStoreError, match="NATS has not answered") as caught:
        await away.list(ONE)
    assert caught.value.temporary
    await server.begin()
    assert await store.list(ONE) == []


class Stepping(ArtifactStream):
    """A stream that halts before the nth call, lets somebody else act, and goes on."""

    def __init__(self, nc: Client, at: int, meanwhile: Callable[[], Awaitable[object]]) -> None:
        super().__init__(nc)
        self.left, self._meanwhile = at, meanwhile

    async def _step(self) -> None:
        self.left -= 1
        if self.left == 0:
            await self._meanwhile()

    async def swap(self, subject: str, data: bytes, expected: int) -> int:
        await self._step()
        return await super().swap(subject, data, expected)

    async def write(self, subject: str, data: bytes) -> int:
        await self._step()
        return await super().write(subject, data)

    async def last(self, subject: str) -> Stored | None:
        await self._step()
        return await super().last(subject)

    async def purge(self, subject: str) -> None:
        await self._step()
        await super().purge(subject)

    async def remove(self, sequence: int) -> None:
        await self._step()
        await super().remove(sequence)


@pytest.mark.parametrize("slow", ["save", "delete"])
async def test_a_save_and_a_removal_of_the_same_content_in_every_order(
    store: EmbeddedStore, nc: Client, js: JetStreamContext, slow: str
) -> None:
    content = os.urandom(2 * PART_BYTES)
    for at in range(1, 30):
        await store.save(ONE, "a", pieces(content))

        async def meanwhile() -> None:
            if slow == "save":
                await store.delete_workflow(ONE)
                await Sweep(store).of_contents()
            else:
                await store.save(TWO, "b", pieces(content))
                await Sweep(store).of_contents()

        stream = Stepping(nc, at, meanwhile)
        halting = EmbeddedStore(stream)
        if slow == "save":
            await halting.save(TWO, "b", pieces(content))
        else:
            await halting.delete_workflow(ONE)
        if stream.left > 0:
            await meanwhile()
        assert await read(store, TWO, "b") == content, at
        await store.delete_workflow(ONE)
        await store.delete_workflow(TWO)
        assert await messages(js) == 0, at
        if stream.left > 0:
            return
    pytest.fail("it takes more steps than were tried")


class DeathError(Exception):
    """Somebody dies."""


class Dying(Stepping):
    """A stream whose user dies before the nth call, and does nothing any more."""

    async def _step(self) -> None:
        self.left -= 1
        if self.left <= 0:
            raise DeathError


@pytest.mark.parametrize("act", ["save", "delete"])
async def test_who_dies_anywhere_leaves_nothing_wrong_and_a_sweep_cleans_up(
    store: EmbeddedStore, nc: Client, js: JetStreamContext, act: str
) -> None:
    content = os.urandom(2 * PART_BYTES)
    late = Sweep(store, now=lambda: time.time() + 2 * ABANDONED_SECONDS)
    for at in range(1, 30):
        await store.save(TWO, "b", pieces(OTHER))
        if act == "delete":
            await store.save(ONE, "a", pieces(content))
        stream = Dying(nc, at, asyncio.sleep)  # type: ignore[arg-type]
        dying = EmbeddedStore(stream)
        with contextlib.suppress(DeathError):
            await (dying.save(ONE, "a", pieces(content)) if act == "save" else dying.delete_workflow(ONE))
        with contextlib.suppress(NoSuchArtifactError):
            assert await read(store, ONE, "a") == content
        await late.of_contents()
        left = [one.key for one in await store.list(ONE)]
        if left:
            assert await read(store, ONE, "a") == content, at
        await store.delete_workflow(ONE)
        assert await read(store, TWO, "b") == OTHER
        assert await messages(js) == 4, at
        if stream.left > 0:
            return
    pytest.fail("it takes more steps than were tried")


@pytest.mark.parametrize("size", [10, PART_BYTES])
async def test_a_sweep_takes_what_belongs_to_no_workflow(store: EmbeddedStore, js: JetStreamContext, size: int) -> None:
    for holder in (ONE, TWO):
        await store.save(holder, "a", pieces(os.urandom(size)))
    paces = 0

    async def exists(holder: ArtifactHolder) -> bool:
        return holder == TWO

    async def pace() -> None:
        nonlocal paces
        paces += 1

    sweep = Sweep(store, pace)
    assert await sweep.of_workflows(exists) == 1
    assert await sweep.of_workflows(exists) == 0
    assert paces == 3
    assert [len(await store.list(holder)) for holder in (ONE, TWO)] == [0, 1]
    assert await messages(js) == (1 if size == 10 else 4)
    assert await sweep.of_contents() == 0


async def test_from_directory_to_directory(store: EmbeddedStore, tmp_path: Path) -> None:
    (tmp_path / "out" / "d").mkdir(parents=True)
    (tmp_path / "out" / "d" / "f").write_bytes(os.urandom(3_000_000))
    await store.save(ONE, "k", pack(tmp_path / "out", Strategy()))
    await unpack(store.open(ONE, "k"), tmp_path / "in")
    assert (tmp_path / "in" / "d" / "f").read_bytes() == (tmp_path / "out" / "d" / "f").read_bytes()
