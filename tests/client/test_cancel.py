"""Ctrl-C is never swallowed: readers of streams end wherever the cancellation meets them."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client as Nats
from nats.js.api import ConsumerConfig

from exeunt.client.pull import messages
from exeunt.journal.blobs import config
from exeunt.journal.reader import Reader
from exeunt.journal.wire import connect, wire_of
from exeunt.natspy import whole
from tests.nats_server import NatsServer, nats_server

__all__ = ["nats_server"]

ROOT = Path(__file__).parents[2]
POINTS = 120
INTO = frozenset(
    "subscribe unsubscribe publish request flush next_msg add_stream stream_info get_last_msg add_consumer "
    "delete_consumer consumer_info ack ack_sync nak purge_stream".split()
)
THEIRS = frozenset("nc _nc js _js nats _nats subscription _subscription".split())


async def swallows(_: int) -> str:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        return "an answer"
    return "late"


async def hides(_: int) -> str:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        raise TimeoutError from None
    return "late"


@pytest.mark.parametrize("call", [swallows, hides])
async def test_a_cancellation_that_is_swallowed_or_hidden_is_raised(call: Callable[[int], Awaitable[str]]) -> None:
    task = asyncio.create_task(whole(call(0)))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


def test_every_await_into_nats_py_goes_through_one_place() -> None:
    found = []
    for package in ("exeunt/journal", "exeunt/client", "exeunt/actions", "scheduler", "exithandler"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                call = node.value if isinstance(node, ast.Await) else None
                if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
                    continue
                owner = ast.unparse(call.func.value).rpartition(".")[2]
                if call.func.attr in INTO and owner in THEIRS:
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(call)[:60]}")
    assert not found


@pytest.fixture
async def nc(nats_server: NatsServer) -> AsyncIterator[Nats]:
    nc = await connect(nats_server.url, "reader")
    js = nc.jetstream()
    await js.add_stream(config(1))
    for n in range(20):
        await js.publish(f"xb.a.{n}", b"x" * 100)
    yield nc
    await nc.close()


async def pulled(nc: Nats) -> None:
    async for _ in messages(nc, "EXEUNT_BLOBS", ConsumerConfig(filter_subject="xb.>")):
        pass


async def kept(nc: Nats) -> None:
    async for _ in messages(nc, "EXEUNT_BLOBS", ConsumerConfig(filter_subject="xb.>"), durable="kept"):
        pass


async def read(nc: Nats) -> None:
    async for _ in Reader(await wire_of(nc), "EXEUNT_BLOBS", ["xb.>"]):
        pass


@pytest.mark.services
@pytest.mark.parametrize("reader", [pulled, kept, read])
async def test_a_reader_ends_wherever_it_is_cancelled(nc: Nats, reader: Callable[[Nats], Any]) -> None:
    for point in range(POINTS):
        task = asyncio.create_task(reader(nc))
        for _ in range(point):  # turns of the loop: each await of it is met at one of them
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task], timeout=20)
        assert task.cancelled(), f"cancelled in turn {point}, it went on, or ended with {task}"
