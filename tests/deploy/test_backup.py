"""The road from one NATS node to three: everything is there again, and what was under way goes on and ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nats.aio.client import Client as Nats

from exeunt.cli.main import call
from exeunt.client import Client
from exeunt.journal import public
from exeunt.journal.projections import all_streams
from exeunt.journal.streams import ensure_stream
from exeunt.journal.wire import connect, wire_of
from exeunt.words import phases
from tests.faults.replicas import Replicas
from tests.nats_server import NatsServer, free_ports, nats_cluster, nats_server

__all__ = ["nats_cluster", "nats_server"]

pytestmark = [pytest.mark.services, pytest.mark.timeout(240)]

DONE = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {name: done}
spec:
  entrypoint: main
  onExit: after
  templates:
    - {name: main, container: {image: alpine, command: [echo, one]}}
    - {name: after, container: {image: alpine, command: [echo, over]}}
---
apiVersion: argoproj.io/v1alpha1
kind: WorkflowTemplate
metadata: {name: kept}
spec: {entrypoint: main, templates: [{name: main, container: {image: alpine, command: [echo, kept]}}]}
---
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {name: open}
spec:
  entrypoint: main
  onExit: after
  templates:
    - {name: main, suspend: {}}
    - {name: after, container: {image: alpine, command: [echo, over]}}
"""


@contextlib.asynccontextmanager
async def services(folder: Path, nodes: list[NatsServer]) -> AsyncIterator[Replicas]:
    """One of each on these nodes, as new pods: without anything of their own from before."""
    environ = {"EXEUNT_NATS_URL": ",".join(n.url for n in nodes), "EXEUNT_REPLICAS": str(len(nodes))}
    found = Replicas(folder, nodes[0], environ)
    found.plan(1, 1, 1)
    try:
        await asyncio.gather(*(service.start() for service in found.services))
        yield found
    finally:
        await found.stop()


@contextlib.asynccontextmanager
async def streams(node: NatsServer, replicas: int = 1) -> AsyncIterator[Nats]:
    """The streams as services make them, and a connection."""
    nc = await connect(node.url, "test")
    for config in [*all_streams(replicas, 1024**3, 30, 1024**3), public.config(replicas).as_dict()]:
        await ensure_stream(await wire_of(nc), config)
    yield nc
    await nc.close()


async def command(*arguments: str) -> int:
    return await asyncio.to_thread(call, list(arguments))


async def phase_of(client: Client, name: str) -> str:
    phase = ""
    async for state in client.follow(name):
        phase = phases.word(state.summary.phase)
    return phase


async def test_from_one_node_to_three(
    tmp_path: Path, nats_server: NatsServer, nats_cluster: list[NatsServer], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "backup")
    async with services(tmp_path / "before", [nats_server]) as found:
        async with Client(found.schedulers[0].address) as client:
            await client.submit([("-", DONE)])
            assert await phase_of(client, "done") == "Succeeded"
        assert await command("backup", f"{folder}-running", "--nats-url", nats_server.url) == 0
        assert "at work meanwhile" in capsys.readouterr().err
        assert await command("restore", f"{folder}-running", "--nats-url", nats_server.url, "--replace") == 1
        assert "services are at work here (exithandler-1, scheduler-1)" in capsys.readouterr().err
    assert await command("backup", folder, "--nats-url", nats_server.url) == 0
    said = capsys.readouterr()
    assert "EXEUNT_LOG: " in said.out
    assert "at work" not in said.err

    urls = ",".join(node.url for node in nats_cluster)
    async with streams(nats_cluster[0], replicas=3) as nc:  # as services that began too early leave them
        await nc.jetstream().publish("exeunt.events.default.u.workflow.failed", b"{}")
    assert await command("restore", folder, "--nats-url", urls, "--replicas", "3") == 1
    assert "has streams of its own already" in capsys.readouterr().err
    assert await command("restore", folder, "--nats-url", urls, "--replicas", "3", "--replace") == 0
    assert "EXEUNT_LOG: " in capsys.readouterr().out

    async with (
        services(tmp_path / "after", nats_cluster) as found,
        Client(found.schedulers[0].address, patience=90) as client,
    ):
        assert {w.name for w in await client.list_workflows()} == {"done", "open"}
        assert phases.word((await client.get("done")).phase) == "Succeeded"
        await client.resume("open")
        assert await phase_of(client, "open") == "Succeeded"
        await nats_cluster[0].kill()  # there are three copies: nothing is lost, and work goes on
        text = "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nmetadata: {name: new}\n"
        await client.submit([("-", f"{text}spec: {{workflowTemplateRef: {{name: kept}}}}")])
        assert await phase_of(client, "new") == "Succeeded"


async def test_half_a_backup_is_none(
    tmp_path: Path, nats_server: NatsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "backup"
    assert await command("backup", str(folder), "--nats-url", nats_server.url) == 1
    assert "there is no stream EXEUNT_LOG" in capsys.readouterr().err
    async with streams(nats_server):
        pass
    assert await command("backup", str(folder), "--nats-url", nats_server.url) == 0
    log = folder / "EXEUNT_LOG.snapshot"
    log.write_bytes(log.read_bytes()[:-1])
    assert await command("restore", str(folder), "--nats-url", nats_server.url, "--replace") == 1
    assert "holds no whole backup: EXEUNT_LOG.snapshot" in capsys.readouterr().err
    (folder / "index.json").unlink()
    assert await command("restore", str(folder), "--nats-url", nats_server.url, "--replace") == 1
    assert "holds no whole backup" in capsys.readouterr().err
    assert await command("backup", str(folder), "--nats-url", nats_server.url) == 1
    assert "is not empty" in capsys.readouterr().err


async def test_nats_that_is_not_there_is_named_without_its_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exeunt.cli.backup.CONNECT_SECONDS", 0.5)
    [port] = free_ports(1)
    assert await command("backup", str(tmp_path / "b"), "--nats-url", f"nats://exeunt:geheim@127.0.0.1:{port}") == 4
    assert capsys.readouterr().err.strip() == f"NATS cannot be reached at 127.0.0.1:{port}"
