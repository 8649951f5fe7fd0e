"""The scheduler as clients see it: real gRPC, a real nats-server, an executor driven by the test."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path

import nats
import pytest

from exeunt.client import Client, ClientError
from exeunt.internal.v1 import step_pb2
from exeunt.journal.keyring import new_key, read_keys
from exeunt.scheduler.parts import Scheduler
from exeunt.service.errors import RpcError
from exeunt.v1 import workflow_service_pb2 as pb
from exeunt.words import phases
from tests.nats_server import NatsServer
from tests.scheduler.rig import final, hands, scheduling

pytestmark = pytest.mark.services

HELLO = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: hello-, labels: {team: blue}}
spec:
  entrypoint: main
  templates:
  - name: main
    container: {image: alpine, command: [echo], args: [hello]}
"""

HOLD = HELLO.replace("[hello]", "[hold]").replace("generateName: hello-", "name: held")

TWO = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {name: two}
spec:
  entrypoint: main
  templates:
  - name: main
    steps:
    - - {name: a, template: work, arguments: {parameters: [{name: x, value: one}]}}
    - - {name: b, template: work, arguments: {parameters: [{name: x, value: "{{steps.a.outputs.result}}-two"}]}}
  - name: work
    inputs: {parameters: [{name: x}]}
    container: {image: alpine, command: [echo], args: ["{{inputs.parameters.x}}"]}
