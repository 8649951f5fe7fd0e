"""Two owners who both believe it: nothing of the former one is stored behind the fence of the new one."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from exeunt.journal.errors import NotOwner
from exeunt.journal.log import Log
from exeunt.journal.subjects import family_of
from exeunt.journal.wire import Answer
from tests.journal.conftest import OpenLog
from tests.journal.history import history
from tests.nats_server import NatsServer

pytestmark = pytest.mark.services

ALL = range(64)


async def write_until_dismissed(log: Log, name: str, turn: int, width: int) -> int:
    """Writes families of its own as fast as it can, until somebody takes the partitions; how many were stored."""
    stored = 0

    async def run(i: int) -> None:
        nonlocal stored
        family = family_of(f"{name}-{turn}-{i}")
        number = 1
        while True:
            try:
                await log.append(family, number, "c", f"{name} {turn} {number}".encode())
            except NotOwner:
                return
            stored += 1
            number += 1

    async with asyncio.TaskGroup() as group:
        for i in range(width):
            group.create_task(run(i))
    return stored


@pytest.mark.parametrize("width", [3, 120])
async def test_two_writers_take_from_each_other_at_full_speed(open_log: OpenLog, width: int) -> None:
    logs = {name: await open_log("m", name) for name in ("ann", "bob")}
    stored = 0
    writing: list[asyncio.Task[int]] = []
    for turn in range(20):
        name = ("ann", "bob")[turn % 2]
        await logs[name].take(ALL)
        writing.append(asyncio.create_task(write_until_dismissed(logs[name], name, turn, width)))
        for i in range(10):  # let it get into its stride
            await logs[name].append(family_of(f"{name}-pace-{turn}"), i + 1, "c", name.encode())
    logs["bob"].release(ALL)
    for task in writing:
        stored += await task
    found = await history(logs["ann"].wire)
    assert found.written_after_dismissal() == []
    assert len(found.pieces) == stored + 200
    assert max(found.commits().values()) == 1
    assert stored > 100


@pytest.mark.parametrize("batch", [1, 50])
async def test_a_zombie_that_ignores_everything_can_write_nothing(open_log: OpenLog, batch: int) -> None:
    zombie, heir = await open_log("m", "zombie"), await open_log("m", "heir")
    await zombie.take(ALL)
    old = zombie._fences.stamp(0)
    assert old is not None
    message = ("xj.00.u.m.c", b"Exeunt-Commit: 1\r\n" + old, b"zombie")
    answer = await zombie.wire.ask_batch([message] * batch, 5)
    assert answer is not None
    assert not answer.code
    await heir.take(ALL)
    for _ in range(20):
        answer = await zombie.wire.ask_batch([message] * batch, 5)
        assert isinstance(answer, Answer)
        assert answer.code == 10071
    assert len((await history(heir.wire)).pieces) == batch


async def test_who_is_dismissed_hears_of_it_without_writing(open_log: OpenLog) -> None:
    former, heir = await open_log(), await open_log()
    lost: list[int] = []
    gone = asyncio.Event()

    def hear(partition: int) -> None:
        lost.append(partition)
        if len(lost) == 3:
            gone.set()

    former.on_lost.append(hear)
    await former.take(ALL)
    await former.load(ALL)
    await heir.take([1, 2, 3])
    await gone.wait()
    assert sorted(lost) == [1, 2, 3]
    assert not former.owns(1)
    assert former.owns(4)


async def test_loss_of_one_partition_in_a_batch_costs_the_others_nothing(open_log: OpenLog) -> None:
    former, heir = await open_log(), await open_log()
    await former.take(ALL)
    await heir.take([family_of("u0").partition])
    waiting = {f"u{i}": former.append(family_of(f"u{i}"), 1, "c", b"x") for i in range(200)}
    await asyncio.wait(waiting.values())
    refused = {uid for uid, f in waiting.items() if isinstance(f.exception(), NotOwner)}
    assert refused == {uid for uid in waiting if family_of(uid).partition == family_of("u0").partition}


async def test_a_renewal_never_takes_back_what_somebody_took(open_log: OpenLog) -> None:
    former, heir = await open_log("m", renew_distance=1, tick=3600.0), await open_log()
    await former.take(ALL)
    await former.load([p for p in ALL if p != 5])
    former._marks.begin(5, former._fences.held[5])
    former._follower.drop(5)
    former._follower._on_fence = lambda *_: None  # it hears nothing
    await heir.take([5])
    await former.append(family_of("u"), 1, "c", b"x")
    await former.append(family_of("u"), 2, "c", b"x")
    await former.keep()
    assert not former.owns(5)
    assert former.owns(6)
    await heir._fences.verify()
    assert heir.owns(5)


@pytest.mark.faults
async def test_a_process_that_was_stopped_is_dropped_and_writes_nothing_more(
    open_log: OpenLog, nats_server: NatsServer
) -> None:
    heir = await open_log("m", "heir")
    program = Path(__file__).with_name("writer.py")
    writer = await asyncio.create_subprocess_exec(
        sys.executable, str(program), nats_server.url, "sleeper", stdout=asyncio.subprocess.PIPE
    )
    try:
        assert writer.stdout is not None
        assert await writer.stdout.readline() == b"writing\n"
        os.kill(writer.pid, signal.SIGSTOP)
        await heir.take(ALL)
        before = len((await history(heir.wire)).pieces)
        os.kill(writer.pid, signal.SIGCONT)
        dismissed = await writer.stdout.readline()
        assert dismissed.startswith(b"dismissed after ")
        found = await history(heir.wire)
        assert found.written_after_dismissal() == []
        assert len(found.pieces) == before
        assert int(dismissed.split()[2]) <= before
    finally:
        writer.kill()
        await writer.wait()
