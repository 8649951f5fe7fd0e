"""What this machine can do at best, measured beside each figure: spawns, disk syncs, round trips."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc


def spawns_per_second(total: int = 600, at_once: int = 8) -> float:
    """`/bin/true` started with posix_spawn and waited for, so many at a time."""
    started = time.perf_counter()
    running = 0
    for _ in range(total):
        if running == at_once:
            os.wait()
            running -= 1
        os.posix_spawn("/bin/true", ["/bin/true"], {})
        running += 1
    while running:
        os.wait()
        running -= 1
    return total / (time.perf_counter() - started)


def spawn_seconds(total: int = 100) -> float:
    """One `/bin/true` after another: the median."""
    taken = []
    for _ in range(total):
        started = time.perf_counter()
        pid = os.posix_spawn("/bin/true", ["/bin/true"], {})
        os.waitpid(pid, 0)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def fsync_seconds(folder: Path, total: int = 200) -> float:
    """An append of 512 bytes and its fsync: the median."""
    taken = []
    with (folder / "fsync").open("wb", buffering=0) as file:
        for _ in range(total):
            started = time.perf_counter()
            file.write(bytes(512))
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - started)
    return statistics.median(taken)


async def round_trip_seconds(total: int = 300) -> float:
    """A ping and its answer over one gRPC stream on loopback, server and client in one process: the median."""

    async def echo(requests: AsyncIterator[bytes], _: object) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request

    server = grpc.aio.server()
    handler = grpc.stream_stream_rpc_method_handler(echo)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", {"Ping": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    taken = []
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.stream_stream("/bench.Echo/Ping")()
        for _ in range(total):
            started = time.perf_counter()
            await call.write(b"ping")
            await call.read()
            taken.append(time.perf_counter() - started)
        await call.done_writing()
    await server.stop(None)
    return statistics.median(taken)


def round_trip() -> float:
    """`round_trip_seconds`, from outside a loop."""
    return asyncio.run(round_trip_seconds())
