"""One of each service: what everything rests on goes away for a moment, or one of them sleeps, in the midst of work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.faults.audit import audit
from tests.faults.load import load
from tests.faults.replicas import Replicas, eventually, replicas
from tests.faults.storm import PAUSE_SECONDS

pytestmark = [pytest.mark.services, pytest.mark.faults, pytest.mark.timeout(150), pytest.mark.xdist_group("faults")]

COUNT = 50
RESTARTS = 6


async def nats_restarts(cluster: Replicas) -> None:
    """Killed and ended in turn, again as soon as it has come back a moment ago."""
    for turn in range(RESTARTS):
        await (cluster.nats.stop() if turn % 2 else cluster.nats.kill())
        await cluster.nats.begin()
        await asyncio.sleep(0.3 * turn)


async def nats_sleeps(cluster: Replicas) -> None:
    """It keeps its connections and answers nobody."""
    cluster.nats.pause()
    await asyncio.sleep(PAUSE_SECONDS)
    cluster.nats.resume()


async def exit_handler_sleeps(cluster: Replicas) -> None:
    """Nobody else could take over."""
    cluster.exithandlers[0].pause()
    await asyncio.sleep(PAUSE_SECONDS)
    cluster.exithandlers[0].resume()


@pytest.mark.parametrize("fault", [nats_restarts, nats_sleeps, exit_handler_sleeps])
async def test_all_goes_on_and_nothing_is_lost(tmp_path: Path, fault: Callable[[Replicas], Awaitable[None]]) -> None:
    async with (
        replicas(tmp_path) as cluster,
        load(cluster.schedulers[0].address, cluster.exithandlers[0].address, tmp_path, COUNT) as work,
    ):
        pids = [service.pid for service in cluster.services]
        async with asyncio.TaskGroup() as group:
            group.create_task(work.submit(pace=0.1))
            await eventually(lambda: len(work.marks.read_text().split("\n")) > 3)  # handlers are at work
            await fault(cluster)
        await work.until(serving=True)
        await work.ended()
        await work.judged()
        assert [service.pid for service in cluster.services if service.runs] == pids, "nobody was started again"
        log = await audit(cluster.nats.url)
        assert not log.wrong, "\n".join(log.wrong)
        assert log.commits > 8 * COUNT
