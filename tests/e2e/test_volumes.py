"""Volumes on real services: Argo's own examples, the workflow's own volumes with its handlers, and their end."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exeunt.executor.runtime.sandbox.probe import probe
from tests.e2e.cluster import ARGO, Cluster, nodes

pytestmark = pytest.mark.services
SANDBOX = probe().problem
argo = pytest.mark.skipif(not (ARGO / "examples").is_dir(), reason="Argo's examples are not beside this checkout")
sandbox = pytest.mark.skipif(bool(SANDBOX), reason=f"no sandbox here: {SANDBOX}")

OWN = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: own-}
spec:
  entrypoint: main
  onExit: bye
  volumeClaimTemplates: [{metadata: {name: work}, spec: {resources: {requests: {storage: 1Gi}}}}]
  GC
  templates:
  - name: main
    steps:
    - - {name: many, template: write, arguments: {parameters: [{name: x, value: "{{item}}"}]}, withSequence: {count: "8"}}
    - - {name: read, template: read}
    - - {name: last, template: last}
  - {name: bye, steps: [[{name: read, template: read}, {name: before, template: write, arguments: {parameters: [{name: x, value: bye}]}}]]}
  - name: write
    inputs: {parameters: [{name: x}]}
    container:
      image: busybox
      command: [sh, -c, "echo $EXEUNT_EXECUTOR >ROOT/work/{{inputs.parameters.x}}"]
      volumeMounts: [{name: work, mountPath: ROOT/work}]
  - name: read
    container:
      image: busybox
      command: [sh, -c, "cd ROOT/work; ls | wc -l; cat * | sort -u | wc -l"]
      volumeMounts: [{name: work, mountPath: ROOT/work}]
  - name: last
    container: {image: busybox, command: [sh, -c, "LAST"], volumeMounts: [{name: work, mountPath: ROOT/work}]}
"""  # noqa: E501 - YAML reads best so


@pytest.fixture(scope="module", params=["process", pytest.param("sandbox", marks=sandbox)])
def volumes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three executors of a runtime, with a directory that is the claim of Argo's example."""
    base = tmp_path_factory.mktemp("volumes")
    (base / "existing").mkdir()
    arguments = ["--executors", "3", "--slots", "4", "--runtime", request.param]
    environ = {"EXEUNT_NAMED_CLAIMS": f"my-existing-volume={base / 'existing'}"}
    cluster = Cluster(base / "data", arguments=arguments, environ=environ)
    cluster.up()
    yield cluster
    cluster.down()


def own(cluster: Cluster, last: str = "true", gc: str = "") -> str:
    return OWN.replace("LAST", last).replace("ROOT", str(cluster.data_dir.parent)).replace("  GC\n", gc)


def kept(cluster: Cluster) -> list[Path]:
    """The workflows that have volumes, by their directories."""
    found = [one for one in cluster.data_dir.rglob("claims/*/*") if one.parent.name != ".gone"]
    return [one for one in found if one.parent.parent.name == "claims"]


def until_gone(cluster: Cluster, uid: str, seconds: float = 60) -> None:
    """Waits until nothing is kept for a workflow: its executor hears of it a moment after people do."""
    deadline = time.monotonic() + seconds
    while any(uid in one.name for one in kept(cluster)):
        assert time.monotonic() < deadline, kept(cluster)
        time.sleep(0.1)


def result(workflow: dict[str, Any], node: str) -> str:
    found = nodes(workflow)
    assert node in found, sorted(found)
    return str(found[node]["phase"])


def served(cluster: Cluster, *command: str) -> subprocess.CompletedProcess[str]:
    """Calls until the scheduler, which was killed, is back."""
    deadline = time.monotonic() + 60
    while True:
        done = cluster.call(*command)
        if "no connection" not in done.stderr or time.monotonic() > deadline:
            return done
        time.sleep(0.2)


def logs(cluster: Cluster, name: str) -> str:
    return cluster.call("logs", name).stdout


def test_steps_and_handlers_share_the_workflows_own_volume(volumes: Cluster) -> None:
    [workflow] = volumes.run(own(volumes))
    name = workflow["metadata"]["name"]
    assert workflow["status"]["phase"] == "Succeeded", workflow["status"]
    read = [line.split()[-1] for line in logs(volumes, name).splitlines()]
    assert read[:2] == ["8", "1"], "eight files of one executor"
    assert read[2] in {"8", "9"}
    assert read[3] == "1"
    assert "persistentVolumeClaims" not in workflow["status"]
    until_gone(volumes, workflow["metadata"]["uid"])


