"""Kills in the midst of transfers: right content or none, and nothing is left after a sweep.

`python -m tests.artifacts.soak [ROUNDS] [MB] [straight | scheduler]`. In each round an executor's process (or, by
turns, nats-server) is killed while it uploads, and once more while it downloads; `scheduler` has the bytes go through
a scheduler's service.
Ends with 1 at the first wrong content or leftover.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import nats

from exeunt.artifacts.embedded import EmbeddedStore
from exeunt.artifacts.embedded_content import ABANDONED_SECONDS
from exeunt.artifacts.embedded_port import ArtifactHolder, EmbeddedRoad, NoSuchArtifactError
from exeunt.artifacts.embedded_stream import STREAM, ArtifactStream, config
from exeunt.artifacts.embedded_sweep import Sweep
from exeunt.executor.artifact_roads import open_road
from exeunt.internal.v1.artifact_service_pb2_grpc import add_ArtifactServiceServicer_to_server
from exeunt.scheduler.artifacts import ArtifactService
from exeunt.service.grpc import serve_grpc
from tests.nats_server import NatsServer

HOLDER = ArtifactHolder("default", "soak")
PIECE = 1 << 20


async def content(seed: int, megabytes: int) -> AsyncIterator[bytes]:
    """The bytes of a round."""
    block = random.Random(seed).randbytes(PIECE)
    for number in range(megabytes):
        yield number.to_bytes(8, "big") + block[8:]


async def digest(pieces: AsyncIterator[bytes]) -> str:
    """Their SHA-256."""
    sha = hashlib.sha256()
    async for piece in pieces:
        sha.update(piece)
    return sha.hexdigest()


async def worker(what: str, servers: str, address: str, seed: int, megabytes: int) -> None:
    """What is killed: one upload or download."""
    link = SimpleNamespace(address=address)
    async with open_road(servers, "", "soak", lambda: [link]) as road:  # type: ignore[list-item]
        if what == "save":
            await road.save(HOLDER, "k", content(seed, megabytes))
        else:
            await digest(road.open(HOLDER, "k"))


async def under_way(what: str, servers: str, address: str, *content_of: int) -> asyncio.subprocess.Process:
    """A process that does it."""
    arguments = ["worker", what, servers, address, *map(str, content_of)]
    return await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.artifacts.soak", *arguments)


async def right_or_none(road: EmbeddedRoad, wanted: str) -> bool:
    """Whether it is there. Raises AssertionError for a wrong content."""
    try:
        found = await digest(road.open(HOLDER, "k"))
    except NoSuchArtifactError:
        return False
    assert found == wanted, "wrong content"
    return True


async def soak(rounds: int, megabytes: int, road: str) -> None:
    """All rounds."""
    with tempfile.TemporaryDirectory(prefix="exeunt-soak-") as folder:
        server = NatsServer(Path(folder), more='mappings { "exeunt.artifacts.>": "$JS.API.>" }\n')
        await server.begin()
        client = await nats.connect(server.url, max_reconnect_attempts=-1, reconnect_time_wait=0.1)
        await client.jetstream().add_stream(config(1, 16 * 1024**3))
        store = EmbeddedStore(ArtifactStream(client))
        late = Sweep(store, now=lambda: time.time() + 2 * ABANDONED_SECONDS)
        served = {
            "exeunt.internal.v1.ArtifactService": partial(add_ArtifactServiceServicer_to_server, ArtifactService(store))
        }
        async with serve_grpc("127.0.0.1:0", served, grace=0.1) as listener:
            for number in range(rounds):
                wanted = await digest(content(number, megabytes))
                for what in ("save", "open"):
                    servers = server.url if road == "straight" else ""
                    process = await under_way(what, servers, listener.address, number, megabytes)
                    await asyncio.sleep(random.uniform(0.5, 1.0 + megabytes / 60))
                    if number % 2:
                        await server.restart()
                    elif process.returncode is None:
                        process.kill()
                    code = await process.wait()
                    there = await right_or_none(store, wanted)
                    print(f"round {number}: {what} ended with {code}, {'right' if there else 'not there'}", flush=True)
                    if what == "save" and not there:
                        await store.save(HOLDER, "k", content(number, megabytes))
                await store.delete_workflow(HOLDER)
                await late.of_contents()
                left = (await client.jetstream().stream_info(STREAM)).state.messages
                assert left == 0, f"{left} messages are left"
        await client.close()
        await server.stop()


def main(arguments: list[str]) -> None:
    """The command."""
    if arguments[:1] == ["worker"]:
        what, servers, address, seed, megabytes = arguments[1:]
        asyncio.run(worker(what, servers, address, int(seed), int(megabytes)))
        return
    rounds, megabytes, road = [*arguments, *["30", "2048", "straight"][len(arguments) :]]
    asyncio.run(soak(int(rounds), int(megabytes), road))


if __name__ == "__main__":
    main(sys.argv[1:])