"""


async def submit(client: Client, text: str, **more: object) -> list[str]:
    answer = await client.submit([("test.yaml", text)], **more)  # type: ignore[arg-type]  # the client's own names
    return [workflow.name for workflow in answer.workflows]


async def test_a_workflow_runs_to_its_end(parts: Scheduler, client: Client) -> None:
    async with hands(parts):
        (name,) = await submit(client, TWO)
        tree = await final(client, name)
    assert tree["status"]["phase"] == "Succeeded"
    results = {n["displayName"]: n["outputs"]["result"] for n in tree["status"]["nodes"].values() if n["type"] == "Pod"}
    assert results == {"a": "one", "b": "one-two"}


async def test_a_finished_workflow_is_found_and_listed(parts: Scheduler, client: Client) -> None:
    async with hands(parts):
        (name,) = await submit(client, HELLO)
        await final(client, name)
        await parts.archiver.drained()
    assert not parts.runs.by_uid
    found = await client.get(name)
    assert (phases.word(found.phase), found.labels["team"]) == ("Succeeded", "blue")
    assert [w.name for w in await client.list_workflows()] == [name]
    assert await client.list_workflows(selector="team=red") == []


async def test_the_same_request_is_the_same_workflow(parts: Scheduler, client: Client) -> None:
    first = await submit(client, HELLO, request_id="r-1")
    assert await submit(client, HELLO, request_id="r-1") == first
    assert len(parts.runs.by_uid) == 1
    async with hands(parts):
        await final(client, first[0])
        await parts.archiver.drained()
        assert await submit(client, HELLO, request_id="r-1") == first
    assert not parts.runs.by_uid


@pytest.mark.parametrize("ended", [False, True])
async def test_a_request_id_stands_for_one_submission(parts: Scheduler, client: Client, ended: bool) -> None:
    (first,) = await submit(client, HELLO, request_id="r-1")
    async with hands(parts) if ended else contextlib.nullcontext():
        if ended:
            await final(client, first)
            await parts.archiver.drained()
        before = (await client.get(first)).json
        for other in ({"text": HELLO.replace("hello", "bonjour")}, {"text": HELLO, "parameters": {"a": "b"}}):
            text = other.pop("text")
            with pytest.raises(ClientError, match="the request id 'r-1' was used for another request") as refused:
                await client.submit([("test.yaml", text)], request_id="r-1", **other)
            assert (refused.value.code, refused.value.reason) == ("ALREADY_EXISTS", "REQUEST_ID_USED")
        assert (await client.get(first)).json == before
        assert [w.name for w in await client.list_workflows()] == [first]
        named = await client.submit([("named otherwise.yaml", HELLO)], request_id="r-1")
        assert [w.name for w in named.workflows] == [first], "where the text came from is no part of it"


async def test_the_request_id_of_a_deleted_workflow_starts_nothing(parts: Scheduler, client: Client) -> None:
    async with hands(parts):
        (first,) = await submit(client, HELLO, request_id="r-1")
        await final(client, first)
        assert await client.delete(first)
        with pytest.raises(ClientError, match="has been deleted since; use another request id"):
            await submit(client, HELLO, request_id="r-1")
        with pytest.raises(ClientError, match="was used for another request"):
            await submit(client, HOLD, request_id="r-1")
        assert await submit(client, HOLD) == ["held"], "the name is free"


async def test_a_request_that_started_nothing_may_come_again_with_other_documents(
    parts: Scheduler, client: Client
) -> None:
    await submit(client, TWO)
    with pytest.raises(ClientError, match="'two' exists already"):
        await submit(client, HOLD + "---" + TWO, request_id="r-1")
    assert await submit(client, HOLD, request_id="r-1") == ["held"]


async def test_a_name_that_is_taken_is_refused_and_nothing_starts(parts: Scheduler, client: Client) -> None:
    await submit(client, TWO)
    with pytest.raises(ClientError, match="'two' exists already") as refused:
        await submit(client, HELLO + "---" + TWO)
    assert refused.value.code == "ALREADY_EXISTS"
    assert len(parts.runs.by_uid) == 1


async def test_what_is_wrong_is_said_with_its_place_and_nothing_starts(parts: Scheduler, client: Client) -> None:
    with pytest.raises(ClientError) as refused:
        await submit(client, TWO + "---" + HELLO.replace("entrypoint: main", "entrypoint: mian"))
    assert refused.value.code == "INVALID_ARGUMENT"
    line = (TWO + "---" + HELLO).split("\n").index("  entrypoint: main", TWO.count("\n")) + 1
    assert refused.value.problems[0].startswith(f"test.yaml:{line}: spec.entrypoint: ")
    assert not parts.runs.by_uid


async def test_stop_ends_running_steps(parts: Scheduler, client: Client) -> None:
    async with hands(parts) as executor:
        (name,) = await submit(client, HOLD)
        await executor.until_running()
        await client.stop(name)
        tree = await final(client, name)
    assert tree["status"]["phase"] == "Failed"
    assert not executor.running


@pytest.mark.timeout(20)
async def test_terminate_ends_everything_and_no_handler_runs(parts: Scheduler, client: Client) -> None:
    text = HOLD.replace("  templates:", "  onExit: main\n  templates:")
    async with hands(parts) as executor:
        await submit(client, text)
        await executor.until_running()
        await client.terminate("held")
        tree = await final(client, "held")
    assert tree["status"]["phase"] == "Failed"
    assert len(executor.seen) == 1


async def test_a_finished_workflow_cannot_be_stopped(parts: Scheduler, client: Client) -> None:
    async with hands(parts):
        (name,) = await submit(client, HELLO)
        await final(client, name)
    with pytest.raises(ClientError, match="is over") as refused:
        await client.stop(name)
    assert refused.value.code == "FAILED_PRECONDITION"


async def test_a_deleted_workflow_is_gone_and_its_name_is_free(parts: Scheduler, client: Client) -> None:
    async with hands(parts):
        await submit(client, TWO)
        await final(client, "two")
        assert await client.delete("two")
        with pytest.raises(ClientError) as missing:
            await client.get("two")
        assert missing.value.code == "NOT_FOUND"
        await submit(client, TWO)
        assert (await final(client, "two"))["status"]["phase"] == "Succeeded"


async def test_a_running_workflow_is_deleted_when_it_has_ended(parts: Scheduler, client: Client) -> None:
    async with hands(parts) as executor:
        await submit(client, HOLD)
        await executor.until_running()
        watching = asyncio.create_task(_watched(client, "held"))
        assert not await client.delete("held")
        await watching
        await parts.archiver.drained()
    with pytest.raises(ClientError) as missing:
        await client.get("held")
    assert missing.value.code == "NOT_FOUND"


async def test_suspended_workflows_start_nothing_until_resumed(parts: Scheduler, client: Client) -> None:
    async with hands(parts) as executor:
        text = TWO.replace("value: one", "value: hold")
        await submit(client, text)
        (step,) = await executor.until_running()
        await client.suspend("two")
        await executor.end(step.id, step_pb2.StepResult(phase="Succeeded", result="done"))
        async for change in client.watch("two"):
            if json.loads(change.workflow.json)["status"].get("progress") == "1/1":
                break
        assert len(executor.seen) == 1
        await client.resume("two")
        assert (await final(client, "two"))["status"]["phase"] == "Succeeded"


async def test_a_watch_tells_what_changed_and_ends(parts: Scheduler, client: Client) -> None:
    async with hands(parts) as executor:
        await submit(client, TWO.replace("value: one", "value: hold"))
        (step,) = await executor.until_running()
        changes = client.watch("two")
        first = await anext(changes)
        assert first.reset
        await executor.end(step.id, step_pb2.StepResult(phase="Succeeded", result="1"))
        later = [change async for change in changes]
    assert later[-1].final
    assert not any(change.reset for change in later)
    assert step.node in json.loads(later[0].workflow.json)["status"]["nodes"]


async def test_executors_are_listed_with_what_they_run(parts: Scheduler, client: Client) -> None:
    async with hands(parts) as executor:
        await submit(client, HOLD)
        await executor.until_running()
        (info,) = await client.executors()
    assert (info.id, info.slots, len(info.running)) == ("hands", 16, 1)


async def test_a_template_of_the_same_submission_is_stored_first(parts: Scheduler, client: Client) -> None:
    template = """
