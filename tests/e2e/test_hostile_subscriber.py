"""Whatever is done to the public events, workflows and handlers end, and what waits for a child learns its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from exeunt.cloudevents import STREAM
from tests.e2e.cluster import Cluster
from tests.e2e.test_events import body, heard, kind, subscribed

pytestmark = [pytest.mark.services, pytest.mark.timeout(240)]

ROUNDS = 6
"""Workflows that run while somebody does harm, one half after the other."""


def workflow(lines: Path) -> str:
    """A step that starts another workflow and waits for it; each of the two has a handler, which writes a line."""

    def say(who: str) -> dict[str, Any]:
        script = f"echo {who} {{{{workflow.name}}}} {{{{workflow.status}}}} >> {lines}"
        return {"name": "bye", "container": {"image": "alpine", "command": ["sh", "-c", script]}}

    one = {"name": "main", "container": {"image": "alpine", "command": ["sleep", "0.3"]}}
    child = {
        "metadata": {"generateName": "child-"},
        "spec": {"entrypoint": "main", "onExit": "bye", "templates": [one, say("child")]},
    }
    wait = {
        "name": "main",
        "plugin": {"trigger": {"workflow": json.dumps(child).replace("{{", "{{child."), "wait": True}},
    }
    return json.dumps(
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Workflow",
            "metadata": {"generateName": "parent-"},
            "spec": {"entrypoint": "main", "onExit": "bye", "templates": [wait, say("parent")]},
        }
    )


async def acknowledge(nc: Client) -> None:
    """Answers each event, as a client does that takes a plain subscription for a stream's."""

    async def answer(message: Msg) -> None:
        await nc.publish(message.reply, b"+ACK")

    await nc.subscribe("exeunt.events.>", cb=answer)
    await asyncio.Event().wait()


async def lie(nc: Client) -> None:
    """Takes the ids that come next, and tells ends that are none."""

    async def tell(message: Msg) -> None:
        headers = message.headers or {}
        uid, _, number = headers.get("ce-id", "").rpartition(".")
        if not uid or "lie" in headers:
            return
        subject = f"{message.subject.rsplit('.', 2)[0]}.workflow"
        for n in range(int(number) + 1, int(number) + 6):
            for said, data in (("failed", b'{"status": {"phase": "Failed"}}'), ("succeeded", b"no JSON")):
                mine = {"Nats-Msg-Id": f"{uid}.{n}", "ce-id": f"{uid}.{n}", "lie": "yes"}
                await nc.publish(f"{subject}.{said}", data, headers=mine)

    await nc.subscribe("exeunt.events.>", cb=tell)
    await asyncio.Event().wait()


async def _again_and_again(nc: Client, *requests: tuple[str, dict[str, Any]]) -> None:
    while not nc.is_closed:  # it may swallow a cancellation
        for verb, request in requests:
            with contextlib.suppress(nats.errors.Error):
                await nc.request(f"$JS.API.STREAM.{verb}.{STREAM}", json.dumps(request).encode(), timeout=5)
        await asyncio.sleep(0.02)


async def purge(nc: Client) -> None:
    await _again_and_again(nc, ("PURGE", {}))


async def remove(nc: Client) -> None:
    await _again_and_again(nc, ("DELETE", {}))


async def fill(nc: Client) -> None:
    """No event finds room."""
    told = json.loads((await nc.request(f"$JS.API.STREAM.INFO.{STREAM}", b"")).data)["config"]
    await _again_and_again(nc, ("UPDATE", {**told, "discard": "new", "max_msgs": 1}))


async def edit(nc: Client) -> None:
    told = json.loads((await nc.request(f"$JS.API.STREAM.INFO.{STREAM}", b"")).data)["config"]
    elsewhere = {**told, "subjects": ["somewhere.else"]}
    await _again_and_again(nc, ("UPDATE", elsewhere), ("UPDATE", {**told, "max_msg_size": 10}))


@contextlib.asynccontextmanager
async def done(cluster: Cluster, harm: Callable[[Client], Awaitable[None]]) -> AsyncIterator[None]:
    """Harm is done within the block; afterwards the stream has the settings of before."""
    nc = await nats.connect(cluster.facts()["nats"]["url"])
    told = json.loads((await nc.request(f"$JS.API.STREAM.INFO.{STREAM}", b"")).data)["config"]
    doing = asyncio.ensure_future(harm(nc))
    try:
        yield
        assert not doing.done(), doing.exception()
    finally:
        await nc.close()
        doing.cancel()
        await asyncio.gather(doing, return_exceptions=True)
        nc = await nats.connect(cluster.facts()["nats"]["url"])
        with contextlib.suppress(nats.errors.Error):
            await nc.request(f"$JS.API.STREAM.UPDATE.{STREAM}", json.dumps(told).encode(), timeout=5)
        await nc.close()


