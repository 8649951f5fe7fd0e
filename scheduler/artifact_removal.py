"""Artifacts of deleted workflows go too: at once where this scheduler deletes, by a sweep where deaths left them.

Each scheduler looks at the workflows of its own partitions, since it alone knows which of them are open. The contents,
which workflows may share, are looked at by one of them: the one that owns partition 0.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable
from typing import Protocol

from exeunt.artifacts.embedded import EmbeddedStore
from exeunt.artifacts.embedded_port import ArtifactHolder, EmbeddedStoreError
from exeunt.artifacts.embedded_sweep import Sweep
from exeunt.journal.repeat import NATS_AWAY

log = logging.getLogger(__name__)

SWEEP_SECONDS = 3600.0
"""Between two sweeps; half of it to all of it is waited, at random."""
PACE_SECONDS = 0.01
"""Between two looks of a sweep: it takes its time."""
MOST_WAITING = 10_000
"""Deleted workflows whose artifacts are still to go; those beyond are left to the sweep."""
PAUSE_SECONDS = 1.0
TRIES = 5
"""How often the removal of a workflow's artifacts is tried before it is left to the sweep."""


class OwnWorkflows(Protocol):
    """What is known here of workflows for certain."""

    def may_be(self, uid: str, since: float | None = None) -> bool:
        """Whether it may be open: it is, or its partition was not ours at that moment (the loop's clock) or later."""

    async def is_kept(self, namespace: str, uid: str) -> bool:
        """Whether it is over and in the archive."""

    async def verify(self) -> None:
        """Reads from the log which partitions are ours."""


class ArtifactRemoval:
    """Removes artifacts in the background; `run` does the work."""

    def __init__(
        self,
        store: EmbeddedStore,
        workflows: OwnWorkflows,
        sweeps_contents: Callable[[], bool],
        *,
        every: float = SWEEP_SECONDS,
        pace: float = PACE_SECONDS,
    ) -> None:
        """`every` and `pace` in seconds."""
        self._store = store
        self._workflows = workflows
        self._sweeps_contents = sweeps_contents
        self._every = every
        self._pace = pace
        self._waiting: deque[tuple[ArtifactHolder, int]] = deque(maxlen=MOST_WAITING)
        self._some = asyncio.Event()

    def put(self, namespace: str, uid: str) -> None:
        """A workflow was deleted."""
        self._waiting.append((ArtifactHolder(namespace, uid), 0))
        self._some.set()

    async def run(self) -> None:
        """Works until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._remove_all())
            group.create_task(self._sweep_now_and_then())

    async def _remove_all(self) -> None:
        while True:
            self._some.clear()
            if not self._waiting:
                await self._some.wait()
            holder, tries = self._waiting.popleft()
            try:
                await self._store.delete_workflow(holder)
            except EmbeddedStoreError as error:
                log.warning("artifacts of the deleted workflow %s are still there: %s", holder.uid, error)
                if tries + 1 < TRIES:
                    self._waiting.append((holder, tries + 1))
                await asyncio.sleep(PAUSE_SECONDS)

    async def _sweep_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(self._every * random.uniform(0.5, 1))
            try:
                await self.sweep()
            except (EmbeddedStoreError, *NATS_AWAY) as error:
                log.warning("the sweep of artifacts ends early: %s", str(error) or type(error).__name__)

    async def sweep(self) -> None:
        """Looks through the store once. Raises EmbeddedStoreError."""
        sweep = Sweep(self._store, lambda: asyncio.sleep(self._pace))
        gone = await sweep.of_workflows(self._exists)
        left = await sweep.of_contents() if self._sweeps_contents() else 0
        if gone or left:
            log.info("removed artifacts of %d workflows that are gone, and %d leftovers", gone, left)

    async def _exists(self, holder: ArtifactHolder) -> bool:
        """In doubt it does. What is over was archived before it was forgotten here, so the order of looks counts."""
        workflows, began = self._workflows, asyncio.get_running_loop().time()
        if workflows.may_be(holder.uid) or await workflows.is_kept(holder.namespace, holder.uid):
            return True
        await workflows.verify()
        return workflows.may_be(holder.uid, began)
