"""Reading a stream ends when its reader is cancelled, also in the very moment in which an answer comes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from nats.aio.msg import Msg

from exeunt.journal.reading import read
from exeunt.journal.wire import connect
from tests.nats_server import NatsServer

pytestmark = pytest.mark.services


async def test_a_cancellation_that_nats_py_forgot_ends_the_reading(nats_server: NatsServer) -> None:
    """`asyncio.wait_for`, which nats-py waits with, forgets one that comes with the answer, up to Python 3.11."""
    nc = await connect(nats_server.url, "reader")
    js = nc.jetstream()
    await js.add_stream(name="S", subjects=["s.>"])
    request, waits = nc.request, asyncio.Event()

    async def forgetful(*arguments: Any, **more: Any) -> Msg:
        waits.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return await request(*arguments, **more)
        raise AssertionError("it waits for ever")

    nc.request = forgetful  # type: ignore[method-assign]  # what wait_for does once in a thousand times

    async def follow() -> list[Any]:
        return [item async for item in read(js, "S", "s.>", follow=True)]

    reading = asyncio.create_task(follow())
    await waits.wait()
    reading.cancel()
    async with asyncio.timeout(10):
        await asyncio.wait([reading])
    assert reading.cancelled()
    await nc.close()


async def test_readers_end_whenever_they_are_cancelled(nats_server: NatsServer) -> None:
    nc = await connect(nats_server.url, "reader")
    js = nc.jetstream()
    await js.add_stream(name="S", subjects=["s.>"])
    for number in range(300):
        await js.publish("s.x", b"%d" % number)

    async def follow() -> None:
        async for _ in read(js, "S", "s.>", follow=True):
            pass

    readers = [asyncio.create_task(follow()) for _ in range(40)]
    for reader in readers:
        await asyncio.sleep(0.002)
        reader.cancel()
    async with asyncio.timeout(10):
        await asyncio.wait(readers)
    assert all(reader.cancelled() for reader in readers)
    await nc.close()
