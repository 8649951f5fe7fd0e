"""Artifacts in S3: a real server that checks signatures, connections that break, and what people are told."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psutil
import pytest

from exeunt.artifacts.objects import PART
from exeunt.artifacts.registry import store_for
from exeunt.artifacts.stores import MissingError, Store, StoreAccess, StoreError, from_mapping
from exeunt.language.places import place_of
from tests.actions import servers

MIB = 1 << 20


@pytest.fixture(scope="module")
def server() -> Iterator[servers.S3]:
    with servers.s3() as made:
        (made.folder / "bucket").mkdir()
        yield made


def store(server: servers.S3, *, port: int = 0, word: str = "", **more: Any) -> Store:
    endpoint = f"127.0.0.1:{port}" if port else server.url.removeprefix("http://")
    place = {"endpoint": endpoint, "bucket": "bucket", "insecure": True, "key": "wf/out", **more}
    place |= {"accessKeySecret": {"name": "s", "key": "id"}, "secretKeySecret": {"name": "s", "key": "word"}}
    secrets = {"s": {"id": server.key_id, "word": word or server.key}}
    return store_for(place_of({"s3": place}), StoreAccess(secret=from_mapping(secrets), artifact="out"))


async def chunks(size: int, each: int = MIB) -> AsyncIterator[bytes]:
    while size:
        part = min(size, each)
        yield bytes([size // MIB % 251]) * part
        size -= part


async def read(stream: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in stream])


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, 3 * PART + 7])
async def test_what_is_kept_is_read(server: servers.S3, size: int) -> None:
    kept = store(server)
    assert await kept.save("a/b c%/ü", chunks(size), size) == size
    assert await read(kept.open("a/b c%/ü")) == await read(chunks(size))
    await kept.delete("a/b c%/ü")
    await kept.delete("a/b c%/ü")
    with pytest.raises(MissingError, match=r"artifact out, s3 bucket/wf/out at .* \(key a/b c%/ü\): there is no such"):
        await read(kept.open("a/b c%/ü"))


async def test_a_directory_is_many_keys(server: servers.S3) -> None:
    kept = store(server)
    for name in ("dir/a", "dir/sub/b", "dirty"):
        await kept.save(name, chunks(3))
    assert sorted([one async for one in kept.list("dir")]) == [("dir/a", 3), ("dir/sub/b", 3)]
    assert await kept.is_directory("dir")
    assert await kept.is_directory("dir/")
    assert not await kept.is_directory("dirty")
    assert not await kept.is_directory("nothing")


async def test_errors_say_what_to_do(server: servers.S3) -> None:
    with pytest.raises(StoreError, match=r"access denied .*look at the secrets of the place") as denied:
        await store(server, word="wrong").save("k", chunks(1))
    assert not denied.value.temporary
    with pytest.raises(StoreError, match=r"no such bucket; create it, or say createBucketIfNotPresent") as none:
        await read(store(server, bucket="elsewhere").open("k"))
    assert not isinstance(none.value, MissingError)
    secret = {"name": "none", "key": "ca"}
    with pytest.raises(StoreError, match=r"s3.caSecret: there is no key 'ca' in a secret 'none'; create it"):
        store(server, caSecret=secret)


async def test_a_missing_bucket_is_made_where_the_place_says_so(server: servers.S3) -> None:
    kept = store(server, bucket="made-here", createBucketIfNotPresent={})
    assert await kept.save("k", chunks(5)) == 5
    assert (server.folder / "made-here").is_dir()


@pytest.mark.parametrize("size", [2, 3 * PART])
async def test_nothing_is_kept_of_a_stream_that_fails_or_has_another_size(server: servers.S3, size: int) -> None:
    kept = store(server)

    async def failing() -> AsyncIterator[bytes]:
        async for chunk in chunks(size):
            yield chunk
        raise ValueError("the file went away")

    with pytest.raises(ValueError, match="the file went away"):
        await kept.save("half", failing())
    with pytest.raises(StoreError, match=f"{size} bytes came to be kept, {size + 1} were said"):
        await kept.save("half", chunks(size), size + 1)
    with pytest.raises(MissingError):
        await read(kept.open("half"))


async def test_an_upload_that_is_cancelled_is_never_seen(server: servers.S3) -> None:
    kept = store(server)
    begun = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        async for chunk in chunks(200 * MIB):
            yield chunk
            begun.set()
            await asyncio.sleep(0.01)

    upload = asyncio.create_task(kept.save("cancelled", slow()))
    await begun.wait()
    await asyncio.sleep(0.3)
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    with pytest.raises(MissingError):
        await read(kept.open("cancelled"))


class Breaking:
    """A connection to the server in between that ends after some bytes of the answer, a few times."""

    def __init__(self, server: servers.S3, after: int, times: int) -> None:
        self._port, self._after, self.left = int(server.url.rpartition(":")[2]), after, times

    async def __aenter__(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, out = await asyncio.open_connection("127.0.0.1", self._port)
        up = asyncio.create_task(self._pump(reader, out, None))
        breaks = self.left > 0
        await self._pump(there, writer, self._after if breaks else None)
        up.cancel()
        out.close()

    async def _pump(self, source: asyncio.StreamReader, to: asyncio.StreamWriter, most: int | None) -> None:
        count = 0
        while data := await source.read(1 << 16):
            to.write(data)
            await to.drain()
            count += len(data)
            if most is not None and count > most and self.left > 0:
                self.left -= 1
                break
        to.close()


async def test_a_read_that_breaks_goes_on(server: servers.S3) -> None:
    size = 20 * MIB
    await store(server).save("long", chunks(size), size)
    breaking = Breaking(server, 3 * MIB, 4)
    async with breaking as port:
        found = await read(store(server, port=port).open("long"))
    assert breaking.left == 0
    assert hashlib.sha256(found).digest() == hashlib.sha256(await read(chunks(size))).digest()


async def test_memory_stays_flat(server: servers.S3) -> None:
    kept, size, me = store(server), 192 * MIB, psutil.Process()
    await kept.save("large", chunks(16 * MIB))
    before = most = me.memory_info().rss

    async def watched(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        nonlocal most
        async for chunk in stream:
            most = max(most, me.memory_info().rss)
            yield chunk

    await kept.save("large", watched(chunks(size)), size)
    assert sum([len(chunk) async for chunk in watched(kept.open("large"))]) == size
    assert most - before < 96 * MIB


async def test_a_server_that_is_not_there_is_temporary(server: servers.S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exeunt.artifacts.objects.RETRY", {"max_retries": 0})
    monkeypatch.setattr("exeunt.artifacts.objects.BACKOFF_SECONDS", 0.001)
    with pytest.raises(StoreError) as gone:
        await read(store(server, port=1).open("k"))
    assert gone.value.temporary
    assert server.key not in str(gone.value)
