"""GetLogs as clients see it: the end of it and what comes, one node, and what is left behind when nobody reads on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from exeunt.client import Client
from exeunt.internal.v1 import step_pb2
from exeunt.journal.steplogs import STREAM
from exeunt.scheduler.parts import Scheduler
from exeunt.service.errors import received
from exeunt.v1 import workflow_service_pb2 as pb
from exeunt.v1 import workflow_service_pb2_grpc as rpc
from tests.scheduler.rig import final, hands
from tests.scheduler.test_service import HOLD, submit

pytestmark = pytest.mark.services

TRIED = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {name: tried}
spec:
  entrypoint: main
  templates:
  - name: main
    steps:
    - - {name: shaky, template: work}
      - {name: steady, template: other}
  - name: work
    retryStrategy: {limit: 1}
    container: {image: alpine, command: [echo], args: [hold]}
  - name: other
    container: {image: alpine, command: [echo], args: [hold]}
"""


async def consumers(parts: Scheduler) -> int:
    """How many read the output of steps now."""
    info: dict[str, Any] = await parts.journal.wire.api(f"STREAM.INFO.{STREAM}", {}, 5.0)
    count: int = info["state"]["consumer_count"]
    return count


async def test_the_end_of_what_is_there_and_then_what_comes(parts: Scheduler, client: Client) -> None:
    async with hands(parts) as executor:
        await submit(client, HOLD)
        (step,) = await executor.until_running()
        await executor.say(step.id, 1, "one\ntwo\nthree\n")
        assert [line.text async for line in client.logs("held", tail=2)] == ["two", "three"]
        following = client.logs("held", follow=True, tail=2)
        assert [(await anext(following)).text for _ in range(2)] == ["two", "three"]
        await executor.say(step.id, 2, "four\nfive\nsix\n")
        await executor.end(step.id, step_pb2.StepResult(phase="Succeeded"))
        assert [line.text async for line in following] == ["four", "five", "six"]


@pytest.mark.parametrize("follow", [False, True])
async def test_what_cannot_be_read_is_said(
    parts: Scheduler, client: Client, stub: rpc.WorkflowServiceAsyncStub, follow: bool
) -> None:
    async def said(**more: Any) -> str:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.GetLogs(pb.GetLogsRequest(name="held", follow=follow, **more)).read()
        return f"{received(raised.value).code.name} {received(raised.value).reason}"

    async with hands(parts) as executor:
        await submit(client, HOLD)
        (step,) = await executor.until_running()
        assert await said(tail=-1) == "INVALID_ARGUMENT INVALID_REQUEST"
        if not follow:
            assert await said(node="nobody") == "NOT_FOUND NODE_NOT_FOUND"
        else:
            waits = asyncio.create_task(said(node="nobody"))
            await executor.end(step.id, step_pb2.StepResult(phase="Succeeded"))
            assert await waits == "NOT_FOUND NODE_NOT_FOUND", "at the end: it might have begun later"


@pytest.mark.parametrize("follow", [False, True])
async def test_a_step_that_is_tried_again_has_the_output_of_all_its_attempts(
    parts: Scheduler, client: Client, follow: bool
) -> None:
    async with hands(parts) as executor:
        await submit(client, TRIED)
        following = client.logs("tried", node="shaky", follow=True)
        lines = asyncio.create_task(_texts(following)) if follow else None
        for attempt in range(2):
            for step in await executor.until_running(2 if attempt == 0 else 1):
                await executor.say(step.id, 1, f"{step.id.rpartition('/')[2]} {attempt}\n")
                await executor.end(step.id, step_pb2.StepResult(phase="Failed", exit_code=1))
        tree = await final(client, "tried")
        nodes = {node["displayName"]: node for node in tree["status"]["nodes"].values()}
        for node in ("shaky", nodes["shaky"]["name"], nodes["shaky"]["id"]):
            found = [line.display_name async for line in client.logs("tried", node=node)]
            assert found == ["shaky(0)", "shaky(1)"]
        assert [line.display_name async for line in client.logs("tried", node="shaky(1)")] == ["shaky(1)"]
        assert [line.display_name async for line in client.logs("tried", node="steady")] == ["steady"]
        if lines is not None:
            assert await lines == ["shaky(0)", "shaky(1)"]


async def test_a_quiet_follow_is_heard_and_leaves_nothing_behind(
    parts: Scheduler, client: Client, stub: rpc.WorkflowServiceAsyncStub, caplog: pytest.LogCaptureFixture
) -> None:
    async with hands(parts) as executor:
        await submit(client, HOLD)
        (step,) = await executor.until_running()
        quiet = [stub.GetLogs(pb.GetLogsRequest(name="held", follow=True)) for _ in range(5)]
        async with asyncio.timeout(10):
            for call in quiet:
                await call.initial_metadata()
            await executor.say(step.id, 1, "one\n")
            busy = [stub.GetLogs(pb.GetLogsRequest(name="held", follow=True)) for _ in range(5)]
            for call in [*quiet, *busy]:
                assert [line.text for line in (await call.read()).lines] == ["one"]
            assert await consumers(parts) >= 10
            for call in [*quiet, *busy]:
                call.cancel()
            while await consumers(parts):  # noqa: ASYNC110 - they go by themselves, and nothing tells of it
                await asyncio.sleep(0.02)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def _texts(lines: AsyncIterator[pb.LogLine]) -> list[str]:
    return [line.display_name async for line in lines]
