"""The embedded store: MB/s and artifacts a second on both roads, beside NATS' own client and `cp`; what others notice.

`python -m bench.artifacts [MB] [SMALL]`. On a real local cluster, whose nats-server syncs each write; the roads take
turns, and figures are medians of the rounds. The last lines are what a small workflow takes: alone, beside an upload
that the scheduler has nothing to do with, and beside one through the scheduler.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace

import nats
from nats.js.object_store import ObjectStore

from exeunt.artifacts.embedded_port import ArtifactHolder, EmbeddedRoad
from exeunt.cli import private
from exeunt.client import Client
from exeunt.executor.artifact_roads import open_road
from exeunt.service.channel import known_by
from tests.e2e.cluster import Cluster

ROUNDS = 3
AT_ONCE = 16
HOLDER = ArtifactHolder("default", "of-the-benchmark")
PIECE = 1 << 20
HELLO = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: small-}
spec:
  entrypoint: main
  templates: [{name: main, container: {image: x, command: ["true"]}}]
"""


async def pieces(megabytes: int) -> AsyncIterator[bytes]:
    """Bytes that are in no other content."""
    block = os.urandom(PIECE)
    for number in range(megabytes):
        yield number.to_bytes(8, "big") + os.urandom(8) + block[16:]


async def rate(work: Awaitable[object], amount: int) -> float:
    """So much of it in a second."""
    start = time.perf_counter()
    await work
    return amount / (time.perf_counter() - start)


async def read(road: EmbeddedRoad, key: str) -> None:
    """All of an artifact."""
    async for _ in road.open(HOLDER, key):
        pass


async def many(count: int, once: Callable[[int], Awaitable[object]]) -> None:
    """So many, AT_ONCE at a time."""
    left = iter(range(count))

    async def work() -> None:
        for number in left:
            await once(number)

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))


async def small(road: EmbeddedRoad, count: int, mark: bytes) -> None:
    """Small artifacts."""

    async def once(number: int) -> None:
        async def content() -> AsyncIterator[bytes]:
            yield mark + number.to_bytes(8, "big") * 100

        await road.save(HOLDER, f"small/{number}", content())

    await many(count, once)


def copied(folder: Path, megabytes: int) -> float:
    """MB/s of a copy that is synced."""
    source, target = folder / "source", folder / "target"
    if not source.exists():
        source.write_bytes(os.urandom(PIECE) * megabytes)
    start = time.perf_counter()
    shutil.copyfile(source, target)
    with target.open("rb+") as file:
        os.fsync(file.fileno())
    return megabytes / (time.perf_counter() - start)


async def by_the_client(store: ObjectStore, megabytes: int) -> tuple[float, float]:
    """MB/s of nats-py's object store: written, read."""
    content = b"".join([piece async for piece in pieces(megabytes)])
    written = await rate(store.put("x", content), megabytes)
    found = await rate(store.get("x"), megabytes)
    await store.delete("x")
    return written, found


async def waits(client: Client, rounds: int) -> list[float]:
    """Seconds that a small workflow takes, one after the other."""
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        [begun] = (await client.submit([("-", HELLO)])).workflows
        async for state in client.follow(begun.name):
            if state.final:
                break
        found.append(time.perf_counter() - start)
    return found


async def beside(client: Client, roads: dict[str, EmbeddedRoad], megabytes: int) -> None:
    """What a small workflow takes, alone and beside an upload on each road."""
    await waits(client, 3)
    all_found = {"alone": await waits(client, 20)}
    for name, road in roads.items():
        upload = asyncio.ensure_future(road.save(HOLDER, "beside", pieces(megabytes)))
        busy = all_found[f"beside an upload of {megabytes} MB {name}"] = []
        while not upload.done():
            busy += await waits(client, 1)
        await upload
    for name, found in all_found.items():
        ordered = sorted(found)
        print(
            f"a small workflow {name}: median {statistics.median(ordered) * 1000:.0f} ms, "
            f"slowest {ordered[-1] * 1000:.0f} ms of {len(ordered)}"
        )


async def measure(cluster: Cluster, megabytes: int, count: int) -> None:
    """All of it, printed."""
    facts = cluster.facts()
    secrets = private.credentials(cluster.data_dir)
    known_by([secrets.executor])
    address = facts["nats"]["url"].rpartition("@")[2]
    figures: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        figures.setdefault(name, []).append(value)

    link = SimpleNamespace(address=facts["scheduler"]["internal"])
    async with contextlib.AsyncExitStack() as stack:
        nc = await nats.connect(facts["nats"]["url"])
        stack.push_async_callback(nc.close)
        objects = await nc.jetstream().create_object_store("bench")
        servers = {"straight": f"nats://executor:{secrets.artifacts}@{address}", "through the scheduler": ""}
        roads = {
            name: await stack.enter_async_context(open_road(server, "", "bench", lambda: [link]))  # type: ignore[list-item]
            for name, server in servers.items()
        }
        for _ in range(ROUNDS):
            note("cp, synced, MB/s", await asyncio.to_thread(copied, cluster.data_dir, megabytes))
            written, found = await by_the_client(objects, megabytes)
            note("nats-py's object store, written, MB/s", written)
            note("nats-py's object store, read, MB/s", found)
            for name, road in roads.items():
                note(f"{name}, written, MB/s", await rate(road.save(HOLDER, name, pieces(megabytes)), megabytes))
                note(f"{name}, read, MB/s", await rate(read(road, name), megabytes))
                note(f"{name}, small ones a second", await rate(small(road, count, os.urandom(8)), count))
        for name, values in figures.items():
            print(f"{name}: {statistics.median(values):.0f}  ({', '.join(f'{value:.0f}' for value in values)})")
        token = facts["token"]
        client = await stack.enter_async_context(Client(facts["scheduler"]["address"], token=token))
        await beside(client, roads, max(1024, megabytes))


def main() -> None:
    """The command."""
    megabytes, count = (int(sys.argv[at]) if len(sys.argv) > at else default for at, default in ((1, 256), (2, 1000)))
    with tempfile.TemporaryDirectory(prefix="exeunt-bench-") as folder:
        cluster = Cluster(Path(folder) / "cluster")
        cluster.up()
        try:
            asyncio.run(measure(cluster, megabytes, count))
        finally:
            cluster.down()


if __name__ == "__main__":
    main()
