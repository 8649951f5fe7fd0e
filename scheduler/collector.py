"""Artifacts that go by themselves (artifactGC) are removed: at the end of their workflow, or before its record goes.

What is to be done stands in the archive (`garbage.GarbageNote`). So a scheduler that dies in the midst loses nothing:
its successor looks through the archive for what is left, and removing twice is fine.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable
from functools import partial

from exeunt.artifacts.stores import StoreError
from exeunt.artifacts.transfer import remove
from exeunt.driver.turns import Turns
from exeunt.journal.projections import Projections
from exeunt.journal.repeat import NATS_AWAY
from exeunt.journal.subjects import partition_of
from exeunt.language.place_parts import PlaceError
from exeunt.scheduler.archive import Archived, Archiver
from exeunt.scheduler.artifact_stores import ArtifactStores
from exeunt.scheduler.garbage import Garbage, collected, looking_for, to_be_deleted, told
from exeunt.service.errors import wrong_state

log = logging.getLogger(__name__)

WORKFLOWS_AT_ONCE = 4
ARTIFACTS_AT_ONCE = 8
"""Of one workflow."""
MOST_WAITING = 10_000
"""Workflows that wait here; those beyond are found by the next look through the archive."""
LOOK_SECONDS = 600.0
"""Between two looks through the archive for what was left; half of it to all of it is waited, at random."""
FIRST_PAUSE_SECONDS = 2.0
"""Before what failed is tried again; doubled each time, at most LOOK_SECONDS."""
DELETE_SECONDS = 20.0
"""So long a deletion waits for artifacts to go."""


class ArtifactCollector:
    """Removes them. `ours` says whether a partition is loaded here, `is_open` whether a workflow runs (again)."""

    def __init__(
        self,
        archiver: Archiver,
        projections: Projections,
        stores: ArtifactStores,
        turns: Turns,
        *,
        ours: Callable[[int], bool],
        is_open: Callable[[str], bool],
        pause: float = FIRST_PAUSE_SECONDS,
    ) -> None:
        """`pause` in seconds: before the second try."""
        self._archiver = archiver
        self._projections = projections
        self._stores = stores
        self._turns = turns
        self._ours = ours
        self._is_open = is_open
        self.pause = pause
        self._waiting: deque[str] = deque()
        self._some = asyncio.Condition()
        self._busy: set[str] = set()
        self._tries: dict[str, int] = {}
        self._asked: dict[str, asyncio.Future[str]] = {}
        self._look = asyncio.Event()
        archiver.on_garbage.append(self.put)

    def put(self, uid: str) -> None:
        """Artifacts of a workflow are to go."""
        if uid not in self._waiting and len(self._waiting) < MOST_WAITING:
            self._waiting.append(uid)
            self._wake()

    def look(self) -> None:
        """Partitions became ours: there may be something left in them."""
        self._look.set()

    async def run(self) -> None:
        """Works until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(WORKFLOWS_AT_ONCE):
                group.create_task(self._work())
            group.create_task(self._look_now_and_then())

    async def delete(self, found: Archived, by: str, why: str) -> None:
        """Deletes a workflow that is over, its artifacts first. Raises FAILED_PRECONDITION while some cannot go."""
        if found.garbage is None:
            await self._archiver.delete(found, by, why)
            return
        metadata = found.head["metadata"]
        uid = metadata["uid"]
        if await self._archiver.revise(uid, partial(to_be_deleted, by=by, why=why)) is None:
            return  # somebody else was quicker
        asked = self._asked.setdefault(uid, asyncio.get_running_loop().create_future())
        self._tries.pop(uid, None)
        self.put(uid)
        left = f"more than {DELETE_SECONDS:g} s went by, and there are more"
        try:
            async with asyncio.timeout(DELETE_SECONDS):
                left = await asyncio.shield(asked)
        except TimeoutError:
            pass
        if left:
            text = (
                f"{metadata['name']} is deleted when its artifacts are (artifactGC), which is tried again and again; "
                f"so far: {left}. With forceFinalizerRemoval it does not wait for that"
            )
            raise wrong_state("ARTIFACTS_REMAIN", text, ("workflow", f"{metadata['namespace']}/{metadata['name']}"))

    def _wake(self) -> None:
        asyncio.get_running_loop().create_task(self._notify())

    async def _notify(self) -> None:
        async with self._some:
            self._some.notify()

    async def _next(self) -> str:
        async with self._some:
            while True:
                for uid in self._waiting:
                    if uid not in self._busy:
                        self._waiting.remove(uid)
                        self._busy.add(uid)
                        return uid
                await self._some.wait()

    async def _work(self) -> None:
        while True:
            uid = await self._next()
            asked = self._asked.pop(uid, None)
            left = "this scheduler stops"
            try:
                left = await self.collect(uid)
            except Exception as error:  # noqa: BLE001 - NATS may be away
                left = str(error) or type(error).__name__
                log.warning("artifacts of the workflow %s cannot be removed now: %s", uid, left)
            finally:
                self._busy.discard(uid)
                if asked is not None and not asked.done():
                    asked.set_result(left)
            if left:
                self._try_again(uid)
            else:
                self._tries.pop(uid, None)
            if self._waiting:
                self._wake()

    def _try_again(self, uid: str) -> None:
        tries = self._tries.get(uid, 0)
        if tries or len(self._tries) < MOST_WAITING:
            self._tries[uid] = tries + 1
            wait = min(self.pause * 2 ** min(tries, 20), LOOK_SECONDS) * random.uniform(0.5, 1)
            asyncio.get_running_loop().call_later(wait, self.put, uid)

    async def _look_now_and_then(self) -> None:
        while True:
            try:
                async with asyncio.timeout(LOOK_SECONDS * random.uniform(0.5, 1)):
                    await self._look.wait()
            except TimeoutError:
                pass
            self._look.clear()
            try:
                await self._look_through()
            except NATS_AWAY as error:
                log.info("the archive cannot be looked through now: %s", str(error) or type(error).__name__)

    async def _look_through(self) -> None:
        async for _, summary in self._projections.archive.walk():
            if summary.collect and summary.uid not in self._tries and self._ours(partition_of(summary.uid)):
                self.put(summary.uid)

    async def collect(self, uid: str) -> str:
        """Removes what is to go of one workflow; answers what could not be, empty where nothing is left."""
        # two that believe to be the owner do no harm: they remove the same, of a record that both have read
        if self._is_open(uid) or not self._ours(partition_of(uid)):
            return ""
        found = await self._archiver.get(uid)
        if found is None or found.garbage is None:
            return ""
        due = await self._turns.through(looking_for(found.garbage, found.nodes))
        limit = asyncio.Semaphore(ARTIFACTS_AT_ONCE)
        results = await asyncio.gather(*(self._remove(one, found, limit) for one in due))
        problems = [problem for problem in results if problem]
        gone = {one.key for one, problem in zip(due, results, strict=True) if not problem}
        if problems:
            name = found.head["metadata"]["name"]
            log.warning("artifacts of the workflow %s could not be removed: %s", name, told(problems))
        if found.garbage.deletion and (not problems or found.garbage.force):
            await self._archiver.delete_collected(found)
            return ""
        await self._archiver.revise(uid, partial(collected, gone=gone, problems=problems))
        return told(problems)

    async def _remove(self, one: Garbage, found: Archived, limit: asyncio.Semaphore) -> str:
        async with limit:
            if self._is_open(found.head["metadata"]["uid"]):
                return "the workflow was retried meanwhile"
            try:
                async with self._stores.opened(one.tree, found.head) as store:
                    await remove(store, one.tree)
            except (StoreError, PlaceError) as error:
                return str(error)
            return ""
