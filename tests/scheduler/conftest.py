"""Fixtures: a scheduler alone in its cluster with its client, and what speaks with its dispatch over streams."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from exeunt.client import Client
from exeunt.scheduler.parts import Scheduler
from exeunt.v1 import workflow_service_pb2_grpc as rpc
from tests.nats_server import NatsServer, nats_server
from tests.scheduler.rig import scheduling
from tests.scheduler.streams import channel, rig

__all__ = ["channel", "nats_server", "rig"]


@pytest.fixture
async def parts(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Scheduler]:
    async with scheduling(nats_server.url, tmp_path) as parts:
        yield parts


@pytest.fixture
async def client(parts: Scheduler) -> AsyncIterator[Client]:
    async with Client(parts.address) as client:
        yield client


@pytest.fixture
async def stub(parts: Scheduler) -> AsyncIterator[rpc.WorkflowServiceAsyncStub]:
    async with grpc.aio.insecure_channel(parts.address) as channel:
        yield rpc.WorkflowServiceStub(channel)
