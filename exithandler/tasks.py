"""What is under way for partitions: it ends with their ownership."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Coroutine
from typing import Any

log = logging.getLogger(__name__)


class PartitionTasks:
    """Tasks, each for one partition: it ends with the ownership under which it began."""

    def __init__(self) -> None:
        self._partitions: dict[asyncio.Task[None], int] = {}

    def add(self, partition: int, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begins it; an error of it is logged."""
        task = asyncio.create_task(work)
        self._partitions[task] = partition
        task.add_done_callback(self._over)
        return task

    def end(self, partitions: Collection[int]) -> None:
        """These partitions are somebody else's."""
        for task, partition in self._partitions.items():
            if partition in partitions:
                task.cancel()

    async def drain(self) -> None:
        """Waits for all of it."""
        if self._partitions:
            await asyncio.wait(list(self._partitions))

    async def close(self) -> None:
        """Ends all of it; what is open comes again from the log."""
        self.end(set(self._partitions.values()))
        await self.drain()

    def _over(self, task: asyncio.Task[None]) -> None:
        del self._partitions[task]
        if not task.cancelled() and task.exception() is not None:
            log.error("something about an exit run failed", exc_info=task.exception())


def failed(done: asyncio.Future[Any]) -> bool:
    """Whether it failed, or was cancelled. Marks the error as seen: whoever asked may be gone."""
    return done.cancelled() or done.exception() is not None
