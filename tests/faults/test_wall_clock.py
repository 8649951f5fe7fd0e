"""The wall clock is put forward or back by an hour: what waits comes neither sooner nor later for it."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from exeunt.v1 import workflow_service_pb2 as pb
from exeunt.v1 import workflow_service_pb2_grpc as rpc
from tests.e2e.test_operators import manifest, sh
from tests.faults.replicas import eventually, replicas, workflows
from tests.faults.wall_clock import WallClock

pytestmark = [pytest.mark.services, pytest.mark.faults, pytest.mark.timeout(150), pytest.mark.xdist_group("faults")]

HOUR = 3600
WAIT = 5  # seconds, of everything that waits
LONG = 300  # seconds, less than the jump: what would be over if anybody went by the wall clock
SOON = 60.0  # far less than the jump, far more than anything here takes

Tree = dict[str, Any]


def waiting(begun: Path) -> dict[str, tuple[str, str]]:
    """Workflows that are in the midst of a wait when the clock jumps, each with the phase that it must end in."""

    def says(script: str) -> str:
        return f"echo x >> {begun}; {script}"

    bye = [[{"name": "wait", "template": "wait"}], [{"name": "say", "template": "say"}]]
    suspended = {"name": "main", "suspend": {"duration": str(WAIT)}}
    backoff = {"duration": str(WAIT), "maxDuration": str(LONG)}
    first_fails = says('test "{{retries}}" = 1')
    retried = {**sh("main", first_fails), "retryStrategy": {"limit": 2, "backoff": backoff}}
    return {
        "suspended": (manifest(suspended), "Succeeded"),
        "backing-off": (manifest(retried), "Succeeded"),
        "retried-in-time": (
            manifest(
                {**sh("main", says(f'sleep {WAIT}; test "{{{{retries}}}}" = 1')), "retryStrategy": {"limit": 2}},
                activeDeadlineSeconds=LONG,
            ),
            "Succeeded",
        ),
        "in-time": (
            manifest({**sh("main", says(f"sleep {WAIT}")), "timeout": f"{LONG}s"}, activeDeadlineSeconds=LONG),
            "Succeeded",
        ),
        "too-long": (manifest(sh("main", says("sleep 600")), activeDeadlineSeconds=WAIT), "Failed"),
        "step-too-long": (manifest({**sh("main", says("sleep 600")), "timeout": f"{WAIT}s"}), "Failed"),
        "handler-waits": (
            manifest(
                sh("main", "true"),
                {"name": "bye", "steps": bye},
                {"name": "wait", "suspend": {"duration": str(WAIT)}},
                sh("say", "true"),
                onExit="bye",
            ),
            "Succeeded",
        ),
    }


async def ended(stub: rpc.WorkflowServiceAsyncStub, uid: str) -> tuple[Tree, float]:
    """The workflow when it is over, and when that was."""
    async for change in stub.WatchWorkflow(pb.WatchWorkflowRequest(uid=uid), timeout=SOON):
        if change.final:
            break
    at = time.monotonic()
    return json.loads((await stub.GetWorkflow(pb.GetWorkflowRequest(uid=uid), timeout=10)).json), at


@pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["forward", "back"])
async def test_a_jump_fires_and_delays_nothing(tmp_path: Path, jump: int) -> None:
    clock = WallClock(tmp_path)
    begun = tmp_path / "begun"
    kinds = waiting(begun)
    async with replicas(tmp_path, environ=clock.environ) as cluster, workflows(cluster.schedulers[0]) as stub:
        uids, starts = {}, {}
        for name, (text, _) in kinds.items():
            starts[name] = time.monotonic()
            request = pb.SubmitWorkflowRequest(request_id=name, documents=[pb.Document(file=name, text=text)])
            uids[name] = (await stub.SubmitWorkflow(request, timeout=10)).workflows[0].uid
        steps = sum(str(begun) in text for text, _ in kinds.values())
        await eventually(lambda: begun.exists() and begun.read_text().count("x") >= steps)
        clock.put(jump)
        found = await asyncio.gather(*(ended(stub, uid) for uid in uids.values()))
        for (name, (_, phase)), (workflow, at) in zip(kinds.items(), found, strict=True):
            status = workflow["status"]
            assert status["phase"] == phase, f"{name}: {status.get('message')}"
            # a workflow's deadline counts from the whole second in which it began, as Argo's does
            assert at - starts[name] >= WAIT - 1, f"{name} ended too soon"
            assert status.get("finalization", "") in ("", "Succeeded", "None")
        for service in cluster.services:
            assert "the wall clock jumped" in service.spec.log.read_text(), service.name
