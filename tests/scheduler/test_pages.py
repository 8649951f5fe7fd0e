"""Lists page by page, newest first, while workflows are deleted, end and begin between the pages: each comes once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import grpc
import pytest

from exeunt.client import Client
from exeunt.internal.v1 import step_pb2
from exeunt.scheduler.parts import Scheduler
from exeunt.service.errors import received
from exeunt.v1 import workflow_service_pb2 as pb
from exeunt.v1 import workflow_service_pb2_grpc as rpc
from exeunt.v1.phase_pb2 import Phase
from tests.scheduler.rig import final, hands
from tests.scheduler.test_service import HELLO, HOLD, submit

pytestmark = pytest.mark.services

HELD = HOLD.replace("name: held", "generateName: held-")
Between = Callable[[list[str]], Awaitable[None]]


async def pages(parts: Scheduler, size: int, between: Between) -> list[str]:
    """All names, in the order of the list; `between` gets those of each page before the next is asked for."""
    seen: list[str] = []
    times: list[int] = []
    token = ""
    async with grpc.aio.insecure_channel(parts.address) as channel:
        while True:
            request = pb.ListWorkflowsRequest(page_size=size, page_token=token)
            page = await rpc.WorkflowServiceStub(channel).ListWorkflows(request)
            names = [workflow.name for workflow in page.workflows]
            seen += names
            times += [workflow.create_time.seconds for workflow in page.workflows]
            assert times == sorted(times, reverse=True), "newest first"
            token = page.next_page_token
            if not token:
                return seen
            await between(names)


async def test_what_is_deleted_between_pages_hides_nothing(parts: Scheduler, client: Client) -> None:
    async with hands(parts):
        done = await submit(client, "---".join([HELLO] * 12))
        for name in done:
            await final(client, name)
        await parts.archiver.drained()

        async def delete(names: list[str]) -> None:
            for name in names:
                await client.delete(name)

        seen = await pages(parts, 2, delete)
    assert sorted(seen) == sorted(done)


async def test_what_ends_and_begins_between_pages_comes_once(parts: Scheduler, client: Client) -> None:
    async with hands(parts) as executor:
        done = await submit(client, "---".join([HELLO] * 4))
        for name in done:
            await final(client, name)
        await parts.archiver.drained()
        still = await submit(client, "---".join([HELD] * 8))
        running = await executor.until_running(8)
        late: list[str] = []

        async def go_on(names: list[str]) -> None:
            """Two end after each page, whether they were shown or not; and others begin."""
            late.extend(await submit(client, HELLO))
            await final(client, late[-1])
            for _ in range(min(2, len(running))):
                step = running.pop()
                await executor.end(step.id, step_pb2.StepResult(phase="Succeeded"))
                async for _ in client.watch(uid=step.uid):
                    pass
            await parts.archiver.drained()

        seen = await pages(parts, 3, go_on)
    assert len(seen) == len(set(seen)), "none twice"
    assert set(seen) >= {*done, *still}
    assert set(seen) <= {*done, *still, *late}


@pytest.mark.parametrize("size", [1, 2, 10])
async def test_workflows_are_listed_newest_first_whether_they_run_or_not(
    parts: Scheduler, client: Client, size: int
) -> None:
    """What has ended was created behind what runs, and before it, and ends in another order."""
    failing = HELLO.replace("[hello]", '[exit, "1"]')

    async def nothing(names: list[str]) -> None:
        pass

    async with hands(parts):
        created = []
        for text in (HELD, HELLO, HELD, failing):
            created += await submit(client, text)
        await final(client, created[3])
        await parts.archiver.drained()
        assert await pages(parts, size, nothing) == created[::-1]
        await client.stop(created[2])
        await final(client, created[2])
        await parts.archiver.drained()
        assert await pages(parts, size, nothing) == created[::-1]
        await client.retry(created[3])
        assert await pages(parts, size, nothing) == created[::-1]
        await final(client, created[3])
        await parts.archiver.drained()
        assert await pages(parts, size, nothing) == created[::-1]


async def test_what_ends_and_is_retried_while_pages_are_made_comes_once(parts: Scheduler, client: Client) -> None:
    failing = HELLO.replace("[hello]", '[exit, "1"]')
    async with hands(parts):
        names = await submit(client, "---".join([failing] * 12))

        async def again_and_again(name: str) -> None:
            while True:
                await final(client, name)
                await client.retry(name)

        changing = [asyncio.create_task(again_and_again(name)) for name in names]

        async def nothing(names: list[str]) -> None:
            pass

        for _ in range(30):
            assert sorted(await pages(parts, 5, nothing)) == sorted(names)
        for task in changing:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def test_a_page_token_is_of_one_list(parts: Scheduler, client: Client) -> None:
    await submit(client, "---".join([HELD] * 3))
    async with grpc.aio.insecure_channel(parts.address) as channel:
        stub = rpc.WorkflowServiceStub(channel)
        token = (await stub.ListWorkflows(pb.ListWorkflowsRequest(page_size=1))).next_page_token
        for same in ({"namespace": "*"}, {"view": pb.WORKFLOW_VIEW_OBJECT}, {"page_size": 5}):
            await stub.ListWorkflows(pb.ListWorkflowsRequest(page_token=token, **same))  # type: ignore[arg-type]
        for other in ({"namespace": "default"}, {"selector": "a=b"}, {"phases": [Phase.PHASE_RUNNING]}):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.ListWorkflows(pb.ListWorkflowsRequest(page_token=token, **other))  # type: ignore[arg-type]
            told = received(refused.value)
            assert (told.reason, told.violations[0].field) == ("INVALID_REQUEST", "page_token")
