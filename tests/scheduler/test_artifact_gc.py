"""artifactGC on a scheduler: which artifacts go, and when; what is said where they do not; after a death in between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from exeunt.artifacts.embedded_port import ArtifactHolder
from exeunt.client import Client, ClientError
from exeunt.internal.v1 import step_pb2
from exeunt.journal.keyring import new_key
from exeunt.scheduler.parts import Scheduler
from tests.actions import servers
from tests.nats_server import NatsServer
from tests.scheduler.rig import Hands, final, hands, scheduling
from tests.scheduler.test_service import submit

pytestmark = pytest.mark.services

OWN = "      - {name: first, path: /1, artifactGC: {strategy: OnWorkflowCompletion}}\n"


def workflow(strategy: str = "", more: str = "", args: str = "[hold]") -> str:
    """One step with an artifact that goes at completion, one that goes as the workflow says, one that stays."""
    gc = f"  artifactGC: {{strategy: {strategy or 'Never'}{more}}}\n"
    return f"""
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {{name: w}}
spec:
  entrypoint: main
{gc}  templates:
  - name: main
    container: {{image: a, command: [a], args: {args}}}
    outputs:
      artifacts:
{OWN}      - {{name: second, path: /2}}
      - {{name: third, path: /3, artifactGC: {{strategy: Never}}}}
