"""Harm that somebody may do to the public events, and a workflow whose ends do not depend on them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from exeunt.cloudevents import STREAM
from tests.e2e.cluster import Cluster


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
        if message.reply:
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
