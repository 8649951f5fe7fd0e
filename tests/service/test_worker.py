"""Work outside of the loop: whatever one piece does to its process, the next one is done."""

from __future__ import annotations

import asyncio
import os
import signal
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


@pytest.mark.parametrize(
    ("piece", "said"),
    [(b"busy for ever", "longer than 0.3 s of processor time"), (b"for ever", "not done after 6 s")],
)
async def test_what_takes_too_long_is_ended(piece: bytes, said: str) -> None:
    workers = Workers(MODULE, count=1, seconds=0.3, memory=MEMORY)
    with pytest.raises(TooMuchWorkError, match=said):
        await workers(piece)
    assert not workers.idle


async def test_a_process_that_stands_still_for_longer_than_its_time_goes_on_afterwards() -> None:
    """As on a machine that has no time for it."""
    workers = Workers(MODULE, count=1, seconds=0.3, memory=MEMORY)
    try:
        process = int((await workers(b"a")).split()[0])
        asked = asyncio.ensure_future(workers(b"stops"))
        await asyncio.to_thread(os.waitid, os.P_PID, process, os.WSTOPPED | os.WNOWAIT)
        done, _ = await asyncio.wait([asked], timeout=0.5)  # more than its time: it is not ended for that
        assert not done
        os.kill(process, signal.SIGCONT)
        assert (await asked).endswith(b" 5")
    finally:
        await workers.close()


async def test_each_piece_has_the_whole_time() -> None:
    workers = Workers(MODULE, count=1, seconds=0.5, memory=MEMORY)
    try:
        processes = {(await workers(b"some time")).split()[0] for _ in range(4)}
        assert len(processes) == 1
    finally:
        await workers.close()


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
