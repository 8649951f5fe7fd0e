"""Whoever may read the events of one namespace reads these, live and again, and can do nothing else (deploy/nats.conf).

The real nats-server with the files of deploy/, and the services in their account.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client as Nats
from nats.js import JetStreamContext

from exeunt.client import Client, ClientError, events
from exeunt.cloudevents import STATES, STREAM
from tests.nats_server import NatsServer
from tests.scheduler.rig import scheduling

pytestmark = [pytest.mark.services, pytest.mark.timeout(90)]

DEPLOY = Path(__file__).parents[2] / "deploy"
PASSWORDS = {
    "NATS_PASSWORD": "e1",
    "TEAM_A_PASSWORD": "a1",
    "TEAM_A_OPERATOR_PASSWORD": "o1",
    "EXECUTORS_PASSWORD": "x1",
}
KINDS = ["workflow.submitted", "workflow.exiting", "workflow.succeeded"]
MANIFEST = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: w-, namespace: %s}
spec:
  entrypoint: main
  templates: [{name: main, suspend: {duration: "0"}}]
"""


class Deployed(NatsServer):
    """A nats-server with the files of deploy/ on ports and in a folder of the test's."""

    def __init__(self, folder: Path, accounts: str = "subscriber.conf") -> None:
        super().__init__(folder)
        text = (DEPLOY / "nats.conf").read_text()
        for old, new in (
            ("listen: 0.0.0.0:4222", f"listen: 127.0.0.1:{self.port}"),
            ("http: 0.0.0.0:8222", f"http: 127.0.0.1:{self.monitor_port}"),
            ("store_dir: /data", f'store_dir: "{folder}/store"'),
            (f'# include "{accounts}"', f'include "{accounts}"'),
        ):
            assert old in text
            text = text.replace(old, new)
        self._conf.write_text(text)
        (folder / accounts).write_text((DEPLOY / accounts).read_text())

    def as_user(self, user: str) -> str:
        """The address with a user's credentials."""
        variable = {"exeunt": "NATS_PASSWORD"}.get(user, f"{user}_PASSWORD".upper().replace("-", "_"))
        return self.url.replace("//", f"//{user}:{PASSWORDS[variable]}@")


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Deployed]:
    for name, value in PASSWORDS.items():
        monkeypatch.setenv(name, value)
    found = Deployed(tmp_path / "nats")
    await found.begin()
    yield found
    await found.stop()


@contextlib.asynccontextmanager
async def connected(server: Deployed, user: str, errors: list[str] | None = None) -> AsyncIterator[Nats]:
    async def on_error(error: Exception) -> None:
        if errors is not None:
            errors.append(str(error))

    url = server.as_user(user)
    nc = await nats.connect(url, error_cb=on_error, max_reconnect_attempts=-1, reconnect_time_wait=0.1)  # type: ignore[arg-type]
    try:
        yield nc
    finally:
        await nc.close()


async def run(address: str, namespace: str) -> str:
    """Runs a workflow to its end; its name."""
    async with Client(address) as client:
        [started] = (await client.submit([("-", MANIFEST % namespace)])).workflows
        async for state in client.follow(started.name, namespace):
            assert state
    return str(started.name)


async def make_the_copy(server: Deployed, name: str = STREAM, config: str = "subscriber.json") -> None:
    """What `nats stream add --config deploy/subscriber.json` asks for."""
    async with connected(server, "team-a-operator") as nc:
        made = await nc.request(f"$JS.API.STREAM.CREATE.{name}", (DEPLOY / config).read_bytes(), timeout=5)
        assert "error" not in json.loads(made.data), made.data


