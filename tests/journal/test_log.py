"""One owner: what is appended is there after a load, in order, whole, and cut to what is needed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from exeunt.journal.errors import LogClosed, NotOwner
from exeunt.journal.log import Log
from exeunt.journal.reader import Reader, StoredMessage
from exeunt.journal.subjects import Address, MailboxMessage, Record, family_of
from tests.journal.conftest import OpenLog
from tests.journal.history import eventually
from tests.nats_server import NatsServer

pytestmark = pytest.mark.services

ALL = range(64)


async def owner(open_log: OpenLog, role: str = "m", **settings: object) -> Log:
    log = await open_log(role, **settings)
    await log.take(ALL)
    await log.load(ALL)
    return log


async def test_an_open_run_is_loaded_with_all_its_commits(open_log: OpenLog) -> None:
    log = await owner(open_log)
    family = family_of("run")
    for number, kind in enumerate("chc", 1):
        await log.append(family, number, kind, f"commit {number}".encode())
    heir = await open_log()
    await heir.take(ALL)
    loaded = await heir.load(ALL)
    [run] = loaded.runs
    assert run.family == family
    assert [(r.number, r.kind, r.data) for r in run.records] == [
        (1, "c", b"commit 1"),
        (2, "h", b"commit 2"),
        (3, "c", b"commit 3"),
    ]


async def test_a_closed_run_is_loaded_only_as_one_whose_projections_may_be_missing(open_log: OpenLog) -> None:
    log = await owner(open_log)
    await log.append(family_of("over"), 1, "c", b"1")
    await log.append(family_of("over"), 2, "z", b"2")
    await log.append(family_of("open"), 1, "c", b"1")
    heir = await open_log()
    await heir.take(ALL)
    loaded = await heir.load(ALL)
    assert [r.family.uid for r in loaded.runs] == ["open"]
    assert [r.family.uid for r in loaded.closed] == ["over"]


async def test_a_closed_run_that_is_out_is_forgotten_once_a_renewed_fence_says_so(open_log: OpenLog) -> None:
    log = await owner(open_log, renew_distance=1, tick=3600.0)
    for uid in ("out", "late"):
        await log.append(family_of(uid), 1, "c", b"1")
        await log.append(family_of(uid), 2, "z", b"2")
    log.done(family_of("out"))
    await log.keep()
    heir = await open_log()
    await heir.take(ALL)
    assert [r.family.uid for r in (await heir.load(ALL)).closed] == ["late"]


async def test_what_is_cut_while_it_is_loaded_is_no_open_run(
    open_log: OpenLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The former owner had the log cut when the heir had read the beginning of a run and not yet its end."""
    log = await owner(open_log, tick=3600.0)
    over, open_ = family_of("over"), family_of("open")
    beginning = await log.append(over, 1, "c", b"1")
    end = await log.append(over, 2, "z", b"2")
    await log.append(open_, 1, "c", b"1")

    async def read(*given: Any) -> AsyncIterator[StoredMessage]:
        async for item in Reader(*given):
            if not beginning < item.sequence <= end:
                yield item
            if item.sequence == beginning:
                await log.wire.api("STREAM.PURGE.EXEUNT_LOG", {"seq": end + 1})

    heir = await open_log()
    await heir.take(ALL)
    monkeypatch.setattr("exeunt.journal.log.Reader", read)
    loaded = await heir.load(ALL)
    assert ([r.family.uid for r in loaded.runs], loaded.closed) == (["open"], [])


async def test_a_run_is_loaded_from_its_latest_snapshot(open_log: OpenLog) -> None:
    log = await owner(open_log)
    family = family_of("long")
    for number in range(1, 6):
        await log.append(family, number, "c", b"%d" % number, snapshot=number == 3)
    heir = await open_log()
    await heir.take(ALL)
    [run] = (await heir.load(ALL)).runs
    assert [(r.number, r.snapshot) for r in run.records] == [(3, True), (4, False), (5, False)]


async def test_a_retried_run_comes_back_with_a_snapshot_behind_its_end(open_log: OpenLog) -> None:
    log = await owner(open_log)
    family = family_of("again")
    await log.append(family, 1, "c", b"1")
    await log.append(family, 2, "z", b"2")
    await log.append(family, 3, "c", b"3", snapshot=True)
    heir = await open_log()
    await heir.take(ALL)
    loaded = await heir.load(ALL)
    assert [r.number for r in loaded.runs[0].records] == [3]
    assert not loaded.closed


async def test_a_commit_larger_than_a_message_arrives_whole(open_log: OpenLog) -> None:
    log = await owner(open_log)
    handler = await owner(open_log, "x")
    data = bytes(range(256)) * 8_000
    sequence = await log.append(family_of("large"), 1, "h", data)
    record = await anext(handler.follow())
    assert isinstance(record, Record)
    assert (record.data, record.sequence, record.number) == (data, sequence, 1)
    assert record.first == sequence - 3  # four parts of 512 KB


