"""Every event that is published fits docs/asyncapi.yaml, which says all of it, and every type in it is published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nats
import pytest
import yaml
from jsonschema import Draft202012Validator
from nats.aio.msg import Msg

from tests.e2e.cluster import ROOT, Cluster
from tests.e2e.test_events import TERMINAL, kind
from tests.e2e.test_operators import manifest, sh

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

ARGOS = {"ObjectMeta", "Status"}
"""Argo says what else may stand in these."""


def workflows(tmp_path: Path) -> str:
    """Three workflows whose main steps and whose handlers end in different ways."""
    out = tmp_path / "out"
    good = sh("main", f"printf 7 > {out}; echo said")
    good["outputs"] = {"parameters": [{"name": "n", "valueFrom": {"path": str(out)}, "globalName": "seven"}]}
    lacking = sh("main", "true")
    lacking["outputs"] = {"parameters": [{"name": "n", "valueFrom": {"path": str(tmp_path / "never-written")}}]}
    fine, broken = sh("bye", "true"), sh("bye", "exit 4")
    action = {"name": "bye", "plugin": {"cleanup": {"paths": ["/nowhere-allowed"]}}}
    return "\n---\n".join(
        [
            manifest(good, fine, prefix="good-", onExit="bye"),
            manifest(sh("main", "exit 3"), broken, prefix="bad-", onExit="bye"),
            manifest(lacking, action, prefix="lacking-", onExit="bye"),
        ]
    )


async def published(cluster: Cluster, uids: set[str]) -> list[Msg]:
    """All events of these workflows, up to their terminal ones."""
    nc = await nats.connect(cluster.facts()["nats"]["url"])
    found: list[Msg] = []
    try:
        events = await nc.jetstream().subscribe("exeunt.events.>", ordered_consumer=True)
        left = set(uids)
        while left:
            event = await events.next_msg(timeout=30)
            uid = event.subject.split(".")[3]
            if uid in uids:
                found.append(event)
                left -= {uid} if kind(event) in TERMINAL else set()
    finally:
        await nc.close()
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
    found = cluster.run(workflows(tmp_path))
    assert [w["status"]["phase"] for w in found] == ["Succeeded", "Failed", "Error"]
    events = await published(cluster, {w["metadata"]["uid"] for w in found})
    for event in events:
        [message] = [resolved(document, m) for m in by_address[kind(event)]["messages"].values()]
        assert (event.headers or {})["ce-type"] == message["name"]
        [trait] = [resolved(document, t) for t in message["traits"]]
        for schema, told in ((trait["headers"], event.headers), (message["payload"], json.loads(event.data))):
            check = Draft202012Validator({**schema, "components": document["components"]})
            assert [f"{kind(event)} {e.json_path}: {e.message}" for e in check.iter_errors(told)] == []
    assert {kind(event) for event in events} == set(by_address), "each type was published"