"""


def kept(places: dict[str, dict[str, Any]], phase: str = "Succeeded") -> step_pb2.StepResult:
    """What an executor says that has kept these."""
    own = {
        "first": {"artifactGC": {"strategy": "OnWorkflowCompletion"}},
        "third": {"artifactGC": {"strategy": "Never"}},
    }
    trees = [{"name": name, "path": f"/{name}", **own.get(name, {}), **place} for name, place in places.items()]
    artifacts = [step_pb2.Artifact(name=tree["name"], artifact_json=json.dumps(tree)) for tree in trees]
    return step_pb2.StepResult(phase=phase, exit_code=0 if phase == "Succeeded" else 1, artifacts=artifacts)


async def content() -> AsyncIterator[bytes]:
    yield b"content"


async def ended(parts: Scheduler, client: Client, executor: Hands, result: step_pb2.StepResult) -> None:
    (step,) = await executor.until_running()
    await executor.end(step.id, result)
    await final(client, "w")
    await parts.archiver.drained()


async def marks(client: Client) -> dict[str, bool]:
    """What is said of each artifact: whether it was removed."""
    tree = json.loads((await client.get("w")).json)
    return {
        one["name"]: bool(one.get("deleted"))
        for node in tree["status"]["nodes"].values()
        for one in node.get("outputs", {}).get("artifacts", [])
    }


async def condition(client: Client) -> str:
    """What is said of a removal that has failed."""
    tree = json.loads((await client.get("w")).json)
    return next((one["message"] for one in tree["status"]["conditions"] if one["type"] == "ArtifactGCError"), "")


async def until(client: Client, wanted: dict[str, bool]) -> None:
    async with asyncio.timeout(20):
        while await marks(client) != wanted:  # noqa: ASYNC110 - it happens behind the end, and nobody tells of it
            await asyncio.sleep(0.02)


async def until_said(client: Client) -> str:
    async with asyncio.timeout(20):
        while not (said := await condition(client)):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.02)
    return said


async def until_deleted(client: Client) -> None:
    async with asyncio.timeout(20):
        while await client.list_workflows("default"):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.02)


async def save(parts: Scheduler, executor: Hands, *names: str) -> ArtifactHolder:
    """Keeps artifacts of the step that runs in the embedded store."""
    assert parts.artifacts is not None
    (step,) = await executor.until_running()
    holder = ArtifactHolder("default", step.uid)
    for name in names:
        await parts.artifacts.save(holder, name, content())
    return holder


def in_nats(uid: str, *names: str) -> dict[str, dict[str, Any]]:
    return {name: {"nats": {"key": name, "uid": uid}} for name in names}


NAMES = ("first", "second", "third")


@pytest.mark.parametrize(
    ("strategy", "stays"),
    [("", ["second", "third"]), ("OnWorkflowCompletion", ["third"]), ("OnWorkflowDeletion", ["second", "third"])],
)
@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
async def test_what_goes_at_the_end_is_marked(
    parts: Scheduler, client: Client, strategy: str, stays: list[str], phase: str
) -> None:
    async with hands(parts) as executor:
        await submit(client, workflow(strategy))
        holder = await save(parts, executor, *NAMES)
        await ended(parts, client, executor, kept(in_nats(holder.uid, *NAMES), phase))
        await until(client, {name: name not in stays for name in NAMES})
        assert parts.artifacts is not None
        assert [one.key for one in await parts.artifacts.list(holder)] == stays
        with pytest.raises(ClientError, match="removed by artifactGC"):
            async for _ in client.artifact("w", artifact="first"):
                pass
        assert await condition(client) == ""


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[servers.S3]:
    with servers.s3() as server:
        (server.folder / "bucket").mkdir()
        yield server


def in_s3(server: servers.S3, *names: str) -> dict[str, dict[str, Any]]:
    """Artifacts there, which are written."""
    for name in names:
        (server.folder / "bucket" / name).write_text("content")
    place = {
        "endpoint": server.url.removeprefix("http://"),
        "insecure": True,
        "bucket": "bucket",
        "accessKeySecret": {"name": "store", "key": "id"},
        "secretKeySecret": {"name": "store", "key": "word"},
    }
    return {name: {"s3": {**place, "key": name}} for name in names}


def there(server: servers.S3) -> list[str]:
    return sorted(one.name for one in (server.folder / "bucket").iterdir())


def secret(server: servers.S3) -> str:
    return (
        "apiVersion: v1\nkind: Secret\nmetadata: {name: store}\n"
        f"stringData: {{id: '{server.key_id}', word: '{server.key}'}}\n"
    )


@pytest.fixture
async def keyed(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Scheduler]:
    """A scheduler that can keep secrets."""
    async with scheduling(nats_server.url, tmp_path, secret_key=new_key(), artifact_hosts=("127.0.0.1",)) as parts:
        yield parts


@pytest.fixture
async def user(keyed: Scheduler) -> AsyncIterator[Client]:
    async with Client(keyed.address) as client:
        yield client


async def test_a_deleted_workflow_goes_behind_its_artifacts_in_s3(
    keyed: Scheduler, user: Client, s3: servers.S3
) -> None:
    async with hands(keyed) as executor:
        await submit(user, workflow("OnWorkflowDeletion"))
        await ended(keyed, user, executor, kept(in_s3(s3, *NAMES)))
        assert "there is no key 'id' in a secret 'store'" in await until_said(user)
        with pytest.raises(ClientError, match="w is deleted when its artifacts are") as caught:
            await user.delete("w")
        assert caught.value.reason == "ARTIFACTS_REMAIN"
        assert there(s3) == sorted(NAMES)
        await submit(user, secret(s3))
        assert await user.delete("w")
        assert there(s3) == ["third"]
        await until_deleted(user)


async def test_a_workflow_that_was_told_to_go_goes_when_its_artifacts_can(
    keyed: Scheduler, user: Client, s3: servers.S3
) -> None:
    keyed.collector.pause = 0.05
    async with hands(keyed) as executor:
        await submit(user, workflow("OnWorkflowDeletion"))
        await ended(keyed, user, executor, kept(in_s3(s3, *NAMES)))
        with pytest.raises(ClientError, match="there is no key 'id' in a secret 'store'"):
            await user.delete("w")
        await submit(user, secret(s3))
        await until_deleted(user)
        assert there(s3) == ["third"]


async def test_forced_it_goes_whatever_is_left(keyed: Scheduler, user: Client, s3: servers.S3) -> None:
    async with hands(keyed) as executor:
        await submit(user, workflow("OnWorkflowDeletion", ", forceFinalizerRemoval: true"))
        await ended(keyed, user, executor, kept(in_s3(s3, *NAMES)))
        assert await user.delete("w")
        await until_deleted(user)
        assert there(s3) == sorted(NAMES)


async def test_one_that_is_deleted_while_it_runs_goes_behind_its_artifacts(
    keyed: Scheduler, user: Client, s3: servers.S3
) -> None:
    two = workflow("OnWorkflowDeletion").replace(
        "  - name: main\n",
        "  - name: main\n    steps: [[{name: a, template: a}], [{name: b, template: a}]]\n  - name: a\n",
    )
    async with hands(keyed) as executor:
        await submit(user, secret(s3) + "---" + two)
        (step,) = await executor.until_running()
        await executor.end(step.id, kept(in_s3(s3, *NAMES)))
        async with executor.began:
            await executor.began.wait_for(lambda: [one for one in executor.running if one != step.id])
        assert not await user.delete("w")
        await until_deleted(user)
        assert there(s3) == ["third"]


async def test_a_retry_that_needs_what_went_gets_it_marked(parts: Scheduler, client: Client) -> None:
    text = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {name: w}
spec:
  entrypoint: main
  artifactGC: {strategy: OnWorkflowCompletion}
  templates:
  - name: main
    steps:
    - - {name: make, template: make}
    - - name: take
        template: take
        arguments: {artifacts: [{name: it, from: "{{steps.make.outputs.artifacts.first}}"}]}
  - name: make
    container: {image: a, command: [a], args: [hold]}
    outputs: {artifacts: [{name: first, path: /1}]}
  - name: take
    container: {image: a, command: [a], args: [hold]}
    inputs: {artifacts: [{name: it, path: /it}]}
"""
    async with hands(parts) as executor:
        await submit(client, text)
        holder = await save(parts, executor, "first")
        (step,) = await executor.until_running()
        await executor.end(step.id, kept(in_nats(holder.uid, "first")))
        (taking,) = await executor.until_running()
        assert "deleted" not in json.loads(taking.input_artifacts[0].artifact_json)
        await executor.end(taking.id, step_pb2.StepResult(phase="Failed", exit_code=1))
        await final(client, "w")
        await parts.archiver.drained()
        await until(client, {"first": True})
        await client.retry("w")
        (again,) = await executor.until_running()
        assert json.loads(again.input_artifacts[0].artifact_json)["deleted"] is True


