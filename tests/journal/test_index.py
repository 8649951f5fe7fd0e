"""Lists' records at hand: in order, up to date, and whole however many there are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from exeunt.journal.index import LAST, Place, RecordIndex, stored
from exeunt.journal.projections import Projections
from exeunt.journal.records import ArchiveSummary, Gone
from tests.journal.test_projections import stores, summary

pytestmark = pytest.mark.services
__all__ = ["stores"]


def place_of(one: ArchiveSummary) -> Place:
    return one.finished_at, one.uid


async def put(stores: Projections, uid: str, at: float) -> None:
    shown = summary(uid)
    shown.finished_at = at
    await stores.archive.put("default", at, uid, shown, {})


async def following(index: RecordIndex[ArchiveSummary]) -> AsyncIterator[None]:
    task = asyncio.create_task(index.run())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def caught_up(stores: Projections, index: RecordIndex[ArchiveSummary]) -> None:
    async with asyncio.timeout(10):
        while not await index.at(await stores.archive.position()):  # noqa: ASYNC110 - asked as lists ask
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("most", [3, 100])
async def test_the_index_gives_what_the_stream_holds(stores: Projections, most: int) -> None:
    now = time.time()
    for number in range(12):
        await put(stores, f"u{number}", now - 1000 * ((number * 5) % 12))
    index = RecordIndex(stores.archive, place_of, most)
    async for _ in following(index):
        await caught_up(stores, index)
        wanted = [place async for place, _ in stored(stores.archive, place_of, LAST)]
        assert len(wanted) == 12
        assert wanted == sorted(wanted, reverse=True)
        assert [place async for place, _ in index.below(LAST)] == wanted
        for place in wanted:
            below = [one for one in wanted if one < place]
            assert [found async for found, _ in index.below(place)] == below


async def test_what_is_written_anew_or_removed_is_so_in_the_index(stores: Projections) -> None:
    now = time.time()
    for number in range(4):
        await put(stores, f"u{number}", now + number)
    index = RecordIndex(stores.archive, place_of)
    async for _ in following(index):
        await caught_up(stores, index)
        since = await stores.archive.position()
        await put(stores, "u1", now + 9)
        await stores.archive.remove("u2", "default", name="w2")
        await caught_up(stores, index)
        assert [one.uid async for _, one in index.below(LAST)] == ["u1", "u3", "u0"]
        await stores.archive.remove("u0", "default", again=True)
        await caught_up(stores, index)
        assert [one.uid async for _, one in index.below(LAST)] == ["u1", "u3"]
        assert [one.uid for _, one in index.reopened(since)] == ["u0"], "and nothing that was deleted"
        assert index.sequence == await stores.archive.position()
        assert index.reopened(index.sequence) == []


async def test_a_removal_is_told_once_with_the_name(stores: Projections) -> None:
    await put(stores, "u1", time.time())
    for _ in range(2):
        await stores.archive.remove("u1", "default", name="w1")
    await stores.archive.remove("u2", "default", name="w2")  # one that had no record
    await stores.archive.remove("u3", "default", again=True)
    told = [(c.key, c.namespace, c.found) async for c in stores.archive.changes(follow=False)]
    assert told == [("u1", "default", Gone("w1")), ("u2", "default", Gone("w2"))]
    assert await stores.archive.get("u1") is None
    assert not await stores.archive.revise("u1", lambda shown, body: (shown, body))


async def test_a_last_record_that_is_gone_holds_nothing_up(stores: Projections) -> None:
    now = time.time()
    await put(stores, "u1", now)
    await put(stores, "u2", now)
    await stores.archive._js.purge_stream("EXEUNT_ARCHIVE", subject="xa.*.*.u2")
    index = RecordIndex(stores.archive, place_of)
    async for _ in following(index):
        await caught_up(stores, index)
        assert [one.uid async for _, one in index.below(LAST)] == ["u1"]