async def made_again(cluster: Cluster) -> None:
    """The stream is there: what NATS refused to make in the midst of a removal is tried again a second later."""
    nc = await nats.connect(cluster.facts()["nats"]["url"])
    for _ in range(200):
        told = json.loads((await nc.request(f"$JS.API.STREAM.INFO.{STREAM}", b"")).data)
        if "error" not in told:
            break
        await asyncio.sleep(0.1)
    await nc.close()
    assert "error" not in told


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A cluster that nobody else uses."""
    cluster = Cluster(tmp_path_factory.mktemp("hostile") / "data")
    cluster.up()
    yield cluster
    cluster.down()


@pytest.mark.parametrize("harm", [acknowledge, lie, purge, remove, fill, edit])
async def test_workflows_and_handlers_end_as_ever(
    own: Cluster, tmp_path: Path, harm: Callable[[Client], Awaitable[None]]
) -> None:
    lines = tmp_path / "lines"

    async def one() -> dict[str, Any]:
        [found] = await asyncio.to_thread(own.run, workflow(lines))
        return found

    async with done(own, harm):
        ended = await asyncio.gather(*(one() for _ in range(ROUNDS // 2)))
        ended += await asyncio.gather(*(one() for _ in range(ROUNDS // 2)))
    assert [w["status"]["phase"] for w in ended] == ["Succeeded"] * ROUNDS
    written = [line.split() for line in lines.read_text().splitlines()]
    assert sorted(who for who, _, _ in written) == ["child"] * ROUNDS + ["parent"] * ROUNDS
    assert {phase for _, _, phase in written} == {"Succeeded"}
    assert len({name for _, name, _ in written}) == 2 * ROUNDS

    [after] = await asyncio.to_thread(own.run, workflow(tmp_path / uuid.uuid4().hex))
    uid = after["metadata"]["uid"]
    await made_again(own)
    events = [e for e in await heard(own, uid) if kind(e).startswith(("workflow.", "step."))]
    assert [(e.headers or {})["ce-id"] for e in events] == [f"{uid}.{n}" for n in range(1, len(events) + 1)]
    assert kind(events[-1]) == "workflow.succeeded"
    assert body(events[-1])["status"]["phase"] == "Succeeded"


GATE = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: gate-}
spec:
  entrypoint: main
  onExit: bye
  templates:
    - name: main
      steps: [[{name: a, template: one}], [{name: gate, template: gate}], [{name: b, template: one}]]
    - {name: one, container: {image: alpine, command: ["true"]}}
    - {name: gate, suspend: {}}
    - {name: bye, container: {image: alpine, command: ["true"]}}
"""


@pytest.mark.parametrize("verb", ["DELETE", "PURGE"])
async def test_what_was_told_is_told_again(own: Cluster, tmp_path: Path, verb: str) -> None:
    """Of workflows that run, and of those that have ended as long as the log holds them."""
    [ended] = await asyncio.to_thread(own.run, workflow(tmp_path / "lines"))
    [name] = await asyncio.to_thread(own.submit, GATE)
    waiting = await asyncio.to_thread(own.wait, name, ["Running"])
    while not any(n["type"] == "Suspend" for n in waiting["status"]["nodes"].values()):
        waiting = await asyncio.to_thread(own.get, name)
    before = await _until(own, ended, lambda events: kind(events[-1]) == "workflow.succeeded")
    open_before = await _until(own, waiting, lambda events: kind(events[-1]) == "step.succeeded")
    nc = await nats.connect(own.facts()["nats"]["url"])
    try:
        answer = await nc.request(f"$JS.API.STREAM.{verb}.{STREAM}", b"{}", timeout=5)
        assert b"error" not in answer.data
    finally:
        await nc.close()
    await asyncio.to_thread(own.call, "resume", name)
    await asyncio.to_thread(own.wait, name)
    open_after = await _until(own, waiting, lambda events: kind(events[-1]) == "workflow.succeeded")
    uid = waiting["metadata"]["uid"]
    assert _own(open_after) == [(f"{uid}.{n}", kind) for n, (_, kind) in enumerate(_own(open_after), 1)]
    assert _own(open_after)[: len(_own(open_before))] == _own(open_before)
    after = await _until(own, ended, lambda events: len(events) >= len(before))
    assert _own(after) == _own(before)
    assert sorted(_exits(after)) == sorted(_exits(before))


def _own(events: list[Msg]) -> list[tuple[str, str]]:
    """The workflow's own events."""
    return [((e.headers or {})["ce-id"], kind(e)) for e in events if not kind(e).startswith("exit.")]


def _exits(events: list[Msg]) -> list[tuple[str, str]]:
    return [((e.headers or {})["ce-id"], kind(e)) for e in events if kind(e).startswith("exit.")]


async def _until(cluster: Cluster, tree: dict[str, Any], enough: Callable[[list[Msg]], bool]) -> list[Msg]:
    """The events of a workflow that are there, as soon as they are enough."""
    async with asyncio.timeout(60), subscribed(cluster, tree["metadata"]["uid"]) as events:
        found: list[Msg] = []
        while not (found and enough(found)):
            with contextlib.suppress(nats.errors.TimeoutError):
                found.append(await events.next_msg(timeout=1))
        return found