def test_those_of_a_workflow_that_failed_stay_for_its_retry(volumes: Cluster) -> None:
    """Over the death of all executors and of the scheduler."""
    [workflow] = volumes.run(own(volumes, last="test -e ROOT/work/mended"))
    name, uid = workflow["metadata"]["name"], workflow["metadata"]["uid"]
    assert workflow["status"]["phase"] == "Failed", workflow["status"]
    assert workflow["status"]["persistentVolumeClaims"] == [
        {"name": "work", "persistentVolumeClaim": {"claimName": f"{name}-work"}}
    ]
    [directory] = [one for one in kept(volumes) if one.name == uid]
    assert len(list((directory / "work").iterdir())) == 9
    volumes.signal("executor", signal.SIGKILL)
    volumes.signal("scheduler", signal.SIGKILL)
    (directory / "work/mended").touch()
    again = served(volumes, "retry", name, "--wait", "-o", "json")
    assert again.returncode == 0, again.stdout + again.stderr
    found = volumes.get(name)
    assert found["status"]["phase"] == "Succeeded"
    assert result(found, ".onExit[0].read") == "Succeeded"
    until_gone(volumes, uid)


def test_those_of_a_workflow_that_failed_go_when_it_is_deleted(volumes: Cluster) -> None:
    [workflow] = volumes.run(own(volumes, last="exit 3"))
    name, uid = workflow["metadata"]["name"], workflow["metadata"]["uid"]
    assert [one.name for one in kept(volumes) if one.name == uid]
    assert volumes.call("delete", name).returncode == 0
    until_gone(volumes, uid)


def test_an_executor_that_was_away_at_the_end_removes_them_when_it_is_back(volumes: Cluster) -> None:
    [workflow] = volumes.run(own(volumes, last="exit 3"))
    name, uid = workflow["metadata"]["name"], workflow["metadata"]["uid"]
    volumes.signal("executor", signal.SIGSTOP)
    assert volumes.call("delete", name).returncode == 0
    volumes.signal("executor", signal.SIGKILL)
    until_gone(volumes, uid)


def test_or_go_at_its_end_when_it_says_so(volumes: Cluster) -> None:
    gc = "  volumeClaimGC: {strategy: OnWorkflowCompletion}\n"
    [workflow] = volumes.run(own(volumes, last="exit 3", gc=gc))
    assert workflow["status"]["phase"] == "Failed"
    until_gone(volumes, workflow["metadata"]["uid"])


def test_a_handler_that_is_replayed_later_says_that_they_are_gone(volumes: Cluster) -> None:
    [workflow] = volumes.run(own(volumes))
    until_gone(volumes, workflow["metadata"]["uid"])
    [exit] = [one for one in volumes.exits() if one["workflow"] == workflow["metadata"]["name"]]
    assert volumes.call("exits", "replay", exit["id"]).returncode == 0
    deadline = time.monotonic() + 60
    while not (told := json.loads(volumes.call("exits", "get", exit["id"], "-o", "json").stdout))["replays"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    while "is gone from this executor" not in json.dumps(told):
        assert time.monotonic() < deadline, told
        time.sleep(0.1)
        told = json.loads(volumes.call("exits", "get", exit["id"], "-o", "json").stdout)


@argo
@pytest.mark.parametrize("name", ["volumes-pvc", "volumes-existing"])
def test_argos_examples(volumes: Cluster, name: str) -> None:
    text = (ARGO / "examples" / f"{name}.yaml").read_text()
    [workflow] = volumes.run(text.replace("/mnt/vol", f"{volumes.data_dir.parent}/vol"))
    assert workflow["status"]["phase"] == "Succeeded", workflow["status"]


@argo
@sandbox
def test_argos_examples_as_they_are(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "data", arguments=["--runtime", "sandbox"])
    cluster.up()
    try:
        values = "stringData: {mypassword: S00perS3cretPa55word}"
        secret = f"apiVersion: v1\nkind: Secret\nmetadata: {{name: my-secret}}\n{values}\n---\n"
        for name, before in (("volumes-emptydir", ""), ("volumes-pvc", ""), ("secrets", secret)):
            [workflow] = cluster.run(before + (ARGO / "examples" / f"{name}.yaml").read_text())
            assert workflow["status"]["phase"] == "Succeeded", workflow["status"]
            said = logs(cluster, workflow["metadata"]["name"])
            expected = {"volumes-emptydir": "Volume mounted and found", "secrets": "secret from file: ***"}
            assert expected.get(name, "hello world") in said
    finally:
        cluster.down()
