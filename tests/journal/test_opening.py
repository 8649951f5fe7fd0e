"""Services open their streams on whatever NATS there is: one that still forms, one that is too small, any password."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from exeunt.journal.errors import JetStreamError
from exeunt.journal.projections import open_projections
from exeunt.journal.streams import ensure_stream
from exeunt.journal.wire import connect, wire_of
from exeunt.service.program import ProgramError
from tests.nats_server import NatsServer, free_ports

pytestmark = pytest.mark.services


async def test_more_copies_than_nodes_is_said_in_words(nats_server: NatsServer) -> None:
    nc = await connect(nats_server.url, "test")
    with pytest.raises(ProgramError, match="EXEUNT_REPLICAS asks for 3 copies, and this NATS is a single node"):
        await open_projections(nc, replicas=3)
    await nc.close()


async def test_streams_are_made_when_a_cluster_has_formed(tmp_path: Path) -> None:
    """A node alone answers that it is not ready: the others come while the service asks."""
    routes = free_ports(3)
    nodes = [
        NatsServer(tmp_path / f"n{i}", name=f"n{i}", cluster_port=port, routes=routes) for i, port in enumerate(routes)
    ]
    try:
        await nodes[0].begin()
        nc = await connect(nodes[0].url, "test")
        wire = await wire_of(nc)
        with pytest.raises((JetStreamError, TimeoutError)):
            await wire.api("INFO", seconds=1)
        opening = asyncio.create_task(open_projections(nc, replicas=3))
        for node in nodes[1:]:
            await node.begin()
        async with asyncio.timeout(60):
            await opening
        await nc.close()
    finally:
        for node in nodes:
            await node.stop()


@pytest.mark.parametrize("password", ["p@ss:w/rd #1", "123456", '"quo\\ted" $HOME', "ünïcode ☃ ,"])
async def test_a_password_may_have_any_characters(tmp_path: Path, password: str) -> None:
    server = NatsServer(tmp_path / "nats")
    text = (
        server._conf.read_text() + "accounts {E {jetstream: enabled, users: [{user: exeunt, password: $PASSWORD}]}}\n"
    )
    server._conf.write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PASSWORD", f"'{password}'")  # as deploy/ quotes it
        await server.begin()
    try:
        nc = await connect(server.url.replace("//", "//exeunt@"), "test", password=password)
        await ensure_stream(await wire_of(nc), {"name": "S", "subjects": ["s.>"]})
        await nc.close()
    finally:
        await server.stop()
