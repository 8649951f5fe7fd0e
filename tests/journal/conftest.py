"""Servers and connections for tests of the journal."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from nats.aio.client import Client

from exeunt.journal.log import Log
from exeunt.journal.settings import LogSettings
from exeunt.journal.subjects import Role
from exeunt.journal.wire import connect
from tests.nats_server import NatsServer, nats_cluster, nats_server

__all__ = ["nats_cluster", "nats_server"]

OpenLog = Callable[..., Awaitable[Log]]


@pytest.fixture
async def open_log(nats_server: NatsServer) -> AsyncIterator[OpenLog]:
    """Opens logs, each with a connection of its own as each process has; all are closed at the end."""
    opened: list[tuple[Log, Client]] = []

    async def make(role: Role = "m", replica: str = "", url: str = nats_server.url, **settings: object) -> Log:
        name = replica or f"{role}{len(opened) + 1}"
        nc = await connect(url, name)
        log = await Log.open(nc, role, name, LogSettings(**settings))  # type: ignore[arg-type]  # a test's shorthand
        opened.append((log, nc))
        return log

    yield make
    for log, nc in opened:
        await log.close()
        await nc.close()