async def test_what_a_dead_scheduler_has_left_is_removed_by_the_next(nats_server: NatsServer, tmp_path: Path) -> None:
    async with (
        scheduling(nats_server.url, tmp_path) as parts,
        Client(parts.address) as client,
        hands(parts) as executor,
    ):
        parts.collector.put = lambda uid: None  # type: ignore[method-assign]  # it dies before it gets there
        parts.archiver.on_garbage.clear()
        await submit(client, workflow())
        holder = await save(parts, executor, *NAMES)
        await ended(parts, client, executor, kept(in_nats(holder.uid, *NAMES)))
        assert await marks(client) == dict.fromkeys(NAMES, False)
    async with scheduling(nats_server.url, tmp_path) as parts, Client(parts.address) as client:
        await until(client, {"first": True, "second": False, "third": False})
        assert parts.artifacts is not None
        assert [one.key for one in await parts.artifacts.list(holder)] == ["second", "third"]


async def test_a_record_that_is_written_again_is_still_to_be_deleted(
    keyed: Scheduler, user: Client, s3: servers.S3
) -> None:
    """As after a death before the log has forgotten the run: it is archived a second time."""
    async with hands(keyed) as executor:
        await submit(user, workflow("OnWorkflowDeletion"))
        (step,) = await executor.until_running()
        entry = keyed.runs.by_uid[step.uid]
        await ended(keyed, user, executor, kept(in_s3(s3, *NAMES)))
        with pytest.raises(ClientError, match="there is no key 'id' in a secret 'store'"):
            await user.delete("w")
        keyed.runs.by_uid[step.uid] = entry
        keyed.archiver.put(entry)
        await keyed.archiver.drained()
        keyed.runs.by_uid.pop(step.uid, None)
        kept_again = await keyed.archiver.get(step.uid)
        assert kept_again is not None
        assert kept_again.garbage is not None
        assert kept_again.garbage.deletion
