"""A nats-server with the stream of the embedded store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext

from exeunt.artifacts.embedded import EmbeddedStore
from exeunt.artifacts.embedded_stream import ArtifactStream, config
from tests.nats_server import NatsServer


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    server = NatsServer(tmp_path / "nats", sync="2m")
    await server.begin()
    yield server
    await server.stop()


@pytest.fixture
async def nc(server: NatsServer) -> AsyncIterator[Client]:
    client = await nats.connect(server.url, max_reconnect_attempts=-1, reconnect_time_wait=0.1)
    await client.jetstream().add_stream(config(1, 10 * 1024**3))
    yield client
    await client.close()


@pytest.fixture
def js(nc: Client) -> JetStreamContext:
    return nc.jetstream()


@pytest.fixture
def store(nc: Client) -> EmbeddedStore:
    return EmbeddedStore(ArtifactStream(nc))
