"""Repeated verbs: the same request id is the same call, whoever has the workflow's name by now."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from exeunt.client import Client, ClientError
from exeunt.scheduler.parts import Scheduler
from exeunt.words import phases
from tests.scheduler.rig import final, hands
from tests.scheduler.test_service import HELLO, HOLD, TWO, submit

pytestmark = pytest.mark.services

WAITS = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {name: held}
spec:
  entrypoint: main
  templates:
  - name: main
    steps: [[{name: approve, template: wait}]]
  - {name: wait, suspend: {}}
"""
FAILS = HELLO.replace("[hello]", '[exit, "1"]').replace("generateName: hello-", "name: held")
USED = ("ALREADY_EXISTS", "REQUEST_ID_USED")
TEMPLATE = """
apiVersion: argoproj.io/v1alpha1
kind: WorkflowTemplate
metadata: {name: greeting}
spec:
  templates:
  - {name: main, container: {image: a, command: [echo, hello]}}
"""
APPROVE = {"selector": "displayName=approve"}

Verb = Callable[..., Awaitable[Any]]


async def refusal(asked: Awaitable[Any]) -> tuple[str, str]:
    with pytest.raises(ClientError) as refused:
        await asked
    return refused.value.code, refused.value.reason


async def test_a_repeated_delete_leaves_the_next_workflow_of_that_name_alone(parts: Scheduler, client: Client) -> None:
    async with hands(parts):
        await submit(client, TWO)
        await final(client, "two")
        assert await client.delete("two", request_id="r")
        await submit(client, TWO)
        await final(client, "two")
        assert await client.delete("two", request_id="r"), "the first answer"
        assert phases.word((await client.get("two")).phase) == "Succeeded"
        assert await refusal(client.delete("two", uid="of-somebody-else")) == ("NOT_FOUND", "WORKFLOW_NOT_FOUND")
        assert await client.delete("two", request_id="another")


@pytest.mark.parametrize(
    ("verb", "more"),
    [("stop", {}), ("terminate", {}), ("suspend", {}), ("resume", {}), ("set_nodes", {**APPROVE, "phase": "Failed"})],
)
async def test_a_repeated_verb_is_carried_out_on_the_first_workflow_only(
    parts: Scheduler, client: Client, verb: str, more: dict[str, str]
) -> None:
    async with hands(parts):
        await submit(client, WAITS)
        first = await getattr(client, verb)("held", request_id="r", **more)
        again = await getattr(client, verb)("held", request_id="r", **more)
        assert again.uid == first.uid
        if verb != "suspend":
            await final(client, "held")
            assert (await getattr(client, verb)("held", request_id="r", **more)).uid == first.uid, "it is over"
        await client.delete("held")
        if verb == "suspend":
            async for _ in client.watch(uid=first.uid):
                pass
            await parts.archiver.drained()
        await submit(client, WAITS)
        said = await refusal(getattr(client, verb)("held", request_id="r", **more))
        assert said == ("NOT_FOUND", "WORKFLOW_DELETED")
        now = await client.get("held")
        assert (phases.word(now.phase), now.uid != first.uid, "suspended" in now.json) == ("Running", True, False)


async def test_a_repeated_retry_leaves_the_next_workflow_of_that_name_alone(parts: Scheduler, client: Client) -> None:
    async with hands(parts) as executor:
        await submit(client, FAILS)
        await final(client, "held")
        first = await client.retry("held", request_id="r")
        await final(client, "held")
        assert (await client.retry("held", request_id="r")).uid == first.uid
        await client.delete("held")
        await submit(client, FAILS)
        await final(client, "held")
        assert await refusal(client.retry("held", request_id="r")) == ("NOT_FOUND", "WORKFLOW_DELETED")
        assert len(executor.seen) == 3


async def test_a_repeated_resubmit_has_the_first_child_when_its_source_is_gone(
    parts: Scheduler, client: Client
) -> None:
    async with hands(parts):
        await submit(client, TWO)
        await final(client, "two")
        child = await client.resubmit("two", request_id="r")
        await client.delete("two")
        assert (await client.resubmit("two", request_id="r")).uid == child.uid
        await final(client, child.name)
        await submit(client, HELLO.replace("generateName: hello-", "name: two"))
        assert (await client.resubmit("two", request_id="r")).uid == child.uid
        await client.delete(child.name)
        assert await refusal(client.resubmit("two", request_id="r")) == ("NOT_FOUND", "WORKFLOW_DELETED")


