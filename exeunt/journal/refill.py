"""Fills the events' stream again after it was removed or purged: as far as the log reaches, in each run's own order.

First the runs that are open or have just closed, while events of theirs are held back; then the other closed ones,
beside the work. It rests in between, so that whoever empties the stream again and again holds up nobody.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence

from nats.errors import Error as NatsError

from exeunt.journal.errors import JetStreamError
from exeunt.journal.public import Events, EventToPublish

log = logging.getLogger(__name__)

TOGETHER = 16
"""Runs that are told again at the same time."""

REST, SHORTEST_REST, LONGEST_REST = 2, 1.0, 30.0
"""It rests so many times as long as it took, in seconds at least and at most."""

Told = Sequence[EventToPublish]
"""The events of one run in their order."""

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
            count = await self._held() + await self._tell(self._history(True))
        except* (JetStreamError, NatsError, TimeoutError, OSError) as errors:
            failed += errors.exceptions
        if failed:
            log.warning("events cannot be published again yet: %r", failed[0])
        else:
            log.info("the events of %d runs were published again where they were missing", count)
        return not failed

    async def _held(self) -> int:
        """The open runs, and closed ones of which events wait: these come behind what was told before.

        A run that was begun anew (a retry, a replay) told something before that. It goes together with that, in order.
        """
        lanes = self._events.lanes
        lanes.hold(emptied=False)  # where it was, the keeper has said so
        await lanes.landed()
        anew: dict[str, list[EventToPublish]] = {}

        async def begun_once() -> AsyncIterator[Told]:
            async for told in self._history(False):
                if not told or not told[0].anew:
                    yield told
                else:
                    anew[told[0].lane] = list(told)

        count = await self._tell(begun_once())
        parts: dict[str, list[EventToPublish]] = {}
        async for told in self._history(True):
            lane = told[0].lane if told else ""
            if lane in anew or lanes.waits(lane):
                parts.setdefault(lane, []).extend(told)
        for lane, told in anew.items():
            parts.setdefault(lane, []).extend(told)

        async def together() -> AsyncIterator[Told]:
            for told in parts.values():
                yield told

        count += await self._tell(together())
        lanes.release()
        return count

    async def _tell(self, runs: AsyncIterator[Told]) -> int:
        """Tells runs side by side; what follows in the same lane waits."""
        count = 0
        under_way: dict[asyncio.Task[None], str] = {}
        try:
            async for told in runs:
                if not told:
                    continue
                count += 1
                lane = told[0].lane
                while len(under_way) >= TOGETHER or lane in under_way.values():
                    done, _ = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        del under_way[task]
                        task.result()
                under_way[asyncio.ensure_future(self._events.again(told))] = lane
            for one in list(under_way):
                await one
        finally:
            for task in under_way:
                task.cancel()
        return count
