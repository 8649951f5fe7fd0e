"""The log is cut, and nothing that anybody still needs goes with it."""

from __future__ import annotations

import asyncio

import pytest

from exeunt.journal.log import Log
from exeunt.journal.marks import Marks, affordable, due_snapshots, window
from exeunt.journal.subjects import Family, Record, family_of
from tests.journal.conftest import OpenLog
from tests.journal.history import eventually, history

ALL = range(64)


def loaded_marks() -> Marks:
    marks = Marks()
    marks.begin(0, 100)
    return marks


def mark(marks: Marks) -> int:
    needs = marks.needs(0)
    assert needs is not None
    return needs.mark()


def test_a_mark_never_passes_the_fence_or_what_has_been_read() -> None:
    marks = loaded_marks()
    assert mark(marks) == 100
    marks.renewed(0, 500)
    assert mark(marks) == 101  # nothing behind the load has been read yet
    marks.read(450)
    assert mark(marks) == 451
    marks.read(600)
    assert mark(marks) == 500


def test_a_mark_waits_for_open_runs_and_for_projections() -> None:
    marks = loaded_marks()
    marks.read(900)
    marks.renewed(0, 900)
    run = Family(0, "u")
    marks.need(run, 200)
    assert mark(marks) == 200
    marks.need(run, 700, anew=True)
    assert mark(marks) == 700
    marks.closed(run, 800)
    assert mark(marks) == 700
    assert marks.needs(0).projected(950) == 800  # type: ignore[union-attr]  # it is there
    marks.done(run)
    assert mark(marks) == 900
    assert marks.needs(0).projected(950) == 951  # type: ignore[union-attr]  # it is there


def test_a_mark_waits_for_what_was_given_out() -> None:
    marks = loaded_marks()
    marks.read(900)
    marks.renewed(0, 900)
    marks.handed(0, 305, first=303)
    assert mark(marks) == 303
    marks.finished(0, 305)
    assert mark(marks) == 900


def test_the_window_grows_with_open_runs_and_stops_at_half_of_the_room() -> None:
    assert window(100_000, 10, 0, 0, 0) == 100_000
    assert window(100_000, 20_000, 0, 0, 0) == 400_000
    assert window(100_000, 10, 1_000_000, 100_000, 1_000) == 5_000


def test_snapshots_are_asked_for_a_few_at_a_time_and_at_once_when_late() -> None:
    marks = loaded_marks()
    for i in range(100):
        marks.need(Family(0, f"u{i:02}"), 1_000 + i)
    assert due_snapshots(marks, head=1_500, span=1_000) == []
    asked = due_snapshots(marks, head=1_900, span=1_000)  # all in the last fifth
    assert [f.uid for f in asked] == [f"u{i:02}" for i in range(11)]
    assert len(due_snapshots(marks, head=2_050, span=1_000)) == 50  # these have left the window
    marks.closed(Family(0, "u00"), 1_400)
    assert Family(0, "u00") not in due_snapshots(marks, head=1_900, span=1_000)


async def pair(open_log: OpenLog, **settings: object) -> tuple[Log, Log]:
    logs = [await open_log(role, tick=3600.0, renew_distance=200, **settings) for role in ("m", "x")]
    for log in logs:
        await log.take(ALL)
        await log.load(ALL)
    return logs[0], logs[1]


async def housekeeping(*logs: Log) -> None:
    """Several turns of everybody: renewals first, then marks, then the cut."""
    for _ in range(3):
        for log in reversed(logs):
            await log.keep()
            head = max(log._fences.held.values())
            await eventually(lambda log=log, head=head: all(needs.read >= head for _, needs in log._marks))  # type: ignore[misc]  # bound to this turn


async def finished_workflows(scheduler: Log, handler: Log, count: int, start: int = 0) -> None:
    """Workflows with an exit run each, from their start to the end of their projections."""

    async def main(i: int) -> None:
        await scheduler.append(family_of(f"u{i}"), 1, "h", b"due")

    async def exits() -> None:
        left = count
        async for what in handler.follow():
            assert isinstance(what, Record)
            family = family_of(what.family.uid, "hook")
            await handler.append(family, 1, "c", b"begun")
            handler.finish(what)
            await handler.append(family, 2, "r", b"result")
            handler.done(family)
            left -= 1
            if not left:
                return

    async def results() -> None:
        left = count
        async for what in scheduler.follow():
            assert isinstance(what, Record)
            family = family_of(what.family.uid)
            await scheduler.append(family, 2, "z", b"over")
            scheduler.finish(what)
            scheduler.done(family)
            left -= 1
            if not left:
                return

    async with asyncio.TaskGroup() as group:
        group.create_task(exits())
        group.create_task(results())
        for i in range(start, start + count):
            group.create_task(main(i))


