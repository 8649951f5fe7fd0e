"""W6 and W7: how soon a subscriber hears of a step's end, and how soon a service is gone that was told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import statistics
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import nats

from bench import works
from exeunt.client import Client, ClientError
from tests.e2e.cluster import Cluster

STEPS = 100
STREAMS = 20
"""Of each kind, open while a service stops."""
SERVICES = ("scheduler", "exithandler", "executor")
GONE_SECONDS = 30.0


def writing(lines: Path) -> str:
    """A chain of steps, each of which writes when it is about to end."""
    step = {"name": "say", "container": {"image": "none", "command": ["sh", "-c", f"date +%s%N >> {lines}"]}}
    chain = [[{"name": f"s{n}", "template": "say"}] for n in range(STEPS)]
    return works.manifest("w6", "main", [{"name": "main", "steps": chain}, step])


async def until_heard(cluster: Cluster) -> float:
    """Seconds from the last act of a step until a subscriber has its `step.succeeded`: the median of a chain."""
    heard: list[int] = []
    lines = cluster.data_dir.parent / "lines"
    nc = await nats.connect(cluster.facts()["nats"]["url"])

    all_heard = asyncio.Event()

    async def take(_: object) -> None:
        heard.append(time.time_ns())
        if len(heard) == STEPS:
            all_heard.set()

    await nc.subscribe("exeunt.events.default.*.step.succeeded", cb=take)
    await nc.flush()
    facts = cluster.facts()
    await works.one((facts["scheduler"]["address"], facts["token"]), writing(lines))
    async with asyncio.timeout(30):
        await all_heard.wait()
    await nc.close()
    written = [int(line) for line in lines.read_text().split()]
    return statistics.median(a - b for a, b in zip(heard, written, strict=True)) / 1e9


async def until_gone(cluster: Cluster) -> dict[str, float]:
    """Seconds from SIGTERM until the process is gone, with streams open and nothing left to do: the worst of three."""
    found: dict[str, float] = {}
    for service in SERVICES:
        for _ in range(3):
            async with _watched(cluster):
                [pid] = cluster.pids(service)
                began = time.perf_counter()
                os.kill(pid, signal.SIGTERM)
                await _gone(pid)
                found[service] = max(found.get(service, 0.0), time.perf_counter() - began)
            await _back(cluster, service)
    return found


async def _gone(pid: int) -> None:
    handle = os.pidfd_open(pid)
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(handle, gone.set)
    try:
        async with asyncio.timeout(GONE_SECONDS):
            await gone.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)


@contextlib.asynccontextmanager
async def _watched(cluster: Cluster) -> AsyncIterator[None]:
    """A workflow that waits for people, watched in every way by many."""
    facts = cluster.facts()
    client = Client(
        facts["scheduler"]["address"], exit_server=facts["exithandler"]["address"], token=facts["token"], timeout=10
    )
    wait = works.manifest("w7", "main", [{"name": "main", "suspend": {}}])
    async with client as at:
        uid = (await at.submit([("bench", wait)])).workflows[0].uid
        ways: list[Callable[[], AsyncIterator[Any]]] = [
            lambda: at.follow(uid=uid),
            lambda: at.logs(uid=uid, follow=True),
            at.watch_workflows,
            at.watch_exits,
        ]
        tasks = [asyncio.create_task(_read(way())) for way in ways for _ in range(STREAMS)]
        await asyncio.sleep(1)  # all are open: only some have something to tell
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _read(stream: AsyncIterator[Any]) -> None:
    with contextlib.suppress(ClientError):
        async for _ in stream:
            pass


async def _back(cluster: Cluster, service: str) -> None:
    """Returns when the service is there again."""
    facts = cluster.facts()
    async with Client(facts["scheduler"]["address"], token=facts["token"], timeout=60) as at:
        for _ in range(600):
            if cluster.pids(service) and await at.executors():
                return
            await asyncio.sleep(0.1)
    raise AssertionError(f"{service} is not there again")
