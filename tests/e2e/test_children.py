"""A step of the main part that starts a workflow and waits for it, whatever dies meanwhile."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, nodes
from tests.e2e.test_operators import do, manifest

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

SUCCESS = "status.phase == Succeeded"
FAILURE = "status.phase in (Failed, Error)"


def child(name: str) -> dict[str, Any]:
    """A workflow that goes on when it is told to."""
    spec = {"entrypoint": "c", "templates": [{"name": "c", "suspend": {}}]}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": name},
        "spec": spec,
    }


def resource(name: str) -> dict[str, Any]:
    conditions = {"successCondition": SUCCESS, "failureCondition": FAILURE}
    return {"name": "main", "resource": {"action": "create", "manifest": json.dumps(child(name)), **conditions}}


def trigger(name: str) -> dict[str, Any]:
    return {"name": "main", "plugin": {"trigger": {"workflow": child(name), "wait": True}}}


def started(cluster: Cluster, name: str) -> None:
    """Returns when the child waits to be resumed."""
    deadline = time.monotonic() + 60
    while name not in do(cluster, "list", "-o", "name").split() or not nodes(cluster.get(name)):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def answers(cluster: Cluster) -> None:
    """Returns when the scheduler answers (again)."""
    deadline = time.monotonic() + 60
    while cluster.call("list", "-o", "name").returncode != 0:
        assert time.monotonic() < deadline


def new() -> str:
    return f"child-{uuid.uuid4().hex[:8]}"


@pytest.mark.parametrize("kind", [resource, trigger])
@pytest.mark.parametrize(("verb", "phase"), [("resume", "Succeeded"), ("stop", "Failed")])
def test_a_step_waits_for_the_workflow_that_it_starts(cluster: Cluster, kind: Any, verb: str, phase: str) -> None:
    name = new()
    [parent] = cluster.submit(manifest(kind(name)))
    started(cluster, name)
    assert cluster.get(parent)["status"]["phase"] == "Running"
    do(cluster, verb, name)
    workflow = cluster.wait(parent)
    assert workflow["status"]["phase"] == phase
    assert f"default/{name}" in workflow["status"]["message"] or phase == "Succeeded"


@pytest.mark.parametrize("service", ["executor", "scheduler"])
def test_it_waits_on_when_a_service_dies(cluster: Cluster, service: str) -> None:
    name = new()
    [parent] = cluster.submit(manifest(resource(name)))
    started(cluster, name)
    cluster.signal(service)
    answers(cluster)
    do(cluster, "resume", name)
    workflow = cluster.wait(parent)
    assert workflow["status"]["phase"] == "Succeeded", workflow["status"]["message"]
    assert [one for one in do(cluster, "list", "-o", "name").split() if one == name] == [name]


def test_a_child_that_is_deleted_fails_the_step(cluster: Cluster) -> None:
    name = new()
    [parent] = cluster.submit(manifest(resource(name)))
    started(cluster, name)
    do(cluster, "delete", name)
    assert cluster.wait(parent)["status"]["phase"] == "Failed"


def test_steps_that_wait_do_not_stand_in_the_way_of_what_they_wait_for(tmp_path: Path) -> None:
    """More parents than there are slots."""
    cluster = Cluster(tmp_path / "data", arguments=["--slots", "2"])
    cluster.up()
    try:
        step = {"name": "c", "container": {"image": "alpine", "command": ["true"]}}
        one = {**child(""), "metadata": {"generateName": "c-"}, "spec": {"entrypoint": "c", "templates": [step]}}
        main = {"name": "main", "plugin": {"trigger": {"workflow": one, "wait": True}}}
        parents = cluster.submit("\n---\n".join([manifest(main)] * 6))
        assert [cluster.wait(parent)["status"]["phase"] for parent in parents] == ["Succeeded"] * 6
    finally:
        cluster.down()
