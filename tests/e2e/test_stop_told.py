"""A scheduler that is stopped in good order: who watches is told at once, and finds the next one."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import psutil
import pytest

from exeunt.service.errors import received
from exeunt.service.tokens import bearer
from exeunt.v1 import workflow_service_pb2 as pb
from exeunt.v1 import workflow_service_pb2_grpc as rpc
from tests.e2e.cluster import Cluster

pytestmark = [pytest.mark.services, pytest.mark.timeout(180)]

HELD = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {name: told-of-the-stop}
spec:
  entrypoint: main
  templates: [{name: main, suspend: {}}]
"""


async def test_who_watches_or_reads_logs_is_told_that_the_scheduler_stops(cluster: Cluster) -> None:
    cluster.submit(HELD)
    process = psutil.Process(cluster.pids("scheduler")[0])
    known = bearer([cluster.facts()["token"]])
    async with grpc.aio.insecure_channel(cluster.environ["EXEUNT_SERVER"]) as channel:
        stub = rpc.WorkflowServiceStub(channel)
        watch: Any = stub.WatchWorkflow(pb.WatchWorkflowRequest(name="told-of-the-stop"), metadata=known)
        await watch.read()
        logs: Any = stub.GetLogs(pb.GetLogsRequest(name="told-of-the-stop", follow=True), metadata=known)
        await logs.initial_metadata()
        process.terminate()
        began = time.monotonic()
        for call in (watch, logs):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call.read()
            told = received(raised.value)
            assert (told.code, told.reason, told.retry_after) == (grpc.StatusCode.UNAVAILABLE, "STOPPING", 0.5)
        assert time.monotonic() - began < 2
    await asyncio.to_thread(process.wait, 4)
    assert cluster.call("resume", "told-of-the-stop").returncode == 0
    cluster.wait("told-of-the-stop", ["Succeeded"])
