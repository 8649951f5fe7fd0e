"""Executors that keep artifacts straight in NATS can do that, and nothing else (deploy/executors.conf, `exeunt up`)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client as Nats

from exeunt.artifacts.embedded import EmbeddedStore
from exeunt.artifacts.embedded_port import PART_BYTES, ArtifactHolder, EmbeddedStoreError
from exeunt.artifacts.embedded_stream import STREAM, ArtifactStream, config
from exeunt.cli.cluster import NATS_CONFIG, NATS_EXECUTOR_USER, NATS_USER
from exeunt.executor.artifact_roads import INBOX, NATSRoad
from tests.deploy.test_subscribers import PASSWORDS, Deployed, connected
from tests.nats_server import NatsServer

pytestmark = [pytest.mark.services, pytest.mark.timeout(90)]
HOLDER = ArtifactHolder("default", "uid-1")


class Local(NatsServer):
    """A nats-server as `exeunt up` configures it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        text = NATS_CONFIG.format(
            port=self.port,
            store=folder / "store",
            user=NATS_USER,
            password="e1",
            executors=NATS_EXECUTOR_USER,
            executors_password="x1",
        )
        self._conf.write_text(f'{text}http: "{self.host}:{self.monitor_port}"\n')

    def as_user(self, user: str) -> str:
        """The address with a user's credentials."""
        return self.url.replace("//", "//exeunt:e1@" if user == "exeunt" else "//executor:x1@")


def of_executors(server: Deployed | Local) -> str:
    """The address with the credentials of executors."""
    return server.url.replace("//", "//executor:x1@" if isinstance(server, Local) else "//executors:x1@")


@pytest.fixture(params=["deploy", "exeunt up"])
async def server(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Deployed | Local]:
    for name, value in {**PASSWORDS, "EXECUTORS_PASSWORD": "x1"}.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "nats"
    found = Deployed(folder, "executors.conf") if request.param == "deploy" else Local(folder)
    await found.begin()
    async with connected(found, "exeunt") as nc:  # type: ignore[arg-type]
        js = nc.jetstream()
        await js.add_stream(config(1, 1024**3))
        await js.add_stream(name="EXEUNT_LOG", subjects=["xj.>"])
        await js.publish("xj.0.u.m.c", b"secret")
    yield found
    await found.stop()


async def pieces(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def test_they_keep_fetch_and_remove(server: Deployed | Local) -> None:
    content = os.urandom(12 * PART_BYTES)
    road = NATSRoad([of_executors(server)], "", "executor")
    try:
        await road.save(HOLDER, "a", pieces(content))
        await road.save(HOLDER, "a", pieces(content[:-1]))
        assert b"".join([piece async for piece in road.open(HOLDER, "a")]) == content[:-1]
        assert [one.key for one in await road.list(HOLDER)] == ["a"]
        await road.delete(HOLDER, "a")
    finally:
        await road.close()
    async with connected(server, "exeunt") as nc:  # type: ignore[arg-type]
        assert (await nc.jetstream().stream_info(STREAM)).state.messages == 0
        store = EmbeddedStore(ArtifactStream(nc))
        await store.save(HOLDER, "b", pieces(b"x"))


REQUESTS = [
    ("$JS.API.STREAM.MSG.GET.EXEUNT_LOG", {"seq": 1}),
    ("$JS.API.STREAM.DELETE.EXEUNT_ARTIFACTS", {}),
    ("$JS.API.STREAM.PURGE.EXEUNT_LOG", {}),
    ("$JS.API.STREAM.INFO.EXEUNT_LOG", {}),
    ("xj.0.u.m.c", {}),
    ("exeunt.events.a.u.workflow.failed", {}),
]


@pytest.mark.parametrize(("subject", "body"), REQUESTS)
async def test_they_do_nothing_else(server: Deployed | Local, subject: str, body: dict[str, object]) -> None:
    nc: Nats = await nats.connect(of_executors(server), inbox_prefix=INBOX.encode(), allow_reconnect=False)
    try:
        with contextlib.suppress(nats.errors.NoRespondersError, nats.errors.TimeoutError):
            answer = await nc.request(subject, json.dumps(body).encode(), timeout=0.5)
            assert "error" in json.loads(answer.data)
        heard: list[str] = []

        async def hear(message: object) -> None:
            heard.append(str(message))

        await nc.subscribe(">", cb=hear)
        async with connected(server, "exeunt") as other:  # type: ignore[arg-type]
            await other.publish("xj.0.u.m.d", b"secret")
            await other.flush()
            await other.request("$JS.API.STREAM.INFO.EXEUNT_LOG", b"", timeout=2)
            js = other.jetstream()
            assert (await js.stream_info("EXEUNT_LOG")).state.messages == 2
            assert (await js.stream_info(STREAM)).state.messages == 0
        await nc.flush()
        assert heard == []
    finally:
        await nc.close()


async def test_one_that_is_not_let_in_hears_why(server: Deployed | Local, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exeunt.executor.artifact_roads.CONNECT_SECONDS", 0.5)
    road = NATSRoad([server.url.replace("//", "//executors:wrong@")], "", "executor")
    with pytest.raises(
        EmbeddedStoreError, match=r"does not let it keep artifacts .*; look at the executor's EXEUNT_NATS_URL"
    ):
        await road.list(HOLDER)
    await asyncio.wait_for(road.close(), 1)
