"""What is wrong with a server is said at the start."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from exeunt.journal.checks import ServerCheck, check
from exeunt.journal.log import Log
from exeunt.journal.streams import ensure_stream
from exeunt.journal.wire import connect, wire_of
from tests.journal.conftest import OpenLog
from tests.nats_server import NatsServer

pytestmark = pytest.mark.services


async def test_a_server_as_it_should_be(open_log: OpenLog, nats_server: NatsServer) -> None:
    log = await open_log()
    assert await check(log.wire, nats_server.monitor) == []


async def test_a_server_that_acknowledges_too_early_is_named_loudly_until_it_is_mended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = NatsServer(tmp_path, sync="2m")
    await server.begin()
    nc = await connect(server.url, "test")
    log = await Log.open(nc, "m", "a")
    looks = ServerCheck(log.wire, server.monitor)
    looking = asyncio.create_task(looks.keep())
    try:
        async with asyncio.timeout(20):
            while not looks.problems:
                await nc.flush()
            [record] = [r for r in caplog.records if r.levelno == logging.ERROR]
            assert "sync_interval: always" in record.getMessage()
            server._conf.write_text(server._conf.read_text().replace("2m", "always"))
            await server.restart()
            while looks.problems:
                await log.wire.connected.wait()
                await nc.flush()
    finally:
        looking.cancel()
        await asyncio.wait([looking])
        await log.close()
        await nc.close()
        await server.stop()


async def test_a_stream_that_would_forget_is_named(nats_server: NatsServer) -> None:
    nc = await connect(nats_server.url, "test")
    wire = await wire_of(nc)
    await ensure_stream(wire, {"name": "EXEUNT_LOG", "subjects": ["xj.>"], "max_age": 3_600_000_000_000})
    said = " ".join(await check(wire))
    for word in ("discard", "allow_atomic", "max_age", "max_bytes", "monitoring"):
        assert word in said
    await nc.close()