async def test_a_subscriber_reads_its_namespace_and_no_other(server: Deployed, tmp_path: Path) -> None:
    async with scheduling(server.as_user("exeunt"), tmp_path / "m") as core:
        before = await run(core.address, "team-a")
        await run(core.address, "team-b")
        await make_the_copy(server)
        names, live = [], asyncio.Event()
        stream = events.subscribe(server.as_user("team-a"), since=events.ALL_KEPT, types=KINDS)
        async with contextlib.aclosing(stream), asyncio.timeout(30):
            async for event in stream:
                assert event.namespace == "team-a"
                names.append((event.workflow, event.type))
                if event.type == "workflow.succeeded":
                    if event.workflow != before:
                        break
                    await run(core.address, "team-b")
                    after = await run(core.address, "team-a")
    assert live
    assert names == [*((before, kind) for kind in KINDS), *((after, kind) for kind in KINDS)]


async def test_a_subscriber_has_the_last_state_of_its_workflows(server: Deployed) -> None:
    async with connected(server, "exeunt") as nc:
        js = nc.jetstream()
        await js.add_stream(name=STREAM, subjects=["exeunt.events.>"])
        await make_the_copy(server)
        await make_the_copy(server, STATES, "subscriber-states.json")
        for team, kind in (("team-a", "running"), ("team-a", "failed"), ("team-b", "failed")):
            headers = {"ce-type": f"dev.exeunt.workflow.{kind}.v1"}
            await js.publish(f"exeunt.events.{team}.u.workflow.{kind}", b"{}", headers=headers)
    url = server.as_user("team-a")
    async with asyncio.timeout(30):
        while True:
            found = await events.last(url, uid="u", namespace="team-a")
            if found is not None and found.type == "workflow.failed":
                break
            await asyncio.sleep(0.05)
    with pytest.raises(ClientError):
        await events.last(url, uid="u", namespace="team-b")


@pytest.fixture
async def copied(server: Deployed) -> AsyncIterator[Deployed]:
    """Streams as the services make them, an event in each of two namespaces, and the copy."""
    async with connected(server, "exeunt") as nc:
        js = nc.jetstream()
        await js.add_stream(name=STREAM, subjects=["exeunt.events.>"])
        await js.add_stream(name="EXEUNT_LOG", subjects=["xj.>"])
        for team in ("team-a", "team-b"):
            await js.publish(f"exeunt.events.{team}.u.workflow.failed", b"{}")
        await make_the_copy(server)
        yield server
        assert (await js.stream_info("EXEUNT_LOG")).state.messages == 0


PUBLISHES = [
    "exeunt.events.team-a.u.workflow.failed",
    "exeunt.events.team-b.u.workflow.failed",
    "xj.00.own.m",
    "$KV.exeunt.x",
    f"$JS.API.STREAM.PURGE.{STREAM}",
    f"$JS.API.STREAM.DELETE.{STREAM}",
    f"$JS.API.STREAM.UPDATE.{STREAM}",
    "$JS.API.STREAM.CREATE.MINE",
    f"$JS.API.STREAM.MSG.GET.{STREAM}",
    f"exeunt.api.CONSUMER.CREATE.{STREAM}.x.exeunt.events.team-a.>",
    f"exeunt.api.CONSUMER.CREATE.{STREAM}.x.exeunt.events.team-b.>",
]
SUBSCRIBES = [">", "exeunt.events.>", "exeunt.events.team-b.>", "exeunt.copy.>", "xj.>", "$JS.>"]


async def test_a_subscriber_can_do_nothing_else(copied: Deployed) -> None:
    errors: list[str] = []
    async with connected(copied, "team-a", errors) as nc:
        for subject in PUBLISHES:
            await nc.publish(subject, b"x")
        for subject in SUBSCRIBES:
            await nc.subscribe(subject)
        async with asyncio.timeout(20):
            while len(errors) < len(PUBLISHES) + len(SUBSCRIBES):
                await nc.flush()
    refused = [re.search(r"permissions violation for (\w+) .*?\"(.*)\"", text, re.IGNORECASE) for text in errors]
    found = [(match[1].lower(), match[2]) for match in refused if match]
    tried = [*(("publish", s) for s in PUBLISHES), *(("subscription", s) for s in SUBSCRIBES)]
    assert found == [(what, subject.lower()) for what, subject in tried], "nats-py tells it in lower case"
    async with connected(copied, "exeunt") as nc:
        assert (await nc.jetstream().stream_info(STREAM)).state.messages == 2


