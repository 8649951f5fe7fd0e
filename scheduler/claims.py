"""When volumes that workflows have made for themselves are removed: with the workflow, or with its record.

As Argo's volumeClaimGC says: those of a workflow that ended well go at its end, handlers included; those of another
one stay for its retry and go when it is deleted, unless its strategy is OnWorkflowCompletion. Executors tell which ones
they have, so that whoever was away at that moment hears of it later: `sweep`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from itertools import islice

from exeunt.engine.facts import kept_after
from exeunt.journal.subjects import partition_of
from exeunt.scheduler.archive import Archiver
from exeunt.scheduler.dispatch import Dispatch
from exeunt.scheduler.entry import OpenWorkflow
from exeunt.scheduler.runs import Runs

log = logging.getLogger(__name__)

SWEEP_SECONDS = 10.0
MOST_LOOKS = 100
"""Workflows that are looked up in one sweep."""
KEPT_SECONDS = 600.0
"""So long it is believed of a workflow that is over that it keeps its volumes: its deletion is told at once."""
MOST_KEPT = 100_000


class ClaimKeeper:
    """Releases them. `judges` says whether a partition is ours for certain, and loaded."""

    def __init__(self, runs: Runs, archiver: Archiver, dispatch: Dispatch, judges: Callable[[int], bool]) -> None:
        self._runs = runs
        self._archiver = archiver
        self._dispatch = dispatch
        self._judges = judges
        self._missed: set[str] = set()  # found nowhere by the last sweep
        self._kept: dict[str, float] = {}
        archiver.on_removed.append(lambda _, uid: self.release(uid))

    def closed(self, entry: OpenWorkflow) -> None:
        """A workflow is over, and that is durable."""
        run = entry.run
        if run.claims.executor and (run.deleted or not kept_after(run.spec, run.phase)):
            self.release(run.uid)

    def release(self, uid: str) -> None:
        """The workflow needs its volumes no more."""
        self._kept.pop(uid, None)
        self._dispatch.homes.release(uid, self._dispatch.executors.values())

    async def run(self) -> None:
        """Looks from time to time for what nobody needs."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                await self.sweep()
            except Exception as error:  # noqa: BLE001 - NATS may be away
                log.info("whose volumes are not needed any more cannot be told now: %s", error)

    async def sweep(self) -> None:
        """Looks up workflows of which executors have volumes, and which are not open."""
        now = asyncio.get_running_loop().time()
        self._kept = {uid: until for uid, until in self._kept.items() if until > now}
        held = {uid: None for executor in self._dispatch.executors.values() for uid in executor.claims}
        missed: set[str] = set()
        for uid in islice((uid for uid in held if self._unknown(uid)), MOST_LOOKS):
            archived = await self._archiver.get(uid)
            if not self._unknown(uid):
                continue
            if archived is not None and "persistentVolumeClaims" in archived.head["status"]:
                if len(self._kept) < MOST_KEPT:
                    self._kept[uid] = now + KEPT_SECONDS
            elif archived is not None or uid in self._missed:
                self.release(uid)
            else:
                missed.add(uid)
        self._missed = missed

    def _unknown(self, uid: str) -> bool:
        """Whether it is ours to say what becomes of them, and not known yet."""
        runs = self._runs
        return (
            uid not in self._kept
            and uid not in runs.by_uid
            and uid not in runs.unread
            and self._judges(partition_of(uid))
        )
