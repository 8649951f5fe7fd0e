"""A run that cannot be read from the log says so, holds up nobody, and can be terminated and deleted."""

from __future__ import annotations

import json
import time
from typing import Any

import nats
import pytest

from exeunt.engine.facts import commit
from exeunt.engine.facts.events import Retried
from exeunt.journal.subjects import commit_subject, family_of
from tests.e2e.cluster import Cluster
from tests.sizes.manifests import BYE, canary, text, workflow

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]


NO_COMMIT = b"this is no commit"
ILLEGAL = commit.encode(time.time(), [Retried()])
"""A commit whose event may not follow in a run that is under way (`exeunt.engine.facts.transitions`)."""


async def unreadable(cluster: Cluster, data: bytes) -> tuple[str, str]:
    """A workflow whose log goes on with `data`, after a restart of the scheduler: its name and uid."""
    [name] = cluster.submit(text(workflow("rests", {"name": "main", "suspend": {}}, BYE, onExit="bye")))
    uid = cluster.wait(name, ["Running"])["metadata"]["uid"]
    nc = await nats.connect(cluster.facts()["nats"]["url"])
    try:
        subject = commit_subject(family_of(uid), "c")
        await nc.jetstream().publish(subject, data, headers={"Exeunt-Commit": "9"})
    finally:
        await nc.close()
    cluster.signal("scheduler")
    back_again(cluster, name)
    return name, uid


def back_again(cluster: Cluster, name: str) -> None:
    """Waits until the scheduler that was killed is there again and has read the log."""
    deadline = time.monotonic() + 30
    while cluster.call("get", name).returncode:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def condition(found: dict[str, Any]) -> str:
    [told] = [c["message"] for c in found["status"]["conditions"] if c["type"] == "Resting"]
    return str(told)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        pytest.param(NO_COMMIT, "", id="no commit"),
        pytest.param(ILLEGAL, "main run: Retried cannot follow running", id="an event that may not follow"),
    ],
)
async def test_it_says_so_and_can_be_terminated_and_deleted(cluster: Cluster, data: bytes, why: str) -> None:
    name, uid = await unreadable(cluster, data)
    found = cluster.get(name)
    assert found["metadata"]["uid"] == uid
    assert found["status"]["phase"] == "Running"
    assert "cannot be read from the log" in condition(found)
    assert why in condition(found)
    listed = json.loads(cluster.call("list", "-o", "json").stdout)
    [row] = [w for w in listed if w["metadata"]["name"] == name]
    assert "cannot be read from the log" in row["status"]["message"]
    [beside] = cluster.run(text(canary()), timeout=60)
    assert (beside["status"]["phase"], beside["status"]["finalization"]) == ("Succeeded", "Succeeded")
    refused = cluster.call("stop", name)
    assert refused.returncode != 0
    assert "it can be terminated, or deleted" in refused.stderr
    assert cluster.call("terminate", name).returncode == 0
    ended = cluster.get(name)
    assert (ended["status"]["phase"], ended["status"]["reason"]) == ("Error", "Terminated")
    assert cluster.call("delete", name).returncode == 0
    assert cluster.call("get", name).returncode != 0
    assert cluster.submit(text(workflow("rests", BYE, metadata={"name": name}))) == [name], "its name is free again"


async def test_it_can_be_deleted_at_once(cluster: Cluster) -> None:
    name, _ = await unreadable(cluster, NO_COMMIT)
    assert cluster.call("delete", name).returncode == 0
    assert cluster.call("get", name).returncode != 0
