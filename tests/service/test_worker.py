"""Work outside of the loop: whatever one piece does to its process, the next one is done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from exeunt.service.worker import TooMuchWorkError, Workers, WorkFailedError

MEMORY = 512 * 1024 * 1024
MODULE = "tests.service.odd_work"


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    made = Workers(MODULE, count=2, seconds=30, memory=MEMORY)
    yield made
    await made.close()


async def test_one_process_does_one_piece_after_the_other(workers: Workers) -> None:
    first, second = await workers(b"a"), await workers(b"bc" * 1_000_000)
    assert first.split()[0] == second.split()[0]
    assert second.split()[1] == b"2000000"


@pytest.mark.parametrize(
    ("piece", "said"),
    [(b"all memory", "more than 512 MB of memory"), (b"die", "was ended")],
)
async def test_what_is_too_much_is_refused_and_the_next_piece_is_done(
    workers: Workers, piece: bytes, said: str
) -> None:
    with pytest.raises(TooMuchWorkError, match=said):
        await workers(piece)
    assert (await workers(b"a")).endswith(b" 1")


async def test_what_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = Workers(MODULE, count=1, seconds=1, memory=MEMORY)
    with pytest.raises(TooMuchWorkError, match="longer than 1 s"):
        await workers(b"for ever")
    assert not workers.idle


async def test_a_fault_of_the_work_is_told_with_its_place(workers: Workers) -> None:
    with pytest.raises(WorkFailedError, match="no such thing"):
        await workers(b"fail")


async def test_what_the_work_prints_is_no_answer(workers: Workers) -> None:
    assert (await workers(b"print")).endswith(b" 5")


async def test_secrets_of_the_service_are_not_in_the_environment_of_the_work(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXEUNT_SECRET_KEY", "x")
    names = (await workers(b"environment")).decode().split()
    assert "PATH" in names
    assert "EXEUNT_SECRET_KEY" not in names


async def test_somebody_who_goes_away_takes_the_process_along(workers: Workers) -> None:
    asked = asyncio.ensure_future(workers(b"for ever"))
    await workers(b"a")  # beside it
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert workers.idle == 1
