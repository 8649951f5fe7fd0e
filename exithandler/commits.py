"""The commits of exit runs and their numbers: whatever an exit run writes to the log is numbered and written here.

The commits of a run are numbered 1, 2, 3 … without a gap, and a replay goes on behind the last one. A commit takes one
number, but for the last one, which takes two:

1. `n`, of kind `c`, holds the decision that ends the run. From now on its outcome is settled.
2. The ledger record and the public events are written, and after a replay the message to the workflow's owner.
3. `n + 1`, of kind `r`, holds RunClosed alone. It is what the scheduler reads, as an input of the main run.

So whoever sees a workflow end finds the records of its handlers, and their events unless the events' stream takes
nothing (decision 18). A crash in between repeats the later steps, which are safe to repeat: a run of which the log has
no more than `n` is taken up at the second step (`hand_over`).

The number of the last commit is the revision of the run's ledger record: `n + 1` for one that has ended.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection

from exeunt.engine import decide
from exeunt.engine.decide import Run
from exeunt.engine.facts import Event, RunClosed, commit
from exeunt.exithandler.tasks import PartitionTasks, failed
from exeunt.journal.errors import LogClosed, NotOwner
from exeunt.journal.log import Log
from exeunt.journal.subjects import Family

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.2

Settled = Callable[[int, float, list[Event]], Awaitable[None]]
"""Makes the ledger record and the public events of a run durable whose outcome is settled: given the number of its last
commit, and time and events of the one that settles it. Raises while that cannot be done."""


class CommitWriter:
    """What writes the commits of all exit runs of this process."""

    def __init__(self, journal: Log) -> None:
        self.journal = journal
        self._closings = PartitionTasks()

    async def drain(self) -> None:
        """Waits for closings that are under way."""
        await self._closings.drain()

    def lose(self, partitions: Collection[int]) -> None:
        """Ends closings of these partitions: whoever owns them takes them up from the log."""
        self._closings.end(partitions)

    def close(self, partition: int, closing: Awaitable[int]) -> asyncio.Future[int]:
        """Has a run close; done with what `closing` comes to."""
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._closings.add(partition, _into(done, closing))
        return done


class RunCommits:
    """The commits of one exit run. To its driver this is the log (`exeunt.driver.ports.Journal`)."""

    __slots__ = ("_on_durable", "_settled", "_writer", "durable", "family")

    def __init__(
        self,
        writer: CommitWriter,
        family: Family,
        settled: Settled,
        *,
        durable: int = 0,
        on_durable: Callable[[], None] = lambda: None,
    ) -> None:
        """`durable` is the number of the last commit that the log has; `on_durable` is called when it has one more."""
        self.family = family
        self.durable = durable
        self._writer = writer
        self._settled = settled
        self._on_durable = on_durable

    def append(
        self, family: Family, number: int, kind: str, data: bytes, *, snapshot: bool = False
    ) -> asyncio.Future[int]:
        """Writes commit `number`, as the driver counts them (`Run.commits`); of kind `r`, `number + 1` as well."""
        if kind == "r":
            written = self._writer.close(family.partition, self._close(number, data))
        else:
            written = self._writer.journal.append(family, number, kind, data, snapshot=snapshot)
        written.add_done_callback(lambda done: None if failed(done) else self._written(number, kind))
        return written

    def end(self, now: float, events: list[Event]) -> asyncio.Future[int]:
        """Ends the run behind what the log has of it. To be called with nothing of it on its way."""
        return self.append(self.family, self.durable + 1, "r", commit.encode(now, events))

    def hand_over(self, now: float, closed: RunClosed) -> asyncio.Future[int]:
        """Takes the later steps of an end that the log has as the last commit."""
        return self._writer.close(self.family.partition, self._hand_over(self.durable, now, [closed]))

    def go_on(self, run: Run) -> asyncio.Future[int]:
        """Writes the whole state of a run that had closed with commit `run.commits`: its fold begins anew from here."""
        snapshot = decide.snapshot(run)
        run.commits += 1
        return self.append(self.family, run.commits, "c", commit.encode(run.now, [snapshot]), snapshot=True)

    def _written(self, number: int, kind: str) -> None:
        self.durable = number + 1 if kind == "r" else number
        self._on_durable()

    async def _close(self, number: int, data: bytes) -> int:
        await self._writer.journal.append(self.family, number, "c", data)
        decoded = commit.decode(data)
        return await self._hand_over(number, decoded.now, decoded.events)

    async def _hand_over(self, number: int, now: float, events: list[Event]) -> int:
        """What follows commit `number`, which settled the outcome."""
        family, journal = self.family, self._writer.journal
        closed = next(e for e in events if isinstance(e, RunClosed))
        while True:
            if not journal.owns(family.partition):
                raise NotOwner("the run has moved to another owner")
            try:
                await self._settled(number + 1, now, events)
                break
            except (NotOwner, LogClosed):
                raise
            except Exception as error:  # noqa: BLE001 - NATS is away: nothing is lost, the main run waits
                log.warning("the end of %s %s is not out yet: %s", family.uid, family.hook_id, error)
                await asyncio.sleep(RETRY_SECONDS)
                await journal.wire.connected.wait()
        return await journal.append(family, number + 1, "r", commit.encode(now, [closed]))


async def _into(done: asyncio.Future[int], work: Awaitable[int]) -> None:
    try:
        position = await work
    except asyncio.CancelledError:
        done.cancel()
        raise
    except Exception as error:  # noqa: BLE001 - it belongs to whoever waits
        if not done.done():
            done.set_exception(error)
            done.exception()
    else:
        if not done.done():
            done.set_result(position)
