"""A workflow once more: retried it goes on from what failed, resubmitted it is a new one."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, nodes
from tests.e2e.test_events import TERMINAL, heard, kind
from tests.e2e.test_operators import do, manifest, runs, sh, until

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]


def two_steps(tmp_path: Path, **spec: Any) -> str:
    """The second step fails until `mended` is there; each says that it ran, and so does the handler."""
    steps = {"name": "main", "steps": [[{"name": "a", "template": "a"}], [{"name": "b", "template": "b"}]]}
    told = f"echo {{{{workflow.status}}}} >> {tmp_path}/told"
    a, b = sh("a", f"echo a >> {tmp_path}/ran"), sh("b", f"echo b >> {tmp_path}/ran; [ -e {tmp_path}/mended ]")
    return manifest(steps, a, b, sh("bye", told), onExit="bye", **spec)


def again(cluster: Cluster, *arguments: str) -> dict[str, Any]:
    """The workflow that a retry or a resubmission with `--wait` ends with."""
    done = cluster.call(*arguments, "--wait", "-o", "json")
    assert done.returncode in (0, 1), done.stderr
    found: dict[str, Any] = json.loads(done.stdout)[0]
    return found


async def test_rule_8_a_retry_is_a_new_attempt_with_a_new_exit_run(cluster: Cluster, tmp_path: Path) -> None:
    [workflow] = cluster.run(two_steps(tmp_path))
    name, uid = workflow["metadata"]["name"], workflow["metadata"]["uid"]
    assert workflow["status"]["phase"] == "Failed"
    (tmp_path / "mended").touch()
    retried = again(cluster, "retry", name)
    assert (retried["metadata"]["uid"], retried["status"]["phase"]) == (uid, "Succeeded")
    assert retried["status"]["runAttempt"] == 1
    assert retried["metadata"]["creationTimestamp"] == workflow["metadata"]["creationTimestamp"]
    assert (tmp_path / "ran").read_text().split() == ["a", "b", "b"], "what went well is not done again"
    assert (tmp_path / "told").read_text().split() == ["Failed", "Succeeded"]
    entries = cluster.exits("--workflow", name)
    assert [entry["state"] for entry in entries] == ["succeeded", "succeeded"], "history keeps both"
    assert len({entry["id"] for entry in entries}) == 2
    events = await heard(cluster, uid)
    assert [kind(e) for e in events if kind(e) in TERMINAL] == ["workflow.failed", "workflow.succeeded"]
    ids = [e.headers["ce-id"] for e in events if e.headers]
    assert len(ids) == len(set(ids)), "the numbers go on"
    assert do(cluster, "list", "-o", "name").split().count(name) == 1


def test_all_that_handlers_wrote_is_there_after_a_retry(cluster: Cluster, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    bye = sh("bye", f"for i in 1 2 3; do echo {{{{workflow.status}}}} $i; done; [ -e {ready} ]")
    [found] = cluster.run(manifest(sh("main", f"[ -e {ready} ]"), bye, onExit="bye"))
    name = found["metadata"]["name"]
    ready.touch()
    again(cluster, "retry", name)
    said = do(cluster, "logs", name).splitlines()
    assert said == [f"{name}.onExit: {status} {i}" for status in ("Failed", "Succeeded") for i in (1, 2, 3)]


def test_a_retry_waits_for_the_handlers_and_is_for_what_failed(cluster: Cluster, tmp_path: Path) -> None:
    go = tmp_path / "go"
    bye = sh("bye", f"while ! [ -e {go} ]; do sleep 0.05; done")
    [name] = cluster.submit(manifest(sh("main", "false"), bye, onExit="bye"))
    until(cluster, name, runs(".onExit"))
    done = cluster.call("retry", name)
    assert done.returncode == 1
    assert "wait until it has ended" in done.stderr
    go.touch()
    cluster.wait(name)
    do(cluster, "retry", name)
    [good] = cluster.run(manifest(sh("main", "true")))
    done = cluster.call("retry", good["metadata"]["name"])
    assert done.returncode == 1
    assert "nothing to retry" in done.stderr
    assert cluster.call("retry", "never-was").returncode == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_retry_survives_the_scheduler(cluster: Cluster, tmp_path: Path, when: str) -> None:
    [workflow] = cluster.run(two_steps(tmp_path))
    name = workflow["metadata"]["name"]
    (tmp_path / "mended").touch()
    once = uuid.uuid4().hex
    if when == "before":
        cluster.signal("scheduler")
    do(cluster, "retry", name, "--request-id", once)
    if when == "after":
        cluster.signal("scheduler")
    do(cluster, "retry", name, "--request-id", once)
    status = cluster.wait(name)["status"]
    assert (status["phase"], status["runAttempt"]) == ("Succeeded", 1)
    assert (tmp_path / "told").read_text().split() == ["Failed", "Succeeded"]
    cluster.signal("scheduler")
    until(cluster, name, lambda workflow: workflow["status"]["phase"] == "Succeeded")
    assert do(cluster, "list", "-o", "name").split().count(name) == 1


def test_a_retry_with_another_parameter(cluster: Cluster, tmp_path: Path) -> None:
    check = sh("main", "[ {{workflow.parameters.n}} = 2 ]")
    given = {"parameters": [{"name": "n", "value": "1"}]}
    [workflow] = cluster.run(manifest(check, arguments=given))
    name = workflow["metadata"]["name"]
    assert again(cluster, "retry", name)["status"]["phase"] == "Failed"
    retried = again(cluster, "retry", name, "-p", "n=2")
    assert (retried["status"]["phase"], retried["status"]["runAttempt"]) == ("Succeeded", 2)
    assert retried["spec"]["arguments"]["parameters"] == [{"name": "n", "value": "2"}]
    assert nodes(retried)[""]["phase"] == "Succeeded"


def test_a_resubmission_is_a_new_workflow_of_the_same_manifest(cluster: Cluster, tmp_path: Path) -> None:
    given = {"parameters": [{"name": "n", "value": "1"}, {"name": "m", "value": "1"}]}
    say = sh("main", f"echo {{{{workflow.parameters.n}}}}{{{{workflow.parameters.m}}}} >> {tmp_path}/said")
    text = manifest(say, sh("bye", f"echo bye >> {tmp_path}/said"), onExit="bye", arguments=given)
    [first] = cluster.run(text, "-p", "n=2", "--label", "batch=x")
    name = first["metadata"]["name"]
    once = uuid.uuid4().hex
    second = again(cluster, "resubmit", name, "-p", "m=3", "--request-id", once)
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    assert (tmp_path / "said").read_text().split() == ["21", "bye", "23", "bye"]
    labels = second["metadata"]["labels"]
    assert (labels["batch"], labels["workflows.argoproj.io/resubmitted-from-workflow"]) == ("x", name)
    assert do(cluster, "resubmit", name, "-p", "m=3", "--request-id", once).split() == [second["metadata"]["name"]]
    assert [e["state"] for e in cluster.exits("--workflow", second["metadata"]["name"])] == ["succeeded"]
