"""Every event that is published fits docs/asyncapi.yaml, which says all of it, and every type in it is published."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import nats
import pytest
import yaml
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from jsonschema import Draft202012Validator
from nats.aio.msg import Msg

from exeunt.client import events
from tests.e2e.cluster import ROOT, Cluster
from tests.e2e.test_events import TERMINAL, kind
from tests.e2e.test_operators import do, manifest, runs, sh, until

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

ARGOS = {"ObjectMeta", "Status"}
"""Argo says what else may stand in these."""


def workflows(tmp_path: Path) -> str:
    """Workflows whose main steps and whose handlers end in different ways, the last one not at all."""
    out = tmp_path / "out"
    good = sh("main", f"printf 7 > {out}; echo said")
    good["outputs"] = {"parameters": [{"name": "n", "valueFrom": {"path": str(out)}, "globalName": "seven"}]}
    lacking = sh("main", "true")
    lacking["outputs"] = {"parameters": [{"name": "n", "valueFrom": {"path": str(tmp_path / "never-written")}}]}
    fine, broken = sh("bye", "true"), sh("bye", f"echo no; [ -e {tmp_path}/mended ]")
    action = {"name": "bye", "plugin": {"cleanup": {"paths": ["/nowhere-allowed"]}}}
    started = json.loads(manifest(sh("main", "true"), prefix="child-"))
    child = {"name": "bye", "plugin": {"trigger": {"workflow": started}}}
    unmet = {"exit": {"template": "bye", "expression": "workflow.status == 'Failed'"}}
    return "\n---\n".join(
        [
            manifest(good, fine, prefix="good-", onExit="bye"),
            manifest(sh("main", f"echo words; [ -e {tmp_path}/mended ]"), broken, prefix="bad-", onExit="bye"),
            manifest(lacking, action, prefix="lacking-", onExit="bye"),
            manifest(good, fine, prefix="unmet-", hooks=unmet),
            manifest(good, child, prefix="parent-", onExit="bye"),
            manifest({"name": "main", "suspend": {}}, prefix="gate-"),
        ]
    )


LAST = {"good-": "workflow.deleted", "bad-": "workflow.finalized", "gate-": "workflow.succeeded"}
"""What is told last of those to which something more happens."""


async def published(cluster: Cluster, names: dict[str, str]) -> list[Msg]:
    """All events of these workflows (uid → generateName) and of the child, up to what comes last."""
    nc = await nats.connect(cluster.facts()["nats"]["url"])
    found: list[Msg] = []
    try:
        events = await nc.jetstream().subscribe("exeunt.events.>", ordered_consumer=True)
        left = {*names, "child"}
        while left:
            event = await events.next_msg(timeout=30)
            told = json.loads(event.data)
            uid = "child" if (told["parent"] or {}).get("uid") in names else told["uid"]
            if uid == "child" or uid in names:
                found.append(event)
                last = LAST.get(names.get(uid, ""))
                if kind(event) == last or (last is None and kind(event) in TERMINAL):
                    left.discard(uid)
    finally:
        await nc.close()
    return found


def steered(cluster: Cluster, tmp_path: Path) -> dict[str, str]:
    """Runs them all, and does to them what people do; uid → generateName."""
    names = cluster.submit(workflows(tmp_path))
    good, bad, *_, gate = names
    until(cluster, gate, runs(""))
    do(cluster, "suspend", gate, "--by", "ann")
    do(cluster, "resume", gate, "--by", "ben", "--message", "go on")
    for name in names:
        cluster.wait(name)
    found = {cluster.get(name)["metadata"]["uid"]: f"{name.rpartition('-')[0]}-" for name in names}
    do(cluster, "delete", good, "--message", "not needed")
    do(cluster, "retry", bad, "--by", "ann")
    cluster.wait(bad)
    again = cluster.exits("--workflow", bad)[0]  # the newest
    (tmp_path / "mended").touch()
    do(cluster, "exits", "replay", again["id"])
    return found


def resolved(document: dict[str, Any], found: Any) -> Any:
    """The object that a reference means."""
    while "$ref" in found:
        at: Any = document
        for part in found["$ref"].removeprefix("#/").split("/"):
            at = at[part]
        found = at
    return found


def closed(document: dict[str, Any]) -> dict[str, Any]:
    """The document, its bodies without room for anything that it does not name."""
    for name, schema in document["components"]["schemas"].items():
        if name not in ARGOS:
            schema["additionalProperties"] = False
    return document


async def test_what_is_published_is_what_the_document_says(cluster: Cluster, tmp_path: Path) -> None:
    document = closed(yaml.safe_load((ROOT / "docs" / "asyncapi.yaml").read_text()))
    by_address = {c["address"].split("}.")[-1]: c for c in document["channels"].values()}
    found = await published(cluster, steered(cluster, tmp_path))
    for event in found:
        [message] = [resolved(document, m) for m in by_address[kind(event)]["messages"].values()]
        headers = dict(event.headers or {})
        assert headers["ce-type"] == message["name"]
        assert headers["ce-dataschema"] == document["id"] + message["payload"]["$ref"]
        [trait] = [resolved(document, t) for t in message["traits"]]
        for schema, told in ((trait["headers"], headers), (message["payload"], json.loads(event.data))):
            check = Draft202012Validator({**schema, "components": document["components"]})
            assert [f"{kind(event)} {e.json_path}: {e.message}" for e in check.iter_errors(told)] == []
        assert {name.lower() for name in headers if name.startswith("Nats-")} == {"nats-msg-id"}
        parsed(headers, event.data)
    assert {kind(event) for event in found} == set(by_address), "each type was published"
    assert counted(found), "no number is left out"


def parsed(headers: dict[str, str], data: bytes) -> None:
    """The CloudEvents SDK reads it, in binary mode: attributes without their prefix, and the body by its type."""
    given = {**headers, "content-type": headers["ce-datacontenttype"]}
    event = from_http_event(HTTPMessage(headers=given, body=data))
    assert (event.get_id(), event.get_type()) == (headers["ce-id"], headers["ce-type"])
    assert event.get_dataschema() == headers["ce-dataschema"]
    assert event.get_time().isoformat(timespec="milliseconds").replace("+00:00", "Z") == headers["ce-time"]
    assert event.get_data() == json.loads(data)


def counted(told: list[Msg]) -> bool:
    """Whether the numbers of each run go up by one from 1, in the order of the events."""
    numbers: dict[str, list[int]] = {}
    for event in told:
        run, _, number = (event.headers or {})["ce-id"].rpartition(".")
        numbers.setdefault(run, []).append(int(number))
    return all(found == list(range(1, len(found) + 1)) for found in numbers.values())


async def test_one_get_has_the_last_state(cluster: Cluster) -> None:
    [found] = cluster.run(manifest(sh("main", "echo words; exit 3")))
    uid = found["metadata"]["uid"]
    url = cluster.facts()["nats"]["url"]
    async with asyncio.timeout(20):
        while True:
            event = await events.last(url, uid=uid)
            if event is not None and event.type == "workflow.failed":
                break
            await asyncio.sleep(0.05)
    assert event.data["message"] == "main: Error (exit code 3)"
    assert event.workflow == found["metadata"]["name"]
    assert await events.last(url, uid="nobody") is None
