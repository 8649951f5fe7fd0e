"""The server dies, sleeps or says nothing: every commit is stored once, and whoever was told so was told the truth."""

from __future__ import annotations

import asyncio
import random

import pytest
from nats.aio.msg import Msg

from exeunt.journal.log import Log
from exeunt.journal.subjects import Address, family_of
from tests.journal.conftest import OpenLog
from tests.journal.history import eventually, history
from tests.nats_server import NatsServer

pytestmark = [pytest.mark.services, pytest.mark.faults]

ALL = range(64)


async def write(log: Log, width: int, until: asyncio.Event) -> dict[str, int]:
    """Families that each write commit after commit; uid → number of the last one that was confirmed."""
    confirmed: dict[str, int] = {}

    async def run(i: int) -> None:
        uid = f"run-{i}"
        number = 1
        while not until.is_set():
            data = f"m1 {uid} {number}".encode() + bytes(600_000 if i == 0 else 0)
            await log.append(family_of(uid), number, "c", data)
            confirmed[uid] = number
            number += 1

    async with asyncio.TaskGroup() as group:
        for i in range(width):
            group.create_task(run(i))
    return confirmed


async def check(log: Log, confirmed: dict[str, int]) -> None:
    """What was confirmed is there, each commit once and all of a run without a gap."""
    commits = (await history(log.wire)).commits()
    assert all(times == 1 for times in commits.values())
    assert set(commits) == {(family_of(uid), n) for uid, last in confirmed.items() for n in range(1, last + 1)}


@pytest.mark.parametrize("width", [4, 150])
async def test_a_server_that_is_killed_loses_and_doubles_nothing(
    open_log: OpenLog, nats_server: NatsServer, width: int
) -> None:
    log = await open_log("m", "m1")
    await log.take(ALL)
    await log.load(ALL)
    until = asyncio.Event()
    writing = asyncio.create_task(write(log, width, until))
    for i in range(3):
        await log.append(family_of("pace"), i + 1, "c", b"m1")
        await nats_server.restart()
        await log.append(family_of("pace-after"), i + 1, "c", b"m1")
    until.set()
    confirmed = await writing
    await check(log, {**confirmed, "pace": 3, "pace-after": 3})
    assert log._gatherer.unanswered_count > 0


@pytest.mark.parametrize("width", [4, 150])
async def test_answers_that_are_lost_are_found_in_the_log(
    open_log: OpenLog, nats_server: NatsServer, width: int
) -> None:
    log = await open_log("m", "m1", deadline=0.3)
    await log.take(ALL)
    chance = random.Random(7)
    wire, real = log.wire, log.wire._answered

    async def forgetful(message: Msg) -> None:
        if chance.random() < 0.02:
            return
        await real(message)

    assert wire._subscription is not None
    wire._subscription._cb = forgetful
    until = asyncio.Event()
    writing = asyncio.create_task(write(log, width, until))
    await eventually(lambda: log._gatherer.unanswered_count >= 6)
    until.set()
    confirmed = await writing
    wire._subscription._cb = real
    await check(log, confirmed)


async def test_a_server_that_sleeps_is_waited_for(open_log: OpenLog, nats_server: NatsServer) -> None:
    log = await open_log("m", "m1", deadline=0.5)
    await log.take(ALL)
    until = asyncio.Event()
    writing = asyncio.create_task(write(log, 50, until))
    await log.append(family_of("pace"), 1, "c", b"m1")
    nats_server.pause()
    await eventually(lambda: log._gatherer.unanswered_count > 0)
    nats_server.resume()
    await log.append(family_of("pace"), 2, "c", b"m1")
    until.set()
    await check(log, {**(await writing), "pace": 2})


async def test_a_message_between_partitions_survives_the_server(open_log: OpenLog, nats_server: NatsServer) -> None:
    log = await open_log("m", "m1")
    await log.take(ALL)
    await log.load(ALL)
    sending = [log.send(1, Address(i % 64, "m", "to"), f"id-{i}", b"") for i in range(100)]
    await nats_server.restart()
    await asyncio.gather(*sending)
    found = (await history(log.wire)).messages
    assert sorted(m.id for m in found) == sorted(f"id-{i}" for i in range(100))


async def test_following_goes_on_after_the_server_was_killed(open_log: OpenLog, nats_server: NatsServer) -> None:
    scheduler, handler = await open_log("m"), await open_log("x")
    for log in (scheduler, handler):
        await log.take(ALL)
        await log.load(ALL)
    heard: list[int] = []
    for turn in range(3):
        for i in range(20):
            await scheduler.append(family_of("u"), 20 * turn + i + 1, "h", b"due")
        if turn < 2:
            await nats_server.restart()
    async for what in handler.follow():
        heard.append(what.number)  # type: ignore[union-attr]  # only records here
        if len(heard) == 60:
            break
    assert heard == list(range(1, 61))


async def test_a_connection_that_is_lost_settles_at_once(open_log: OpenLog, nats_server: NatsServer) -> None:
    log = await open_log("m", "m1", deadline=3600.0)  # nothing here waits for a deadline
    await log.take(ALL)
    nats_server.pause()
    waiting = log.append(family_of("u"), 1, "c", b"m1")
    await eventually(lambda: bool(log._gatherer._flights))
    await nats_server.restart()
    await waiting
    await check(log, {"u": 1})


async def test_a_server_that_reads_nothing_is_left_however_much_waits_for_it(
    open_log: OpenLog, nats_server: NatsServer
) -> None:
    log = await open_log("m", "m1")
    await log.take(ALL)
    nats_server.pause()
    waiting = [log.append(family_of(f"u-{i}"), 1, "c", b"m1" + bytes(6_000_000)) for i in range(12)]
    await eventually(lambda: not log.wire.connected.is_set())
    nats_server.resume()
    await asyncio.gather(*waiting)
    await check(log, {f"u-{i}": 1 for i in range(12)})
