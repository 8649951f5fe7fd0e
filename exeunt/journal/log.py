"""The log of one process in one role: take partitions, load them, append under their fences, follow the other role.

The protocol is docs/decisions/0002-log.md. `Log` knows nothing of events: it writes and gives out bytes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection

from nats.aio.client import Client

from exeunt.journal.cut import Cutter
from exeunt.journal.entries import Write, of_commit, of_message
from exeunt.journal.errors import LogClosed, NotOwner, Refused
from exeunt.journal.extent import LogExtent
from exeunt.journal.fences import Fences
from exeunt.journal.follow import Follower
from exeunt.journal.gather import Gatherer, QueuedWrite
from exeunt.journal.history import history, records_of
from exeunt.journal.marks import Marks
from exeunt.journal.reader import Reader, first_of
from exeunt.journal.replay import LoadedLog, OpenRun, Sorter
from exeunt.journal.settings import LogSettings
from exeunt.journal.settle import find
from exeunt.journal.streams import ensure_stream, log_stream
from exeunt.journal.subjects import (
    CLOSING,
    EVERYTHING,
    STREAM,
    Address,
    Family,
    MailboxMessage,
    Record,
    Role,
    check_token,
    parse,
)
from exeunt.journal.tending import Housekeeping
from exeunt.journal.wire import Answer, Wire, wire_of
from exeunt.natspy import WRONG_LAST_SEQUENCE

log = logging.getLogger(__name__)

FRESH_SECONDS = 1.0
UNBROKEN_SECONDS = 0.7


class Log:
    """One for each process and role: `await Log.open(…)`, then `take`, `load`, `append`, `follow`, at last `close`."""

    def __init__(self, wire: Wire, role: Role, replica: str, settings: LogSettings) -> None:
        self.role: Role = role
        self.replica = replica
        self.settings = settings
        self.wire = wire
        self._extent = LogExtent()
        self.on_lost: list[Callable[[int], None]] = []
        """Called with a partition that somebody else has taken."""
        self.on_snapshot: list[Callable[[list[Family]], None]] = []
        """Called with runs that should write a snapshot now, so that the log can be cut behind it."""
        self._begun: dict[Family, int] = {}  # of commits in several requests: the position of the first part
        self._tenures: dict[int, int] = {}  # how often each partition was taken
        self._marks = Marks()
        self._confirmed = float("-inf")
        self._verified = float("-inf")  # when our fences were read last
        self._fences = Fences(wire, role, replica, settings.deadline, self._lose)
        self._gatherer = Gatherer(
            wire,
            plain_limit=settings.plain_limit,
            deadline=settings.deadline,
            stamp=self._fences.stamp,
            stored=self._stored,
            refused=self._refused,
            settle=self._settle,
        )
        self._follower = Follower(wire, role, self._marks, self._fence_seen)
        self._housekeeping = Housekeeping(
            wire,
            role,
            settings,
            extent=self._extent,
            marks=self._marks,
            cutter=Cutter(wire, role, replica, settings.replicas),
            renew=self._renew_old,
            on_snapshot=self.on_snapshot,
        )
        self._closing = False
        self._lost: list[int] = []
        self._task: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, nc: Client, role: Role, replica: str, settings: LogSettings | None = None) -> Log:
        """Makes the stream where it is missing and starts to write. `replica` names this process among its kind."""
        settings = settings or LogSettings()
        wire = await wire_of(nc)
        config = await ensure_stream(wire, log_stream(settings.replicas, settings.max_bytes))
        self = cls(wire, role, check_token(replica), settings)
        self._extent.made(config)
        if int(config.get("num_replicas", 1)) > 1:  # the stream decides: it may be older than the settings
            self._gatherer.plain_limit = 1
        self._task = asyncio.create_task(self._run(), name=f"log {role} {replica}")
        return self

    async def close(self) -> None:
        """Waits for what is on its way and stops. Whatever is appended afterwards fails with LogClosed."""
        if self._task is None:
            return
        task, self._task = self._task, None
        self._closing = True
        if not self._gatherer.full and self.wire.connected.is_set():
            try:
                async with asyncio.timeout(self.settings.deadline):
                    await self._gatherer.drain()
            except TimeoutError:
                log.warning("closing with writes that got no answer")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def ended(self) -> None:
        """Waits until the log has ended; raises what ended it. Only `close` should."""
        if self._task is not None:
            await asyncio.shield(self._task)

    # --- writing ------------------------------------------------------------------------------------------------------

    def append(
        self, family: Family, number: int, kind: str, data: bytes, *, snapshot: bool = False
    ) -> asyncio.Future[int]:
        """Writes commit `number` of a run; done with its position when it is durable. One at a time for each run.

        A large one goes out in parts, a very large one in several requests: until its last part is there, a reader does
        not know any of it.

        Raises (from the future) NotOwner: drop the run and stop acting; LogClosed, or LogFull when the log was closed
        while it had no room; TooLarge for a commit over the setting `commit_bytes`; Refused. After these two nothing of
        it counts, and another commit may have its number. `snapshot` says that the commit holds the whole state.
        """
        self._begun.pop(family, None)
        entries = of_commit(family, number, kind, data, self.settings.commit_bytes, snapshot=snapshot)
        if len(entries) == 1:
            return self._add(entries[0])
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._add_next(entries, self._tenures.get(family.partition, 0), done)
        return done

    def _add_next(self, entries: list[QueuedWrite], tenure: int, done: asyncio.Future[int]) -> None:
        """Writes one request of a commit after the other, as long as its partition stays ours without a break."""
        entry = entries.pop(0)

        def added(written: asyncio.Future[int]) -> None:
            error = LogClosed("the log is closed") if written.cancelled() else written.exception()
            if done.done():
                return
            if error is not None:
                done.set_exception(error)
                done.exception()  # nobody may be listening any more
            elif entries:
                self._add_next(entries, tenure, done)
            else:
                done.set_result(written.result())

        entry.done.add_done_callback(added)
        if self._tenures.get(entry.key, 0) == tenure:
            self._add(entry)
        else:
            entry.fail(_not_owner(entry.key))

    def send(self, sender: int, to: Address, ident: str, data: bytes) -> asyncio.Future[int]:
        """Writes a message to the owner of another partition, under the fence of our partition `sender`.

        Safe to repeat: the receiver knows it by `ident`. Raises as `append` does.
        """
        return self._add(of_message(sender, to, ident, data))

    def _add(self, entry: QueuedWrite) -> asyncio.Future[int]:
        if entry.done.done():
            return entry.done
        if self._closing:
            entry.fail(LogClosed("the log is closed"))
        elif entry.key not in self._fences:
            entry.fail(_not_owner(entry.key))
        else:
            self._gatherer.add(entry)
        return entry.done

    def _stored(self, entry: QueuedWrite, sequence: int) -> None:
        self._extent.wrote(sequence, entry.size)
        write = entry.tag
        if isinstance(write, Write) and isinstance(write.of, Family):
            family = write.of
            first = self._begun.setdefault(family, sequence - entry.count + 1)
            if write.ident == 1:
                self._marks.need(family, first)
            if not write.last:
                return
            del self._begun[family]
            if write.snapshot:
                self._marks.need(family, first, anew=True)
            if write.kind in CLOSING[self.role]:
                self._marks.closed(family, sequence)

    def _refused(self, entry: QueuedWrite, answer: Answer) -> None:
        if answer.code == WRONG_LAST_SEQUENCE:
            self._fences.drop(entry.key)
            self._lose(entry.key)
            entry.fail(_not_owner(entry.key))
        else:
            log.error("a commit was refused (%d: %s) on %s", answer.code, answer.description, entry.subject)
            entry.fail(Refused(answer.code, answer.description))

    async def _settle(self, entries: list[QueuedWrite]) -> list[QueuedWrite]:
        """Renews the fences, so that nothing unanswered can come, then looks what has come (docs/log.md §3)."""
        await self._fences.renew({e.key for e in entries}, {})
        mine = [e for e in entries if e.key in self._fences]
        for entry in entries:
            if entry.key not in self._fences:
                entry.fail(_not_owner(entry.key))
        if not mine:
            return []
        partitions = {e.key for e in mine}
        self._renewed(partitions)
        until = max(self._fences.held[p] for p in partitions)
        found = await find(self.wire, self.role, min(e.floor for e in mine) + 1, until, partitions)
        again = []
        for entry in mine:
            assert isinstance(entry.tag, Write)
            sequence = found.get(entry.tag.key)
            if sequence is None:
                again.append(entry)
                continue
            self._stored(entry, sequence)
            if not entry.done.done():
                entry.done.set_result(sequence)
        log.info("%d of %d writes without an answer had been stored", len(mine) - len(again), len(mine))
        return again

    # --- owning -------------------------------------------------------------------------------------------------------

    async def take(self, partitions: Collection[int]) -> None:
        """Makes the partitions ours, whoever had them: from now on nobody else's commit in them is accepted."""

        async def write() -> None:
            for partition in partitions:  # what a former ownership left behind must not go out under the new fence,
                self._gatherer.fail(partition, _not_owner(partition))
                self._tenures[partition] = self._tenures.get(partition, 0) + 1
                self._fences.drop(partition)  # and a late word of its loss must not be taken for the loss of this one
            self._follower.expect(partitions)
            await self._fences.take(partitions)

        await self._gatherer.exclusively(write)
        self._advance(partitions)
        log.info("took %d partitions (%s)", len(partitions), self.role)

    async def load(self, partitions: Collection[int]) -> LoadedLog:
        """Reads the partitions up to our fences, in one pass. Afterwards `follow` gives what comes behind.

        Raises NotOwner when one of them is not ours (any more): take what is, and load again.
        """
        missing = [p for p in partitions if p not in self._fences]
        if missing:
            raise _not_owner(missing[0])
        positions = {p: self._fences.held[p] for p in partitions}
        until = max(positions.values(), default=0)
        sorter = Sorter(self.role, positions)
        if positions:
            async for item in Reader(self.wire, STREAM, EVERYTHING):
                sorter.take(item.sequence, parse(item.sequence, item.subject, item.headers, item.data))
                if item.sequence >= until:
                    break
        if sorter.unknown:
            log.error("%d messages of the log are of no known kind", sorter.unknown)
        loaded = sorter.result(await first_of(self.wire, STREAM) if positions else 0)
        for partition, fence in positions.items():
            if partition in self._fences:
                self._marks.begin(partition, fence)
                self._marks.renewed(partition, self._fences.held[partition])
        for run in loaded.runs:
            self._marks.need(run.family, run.records[0].first)
        for run in loaded.closed:
            self._marks.need(run.family, run.records[0].first)
            self._marks.closed(run.family, run.records[-1].sequence)
        for record in loaded.told:
            self._marks.handed(record.family.partition, record.sequence, record.first)
        for message in loaded.messages:
            self._marks.handed(message.partition, message.sequence, message.sequence)
        self._follower.loaded(positions)
        return loaded

    async def read(self, family: Family) -> list[Record]:
        """The commits of one of our open runs, from the first or from the latest snapshot on; [] for one without any.

        To be called with none of it on its way.
        """
        needs = self._marks.needs(family.partition)
        start = needs.runs.get(family) if needs is not None else None
        return [] if start is None else await records_of(self.wire, family, start)

    def history(self, *, closed: bool) -> AsyncIterator[OpenRun]:
        """What the log still holds of runs in our partitions; changes nothing (`exeunt.journal.history`)."""
        return history(self.wire, self.role, self._fences.held, closed=closed)

    async def follow(self) -> AsyncIterator[Record | MailboxMessage]:
        """What comes behind the loads, in the log's order, until the log is closed.

        For `m` closing commits of exit runs, for `x` commits of kinds `h` and `e`; and the role's mailbox. Give each to
        `finish` when it has been acted on.
        """
        async for what in self._follower.given():
            yield what

    def finish(self, what: Record | MailboxMessage) -> None:
        """What was loaded or followed has been acted on, durably (or needs no action): the mark may pass it."""
        partition = what.family.partition if isinstance(what, Record) else what.partition
        self._marks.finished(partition, what.sequence)

    def done(self, family: Family) -> None:
        """The run has closed and all that is derived from it is out: the log needs to keep nothing of it."""
        self._marks.done(family)

    def owns(self, partition: int) -> bool:
        """Whether the partition is ours, as far as this process knows."""
        return partition in self._fences

    def fence(self, partition: int) -> int | None:
        """The position of our fence; None when the partition is not ours. That of a later owner is greater."""
        return self._fences.held.get(partition)

    def fresh(self, partition: int, since: float | None = None) -> bool:
        """Whether ownership was confirmed within the last second: only then act outside (docs/log.md §2).

        With `since` (the loop's clock): whether our fence was read as the last one after that moment. A new owner need
        not wait for the second to pass, so what cannot be undone needs this.
        """
        fresh = partition in self._fences and asyncio.get_running_loop().time() - self._confirmed < FRESH_SECONDS
        return fresh and (since is None or self._verified >= since)

    async def confirm(self, sent: float, *, verify: bool = False) -> None:
        """Membership was renewed by a request sent then (the loop's clock). After a gap the fences are read first."""
        if self._fences.held and (verify or sent - self._confirmed > UNBROKEN_SECONDS):
            began = asyncio.get_running_loop().time()
            await self._fences.verify()
            self._verified = began
        self._confirmed = max(self._confirmed, sent)

    @property
    def fullness(self) -> float:
        """How much of the log's room is taken, 0 to 1. Above 0.8 new work should be refused."""
        return self._extent.fullness

    @property
    def stored(self) -> int:
        """The highest position of a write of ours that was acknowledged."""
        return self._extent.stored

    @property
    def gatherer(self) -> Gatherer:
        """What writes, for whoever wants to know how that goes."""
        return self._gatherer

    @property
    def distance(self) -> int:
        """Messages from the oldest one that is still needed here to the newest that this process knows."""
        return self._marks.distance(self._extent.head)

    def release(self, partitions: Collection[int]) -> None:
        """Gives partitions up: nothing more is written or followed in them. The next owner takes them by itself."""
        for partition in partitions:
            self._fences.drop(partition)
            self._forget(partition)

    def _lose(self, partition: int) -> None:
        self._forget(partition)
        if not self._lost:
            asyncio.get_running_loop().call_soon(self._say_lost)
        self._lost.append(partition)
        for told in list(self.on_lost):
            told(partition)

    def _say_lost(self) -> None:
        """One line for all that went at one moment."""
        lost, self._lost = self._lost, []
        log.warning("%d partitions (%s) have been taken by another owner", len(lost), self.role)

    def _forget(self, partition: int) -> None:
        self._marks.end(partition)
        self._follower.drop(partition)
        self._gatherer.fail(partition, _not_owner(partition))

    def _fence_seen(self, partition: int, sequence: int, data: bytes) -> None:
        held = self._fences.held.get(partition)
        if held is not None and sequence > held and not self._fences.is_mine(data):
            self._fences.drop(partition)
            self._lose(partition)

    # --- housekeeping -------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._gatherer.run())
                group.create_task(self._follower.run())
                group.create_task(self._housekeeping.run())
        finally:
            self._closing = True
            self._gatherer.close()
            self._follower.close()

    async def keep(self) -> None:
        """One turn of housekeeping; comes by itself as well."""
        await self._housekeeping.turn()

    async def _renew_old(self, distance: int) -> None:
        old = [p for p, f in self._fences.held.items() if self._extent.head - f > distance]
        old = [p for p in old if p in self._marks]
        if not old:
            return

        async def renew() -> None:
            projected = {p: needs.projected(self._gatherer.high) for p, needs in self._marks}
            await self._fences.renew(old, projected, patient=False)
            self._renewed(old)

        await self._gatherer.exclusively(renew)

    def _renewed(self, partitions: Collection[int]) -> None:
        for partition in partitions:
            if partition in self._fences:
                self._marks.renewed(partition, self._fences.held[partition])
        self._advance(partitions)

    def _advance(self, partitions: Collection[int]) -> None:
        for partition in partitions:
            self._extent.reached(self._fences.held.get(partition, 0))
        self._gatherer.high = max(self._gatherer.high, self._extent.head)


def _not_owner(partition: int) -> NotOwner:
    return NotOwner(f"partition {partition:02x} is not ours (any more)")
