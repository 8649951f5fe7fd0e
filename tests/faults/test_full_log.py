"""The log has no room for more work: nothing new is taken, what runs has the rest, and what ends makes room."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import nats
import pytest

from exeunt.service.errors import Code, RpcError, received
from exeunt.v1 import workflow_service_pb2 as pb
from exeunt.v1 import workflow_service_pb2_grpc as rpc
from exeunt.words import finalizations, phases
from tests.e2e.test_operators import manifest, sh
from tests.faults.replicas import Replicas, replicas, workflows

pytestmark = [pytest.mark.services, pytest.mark.faults, pytest.mark.timeout(120), pytest.mark.xdist_group("faults")]

ROOM = 16 * 1024**2
LARGE = 200_000  # bytes of one workflow's parameter
SUSPENDED = {"name": "main", "suspend": {}}


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Replicas]:
    """A cluster with little room for its log."""
    async with replicas(tmp_path, environ={"EXEUNT_LOG_BYTES": str(ROOM)}) as found:
        yield found


@pytest.fixture
async def stub(cluster: Replicas) -> AsyncIterator[rpc.WorkflowServiceAsyncStub]:
    """Its API."""
    async with workflows(cluster.schedulers[0]) as found:
        yield found


async def taken(url: str) -> int:
    """Bytes of the log."""
    nc = await nats.connect(url)
    try:
        return (await nc.jetstream().stream_info("EXEUNT_LOG")).state.bytes
    finally:
        await nc.close()


async def submit(stub: rpc.WorkflowServiceAsyncStub, text: str, size: int = 0) -> str | RpcError:
    """The workflow's name, or why it was not taken."""
    given = [pb.ParameterValue(name="large", value=os.urandom(size // 2).hex())] if size else []
    request = pb.SubmitWorkflowRequest(documents=[pb.Document(file="w", text=text)], parameters=given)
    try:
        return (await stub.SubmitWorkflow(request, timeout=10)).workflows[0].name
    except grpc.aio.AioRpcError as error:
        return received(error)


async def ended(stub: rpc.WorkflowServiceAsyncStub, name: str) -> tuple[str, str]:
    """Phase and finalization of the workflow when it is over."""
    async for change in stub.WatchWorkflow(pb.WatchWorkflowRequest(name=name), timeout=30):
        if change.final:
            break
    answer = await stub.GetWorkflow(pb.GetWorkflowRequest(name=name), timeout=10)
    return phases.word(answer.phase), finalizations.word(answer.finalization)


async def test_what_runs_has_the_rest_of_the_room(cluster: Replicas, stub: rpc.WorkflowServiceAsyncStub) -> None:
    url = cluster.nats.url
    with_handler = await submit(stub, manifest(SUSPENDED, sh("bye", "true"), onExit="bye"))
    assert isinstance(with_handler, str)
    large: list[str] = []
    while isinstance(found := await submit(stub, manifest(SUSPENDED), LARGE), str):
        large.append(found)
        assert len(large) * LARGE < ROOM, "more was taken than there is room for"
    assert (found.code, found.reason) == (Code.RESOURCE_EXHAUSTED, "LOG_FULL")
    assert found.retry_after, "a client is told when to come again"
    assert await taken(url) < 0.9 * ROOM, "there is a rest"

    await stub.ResumeWorkflow(pb.ResumeWorkflowRequest(name=with_handler), timeout=10)
    assert await ended(stub, with_handler) == ("Succeeded", "Succeeded")

    for name in large:
        await stub.StopWorkflow(pb.StopWorkflowRequest(name=name), timeout=10)
    async with asyncio.timeout(60):
        while not isinstance(again := await submit(stub, manifest(sh("main", "true")), LARGE), str):
            assert again.code is Code.RESOURCE_EXHAUSTED
            await asyncio.sleep(0.3)
    assert (await ended(stub, again))[0] == "Succeeded"
    assert await taken(url) < 0.8 * ROOM


async def test_open_workflows_that_fill_the_log_leave_room_for_what_runs(
    cluster: Replicas, stub: rpc.WorkflowServiceAsyncStub
) -> None:
    """What they are written anew for goes before there is no room left; so they can be stopped at any time."""
    large: list[str] = []
    while isinstance(found := await submit(stub, manifest(SUSPENDED), LARGE), str):
        large.append(found)
    nc = await nats.connect(cluster.nats.url)
    try:
        async with asyncio.timeout(90):
            last = (await nc.jetstream().stream_info("EXEUNT_LOG")).state.last_seq
            while (state := (await nc.jetstream().stream_info("EXEUNT_LOG")).state).first_seq <= last:
                assert state.bytes < 0.97 * ROOM, "snapshots have taken the room of what runs"
                await asyncio.sleep(0.2)
    finally:
        await nc.close()
    for name in large:
        await stub.StopWorkflow(pb.StopWorkflowRequest(name=name), timeout=10)
