"""`python -m bench.journal`: commits a second with 1, 10, 50 and 300 runs waiting, beside an fsync; and a load."""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from bench import limits
from exeunt.journal.log import Log
from exeunt.journal.subjects import family_of
from exeunt.journal.wire import connect
from tests.nats_server import NatsServer

ALL = range(64)
COMMIT_BYTES = 300


async def appends(log: Log, waiting: int, total: int) -> tuple[float, float]:
    """Commits a second and the median wait of one, with so many runs that each write commit after commit."""
    waits: list[float] = []

    async def run(i: int) -> None:
        family = family_of(f"bench-{waiting}-{i}")
        for number in range(1, total // waiting + 1):
            began = time.perf_counter()
            await log.append(family, number, "c", bytes(COMMIT_BYTES))
            waits.append(time.perf_counter() - began)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for i in range(waiting):
            group.create_task(run(i))
    return len(waits) / (time.perf_counter() - began), statistics.median(waits)


async def gathered(waiting: int) -> tuple[float, float]:
    """Commits a second with so many runs waiting, and syncs a second, one at a time."""
    with tempfile.TemporaryDirectory() as folder:
        server = NatsServer(Path(folder) / "nats")
        await server.begin()
        nc = await connect(server.url, "bench")
        log = await Log.open(nc, "m", "bench")
        await log.take(ALL)
        await log.load(ALL)
        rate, _ = await appends(log, waiting, 100 * waiting)
        syncs = 1 / limits.fsync_seconds(Path(folder))
        await log.close()
        await nc.close()
        await server.stop()
        return rate, syncs


async def main() -> None:
    """Prints the table."""
    with tempfile.TemporaryDirectory() as folder:
        server = NatsServer(Path(folder) / "nats")
        await server.begin()
        nc = await connect(server.url, "bench")
        log = await Log.open(nc, "m", "bench")
        await log.take(ALL)
        await log.load(ALL)
        print(f"one fsync: {1e3 * limits.fsync_seconds(Path(folder)):.2f} ms")
        for waiting, total in ((1, 500), (10, 3000), (12, 3000), (13, 3000), (50, 10_000), (300, 30_000)):
            rate, wait = await appends(log, waiting, total)
            print(f"{waiting:4} waiting: {rate:8,.0f} commits/s, {1e3 * wait:6.2f} ms each")
        heir = await Log.open(nc, "m", "heir")
        began = time.perf_counter()
        await heir.take(ALL)
        taken = time.perf_counter()
        loaded = await heir.load(ALL)
        ended = time.perf_counter()
        messages = sum(len(r.records) for r in loaded.runs)
        print(f"take 64 partitions: {1e3 * (taken - began):.0f} ms")
        print(f"load: {messages:,} commits of {len(loaded.runs)} open runs at {messages / (ended - taken):,.0f} /s")
        await heir.close()
        await log.close()
        await nc.close()
        await server.stop()


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    asyncio.run(main())