@pytest.mark.services
async def test_finished_work_is_cut_and_open_work_stays(open_log: OpenLog) -> None:
    scheduler, handler = await pair(open_log)
    await finished_workflows(scheduler, handler, 100)
    await scheduler.append(family_of("open"), 1, "c", b"begun")
    opened = scheduler._extent.head
    await finished_workflows(scheduler, handler, 100, start=100)
    await housekeeping(scheduler, handler)
    found = await history(scheduler.wire)
    assert 1 < found.first <= opened
    assert (family_of("open"), 1) in found.commits()
    assert (family_of("u0"), 1) not in found.commits()
    heir = await open_log()
    await heir.take(ALL)
    loaded = await heir.load(ALL)
    assert [r.family.uid for r in loaded.runs] == ["open"]


@pytest.mark.services
async def test_a_run_that_holds_the_log_is_asked_for_a_snapshot_and_then_lets_go(open_log: OpenLog) -> None:
    scheduler, handler = await pair(open_log, window=400)
    await scheduler.append(family_of("long"), 1, "c", b"begun")
    await finished_workflows(scheduler, handler, 150)
    asked: list[Family] = []
    scheduler.on_snapshot.append(asked.extend)
    await housekeeping(scheduler, handler)
    assert set(asked) == {family_of("long")}
    await scheduler.append(family_of("long"), 2, "c", b"whole state", snapshot=True)
    await finished_workflows(scheduler, handler, 150, start=150)
    await housekeeping(scheduler, handler)
    found = await history(scheduler.wire)
    assert (family_of("long"), 1) not in found.commits()
    assert (family_of("long"), 2) in found.commits()
    heir = await open_log()
    await heir.take(ALL)
    [run] = (await heir.load(ALL)).runs
    assert [r.data for r in run.records] == [b"whole state"]


@pytest.mark.services
async def test_an_obligation_that_nobody_has_taken_up_is_never_cut(open_log: OpenLog) -> None:
    scheduler, handler = await pair(open_log)
    await finished_workflows(scheduler, handler, 50)
    await scheduler.append(family_of("due"), 1, "h", b"due")
    held = await anext(handler.follow())  # given out, and never acted on
    await finished_workflows(scheduler, handler, 200, start=1000)
    await scheduler.append(family_of("due"), 2, "c", b"whole state", snapshot=True)
    await housekeeping(scheduler, handler)
    found = await history(scheduler.wire)
    assert 1 < found.first <= held.sequence
    assert (family_of("due"), 1) in found.commits()
    heir = await open_log("x")
    await heir.take(ALL)
    assert "due" in {r.family.uid for r in (await heir.load(ALL)).told}


@pytest.mark.services
async def test_nothing_is_cut_while_a_role_has_no_owner(open_log: OpenLog) -> None:
    scheduler = await open_log("m", tick=3600.0, renew_distance=200)
    await scheduler.take(ALL)
    await scheduler.load(ALL)
    for i in range(300):
        scheduler.append(family_of(f"u{i}"), 1, "c", b"")
        last = scheduler.append(family_of(f"v{i}"), 1, "c", b"")
    await last
    await housekeeping(scheduler)
    assert (await history(scheduler.wire)).first == 1


@pytest.mark.services
async def test_the_mark_of_a_dismissed_owner_counts_for_nothing(open_log: OpenLog) -> None:
    scheduler, handler = await pair(open_log)
    await finished_workflows(scheduler, handler, 200)
    await housekeeping(handler)
    heir = await open_log("x", tick=3600.0)
    await heir.take(ALL)  # it has not announced anything: the marks of the former one are there still
    await housekeeping(scheduler)
    assert (await history(scheduler.wire)).first == 1
    loaded = await heir.load(ALL)
    for what in loaded.told:
        heir.finish(what)
    for run in loaded.closed:
        heir.done(run.family)
    await heir.keep()
    await scheduler.keep()
    assert (await history(scheduler.wire)).first > 1


def test_snapshots_leave_what_runs_most_of_what_is_free() -> None:
    runs, each = 64, 200_000
    asked = affordable(runs, used=runs * each, free=16 * 1024**2 - runs * each)
    assert 1 < asked * each < (16 * 1024**2 - runs * each) // 4
    assert affordable(runs, used=16 * 1024**2, free=0) == 1, "it has to go on"
    assert affordable(1000, used=500_000, free=10**9) > 1000