async def test_a_request_id_stands_for_one_verb(parts: Scheduler, client: Client) -> None:
    await submit(client, HOLD)
    await submit(client, TWO)
    await client.suspend("two", request_id="r")
    for other in (client.terminate("two", request_id="r"), client.suspend("held", request_id="r")):
        assert await refusal(other) == ("ALREADY_EXISTS", "REQUEST_ID_USED")
    assert phases.word((await client.get("two")).phase) == "Running"


async def test_a_name_and_a_uid_have_to_fit(parts: Scheduler, client: Client) -> None:
    await submit(client, HOLD)
    await submit(client, TWO)
    uid = (await client.get("two")).uid
    assert (await client.get("two", uid=uid)).uid == uid
    verbs: list[Verb] = [client.get, client.stop, client.terminate, client.suspend, client.resume, client.delete]
    for verb in [*verbs, client.retry, client.resubmit]:
        assert await refusal(verb("held", uid=uid)) == ("NOT_FOUND", "WORKFLOW_NOT_FOUND"), verb
        assert await refusal(verb("two", "elsewhere", uid=uid)) == ("NOT_FOUND", "WORKFLOW_NOT_FOUND"), verb
    assert {phases.word(w.phase) for w in await client.list_workflows()} == {"Running"}
    assert (await client.suspend(uid=uid)).name == "two"
    assert await client.delete("two", uid=uid) is False


async def test_many_verbs_at_once_are_each_carried_out_once(parts: Scheduler, client: Client) -> None:
    names = [name for _ in range(60) for name in await submit(client, HOLD.replace("name: held", "generateName: h-"))]
    for _ in range(2):
        answers = await asyncio.gather(*(client.suspend(name, request_id=f"r-{name}") for name in names * 2))
        assert [answer.name for answer in answers] == names * 2
    assert {entry.run.state.requests[0] for entry in parts.runs.by_uid.values()} == {f"r-{name}" for name in names}


async def test_submissions_share_their_request_ids_with_verbs(parts: Scheduler, client: Client) -> None:
    async with hands(parts):
        await submit(client, HOLD)
        await client.suspend("held", request_id="of a verb")
        assert await refusal(client.submit([("a", TWO)], request_id="of a verb")) == USED
        await client.submit([("a", TWO)], request_id="r")
        for verb in (client.stop, client.terminate, client.suspend, client.resume, client.delete, client.resubmit):
            assert await refusal(verb("two", request_id="r")) == USED, verb
        await final(client, "two")
        assert await client.delete("two")
        assert await refusal(client.submit([("a", HELLO)], request_id="r")) == USED
        assert await refusal(client.submit([("b", TWO)], request_id="r")) == ("NOT_FOUND", "WORKFLOW_DELETED")
        assert await refusal(client.delete("held", request_id="r")) == USED
    assert [w.name for w in await client.list_workflows()] == ["held"]


async def test_a_resubmission_shares_its_request_id(parts: Scheduler, client: Client) -> None:
    async with hands(parts):
        await submit(client, TWO)
        child = await client.resubmit("two", request_id="r", by="me")
        assert (await client.resubmit("two", request_id="r", by="me")).uid == child.uid
        assert await refusal(client.resubmit("two", request_id="r", by="you")) == USED
        assert await refusal(client.submit([("a", TWO)], request_id="r")) == USED
        assert await refusal(client.suspend("two", request_id="r")) == USED
        await client.delete(child.name)
        await final(client, "two")
    assert len(await client.list_workflows()) <= 2


async def test_who_asks_is_compared_and_names_of_files_are_not(parts: Scheduler, client: Client) -> None:
    [first] = (await client.submit([("a", HOLD)], request_id="r", by="me")).workflows
    assert (await client.submit([("b", HOLD)], request_id="r", by="me")).workflows[0].uid == first.uid
    assert await refusal(client.submit([("a", HOLD)], request_id="r", by="you")) == USED


async def test_templates_that_are_submitted_alone_are_stored_once_for_a_request_id(
    parts: Scheduler, client: Client
) -> None:
    await client.submit([("a", TEMPLATE)], request_id="r")
    other = TEMPLATE.replace("hello", "bye")
    await client.submit([("a", other)], request_id="s")
    await client.submit([("a", TEMPLATE)], request_id="r")
    kept = await parts.projections.manifests.get("WorkflowTemplate", "default", "greeting")
    assert "bye" in str(kept), "what was stored since is left alone"
    assert await refusal(client.submit([("a", other)], request_id="r")) == USED
    await submit(client, HOLD)
    assert await refusal(client.suspend("held", request_id="r")) == USED
