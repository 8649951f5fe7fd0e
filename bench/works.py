"""The works that are measured: manifests and how long they took."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import grpc
from nats.aio.msg import Msg

from exeunt.client import interceptors
from exeunt.journal.wire import connect
from exeunt.v1 import workflow_service_pb2 as pb
from exeunt.v1 import workflow_service_pb2_grpc as rpc
from exeunt.words import finalizations, phases


def manifest(name: str, entrypoint: str, templates: list[dict[str, Any]], **spec: Any) -> str:
    """A workflow as JSON."""
    return json.dumps(
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Workflow",
            "metadata": {"generateName": f"{name}-"},
            "spec": {"entrypoint": entrypoint, "templates": templates, **spec},
        }
    )


TRUE = {"name": "true", "container": {"image": "none", "command": ["/bin/true"]}}


def fan_out(steps: int) -> str:
    """W1p: so many `/bin/true` side by side."""
    step = {"name": "a", "template": "true", "withSequence": {"count": str(steps)}}
    return manifest("w1p", "main", [{"name": "main", "steps": [[step]]}, TRUE])


def chain(steps: int) -> str:
    """W2: so many `/bin/true`, one after the other."""
    return manifest(
        "w2",
        "main",
        [{"name": "main", "steps": [[{"name": f"s{i}", "template": "true"}] for i in range(steps)]}, TRUE],
    )


def with_handler(url: str) -> str:
    """W3: one http step and an http exit handler."""
    call = {"url": url, "method": "GET"}
    return manifest("w3", "main", [{"name": "main", "http": call}, {"name": "bye", "http": call}], onExit="bye")


def _seconds(workflow: pb.Workflow) -> float:
    return float(workflow.finish_time.ToDatetime().timestamp() - workflow.create_time.ToDatetime().timestamp())


async def _submit(stub: rpc.WorkflowServiceStub, text: str, number: int) -> pb.Workflow:
    document = pb.Document(file="bench", text=text)
    request = pb.SubmitWorkflowRequest(request_id=f"{time.time_ns()}-{number}", documents=[document])
    answer = await stub.SubmitWorkflow(request, timeout=120)
    return answer.workflows[0]


async def _final(stub: rpc.WorkflowServiceStub, uid: str) -> pb.Workflow:
    last = None
    async for change in stub.WatchWorkflow(pb.WatchWorkflowRequest(uid=uid), timeout=600):
        last = change.workflow
        if change.final:
            break
    assert last is not None
    return last


def _channel(address: str, token: str) -> grpc.aio.Channel:
    options = [("grpc.max_receive_message_length", -1)]
    return grpc.aio.insecure_channel(address, options=options, interceptors=interceptors(token))


async def one(where: tuple[str, str], text: str) -> float:
    """Seconds from before the submission of one workflow until it is final. `where`: the scheduler, and its token."""
    async with _channel(*where) as channel:
        stub = rpc.WorkflowServiceStub(channel)
        started = time.perf_counter()
        workflow = await _submit(stub, text, 0)
        final = await _final(stub, workflow.uid)
        taken = time.perf_counter() - started
        assert phases.word(final.phase) == "Succeeded", f"{phases.word(final.phase)}: {final.message}"
        return taken


async def many(where: tuple[str, str], nats_url: str, text: str, count: int, at_once: int = 64) -> float:
    """Seconds from the first submission until the last of so many workflows is final, exit handlers included.

    The ends are heard as a subscriber hears them, from `workflow.succeeded`: it goes out when the commit that closes
    the workflow is durable, behind its handlers. A watch of each would be a measure of watching. That all went well is
    read from the list afterwards.
    """
    nats = await connect(nats_url, "bench")
    heard: set[str] = set()
    all_heard = asyncio.Event()

    async def over(message: Msg) -> None:
        heard.add(message.subject.split(".")[3])
        if len(heard) == count:
            all_heard.set()

    await nats.subscribe("exeunt.events.*.*.workflow.succeeded", cb=over)
    await nats.flush()
    async with _channel(*where) as channel:
        stub = rpc.WorkflowServiceStub(channel)
        gate = asyncio.Semaphore(at_once)
        uids: list[str] = []

        async def submit(number: int) -> None:
            async with gate:
                uids.append((await _submit(stub, text, number)).uid)

        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                group.create_task(submit(number))
        async with asyncio.timeout(300):
            await all_heard.wait()
        taken = time.perf_counter() - started
        await nats.close()
        ended = await _listed(stub)
        for uid in uids:
            final = ended[uid]
            ended_so = phases.word(final.phase), finalizations.word(final.finalization)
            assert ended_so == ("Succeeded", "Succeeded"), f"{ended_so}: {final.message}"
        return taken


async def _listed(stub: rpc.WorkflowServiceStub) -> dict[str, pb.Workflow]:
    """Every workflow, by uid."""
    found: dict[str, pb.Workflow] = {}
    request = pb.ListWorkflowsRequest(page_size=1000)
    while True:
        page = await stub.ListWorkflows(request)
        found |= {workflow.uid: workflow for workflow in page.workflows}
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token
