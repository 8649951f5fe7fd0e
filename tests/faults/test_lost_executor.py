"""An executor dies in the midst of a step: who is told what, and what is started again."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from exeunt.v1 import workflow_service_pb2 as pb
from exeunt.v1 import workflow_service_pb2_grpc as rpc
from tests.e2e.test_operators import manifest, sh
from tests.faults.replicas import Replicas, eventually, replicas, workflows

pytestmark = [pytest.mark.services, pytest.mark.faults, pytest.mark.timeout(150), pytest.mark.xdist_group("faults")]

SHORT_GRACE = {"EXEUNT_GRACE": "2", "EXEUNT_HEARTBEAT_SECONDS": "0.5"}
LONG_GRACE = {"EXEUNT_GRACE": "60", "EXEUNT_HEARTBEAT_SECONDS": "0.5"}
WITHIN = 60.0

Tree = dict[str, Any]


class Scene:
    """A cluster of one executor, and what a test asks of it."""

    def __init__(self, cluster: Replicas, stub: rpc.WorkflowServiceAsyncStub, folder: Path) -> None:
        self.cluster = cluster
        self.executor = cluster.executors[0]
        self.begun = folder / "begun"  # a line with its process id from each attempt, as soon as it runs
        self.go = folder / "go"  # attempts end when it is there
        self._stub = stub

    @property
    def script(self) -> str:
        """A step that says that it runs, and ends when it may."""
        return f"echo $$ >> {self.begun}; while ! [ -e {self.go} ]; do sleep 0.05; done; echo well"

    async def submit(self, text: str) -> str:
        """Submits; the uid."""
        request = pb.SubmitWorkflowRequest(request_id=os.urandom(8).hex(), documents=[pb.Document(file="w", text=text)])
        return (await self._stub.SubmitWorkflow(request, timeout=10)).workflows[0].uid

    async def attempts(self, count: int) -> list[int]:
        """The processes of the attempts, when so many have begun."""
        await eventually(lambda: self.begun.exists() and len(self.begun.read_text().split()) >= count)
        return [int(pid) for pid in self.begun.read_text().split()]

    async def end(self, uid: str) -> Tree:
        """The workflow, when it has ended."""
        async for change in self._stub.WatchWorkflow(pb.WatchWorkflowRequest(uid=uid), timeout=WITHIN):
            if change.final:
                break
        answer = await self._stub.GetWorkflow(pb.GetWorkflowRequest(uid=uid), timeout=10)
        found: Tree = json.loads(answer.json)
        return found


@pytest.fixture
async def scene(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    environ = {**SHORT_GRACE, **getattr(request, "param", {})}
    async with replicas(tmp_path, environ=environ) as cluster, workflows(cluster.schedulers[0]) as stub:
        yield Scene(cluster, stub, tmp_path)


def kept(workflow: Tree) -> dict[str, Tree]:
    """Nodes by what follows the workflow's name."""
    name = workflow["metadata"]["name"]
    return {n["name"].removeprefix(name): n for n in workflow["status"]["nodes"].values()}


async def test_a_step_whose_executor_is_gone_is_an_error_after_the_grace(scene: Scene) -> None:
    uid = await scene.submit(manifest(sh("main", scene.script), sh("bye", "true"), onExit="bye"))
    [pid] = await scene.attempts(1)
    await scene.executor.kill()
    await eventually(lambda: not psutil.pid_exists(pid))  # the step dies with its executor
    await asyncio.sleep(float(SHORT_GRACE["EXEUNT_GRACE"]) + 1)  # nobody comes back in time
    await scene.executor.start()
    workflow = await scene.end(uid)
    status = workflow["status"]
    assert (status["phase"], status["outcome"]) == ("Error", "Error")
    assert "executor-1" in kept(workflow)[""]["message"]
    assert status["finalization"] == "Succeeded", "the handler ran when there was an executor again"
    assert len(await scene.attempts(1)) == 1


async def test_a_lost_step_is_tried_again_where_its_retry_strategy_says_so(scene: Scene) -> None:
    step = {**sh("main", scene.script), "retryStrategy": {"limit": 2, "retryPolicy": "OnError"}}
    uid = await scene.submit(manifest(step))
    await scene.attempts(1)
    await scene.executor.kill()
    await asyncio.sleep(float(SHORT_GRACE["EXEUNT_GRACE"]) + 1)
    await scene.executor.start()
    await scene.attempts(2)
    scene.go.touch()
    workflow = await scene.end(uid)
    assert workflow["status"]["phase"] == "Succeeded"
    found = kept(workflow)
    assert [found["(0)"]["phase"], found["(1)"]["phase"]] == ["Error", "Succeeded"]


async def test_a_handlers_step_is_started_again_whatever_its_retry_strategy(scene: Scene) -> None:
    bye = {**sh("bye", scene.script), "retryStrategy": {"limit": 0}}
    uid = await scene.submit(manifest(sh("main", "true"), bye, onExit="bye"))
    await scene.attempts(1)
    await scene.executor.kill()
    await asyncio.sleep(float(SHORT_GRACE["EXEUNT_GRACE"]) + 1)
    await scene.executor.start()
    await scene.attempts(2)
    scene.go.touch()
    status = (await scene.end(uid))["status"]
    assert (status["phase"], status["finalization"]) == ("Succeeded", "Succeeded")


@pytest.mark.parametrize("scene", [LONG_GRACE], indirect=True)
async def test_an_executor_that_comes_back_soon_says_that_the_step_is_lost(scene: Scene) -> None:
    step = {**sh("main", scene.script), "retryStrategy": {"limit": 2, "retryPolicy": "OnError"}}
    uid = await scene.submit(manifest(step))
    await scene.attempts(1)
    await scene.executor.kill()
    await scene.executor.start()
    await scene.attempts(2)  # long before the grace is over
    scene.go.touch()
    assert (await scene.end(uid))["status"]["phase"] == "Succeeded"


@pytest.mark.parametrize("scene", [LONG_GRACE], indirect=True)
async def test_a_step_that_ends_while_its_scheduler_is_away_is_not_run_again(scene: Scene) -> None:
    uid = await scene.submit(manifest(sh("main", scene.script), sh("bye", "true"), onExit="bye"))
    await scene.attempts(1)
    [scheduler] = scene.cluster.schedulers
    await scheduler.kill()
    scene.go.touch()
    await asyncio.sleep(0.5)  # the step ends meanwhile
    await scheduler.start()
    workflow = await scene.end(uid)
    assert workflow["status"]["phase"] == "Succeeded"
    assert len(await scene.attempts(1)) == 1


@pytest.mark.parametrize("scene", [LONG_GRACE], indirect=True)
async def test_an_executor_that_was_paused_within_the_grace_loses_nothing(scene: Scene) -> None:
    uid = await scene.submit(manifest(sh("main", scene.script)))
    await scene.attempts(1)
    scene.executor.pause()
    scene.go.touch()  # the step ends, and nobody tells
    await asyncio.sleep(3)
    scene.executor.resume()
    assert (await scene.end(uid))["status"]["phase"] == "Succeeded"
    assert len(await scene.attempts(1)) == 1
