"""Members come, go, die and sleep; the others agree on who owns what, and nobody is dropped for the server's sake."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from exeunt.journal.ownership import ClusterMember, Membership, owner_among
from exeunt.journal.subjects import PARTITIONS, Role
from exeunt.journal.wire import connect
from tests.journal.conftest import OpenLog
from tests.journal.history import eventually
from tests.nats_server import NatsServer

pytestmark = pytest.mark.services

Join = Callable[..., Awaitable[Membership]]
Spawn = Callable[[Role, str], Awaitable[asyncio.subprocess.Process]]


@pytest.fixture
async def join(nats_server: NatsServer) -> AsyncIterator[Join]:
    """Members in this process, each with its own connection."""
    async with asyncio.TaskGroup() as group:
        running = []

        async def make(role: Role, replica: str, **options: object) -> Membership:
            nc = await connect(nats_server.url, replica)
            member = ClusterMember(role, replica, f"{replica}:1")
            membership = await Membership.open(nc, member, **options)  # type: ignore[arg-type]  # a test's shorthand
            running.append((group.create_task(membership.run()), nc))
            return membership

        yield make
        for task, nc in running:
            task.cancel()
            await asyncio.wait([task])
            await nc.close()


@pytest.fixture
async def spawn(nats_server: NatsServer) -> AsyncIterator[Spawn]:
    """Members in processes of their own."""
    processes: list[asyncio.subprocess.Process] = []

    async def make(role: Role, replica: str) -> asyncio.subprocess.Process:
        program = str(Path(__file__).with_name("member.py"))
        process = await asyncio.create_subprocess_exec(sys.executable, program, nats_server.url, role, replica)
        processes.append(process)
        return process

    yield make
    for process in processes:
        if process.returncode is None:
            process.kill()
        await process.wait()


def names(membership: Membership, role: Role = "m") -> list[str]:
    return [m.replica for m in membership.members(role)]


async def test_members_agree_on_one_owner_for_each_partition(join: Join) -> None:
    members = [await join("m", name) for name in ("a", "b", "c")]
    handler = await join("x", "h")
    for membership in [*members, handler]:
        await membership.ready.wait()
        await eventually(lambda m=membership: names(m) == ["a", "b", "c"])  # type: ignore[misc]  # bound to this turn
    owned = [m.mine() for m in members]
    assert sorted(p for mine in owned for p in mine) == list(range(PARTITIONS))
    assert all(owned)
    for partition in range(PARTITIONS):
        owner = handler.owner_of(partition, "m")
        assert owner is not None
        assert owner.address == f"{owner.replica}:1"
        assert partition in owned[names(handler).index(owner.replica)]
    assert handler.mine() == set(range(PARTITIONS))


async def test_before_everyone_had_time_to_be_heard_nobody_owns(join: Join) -> None:
    membership = await join("m", "a")
    assert membership.owner_of(0, "m") is None
    await membership.ready.wait()
    assert membership.mine() == set(range(PARTITIONS))


async def test_a_single_replica_owns_everything_at_once(join: Join) -> None:
    membership = await join("m", "only", single=True)
    assert membership.mine() == set(range(PARTITIONS))


async def test_who_leaves_in_good_order_is_gone_at_once(join: Join) -> None:
    a, b = await join("m", "a"), await join("m", "b")
    await eventually(lambda: names(a) == ["a", "b"])
    gone = asyncio.Event()
    a.on_change.append(gone.set)
    await b.leave()
    await gone.wait()
    assert names(a) == ["a"]
    assert b.mine() == set()


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_dead_or_stopped_process_is_dropped(
    join: Join, spawn: Spawn, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    a = await join("m", "a")
    process = await spawn("m", "b")
    await a.ready.wait()
    await eventually(lambda: names(a) == ["a", "b"] and a._can_judge(asyncio.get_running_loop().time()))
    os.kill(process.pid, number)
    await eventually(lambda: names(a) == ["a"])
    assert ("is gone" if number == signal.SIGKILL else "was silent") in caplog.text
    if number == signal.SIGSTOP:
        os.kill(process.pid, signal.SIGCONT)
        await eventually(lambda: names(a) == ["a", "b"])  # it is welcome again


@pytest.mark.faults
async def test_nobody_is_dropped_because_the_server_was_away(
    join: Join, nats_server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = await join("m", "a"), await join("m", "b")
    handler = await join("x", "h")
    await eventually(lambda: names(a) == names(b) == names(handler) == ["a", "b"])
    await nats_server.kill()
    await asyncio.sleep(1.5)  # longer than a silent member is borne
    await nats_server.begin()
    before = a._confirmed
    await eventually(lambda: a._confirmed > before + 3)  # past the time in which nobody is judged
    assert names(a) == names(b) == names(handler) == ["a", "b"]
    assert "silent" not in caplog.text
    assert "gone" not in caplog.text


@pytest.mark.faults
async def test_an_owner_acts_outside_only_while_it_is_heard(
    open_log: OpenLog, join: Join, nats_server: NatsServer
) -> None:
    log = await open_log("m", "a")
    await log.take(range(64))
    assert not log.fresh(0)
    await join("m", "a", confirm=log.confirm, single=True)
    await eventually(lambda: log.fresh(0))
    nats_server.pause()
    await eventually(lambda: not log.fresh(0))
    nats_server.resume()
    await eventually(lambda: log.fresh(0))


async def test_after_a_gap_an_owner_looks_at_its_fences_before_it_acts_again(open_log: OpenLog) -> None:
    former, heir = await open_log("m", "a"), await open_log("m", "b")
    await former.take(range(64))
    now = asyncio.get_running_loop().time
    await former.confirm(now())
    assert former.fresh(1)
    await heir.take([1])
    former._confirmed -= 5  # it slept
    await former.confirm(now())
    assert not former.fresh(1)
    assert former.fresh(2)


def test_a_change_of_members_moves_only_what_it_has_to() -> None:
    before = {p: owner_among(p, ["a", "b", "c"]) for p in range(PARTITIONS)}
    after = {p: owner_among(p, ["a", "b"]) for p in range(PARTITIONS)}
    assert all(before[p] == after[p] for p in range(PARTITIONS) if before[p] != "c")
    assert owner_among(0, []) is None