async def test_the_exit_handler_hears_of_obligations_and_the_scheduler_of_results(open_log: OpenLog) -> None:
    scheduler = await owner(open_log, "m")
    handler = await owner(open_log, "x")
    await scheduler.append(family_of("u"), 1, "c", b"start")
    await scheduler.append(family_of("u"), 2, "h", b"due")
    due = await anext(handler.follow())
    assert isinstance(due, Record)
    assert (due.family, due.number, due.data) == (family_of("u"), 2, b"due")
    await handler.append(family_of("u", "hook"), 1, "c", b"begun")
    await handler.append(family_of("u", "hook"), 2, "r", b"result")
    result = await anext(scheduler.follow())
    assert isinstance(result, Record)
    assert (result.family, result.data) == (family_of("u", "hook"), b"result")


async def test_what_the_other_role_wrote_while_nobody_listened_is_loaded(open_log: OpenLog) -> None:
    scheduler = await owner(open_log, "m")
    await scheduler.append(family_of("u"), 1, "h", b"due")
    await scheduler.append(family_of("v"), 1, "h", b"due too")
    handler = await open_log("x")
    await handler.take(ALL)
    loaded = await handler.load(ALL)
    assert [r.data for r in loaded.told] == [b"due", b"due too"]
    assert not loaded.hooks
    await handler.append(family_of("u", "hook"), 1, "c", b"begun")
    await handler.append(family_of("u", "hook"), 2, "r", b"result")
    heir = await open_log("x")
    await heir.take(ALL)
    assert (await heir.load(ALL)).hooks == {"hook"}
    again = await open_log("m")
    await again.take(ALL)
    assert [r.data for r in (await again.load(ALL)).told] == [b"result"]


async def test_nothing_is_lost_between_a_load_and_following(open_log: OpenLog) -> None:
    scheduler = await owner(open_log, "m")
    handler = await open_log("x")
    heard: list[str] = []

    async def write() -> None:
        for i in range(300):
            await scheduler.append(family_of(f"u{i}"), 1, "h", b"due")

    async def listen() -> None:
        for half in (range(32), range(32, 64)):
            await handler.take(half)
            heard.extend(r.family.uid for r in (await handler.load(half)).told)
        async for what in handler.follow():
            assert isinstance(what, Record)
            heard.append(what.family.uid)
            if len(heard) == 300:
                return

    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        group.create_task(listen())
    assert sorted(heard) == sorted(f"u{i}" for i in range(300))


async def test_a_message_to_another_partition_is_heard_by_its_owner(open_log: OpenLog) -> None:
    log = await owner(open_log)
    await log.send(3, Address(7, "m", "child"), "start-1", b"please")
    message = await anext(log.follow())
    assert isinstance(message, MailboxMessage)
    assert (message.partition, message.to, message.id, message.data) == (7, "child", "start-1", b"please")
    heir = await open_log()
    await heir.take(ALL)
    assert [m.id for m in (await heir.load(ALL)).messages] == ["start-1"]


async def test_only_an_owner_may_append(open_log: OpenLog) -> None:
    log = await open_log()
    with pytest.raises(NotOwner):
        await log.append(family_of("u"), 1, "c", b"")
    await log.take(ALL)
    await log.append(family_of("u"), 1, "c", b"")
    log.release(ALL)
    with pytest.raises(NotOwner):
        await log.append(family_of("u"), 2, "c", b"")


async def test_a_closed_log_writes_what_it_was_given_and_takes_nothing_more(open_log: OpenLog) -> None:
    log = await owner(open_log)
    waiting = [log.append(family_of(f"u{i}"), 1, "c", b"") for i in range(200)]
    await log.close()
    assert len({f.result() for f in waiting}) == 200
    with pytest.raises(LogClosed):
        await log.append(family_of("u"), 2, "c", b"")


async def test_a_full_log_makes_writers_wait_and_says_so(open_log: OpenLog, nats_server: NatsServer) -> None:
    log = await owner(open_log, max_bytes=2_000_000, tick=3600.0)
    waiting = [log.append(family_of(f"u{i}"), 1, "c", bytes(100_000)) for i in range(30)]
    done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    assert done
    await eventually(lambda: log._gatherer.full)
    assert 0 < sum(f.done() for f in waiting) < 30
    await log.keep()
    assert log.fullness > 0.8
    await log.wire.api("STREAM.PURGE.EXEUNT_LOG", {"filter": "xj.*.*.m.c"})  # room again
    await asyncio.wait(waiting)
    assert all(f.exception() is None for f in waiting)
