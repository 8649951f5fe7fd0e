"""How an exit run closes: its outcome is settled in the log, told to the world, and only then handed to the main run.

A closing commit goes out in three steps: the same events as a plain commit, from which on the outcome cannot change;
then the ledger record and the public events, and of a replay the message to the workflow's owner; then the commit of
kind `r`, which the scheduler reads. So whoever sees a workflow end finds its handlers' records there, and their events
unless the events' stream takes nothing (decision 18). A crash in between repeats the later steps, which are safe to
repeat: the outcome is read from the log.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection

from exeunt.engine.facts import Event, RunClosed, commit
from exeunt.exithandler.run import Tasks
from exeunt.journal.log import Family, Log, LogClosed, NotOwner

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.2

Settled = Callable[[Family, int, float, list[Event]], Awaitable[None]]
"""Makes the ledger record and the public events of a closed run durable: its family, and number, time and events of the
commit that settles it. Raises while that cannot be done."""


class ClosingJournal:
    """The log as the drivers of exit runs see it (`exeunt.driver.Journal`)."""

    def __init__(self, journal: Log, settled: Settled) -> None:
        self._journal = journal
        self._settled = settled
        self._closings = Tasks()

    def append(
        self, family: Family, number: int, kind: str, data: bytes, *, snapshot: bool = False
    ) -> asyncio.Future[int]:
        """As the log's; a closing commit becomes `number` and `number + 1`, and is done with the second."""
        if kind != "r":
            return self._journal.append(family, number, kind, data, snapshot=snapshot)
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._closings.add(family.partition, _guarded(self._close(family, number, data, done), done))
        return done

    def finish(self, family: Family, number: int, now: float, closed: RunClosed) -> asyncio.Future[int]:
        """The later steps of a run whose outcome stands in the log as commit `number`."""
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._closings.add(family.partition, _guarded(self._tell(family, number, now, [closed], done), done))
        return done

    async def drain(self) -> None:
        """Waits for closings that are under way."""
        await self._closings.drain()

    def lose(self, partitions: Collection[int]) -> None:
        """Ends closings of these partitions: whoever owns them takes them up from the log."""
        self._closings.end(partitions)

    async def _close(self, family: Family, number: int, data: bytes, done: asyncio.Future[int]) -> None:
        await self._journal.append(family, number, "c", data)
        decoded = commit.decode(data)
        await self._tell(family, number, decoded.now, decoded.events, done)

    async def _tell(
        self, family: Family, number: int, now: float, events: list[Event], done: asyncio.Future[int]
    ) -> None:
        closed = next(e for e in events if isinstance(e, RunClosed))
        while True:
            if not self._journal.owns(family.partition):
                raise NotOwner("the run has moved to another owner")
            try:
                await self._settled(family, number, now, events)
                break
            except (NotOwner, LogClosed):
                raise
            except Exception as error:  # noqa: BLE001 - NATS is away: nothing is lost, the main run waits
                log.warning("the end of %s %s is not out yet: %s", family.uid, family.hook_id, error)
                await asyncio.sleep(RETRY_SECONDS)
                await self._journal.wire.connected.wait()
        position = await self._journal.append(family, number + 1, "r", commit.encode(now, [closed]))
        if not done.done():
            done.set_result(position)


async def _guarded(work: Awaitable[None], done: asyncio.Future[int]) -> None:
    try:
        await work
    except asyncio.CancelledError:
        done.cancel()
        raise
    except Exception as error:  # noqa: BLE001 - it belongs to whoever waits
        if not done.done():
            done.set_exception(error)
            done.exception()
