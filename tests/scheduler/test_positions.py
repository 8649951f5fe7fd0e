"""Going on from a position, and doing only what was meant: watches of one workflow, logs, revisions."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import grpc
import pytest

from exeunt.client import Client, ClientError
from exeunt.internal.v1 import executor_service_pb2 as internal
from exeunt.internal.v1 import step_pb2
from exeunt.scheduler.parts import Scheduler
from exeunt.v1 import workflow_service_pb2 as pb
from exeunt.v1 import workflow_service_pb2_grpc as rpc
from tests.scheduler.rig import final, hands
from tests.scheduler.test_requests import WAITS
from tests.scheduler.test_service import HELLO, HOLD, TWO, submit

pytestmark = pytest.mark.services


async def test_a_watch_goes_on_from_where_it_was_or_begins_anew(
    parts: Scheduler, client: Client, stub: rpc.WorkflowServiceAsyncStub
) -> None:
    async with hands(parts) as executor:
        await submit(client, HOLD)
        [step] = await executor.until_running()
        uid = (await client.get("held")).uid
        [first] = await _read(stub, pb.WatchWorkflowRequest(name="held"), 1)
        assert first.reset
        assert first.position
        same: Any = stub.WatchWorkflow(pb.WatchWorkflowRequest(uid=uid, position=first.position))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await same.initial_metadata()  # nothing has changed
        await executor.end(step.id, step_pb2.StepResult(phase="Succeeded"))
        last: Any = None
        async with asyncio.timeout(10):
            async for last in same:
                assert not last.reset, "nothing was missed"
        assert last.final
        await final(client, "held")
        await parts.archiver.drained()
        [anew] = await _read(stub, pb.WatchWorkflowRequest(uid=uid, position=first.position), 1)
        assert (anew.reset, anew.final) == (True, True), "all of it: what was between is not kept"
        [over] = await _read(stub, pb.WatchWorkflowRequest(uid=uid, position=anew.position), 1)
        assert (over.reset, over.final) == (False, True)
        assert (
            "nodes" not in json.loads(over.workflow.json)["status"]
            or not json.loads(over.workflow.json)["status"]["nodes"]
        )
        await client.delete("held")
        await submit(client, HOLD)
        [other] = await _read(stub, pb.WatchWorkflowRequest(name="held", position=first.position), 1)
        assert (other.reset, other.workflow.uid != uid) == (True, True), "another one of that name"
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await _read(stub, pb.WatchWorkflowRequest(name="held", position="7"), 1)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def _read(
    stub: rpc.WorkflowServiceAsyncStub, request: pb.WatchWorkflowRequest, count: int
) -> list[pb.WatchWorkflowResponse]:
    call: Any = stub.WatchWorkflow(request)
    async with asyncio.timeout(10):
        found = [await call.read() for _ in range(count)]
    call.cancel()
    return found


async def test_logs_tell_stream_and_attempt_and_go_on(
    parts: Scheduler, client: Client, stub: rpc.WorkflowServiceAsyncStub
) -> None:
    async with hands(parts) as executor:
        await submit(client, HOLD)
        [step] = await executor.until_running()
        for number, (data, runs) in enumerate(
            [(b"out\nerr\nout again\n", [4, 4, 10]), (b"\xff\xfe\n", [0, 3]), (b"long", [4]), (b" line\n", [6])], 1
        ):
            frame = step_pb2.LogFrame(id=step.id, number=number, data=data, runs=runs)
            await executor._write(internal.SessionRequest(logs=[frame]))
        call: Any = stub.GetLogs(pb.GetLogsRequest(name="held", follow=True))
        async with asyncio.timeout(10):
            answers = [await call.read() for _ in range(4)]
        call.cancel()
        out, err = pb.LOG_STREAM_STDOUT, pb.LOG_STREAM_STDERR
        lines = [line for answer in answers for line in answer.lines]
        assert [(line.text, line.stream) for line in lines[:3]] == [("out", out), ("err", err), ("out again", out)]
        assert (lines[3].text, lines[3].data, lines[3].stream) == ("\ufffd\ufffd", b"\xff\xfe", err)
        assert [(line.text, line.unfinished) for line in lines[4:]] == [("long", True), (" line", False)]
        assert not lines[0].data
        for number, answer in enumerate(answers[:3]):
            again = [a async for a in stub.GetLogs(pb.GetLogsRequest(name="held", position=answer.position))]
            assert [line.text for a in again for line in a.lines] == [
                line.text for later in answers[number + 1 :] for line in later.lines
            ]
        for stream, texts in ((out, ["out", "out again", "long", " line"]), (err, ["err", "\ufffd\ufffd"])):
            assert [line.text async for line in client.logs("held", stream=stream)] == texts
        assert [line.text async for line in client.logs("held", attempt=1)] == []


async def test_a_verb_is_for_the_revision_that_was_looked_at(parts: Scheduler, client: Client) -> None:
    async with hands(parts):
        await submit(client, WAITS)
        looked = await client.get("held")
        await client.suspend("held", revision=looked.revision, request_id="r")
        await client.suspend("held", revision=looked.revision, request_id="r")  # the first answer, again
        for verb in (client.resume, client.stop, client.terminate, client.delete, client.resubmit):
            with pytest.raises(ClientError) as refused:
                await verb("held", revision=looked.revision)
            assert (refused.value.code, refused.value.reason) == ("ABORTED", "REVISION_CHANGED"), verb
        now = await client.get("held")
        assert now.revision > looked.revision
        await client.terminate("held", revision=now.revision)
        await final(client, "held")
        await parts.archiver.drained()
        over = await client.get("held")
        for verb in (client.retry, client.stop, client.terminate, client.suspend, client.resume, client.delete):
            with pytest.raises(ClientError) as refused:
                await verb("held", revision=now.revision)
            assert refused.value.reason == "REVISION_CHANGED"
        again = await client.retry("held", revision=over.revision)
        assert again.attempt == 1
        assert again.revision > over.revision


async def test_views_say_how_much_of_a_workflow_is_told(
    parts: Scheduler, client: Client, stub: rpc.WorkflowServiceAsyncStub
) -> None:
    async with hands(parts):
        await submit(client, TWO)
        [name] = await submit(client, HELLO)
        for one in ("two", name):
            await final(client, one)
        for view, holds in ((pb.WORKFLOW_VIEW_BASIC, False), (pb.WORKFLOW_VIEW_OBJECT, True), (0, False)):
            listed = (await stub.ListWorkflows(pb.ListWorkflowsRequest(view=view))).workflows  # type: ignore[arg-type]
            assert [bool(one.json) for one in listed] == [holds, holds]
            assert all(one.name and one.finish_time.seconds for one in listed)
        for view, nodes in ((0, True), (pb.WORKFLOW_VIEW_FULL, True), (pb.WORKFLOW_VIEW_OBJECT, False)):
            found = await stub.GetWorkflow(pb.GetWorkflowRequest(name="two", view=view))
            assert bool(json.loads(found.json)["status"].get("nodes")) == nodes
        assert not (await stub.GetWorkflow(pb.GetWorkflowRequest(name="two", view=pb.WORKFLOW_VIEW_BASIC))).json
