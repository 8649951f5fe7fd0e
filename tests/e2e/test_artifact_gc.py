"""artifactGC on the real services: YAML in, files of a store out; a scheduler that is killed in between."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exeunt.journal.keyring import new_key
from tests.actions import servers
from tests.e2e.cluster import ARGO, Cluster, nodes
from tests.e2e.conftest import IMAGES

pytestmark = [pytest.mark.services]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    base = tmp_path_factory.mktemp("cluster")
    (base / "images.yaml").write_text(IMAGES)
    arguments = ["--images", str(base / "images.yaml"), "--slots", "8"]
    cluster = Cluster(base / "data", arguments=arguments, environ={"EXEUNT_SECRET_KEY": new_key()})
    cluster.up()
    try:
        yield cluster
    finally:
        cluster.down()


def deleted(workflow: dict[str, Any]) -> dict[str, bool]:
    """Of each artifact that a step has kept, whether it is said to be removed."""
    return {
        one["name"]: bool(one.get("deleted"))
        for node in workflow["status"]["nodes"].values()
        if node["type"] == "Pod"
        for one in node.get("outputs", {}).get("artifacts", [])
    }


def until(cluster: Cluster, name: str, wanted: dict[str, bool]) -> dict[str, Any]:
    """Waits for that: it happens behind the end, and nobody tells of it."""
    deadline = time.monotonic() + 60
    while deleted(workflow := cluster.get(name)) != wanted:
        assert time.monotonic() < deadline, workflow["status"]
        time.sleep(0.1)
    return workflow


GARBAGE = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: garbage-}
spec:
  entrypoint: main
  onExit: handler
  artifactGC: {strategy: OnWorkflowDeletion}
  templates:
  - name: main
    script: {image: alpine, command: [sh], source: "mkdir -p HERE; echo soon > HERE/soon; echo late > HERE/late"}
    outputs:
      artifacts:
      - {name: soon, path: HERE/soon, globalName: soon, archive: {none: {}}, artifactGC: {strategy: OnWorkflowCompletion}STORE}
      - {name: late, path: HERE/late, archive: {none: {}}}
  - name: handler
    steps:
    - - name: take
        template: take
        arguments: {artifacts: [{name: it, from: "{{workflow.outputs.artifacts.soon}}"}]}
  - name: take
    inputs: {artifacts: [{name: it, path: HERE-in/it}]}
    script: {image: alpine, command: [sh], source: "set -e; cat HERE-in/it; mkdir -p HERE; echo handled > HERE/handled"}
    outputs:
      artifacts:
      - {name: handled, path: HERE/handled, archive: {none: {}}, artifactGC: {strategy: OnWorkflowCompletion}}
"""  # noqa: E501 - a line for each artifact


@pytest.fixture
def here(tmp_path: Path) -> str:
    """A directory name that nothing else on this machine has."""
    return f"/tmp/exeunt-{tmp_path.name}-{id(tmp_path)}"


def test_handlers_have_what_goes_when_they_are_over(cluster: Cluster, here: str) -> None:
    (workflow,) = cluster.run(GARBAGE.replace("HERE", here).replace("STORE", ""))
    assert workflow["status"]["phase"] == "Succeeded", workflow["status"]
    name = workflow["metadata"]["name"]
    workflow = until(cluster, name, {"soon": True, "late": False, "handled": True})
    taken = next(node for node in workflow["status"]["nodes"].values() if node["displayName"] == "take")
    assert taken["phase"] == "Succeeded"
    assert cluster.call("artifacts", "cat", name, "late").stdout == "late\n"
    done = cluster.call("artifacts", "cat", name, "soon")
    assert done.returncode != 0
    assert "it was removed by artifactGC" in done.stderr
    assert cluster.call("delete", name).returncode == 0


def test_a_scheduler_that_is_killed_in_between_removes_them_afterwards(cluster: Cluster, here: str) -> None:
    with servers.s3() as s3:
        bucket = s3.folder / "bucket"
        bucket.mkdir()
        keys = f"stringData: {{id: '{s3.key_id}', word: '{s3.key}'}}"
        secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: store}\n"
        cluster.submit(secret + keys)
        store = (
            f", s3: {{endpoint: '{s3.url.removeprefix('http://')}', insecure: true, bucket: bucket, key: soon, "
            "accessKeySecret: {name: store, key: id}, secretKeySecret: {name: store, key: word}}"
        )
        text = GARBAGE.replace("HERE", here).replace("STORE", store)
        text = text.replace(
            "echo handled", f"touch {here}/ready; until [ -e {here}/go ]; do sleep 0.1; done; echo handled"
        )
        (name,) = cluster.submit(text)
        deadline = time.monotonic() + 60
        while not Path(f"{here}/ready").exists():  # the handler runs
            assert time.monotonic() < deadline, cluster.get(name)["status"]
            time.sleep(0.1)
        cluster.submit(secret + "stringData: {id: wrong, word: wrong}")
        Path(f"{here}/go").touch()
        until(cluster, name, {"soon": False, "late": False, "handled": True})
        assert (bucket / "soon").exists()
        (said,) = [one for one in cluster.get(name)["status"]["conditions"] if one["type"] == "ArtifactGCError"]
        assert "artifact soon, s3 " in said["message"]
        refused = cluster.call("delete", name)
        assert refused.returncode != 0
        assert "is deleted when its artifacts are" in refused.stderr
        cluster.signal("scheduler")
        cluster.submit(secret + keys)
        deadline = time.monotonic() + 90
        while cluster.call("get", name).returncode == 0:  # it goes behind its artifacts, by itself
            assert time.monotonic() < deadline, cluster.get(name)["status"]
            time.sleep(0.2)
        assert not (bucket / "soon").exists()


def test_argos_example_runs(cluster: Cluster) -> None:
    example = ARGO / "examples" / "artifact-gc-workflow.yaml"
    if not example.exists():
        pytest.skip("../shared is not here")
    (workflow,) = cluster.run(example.read_text())
    assert workflow["status"]["phase"] == "Succeeded", workflow["status"]
    until(cluster, workflow["metadata"]["name"], {"on-completion": True, "on-deletion": False})
    assert nodes(workflow)