apiVersion: argoproj.io/v1alpha1
kind: WorkflowTemplate
metadata: {name: shared}
spec:
  templates:
  - name: work
    container: {image: alpine, command: [echo], args: [shared]}
"""
    workflow = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: uses-}
spec:
  entrypoint: main
  templates:
  - name: main
    steps: [[{name: a, templateRef: {name: shared, template: work}}]]
"""
    async with hands(parts):
        (name,) = await submit(client, template + "---" + workflow)
        assert (await final(client, name))["status"]["phase"] == "Succeeded"
        (name,) = await submit(client, workflow)
        assert (await final(client, name))["status"]["phase"] == "Succeeded"


async def test_a_new_scheduler_goes_on_where_the_old_one_was(nats_server: NatsServer, tmp_path: Path) -> None:
    async with (
        scheduling(nats_server.url, tmp_path) as first,
        Client(first.address) as client,
        hands(first) as executor,
    ):
        await submit(client, TWO.replace("value: one", "value: hold"))
        await executor.until_running()
        running, seen = dict(executor.running), executor.seen
    async with scheduling(nats_server.url, tmp_path) as second, Client(second.address) as client:
        ended = {id: step_pb2.StepResult(phase="Succeeded", result="1") for id in running}
        async with hands(second, ended=ended, seen=seen):
            tree = await final(client, "two")
    assert tree["status"]["phase"] == "Succeeded"
    assert len(seen) == len(set(seen)) == 2


async def test_output_is_kept_and_followed_to_the_end(parts: Scheduler, client: Client) -> None:
    async with hands(parts) as executor:
        await submit(client, HOLD.replace("name: held", "name: held.with.dots"))
        (step,) = await executor.until_running()
        await executor.say(step.id, 1, "one\ntwo\n")
        following = client.logs("held.with.dots", follow=True)
        got = [(await anext(following)).text for _ in range(2)]
        await executor.say(step.id, 2, "three\n")
        await executor.end(step.id, step_pb2.StepResult(phase="Succeeded"))
        got += [line.text async for line in following]
        assert got == ["one", "two", "three"]
        assert [line.text async for line in client.logs("held.with.dots", tail=2)] == ["two", "three"]
        await parts.archiver.drained()
        assert [line.display_name async for line in client.logs("held.with.dots", tail=1)] == ["held.with.dots"]


async def test_pages_hold_everything_once(parts: Scheduler, client: Client) -> None:
    async with hands(parts):
        done = await submit(client, "---".join([HELLO] * 7))
        for name in done:
            await final(client, name)
        await parts.archiver.drained()
        still = await submit(client, "---".join([HOLD.replace("name: held", "generateName: held-")] * 5))
        seen: list[str] = []
        token = ""
        while True:
            request = pb.ListWorkflowsRequest(page_size=2, page_token=token)
            page = await parts.workflows.ListWorkflows(request, Unmarked())
            assert len(page.workflows) <= 2
            seen += [workflow.name for workflow in page.workflows]
            token = page.next_page_token
            if not token:
                break
    assert sorted(seen) == sorted(done + still)


