"""NATS cannot be reached for a minute: services say so, wait, and go on by themselves."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from exeunt.service.errors import Code
from tests.faults.load import load
from tests.faults.namespace import namespace
from tests.faults.replicas import eventually, replicas
from tests.nats_server import NatsServer

# a group of its own: it waits nearly all the time, and others can be busy meanwhile
pytestmark = [pytest.mark.services, pytest.mark.faults, pytest.mark.timeout(240), pytest.mark.xdist_group("cut off")]

CUT_SECONDS = 60.0
COUNT = 40


async def test_a_minute_without_nats_is_waited_out(tmp_path: Path) -> None:
    with namespace() as far:
        nats = NatsServer(tmp_path / "nats", host=far.host, within=far.within)
        async with (
            replicas(tmp_path, nats=nats) as cluster,
            load(cluster.schedulers[0].address, cluster.exithandlers[0].address, tmp_path, COUNT) as work,
        ):
            pids = [service.pid for service in cluster.services]
            async with asyncio.TaskGroup() as group:
                group.create_task(work.submit(pace=0.2, seconds=CUT_SECONDS + 60))
                await eventually(lambda: len(work.marks.read_text().split("\n")) > 3)  # handlers are at work
                far.cut()
                end = asyncio.get_running_loop().time() + CUT_SECONDS
                await work.until(serving=False)
                refused = await work.submission_refused()
                assert (refused.code, refused.reason) == (Code.UNAVAILABLE, "NATS_AWAY")
                assert refused.retry_after, "a client is told when to come again"
                await work.answered()
                await asyncio.sleep(end - asyncio.get_running_loop().time())
                far.mend()
            await work.until(serving=True)
            await work.ended()
            await work.judged()
            assert [service.pid for service in cluster.services if service.runs] == pids, "nobody was started again"
