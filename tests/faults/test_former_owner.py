"""Whoever was replaced writes nothing any more, and nothing of what it had is lost or done twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from exeunt.v1 import workflow_service_pb2 as pb
from exeunt.words import phases
from tests.faults.audit import audit
from tests.faults.kills import all_exits, all_workflows, judge, manifest, patient
from tests.faults.replicas import Service, exits, replicas, workflows
from tests.faults.storm import kill, leave, pause

pytestmark = [pytest.mark.services, pytest.mark.faults, pytest.mark.timeout(240), pytest.mark.xdist_group("faults")]

COUNT = 60


@pytest.mark.parametrize("fault", [pause, kill, leave])
async def test_a_replaced_owner_writes_nothing_and_nothing_is_lost(
    tmp_path: Path, fault: Callable[[Service], Awaitable[None]]
) -> None:
    marks = tmp_path / "marks"
    marks.touch()
    failing = {n for n in range(COUNT) if n % 5 == 0}
    async with (
        replicas(tmp_path, schedulers=2, exithandlers=2) as cluster,
        workflows(cluster.schedulers[1]) as scheduler,
        exits(cluster.exithandlers[1]) as exithandler,
    ):
        struck = [cluster.schedulers[0], cluster.exithandlers[0]]

        async def strike() -> None:
            for service in struck:
                await fault(service)
                await asyncio.sleep(1)

        async def submit(number: int) -> None:
            document = pb.Document(file=f"w{number}", text=manifest(number, marks, number in failing))
            request = pb.SubmitWorkflowRequest(request_id=f"former-{number}", documents=[document])
            await patient(lambda: scheduler.SubmitWorkflow(request, timeout=3))

        async def stream() -> None:
            async with asyncio.TaskGroup() as group:
                for number in range(COUNT):
                    group.create_task(submit(number))
                    await asyncio.sleep(0.2)

        async with asyncio.TaskGroup() as group:
            group.create_task(stream())
            group.create_task(strike())

        async with asyncio.timeout(90):
            while True:
                found = await patient(lambda: all_workflows(scheduler))
                if len(found) >= 2 * COUNT and all(phases.word(w.phase) not in ("Pending", "Running") for w in found):
                    break
                await asyncio.sleep(0.5)
        records = await patient(lambda: all_exits(exithandler))
        wrong = judge(found, records, marks, COUNT, failing)
        assert not wrong, "\n".join(wrong)

        log = await audit(cluster.nats.url)
        assert not log.wrong, "\n".join(log.wrong)
        assert log.commits > 8 * COUNT
        # the test has tried what it says: both were replaced, and took their part back
        for service in struck:
            role = "m" if service.kind == "scheduler" else "x"
            there_and_back = [service.name, f"{service.kind}-2", service.name]
            owners = [o for s, o in log.owners.items() if s.endswith(role)]
            assert any(o[i : i + 3] == there_and_back for o in owners for i in range(len(o))), owners
        assert log.moved >= 20
