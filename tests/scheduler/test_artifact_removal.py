"""Artifacts go with their workflow: at its deletion, or by the sweep when nobody came to remove them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from exeunt.artifacts.embedded import EmbeddedStore
from exeunt.artifacts.embedded_port import ArtifactHolder
from exeunt.client import Client
from exeunt.scheduler.artifact_removal import ArtifactRemoval
from exeunt.scheduler.parts import Scheduler
from tests.scheduler.rig import final, hands
from tests.scheduler.test_service import HELLO, HOLD, submit

pytestmark = pytest.mark.services
LARGE = b"x" * 1_000_000


async def content(data: bytes) -> AsyncIterator[bytes]:
    yield data


def store_of(parts: Scheduler) -> EmbeddedStore:
    assert parts.artifacts is not None
    return parts.artifacts


async def uid_of(client: Client, name: str) -> str:
    return str((await client.get(name)).uid)


async def until_gone(store: EmbeddedStore, holder: ArtifactHolder) -> None:
    async with asyncio.timeout(20):
        while await store.list(holder):  # noqa: ASYNC110 - it happens behind the answer, and nobody tells of it
            await asyncio.sleep(0.02)


async def test_deleting_a_workflow_removes_its_artifacts(parts: Scheduler, client: Client) -> None:
    store = store_of(parts)
    async with hands(parts):
        (name,) = await submit(client, HELLO)
        (other,) = await submit(client, HELLO)
        await final(client, name)
        await final(client, other)
        await parts.archiver.drained()
        mine = ArtifactHolder("default", await uid_of(client, name))
        others = ArtifactHolder("default", await uid_of(client, other))
        for holder in (mine, others):
            await store.save(holder, "small", content(b"x"))
            await store.save(holder, "large", content(LARGE))
        await client.delete(name)
        await until_gone(store, mine)
    assert [one.key for one in await store.list(others)] == ["large", "small"]


async def test_deleting_one_that_runs_removes_them_when_it_is_over(parts: Scheduler, client: Client) -> None:
    store = store_of(parts)
    async with hands(parts):
        (name,) = await submit(client, HOLD)
        holder = ArtifactHolder("default", await uid_of(client, name))
        await store.save(holder, "a", content(b"x"))
        await client.delete(name)
        await until_gone(store, holder)


async def test_a_sweep_takes_only_what_no_workflow_has(parts: Scheduler, client: Client) -> None:
    store, removal = store_of(parts), parts.removal
    assert removal is not None
    async with hands(parts):
        (over,) = await submit(client, HELLO)
        await final(client, over)
        await parts.archiver.drained()
        (open_,) = await submit(client, HOLD)
        kept = [ArtifactHolder("default", await uid_of(client, name)) for name in (over, open_)]
        gone = ArtifactHolder("default", "of-nobody")
        for holder in (*kept, gone):
            await store.save(holder, "a", content(LARGE))
        await removal.sweep()
        assert [len(await store.list(holder)) for holder in (*kept, gone)] == [1, 1, 0]
        parts.runs.loaded.clear()
        await store.save(gone, "a", content(LARGE))
        await removal.sweep()
        assert len(await store.list(gone)) == 1, "its partition is somebody else's: that one knows"


class Moving:
    """Knows nothing of a workflow at first; its partition turns out to be somebody else's by now."""

    def __init__(self, *, ours: bool) -> None:
        self.ours = ours
        self.verified = False

    def may_be(self, uid: str, since: float | None = None) -> bool:
        """As if it were gone; certain only when the log says whose the partition is."""
        return since is not None and not (self.verified and self.ours)

    async def is_kept(self, namespace: str, uid: str) -> bool:
        """It is not."""
        return False

    async def verify(self) -> None:
        """The log is read."""
        self.verified = True


@pytest.mark.parametrize(("ours", "left"), [(True, 0), (False, 1)])
async def test_a_scheduler_that_has_lost_the_partition_removes_nothing(parts: Scheduler, ours: bool, left: int) -> None:
    store, holder = store_of(parts), ArtifactHolder("default", "uid-1")
    await store.save(holder, "a", content(b"x"))
    await ArtifactRemoval(store, Moving(ours=ours), lambda: False, pace=0).sweep()
    assert len(await store.list(holder)) == left
