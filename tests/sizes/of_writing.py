"""The rows of what is written: to the log, in events, in lists, and to NATS at all."""

from __future__ import annotations

import json
from urllib.parse import unquote

import nats
import pytest

from exeunt.journal import entries
from exeunt.journal.projections import open_projections
from exeunt.journal.sizes import TooLarge
from exeunt.journal.subjects import Address
from exeunt.journal.wire import connect
from tests.e2e.cluster import Cluster, nodes
from tests.journal import test_sizes as journal
from tests.nats_server import NatsServer
from tests.sizes.calls import client, run
from tests.sizes.manifests import BYE, KB, Tree, outputs, sh, steps, values, workflow, written
from tests.sizes.walk import Services, row


@row("The message of a node that could not be worked out")
async def why(most: int, services: Services) -> None:
    async def said(size: int) -> str:
        bad = steps("main", {"name": "b", "template": "bye", "withParam": "{{workflow.parameters.b0}}"})
        _, _, by_name = await services.run(workflow("why", bad, BYE, arguments=values(1, size)))
        return str(by_name[""]["message"])

    rest = len(await said(1000)) - 1000
    below, above = await said(most - rest), await said(most - rest + 1)
    assert len(below) == most
    assert "left out" not in below
    assert "bytes are left out]" in above
    assert len(above) <= most


@row("One commit of a run, or its snapshot")
async def decision(_: int, services: Services) -> None:
    """With 1 MB, which the second cluster has."""
    for size, phase in ((255 * KB, "Succeeded"), (256 * 1024, "Error")):
        give = sh("main", written(4, size), outputs=outputs(4))
        found = await run(services.narrow, workflow("decision", give, BYE, onExit="bye"))
        assert found["status"]["phase"] == phase
        assert ("1,048,576 (EXEUNT_COMMIT_BYTES)" in found["status"].get("message", "")) == (phase == "Error")
        assert nodes(found)[".onExit"]["phase"] == "Succeeded"


@row("The manifest of a workflow that another one starts")
async def handed_on(most: int, services: Services) -> None:
    """Where it is written: manifests with their parameters go by reference, so that few messages come near."""
    to = Address(0, "m", "start")
    assert not entries.of_message(0, to, "i", bytes(most)).done.done()
    refused = entries.of_message(0, to, "i", bytes(most + 1)).done
    assert f"the limit is {most:,}" in str(refused.exception())


@row("The body of an event")
async def event_body(most: int, services: Services) -> None:
    for size, cut in ((most // 2 - 2 * KB, False), (most // 2 + KB, True)):
        give = sh("main", written(2, size), outputs=outputs(2))
        found = await run(services.cluster, workflow("event", give))
        [(_, data)] = [
            one for one in await _events(services.cluster, found["metadata"]["uid"]) if "step.succeeded" in one[0]
        ]
        assert len(data) <= most
        assert json.loads(data).get("truncated", []) == (["outputs.parameters"] if cut else [])


@row("`ce-subject` of an event")
async def event_subject(most: int, services: Services) -> None:
    def named(prefix: str, size: int) -> Tree:
        each = {"name": "s", "template": "bye", "withItems": ["x" * size]}
        return workflow(prefix, steps("main", each), BYE)

    short = await run(services.cluster, named("short", 100))
    [name] = [node["name"] for node in short["status"]["nodes"].values() if "(0:" in node["name"]]
    rest = len(name) - 100
    for size in (most - rest, most - rest + 1):
        found = await run(services.cluster, named("short", size))
        [name] = [node["name"] for node in found["status"]["nodes"].values() if "(0:" in node["name"]]
        subjects = await _subjects(services.cluster, found["metadata"]["uid"])
        assert name[:most] in subjects
        assert max(map(len, subjects)) <= most


@row("A text in a line of a list")
async def in_a_list(most: int, services: Services) -> None:
    async def said(size: int) -> tuple[str, str]:
        """The message of a workflow, whole and in the list."""
        bad = steps("main", {"name": "b", "template": "bye", "withParam": "{{workflow.parameters.b0}}"})
        found = await run(services.cluster, workflow("listed", bad, BYE, arguments=values(1, size)))
        async with client(services.cluster) as calls:
            listed = await calls.list_workflows()
        [line] = [one.message for one in listed if one.uid == found["metadata"]["uid"]]
        return found["status"]["message"], line

    rest = len((await said(100))[0]) - 100
    whole, line = await said(most - rest)
    assert (len(line), line) == (most, whole)
    _, line = await said(most - rest + 1)
    assert "left out" in line
    assert len(line.encode()) <= most


@row("A message to NATS, headers included")
async def message(_: int, services: Services) -> None:
    server = NatsServer(services.path / "nats")
    await server.begin()
    nc = await connect(server.url, "walk")
    try:
        await open_projections(nc)
        most = nc.max_payload
        headers = len(b"NATS/1.0\r\nX: h\r\n\r\n")
        await nc.jetstream().publish("xa.default.2026010100.u", bytes(most - headers - 200), headers={"X": "h"})
        with pytest.raises(TooLarge, match=f"the limit is {most:,}"):
            await nc.publish("xa.default.2026010100.u", bytes(most), headers={"X": "h"})
        with pytest.raises(TooLarge, match="headers"):
            await nc.publish("xa.default.2026010100.u", b"", headers={"X": "h" * 64 * 1024})
        assert nc.stats["reconnects"] == 0
    finally:
        await nc.close()
        await server.stop()
    await journal.test_a_server_that_takes_too_little_is_refused_with_what_to_do(services.path)


async def _events(cluster: Cluster, uid: str) -> list[tuple[str, bytes]]:
    return [(kind, data) for kind, _, data in await _all(cluster, uid)]


async def _subjects(cluster: Cluster, uid: str) -> list[str]:
    return [subject for _, subject, _ in await _all(cluster, uid)]


async def _all(cluster: Cluster, uid: str) -> list[tuple[str, str, bytes]]:
    """The events of a workflow that is over: type, `ce-subject` and body."""
    nc = await nats.connect(cluster.facts()["nats"]["url"])
    found: list[tuple[str, str, bytes]] = []
    try:
        events = await nc.jetstream().subscribe(f"exeunt.events.*.{uid}.>", ordered_consumer=True)
        while True:
            event = await events.next_msg(timeout=30)
            kind = event.subject.split(".", 4)[4]
            found.append((kind, unquote((event.headers or {})["ce-subject"]), event.data))
            if kind in ("workflow.succeeded", "workflow.failed", "workflow.error"):
                return found
    finally:
        await nc.close()
