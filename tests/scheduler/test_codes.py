"""What a wrong request is told: that the request is wrong, before anything is looked at, and never nothing with OK."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from exeunt.client import Client, ClientError
from exeunt.scheduler.parts import Scheduler
from exeunt.service.errors import received
from exeunt.v1 import workflow_service_pb2 as pb
from exeunt.v1 import workflow_service_pb2_grpc as rpc
from exeunt.v1.phase_pb2 import Phase
from exeunt.words import phases
from tests.scheduler.rig import final, hands
from tests.scheduler.test_requests import WAITS
from tests.scheduler.test_service import HOLD, TWO, submit

pytestmark = pytest.mark.services


async def said(call: Any) -> tuple[str, list[str], str]:
    """Code, fields and text of a refusal."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    error = received(raised.value)
    return error.code.name, [violation.field for violation in error.violations], error.text


@pytest.mark.parametrize("over", [False, True])
async def test_what_is_wrong_in_a_request_comes_before_the_state_of_its_workflow(
    parts: Scheduler, client: Client, stub: rpc.WorkflowServiceAsyncStub, over: bool
) -> None:
    async with hands(parts):
        await submit(client, WAITS)
        if over:
            await client.terminate("held")
            await final(client, "held")
        for call, field in [
            (stub.SetNodes(pb.SetNodesRequest(name="held", phase=Phase.PHASE_SUCCEEDED)), "node_field_selector"),
            (
                stub.SetNodes(pb.SetNodesRequest(name="held", phase=Phase.PHASE_FAILED, node_field_selector=" , ")),
                "node_field_selector",
            ),
            (stub.SetNodes(pb.SetNodesRequest(name="held", node_field_selector="approve")), "node_field_selector"),
            (
                stub.SetNodes(pb.SetNodesRequest(name="held", node_field_selector="id=a", phase=Phase.PHASE_RUNNING)),
                "phase",
            ),
            (
                stub.ResumeWorkflow(pb.ResumeWorkflowRequest(name="held", node_field_selector="colour=red")),
                "node_field_selector",
            ),
            (stub.StopWorkflow(pb.StopWorkflowRequest(name="held", node_field_selector="!")), "node_field_selector"),
        ]:
            assert (await said(call))[:2] == ("INVALID_ARGUMENT", [field])
        if not over:
            assert phases.word((await client.get("held")).phase) == "Running", "nothing that waits was ended"


async def test_lists_refuse_what_they_do_not_know(stub: rpc.WorkflowServiceAsyncStub) -> None:
    for phase in (Phase.PHASE_UNSPECIFIED, Phase.PHASE_OMITTED, 99):
        wrong: Any = [Phase.PHASE_FAILED, phase]
        code, fields, text = await said(stub.ListWorkflows(pb.ListWorkflowsRequest(phases=wrong)))
        assert (code, fields) == ("INVALID_ARGUMENT", ["phases"])
        assert "PHASE_SUCCEEDED, PHASE_FAILED, PHASE_ERROR are" in text
    full = stub.ListWorkflows(pb.ListWorkflowsRequest(view=pb.WORKFLOW_VIEW_FULL))
    assert (await said(full))[:2] == ("INVALID_ARGUMENT", ["view"])
    executors = stub.ListExecutors(pb.ListExecutorsRequest(page_token="hands"))
    assert (await said(executors))[:2] == ("INVALID_ARGUMENT", ["page_token"])


async def test_executors_are_listed_page_by_page(parts: Scheduler, stub: rpc.WorkflowServiceAsyncStub) -> None:
    async with hands(parts, id="a"), hands(parts, id="b"):
        while sum(e.link is not None for e in parts.dispatch.executors.values()) < 2:  # noqa: ASYNC110 - turns of the loop
            await asyncio.sleep(0)
        first = await stub.ListExecutors(pb.ListExecutorsRequest(page_size=1))
        rest = await stub.ListExecutors(pb.ListExecutorsRequest(page_token=first.next_page_token))
        assert [e.id for e in (*first.executors, *rest.executors)] == ["a", "b"]
        workflows = stub.ListWorkflows(pb.ListWorkflowsRequest(page_token=first.next_page_token))
        assert (await said(workflows))[:2] == ("INVALID_ARGUMENT", ["page_token"])


async def test_no_namespace_and_a_star_are_every_namespace(client: Client) -> None:
    await submit(client, HOLD)
    await submit(client, HOLD, namespace="other")
    for namespace, count in (("", 2), ("*", 2), ("default", 1), ("other", 1), ("none", 0)):
        assert len(await client.list_workflows(namespace)) == count


async def test_a_star_is_every_namespace_for_a_watch_too(client: Client, stub: rpc.WorkflowServiceAsyncStub) -> None:
    await submit(client, HOLD, namespace="other")
    call = stub.WatchWorkflows(pb.WatchWorkflowsRequest(namespace="*"))
    assert (await call.read()).workflow.namespace == "other"
    call.cancel()


async def test_who_comes_with_an_old_revision_is_told_of_what_workflow(
    parts: Scheduler, client: Client, stub: rpc.WorkflowServiceAsyncStub
) -> None:
    async with hands(parts):
        await submit(client, WAITS)
        stale = 10**6
        calls: list[Any] = [
            lambda: stub.StopWorkflow(pb.StopWorkflowRequest(name="held", revision=stale)),
            lambda: stub.ResumeWorkflow(pb.ResumeWorkflowRequest(name="held", revision=stale)),
            lambda: stub.ResubmitWorkflow(pb.ResubmitWorkflowRequest(name="held", revision=stale)),
            lambda: stub.DeleteWorkflow(pb.DeleteWorkflowRequest(name="held", revision=stale)),
        ]
        for call in calls:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call()
            error = received(raised.value)
            assert (error.code.name, error.reason) == ("ABORTED", "REVISION_CHANGED")
            assert error.resource == ("workflow", "default/held")
        await client.terminate("held")


async def test_a_submission_that_is_only_checked_is_told_that_its_name_is_taken(
    client: Client, stub: rpc.WorkflowServiceAsyncStub
) -> None:
    document = [pb.Document(text=HOLD)]
    only = pb.SubmitWorkflowRequest(documents=document, validate_only=True, request_id="r")
    await stub.SubmitWorkflow(only)
    await submit(client, HOLD)
    assert (await said(stub.SubmitWorkflow(only)))[0] == "ALREADY_EXISTS"
    await stub.SubmitWorkflow(pb.SubmitWorkflowRequest(documents=document, validate_only=True, name="free"))
    both = pb.SubmitWorkflowRequest(documents=document, name="a", generate_name="b-")
    assert (await said(stub.SubmitWorkflow(both)))[:2] == ("INVALID_ARGUMENT", ["generate_name"])


async def test_every_delete_while_a_workflow_is_being_deleted_is_answered_alike(
    parts: Scheduler, client: Client
) -> None:
    async with hands(parts) as executor:
        await submit(client, HOLD)
        await executor.until_running()
        await submit(client, TWO)
        answers: list[bool] = []
        try:
            while True:
                answers.append(await client.delete("held"))
        except ClientError as gone:
            code = gone.code
    assert code == "NOT_FOUND"
    assert answers[0] is False
    assert answers == sorted(answers), "not gone, then gone"
