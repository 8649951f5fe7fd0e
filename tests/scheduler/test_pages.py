"""Lists page by page while workflows are deleted, end and begin between the pages: each comes once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import grpc
import pytest

from exeunt.client import Client
from exeunt.internal.v1 import step_pb2
from exeunt.scheduler.core import Core
from exeunt.v1 import workflow_service_pb2 as pb
from exeunt.v1 import workflow_service_pb2_grpc as rpc
from tests.scheduler.rig import final, hands
from tests.scheduler.test_service import HELLO, HOLD, submit

pytestmark = pytest.mark.services

HELD = HOLD.replace("name: held", "generateName: held-")
Between = Callable[[list[str]], Awaitable[None]]


async def pages(core: Core, size: int, between: Between) -> list[str]:
    """All names, in the order of the list; `between` gets those of each page before the next is asked for."""
    seen: list[str] = []
    token = ""
    async with grpc.aio.insecure_channel(core.address) as channel:
        while True:
            request = pb.ListWorkflowsRequest(page_size=size, page_token=token)
            page = await rpc.WorkflowServiceStub(channel).ListWorkflows(request)
            names = [workflow.name for workflow in page.workflows]
            seen += names
            token = page.next_page_token
            if not token:
                return seen
            await between(names)


async def test_what_is_deleted_between_pages_hides_nothing(core: Core, client: Client) -> None:
    async with hands(core):
        done = await submit(client, "---".join([HELLO] * 12))
        for name in done:
            await final(client, name)
        await core.archiver.drained()

        async def delete(names: list[str]) -> None:
            for name in names:
                await client.delete(name)

        seen = await pages(core, 2, delete)
    assert sorted(seen) == sorted(done)


async def test_what_ends_and_begins_between_pages_comes_once(core: Core, client: Client) -> None:
    async with hands(core) as executor:
        done = await submit(client, "---".join([HELLO] * 4))
        for name in done:
            await final(client, name)
        await core.archiver.drained()
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
            await core.archiver.drained()

        seen = await pages(core, 3, go_on)
    assert len(seen) == len(set(seen)), "none twice"
    assert set(seen) >= {*done, *still}
    assert set(seen) <= {*done, *still, *late}
