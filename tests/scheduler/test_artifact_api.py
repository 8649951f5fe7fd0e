"""Artifacts as people look at them: listed from nodes, got from whichever store they lie in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from exeunt.artifacts.archive import Strategy, pack
from exeunt.artifacts.embedded_port import ArtifactHolder
from exeunt.client import Client, ClientError
from exeunt.internal.v1 import step_pb2
from exeunt.language import manifest, support
from exeunt.scheduler.node_artifacts import NodeArtifacts, whole_place
from exeunt.scheduler.parts import Scheduler
from exeunt.scheduler.view import WorkflowView
from exeunt.service.errors import RpcError
from tests.scheduler.rig import Hands, final, hands
from tests.scheduler.test_service import submit

pytestmark = pytest.mark.services
TWO = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {name: two}
spec:
  entrypoint: main
  templates:
  - name: main
    steps: [[{name: a, template: make}, {name: b, template: make}]]
  - name: make
    container: {image: alpine, command: [echo], args: [hold]}
    outputs: {artifacts: [{name: report, path: /tmp/report}, {name: site, path: /tmp/site, archive: {none: {}}}]}
"""


async def content(data: bytes) -> AsyncIterator[bytes]:
    yield data


@pytest.fixture(autouse=True)
def accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Manifests with artifacts are refused today; what is told of them can be seen all the same."""
    monkeypatch.delitem(support.REFUSED, (manifest.Outputs, "artifacts"), raising=False)


async def keep(parts: Scheduler, executor: Hands, step: step_pb2.Step, trees: list[dict[str, Any]]) -> None:
    """Ends a step that has kept these."""
    kept = [step_pb2.Artifact(name=tree["name"], artifact_json=json.dumps(tree)) for tree in trees]
    await executor.end(step.id, step_pb2.StepResult(phase="Succeeded", exit_code=0, artifacts=kept))


async def running(executor: Hands, count: int) -> list[step_pb2.Step]:
    async with executor.began, asyncio.timeout(20):
        await executor.began.wait_for(lambda: len(executor.running) == count)
    return sorted(executor.running.values(), key=lambda step: step.node_name)


async def got(client: Client, **which: str) -> list[tuple[str, bytes]]:
    """The files of an artifact; one that is whole has no name."""
    files: list[tuple[str, bytes]] = [("", b"")]
    async for piece in client.artifact("two", **which):  # type: ignore[arg-type]
        if piece.file:
            files.append((piece.file, b""))
        files[-1] = files[-1][0], files[-1][1] + piece.chunk
    return files


async def test_what_steps_have_kept_is_listed_and_got(parts: Scheduler, client: Client, tmp_path: Path) -> None:
    store = parts.artifacts
    assert store is not None
    async with hands(parts) as executor:
        await submit(client, TWO)
        one, two = await running(executor, 2)
        holder = ArtifactHolder("default", one.uid)
        (tmp_path / "report").write_text("hello")
        await store.save(holder, "k/a/report.tgz", pack(tmp_path / "report", Strategy()))
        for name in ("index.html", "css/main.css"):
            await store.save(holder, f"k/a/site/{name}", content(name.encode() * 300_000))
        await keep(
            parts,
            executor,
            one,
            [
                {"name": "report", "path": "/tmp/report", "nats": {"key": "k/a/report.tgz"}},
                {"name": "site", "path": "/tmp/site", "archive": {"none": {}}, "nats": {"key": "k/a/site"}},
            ],
        )
        await keep(parts, executor, two, [{"name": "report", "path": "/tmp/report", "raw": {"data": "words"}}])
        await final(client, "two")
        await parts.archiver.drained()

    found = await client.artifacts("two")
    assert [(one.display_name, one.name, one.store) for one in found] == [
        ("a", "report", "nats"),
        ("a", "site", "nats"),
        ("b", "report", "raw"),
    ]
    assert [one.name for one in await client.artifacts("two", node="b")] == ["report"]
    packed = b"".join([piece async for piece in store.open(holder, "k/a/report.tgz")])
    assert await got(client, artifact="report", node="a") == [("", packed)]
    assert await got(client, artifact="report", node="b") == [("", b"words")]
    assert (await got(client, artifact="site"))[1:] == [
        ("css/main.css", b"css/main.css" * 300_000),
        ("index.html", b"index.html" * 300_000),
    ]
    with pytest.raises(ClientError, match="several nodes have an artifact report: a, b; say which"):
        await got(client, artifact="report")
    with pytest.raises(ClientError, match="artifact nothing does not exist"):
        await got(client, artifact="nothing")
    await store.delete(holder, "k/a/report.tgz")
    with pytest.raises(ClientError, match=r"report, nats k/a/report.tgz: there is none of this key") as caught:
        await got(client, artifact="report", node="a")
    assert caught.value.code == "NOT_FOUND"


async def test_a_place_that_cannot_be_read_says_why(parts: Scheduler, client: Client) -> None:
    secret = {"name": "keys", "key": "id"}
    s3 = {"endpoint": "s3.invalid", "bucket": "b", "key": "k", "accessKeySecret": secret, "secretKeySecret": secret}
    async with hands(parts) as executor:
        await submit(client, TWO)
        one, two = await running(executor, 2)
        await keep(parts, executor, one, [{"name": "report", "path": "/r", "s3": s3}])
        await keep(parts, executor, two, [{"name": "report", "path": "/r", "hdfs": {"path": "/x"}}])
        await final(client, "two")
    said = {"a": "there is no key 'id' in a secret 'keys'", "b": "there is no client of HDFS here"}
    for node, words in said.items():
        with pytest.raises(ClientError, match=words) as caught:
            await got(client, artifact="report", node=node)
        assert (caught.value.code, caught.value.reason) == ("FAILED_PRECONDITION", "ARTIFACT_UNREADABLE")


def view(*nodes: tuple[str, list[dict[str, Any]]]) -> WorkflowView:
    trees = {id: {"id": id, "displayName": id, "outputs": {"artifacts": kept}} for id, kept in nodes}
    return WorkflowView({}, {id: json.dumps(tree).encode() for id, tree in trees.items()}, 1)


def looked(found: WorkflowView, node: str = "") -> NodeArtifacts:
    artifacts = NodeArtifacts(found, node)
    for _ in artifacts.look():
        pass
    return artifacts


def test_one_place_under_several_nodes_is_one_artifact() -> None:
    tree = {"name": "x", "s3": {"key": "k"}}
    artifacts = looked(view(("steps", [tree]), ("pod", [tree]), ("other", [{"name": "x"}])))
    assert artifacts.the("x").node == "steps"
    other = {"name": "x", "s3": {"key": "l"}}
    with pytest.raises(RpcError, match="pod, other; say which"):
        looked(view(("pod", [tree]), ("other", [other]))).the("x")


def test_a_place_is_made_whole_from_the_repository() -> None:
    repository = {"s3": {"bucket": "b", "endpoint": "e", "keyFormat": "{{x}}"}}
    head = {"status": {"artifactRepositoryRef": {"artifactRepository": repository}}}
    assert whole_place({"name": "x", "s3": {"key": "k", "bucket": "c"}}, head) == {
        "name": "x",
        "s3": {"bucket": "c", "endpoint": "e", "key": "k"},
    }
    assert whole_place({"name": "x", "raw": {"data": ""}}, {}) == {"name": "x", "raw": {"data": ""}}