async def events_of(url: str, namespace: str) -> list[str]:
    found = events.subscribe(url, namespace=namespace, since=events.ALL_KEPT, follow=False)
    return [event.namespace async for event in found]


async def until_copied(server: Deployed) -> None:
    async with asyncio.timeout(20):
        while await events_of(server.as_user("team-a"), "") != ["team-a"]:
            pass


async def test_no_answer_of_nats_gets_out_of_the_account(copied: Deployed) -> None:
    """Whoever asks NATS says where the answer goes: it must not get into the log of the services."""
    await until_copied(copied)
    async with connected(copied, "team-a") as nc:
        api = f"$JS.API.CONSUMER.CREATE.{STREAM}"
        for name, more in (("push", {"deliver_subject": "xj.00.u.m.c"}), ("pull", {})):
            config = {"name": name, "deliver_policy": "all", "ack_policy": "none", **more}
            body = json.dumps({"stream_name": STREAM, "config": config}).encode()
            await nc.publish(f"{api}.{name}", body, reply="xj.00.u.m.z")
            await nc.request(f"{api}.{name}", body, timeout=5)
        await nc.publish(f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.pull", b"", reply="xj.00.u.m.h")
        await nc.request("$JS.API.INFO", b"", timeout=5)


async def test_another_namespace_is_not_there_even_for_the_operator_of_a_copy(copied: Deployed) -> None:
    await until_copied(copied)
    for user in ("team-a", "team-a-operator"):
        assert await events_of(copied.as_user(user), "team-b") == []
    wanted: dict[str, Any] = json.loads((DEPLOY / "subscriber.json").read_text().replace("team-a", "team-b"))
    async with connected(copied, "team-a-operator") as nc:
        js = nc.jetstream()
        assert [info.config.name for info in await js.streams_info()] == [STREAM]
        await js.delete_stream(STREAM)
        await nc.request(f"$JS.API.STREAM.CREATE.{STREAM}", json.dumps(wanted).encode(), timeout=5)
        await nc.publish("xj.00.own.m", b"x")
        live = await nc.subscribe("exeunt.events.team-b.>")
        async with connected(copied, "exeunt") as services:
            await services.jetstream().publish("exeunt.events.team-b.u.workflow.error", b"{}")
        with pytest.raises(nats.errors.TimeoutError):
            await live.next_msg(timeout=0.5)
        with contextlib.suppress(nats.js.errors.NotFoundError):
            assert (await js.stream_info(STREAM)).state.messages == 0


@pytest.mark.parametrize("durable", ["", "mine"])
async def test_a_kill_of_nats_costs_a_subscriber_no_event(server: Deployed, durable: str) -> None:
    """The copy is not synced with each message: what it forgets, it gets from the services' stream again."""
    async with connected(server, "exeunt") as nc:
        js = nc.jetstream()
        await js.add_stream(name=STREAM, subjects=["exeunt.events.>"])
        await make_the_copy(server)
        got: list[int] = []
        stream = events.subscribe(server.as_user("team-a"), since=events.ALL_KEPT, durable=durable)
        async with contextlib.aclosing(stream), asyncio.timeout(60):
            for first in range(0, 100, 50):
                if first:
                    await server.restart()
                for number in range(first, first + 50):
                    await until_taken(js, str(number))
                while len(got) < first + 50:
                    got.append((await anext(stream)).data)
    assert got == list(range(100))


async def until_taken(js: JetStreamContext, body: str) -> None:
    while True:
        with contextlib.suppress(nats.errors.Error, TimeoutError):
            await js.publish("exeunt.events.team-a.u.step.failed", body.encode(), headers={"ce-id": f"u.{body}"})
            return
        await asyncio.sleep(0.05)


async def test_nobody_gets_in_without_a_password(copied: Deployed) -> None:
    with pytest.raises(ClientError, match="Authorization"):
        await events_of(copied.url, "")
