"""A nats-server with the stream of the embedded store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import nats
import pytest
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
async def js(server: NatsServer) -> AsyncIterator[JetStreamContext]:
    client = await nats.connect(server.url, max_reconnect_attempts=-1, reconnect_time_wait=0.1)
    js = client.jetstream()
    await js.add_stream(config(1, 10 * 1024**3))
    yield js
    await client.close()


@pytest.fixture
def store(js: JetStreamContext) -> EmbeddedStore:
    return EmbeddedStore(ArtifactStream(js))
