"""What probes see of an executor."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from exeunt.executor.health import CONNECTED
from tests.executor.conftest import Scheduler, inside

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
async def address(scheduler: Scheduler, tmp_path: Path) -> AsyncIterator[str]:
    """Where an executor tells its health."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    async with inside(scheduler, tmp_path, listen=address):
        yield address


@contextlib.asynccontextmanager
async def watching(address: str, service: str) -> AsyncIterator[Any]:
    """The health of a service, each time it changes."""
    async with grpc.aio.insecure_channel(address) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        stub: Any = health_pb2_grpc.HealthStub(channel)  # its types know no Watch
        watch = stub.Watch(request, wait_for_ready=True)
        yield watch
        watch.cancel()


async def until(watch: Any, status: int) -> None:
    """Reads until it says so; the test's own limit ends what never does."""
    while (await watch.read()).status != status:
        pass


async def test_an_executor_is_ready_while_a_scheduler_is_connected(scheduler: Scheduler, address: str) -> None:
    port = int(scheduler.address.rpartition(":")[2])
    async with watching(address, CONNECTED) as watch:
        await until(watch, SERVING)
        await scheduler.stop()
        await until(watch, NOT_SERVING)
        await scheduler.start(port)
        await until(watch, SERVING)


async def test_an_executor_without_a_scheduler_is_alive(scheduler: Scheduler, address: str) -> None:
    await scheduler.stop()
    async with watching(address, CONNECTED) as ready, watching(address, "") as alive:
        await until(ready, NOT_SERVING)
        assert (await alive.read()).status == SERVING
