"""Fills the events' stream again after it was removed or purged: as far as the log reaches, in each run's own order.

First the runs that are open or have just closed, while events of theirs are held back; then the other closed ones,
beside the work. It rests in between, so that whoever empties the stream again and again holds up nobody.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from nats.errors import Error as NatsError

from exeunt.journal.errors import JetStreamError
from exeunt.journal.public import Events

log = logging.getLogger(__name__)

TOGETHER = 16
"""Runs that are told again at the same time."""

REST, SHORTEST_REST, LONGEST_REST = 2, 1.0, 30.0
"""It rests so many times as long as it took, in seconds at least and at most."""

Told = Sequence[Mapping[str, Any]]
"""The events of one run in their order, as `Events.post` takes them."""

History = Callable[[bool], AsyncIterator[Told]]
"""What the log tells of runs, of the closed ones or of the open ones."""


class Refill:
    """One for each process: it tells again what belongs to the partitions that it owns."""

    def __init__(self, events: Events, history: History) -> None:
        self._events = events
        self._history = history

    async def run(self) -> None:
        """Works until it is cancelled. What is emptied while it is being filled is begun with once more."""
        emptied = self._events.keeper.emptied
        loop = asyncio.get_running_loop()
        while True:
            await emptied.wait()
            emptied.clear()
            began = loop.time()
            filling = asyncio.ensure_future(self._fill())
            again = asyncio.ensure_future(emptied.wait())
            try:
                await asyncio.wait([filling, again], return_when=asyncio.FIRST_COMPLETED)
                if filling.done() and not filling.result():
                    emptied.set()
            finally:
                again.cancel()
                filling.cancel()
                await asyncio.wait([filling])
            await asyncio.sleep(min(LONGEST_REST, max(SHORTEST_REST, REST * (loop.time() - began))))

    async def _fill(self) -> bool:
        """False when it has to be tried again."""
        count = 0
        failed: list[BaseException] = []
        try:
            count = await self._held() + await self._tell(True)
        except* (JetStreamError, NatsError, TimeoutError, OSError) as errors:
            failed += errors.exceptions
        if failed:
            log.warning("events cannot be published again yet: %r", failed[0])
        else:
            log.info("the events of %d runs were published again where they were missing", count)
        return not failed

    async def _held(self) -> int:
        """The open runs, and closed ones of which events wait: these come behind what was told before."""
        self._events.lanes.hold(emptied=False)  # where it was, the keeper has said so
        await self._events.lanes.landed()
        count = await self._tell(False) + await self._tell(True, self._events.waits)
        self._events.lanes.release()
        return count

    async def _tell(self, closed: bool, wanted: Callable[[Told], bool] = lambda told: True) -> int:
        count = 0
        under_way: set[asyncio.Task[None]] = set()
        try:
            async for told in self._history(closed):
                if not wanted(told):
                    continue
                count += 1
                if len(under_way) >= TOGETHER:
                    done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        task.result()
                under_way.add(asyncio.ensure_future(self._events.again(told)))
            for one in list(under_way):
                await one
        finally:
            for task in under_way:
                task.cancel()
        return count
