"""The numbers of an exit run's commits: one each without a gap, two for its end, and a replay goes on behind them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

import pytest

from exeunt.engine.facts import RunClosed, commit
from exeunt.exithandler.commits import CommitWriter, RunCommits
from exeunt.journal.errors import NotOwner
from exeunt.journal.subjects import Family

FAMILY = Family(3, "uid", "hook")
NOW = 5.0


class StandInLog:
    """A log that takes whatever comes, and may have another owner."""

    def __init__(self) -> None:
        self.written: list[tuple[int, str]] = []
        self.owned = True
        self.wire = SimpleNamespace(connected=asyncio.Event())
        self.wire.connected.set()

    def owns(self, partition: int) -> bool:
        return self.owned

    def append(self, family: Family, number: int, kind: str, data: bytes, *, snapshot: bool = False) -> Any:
        self.written.append((number, kind))
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        loop.call_soon(done.set_result, len(self.written))
        return done


class Told:
    """What is told of an outcome that is settled; `failing` so many times first."""

    def __init__(self, log: StandInLog) -> None:
        self.log = log
        self.failing = 0
        self.seen: list[tuple[int, Collection[tuple[int, str]]]] = []

    async def __call__(self, last: int, now: float, events: Any) -> None:
        if self.failing:
            self.failing -= 1
            raise TimeoutError
        self.seen.append((last, list(self.log.written)))


@pytest.fixture
async def log() -> StandInLog:
    return StandInLog()


@pytest.fixture
async def told(log: StandInLog) -> Told:
    return Told(log)


def commits_of(log: Any, told: Told, durable: int = 0) -> RunCommits:
    return RunCommits(CommitWriter(log), FAMILY, told, durable=durable)


async def test_the_end_takes_two_numbers_and_is_told_between_them(log: StandInLog, told: Told) -> None:
    commits = commits_of(log, told)
    await commits.append(FAMILY, 1, "c", b"")
    assert commits.durable == 1
    await commits.append(FAMILY, 2, "r", commit.encode(NOW, [RunClosed("Succeeded")]))
    assert log.written == [(1, "c"), (2, "c"), (3, "r")]
    assert told.seen == [(3, [(1, "c"), (2, "c")])]
    assert commits.durable == 3


async def test_an_end_that_is_only_settled_is_handed_over_behind_it(log: StandInLog, told: Told) -> None:
    told.failing = 1
    await commits_of(log, told, durable=7).hand_over(NOW, RunClosed("Failed"))
    assert log.written == [(8, "r")]
    assert told.seen == [(8, [])]


async def test_a_broken_run_ends_behind_what_is_durable(log: StandInLog, told: Told) -> None:
    commits = commits_of(log, told, durable=4)
    await commits.end(NOW, [RunClosed("Error")])
    assert log.written == [(5, "c"), (6, "r")]


async def test_a_replay_goes_on_behind_the_end(log: StandInLog, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exeunt.engine.decide.snapshot", lambda run: RunClosed("Failed"))
    run: Any = SimpleNamespace(commits=6, now=NOW)
    await commits_of(log, told).go_on(run)
    assert log.written == [(7, "c")]
    assert run.commits == 7


async def test_a_former_owner_hands_nothing_over(log: StandInLog, told: Told) -> None:
    log.owned = False
    with pytest.raises(NotOwner):
        await commits_of(log, told, durable=2).hand_over(NOW, RunClosed("Failed"))
    assert (log.written, told.seen) == ([], [])
