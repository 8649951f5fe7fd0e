"""Watches tell the end as soon as it can be taken, however long the client took for what came before."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from exeunt.client import Client
from exeunt.internal.v1 import step_pb2
from exeunt.scheduler import watch
from exeunt.scheduler.parts import Scheduler
from tests.scheduler.rig import final, hands
from tests.scheduler.test_service import HOLD, submit

pytestmark = pytest.mark.services


@pytest.mark.parametrize("before_the_rest", [False, True])
async def test_a_client_that_stalled_is_told_the_end_when_it_reads_again(
    parts: Scheduler, client: Client, before_the_rest: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the workflow ends while the message cannot be sent, or in the pause that follows a dear one."""
    async with hands(parts) as executor:
        await submit(client, HOLD)
        (step,) = await executor.until_running()
        (entry,) = parts.runs.by_uid.values()
        changes = watch.watch(parts.peers, entry, 0, in_parts=False)
        assert (await anext(changes)).reset
        if before_the_rest:
            await asyncio.sleep(1.0)  # the client does not read
        else:
            monkeypatch.setattr(watch, "SHORTEST_REST", 60.0)
        ends = asyncio.ensure_future(_until_final(changes))
        await asyncio.sleep(0)
        began = time.monotonic()
        await executor.end(step.id, step_pb2.StepResult(phase="Succeeded"))
        await final(client, "held")
        await ends
        assert time.monotonic() - began < 5


async def _until_final(changes: AsyncIterator[object]) -> None:
    async for _ in changes:
        pass