async def test_a_page_token_of_somebody_else_is_refused(parts: Scheduler) -> None:
    with pytest.raises(RpcError, match="page_token cannot be read"):
        await parts.workflows.ListWorkflows(pb.ListWorkflowsRequest(page_token="x"), Unmarked())


async def test_new_work_is_refused_while_the_log_is_nearly_full(parts: Scheduler, client: Client) -> None:
    extent = parts.journal._extent
    extent.bytes = int(0.9 * extent.room)
    with pytest.raises(ClientError, match="the log is 90% full") as refused:
        await submit(client, HELLO)
    assert refused.value.code == "RESOURCE_EXHAUSTED"


async def test_calls_wait_for_a_server_that_restarts(nats_server: NatsServer, parts: Scheduler, client: Client) -> None:
    async with hands(parts):
        await nats_server.kill()
        submitted = asyncio.create_task(submit(client, TWO))
        await nats_server.restart()
        await submitted
        assert (await final(client, "two"))["status"]["phase"] == "Succeeded"


@pytest.mark.parametrize("many", [200])
async def test_many_workflows_run_and_are_archived(parts: Scheduler, client: Client, many: int) -> None:
    async with hands(parts):
        await client.submit([("many.yaml", "---".join([HELLO] * many))])
        for uid in list(parts.runs.by_uid):
            async for _ in client.watch(uid=uid):
                pass
        await parts.archiver.drained()
    listed = await client.list_workflows(limit=1000)
    assert [phases.word(w.phase) for w in listed] == ["Succeeded"] * many


class Unmarked:
    """The context of a call that no other scheduler has passed on."""

    def invocation_metadata(self) -> tuple[()]:
        return ()


async def _watched(client: Client, name: str) -> None:
    async for _ in client.watch(name):
        pass


SECRET = "apiVersion: v1\nkind: Secret\nmetadata: {name: api}\nstringData: {token: tok-4711-geheim, other: not asked}\n"


async def test_a_step_gets_the_secret_as_it_is_when_it_is_sent(nats_server: NatsServer, tmp_path: Path) -> None:
    """And only the keys that it names. Changed meanwhile, the next step has the new value."""
    key = {"valueFrom": {"secretKeyRef": {"name": "api", "key": "token"}}}
    missing = {"valueFrom": {"secretKeyRef": {"name": "none", "key": "a"}}}
    env = json.dumps([{"name": "A", **key}, {"name": "B", **missing}])
    given: list[dict[str, dict[str, bytes] | bool]] = []

    def outcome(step: step_pb2.Step) -> step_pb2.StepResult:
        given.append({s.name: s.missing or dict(s.values) for s in step.secrets})
        return step_pb2.StepResult(phase="Succeeded")

    text = HELLO.replace("args: [hello]", f"args: [hello], env: {env}")
    async with (
        scheduling(nats_server.url, tmp_path, secret_key=new_key()) as parts,
        Client(parts.address) as client,
        hands(parts, outcome),
    ):
        for document in (SECRET, SECRET.replace("4711", "4712")):
            (name,) = await submit(client, f"{document}---{text}")
            tree = await final(client, name)
            assert "geheim" not in json.dumps(tree)
    assert given == [{"api": {"token": f"tok-{n}-geheim".encode()}, "none": True} for n in (4711, 4712)]


async def test_a_scheduler_with_a_new_key_seals_anew_what_is_stored(nats_server: NatsServer, tmp_path: Path) -> None:
    old, new = new_key(), new_key()
    async with scheduling(nats_server.url, tmp_path, secret_key=old) as parts, Client(parts.address) as client:
        await client.submit([("secret.yaml", SECRET)])
    nc = await nats.connect(nats_server.url)
    stored = await nc.subscribe("xt.Secret.>")
    await nc.flush()
    async with scheduling(nats_server.url, tmp_path, secret_key=f"{new},{old}"):
        message = await stored.next_msg(timeout=20)
    await nc.close()
    assert json.loads(message.data)["key"] == read_keys(new).first
