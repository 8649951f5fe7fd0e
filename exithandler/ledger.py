"""The exit ledger of this process: records of open runs in memory, written as they change; read with what is stored.

A record that changes several times while a write is on its way is written once more, with its latest state. What is
read here is never behind what this process knows.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import NamedTuple

import msgspec

from exeunt.exithandler.record import ExitRecord, read_record
from exeunt.journal.records import LedgerSummary, Records, hour_of

log = logging.getLogger(__name__)

REMEMBERED = 10_000  # of what a watcher was told, so that it is not told again when it comes back from the store
AT_ONCE = 20  # records that are read at the same time
SOON_SECONDS = 0.5
"""A change of an open run is written so long after it: most runs have ended by then, and are written once."""
AGAIN_SECONDS = 0.1


Changes = asyncio.Queue[ExitRecord | LedgerSummary | Exception]
"""What a watcher is told: records of this process, summaries from the store, or what ended the reading of it."""


Room = Callable[[ExitRecord], bool]
"""Takes a record into a page, and says whether there is room for more."""


class Page(NamedTuple):
    """Records, newest first, and where the next page begins; empty at the end."""

    records: list[ExitRecord]
    next: str


class Wanted(NamedTuple):
    """Which records are asked for; what is empty or 0 narrows nothing. Times, in seconds, are those of becoming due."""

    namespace: str = ""
    workflow: str = ""
    hook: str = ""
    states: Collection[str] = ()
    since: float = 0.0
    until: float = 0.0

    def fits(self, summary: LedgerSummary) -> bool:
        """Whether the record is among them."""
        return (
            (not self.namespace or summary.namespace == self.namespace)
            and (not self.workflow or summary.workflow == self.workflow)
            and (not self.hook or summary.hook == self.hook)
            and (not self.states or summary.state in self.states)
            and (not self.since or summary.due_at >= self.since)
            and (not self.until or summary.due_at < self.until)
        )


class Ledger:
    """One for each process."""

    def __init__(self, store: Records[LedgerSummary]) -> None:
        self._store = store
        self._live: dict[str, ExitRecord] = {}
        self._writing: dict[str, asyncio.Task[None]] = {}
        self._soon: dict[str, asyncio.TimerHandle] = {}
        self._again: set[str] = set()
        self._watchers: set[Changes] = set()

    # --- writing ------------------------------------------------------------------------------------------------------

    def hold(self, record: ExitRecord) -> None:
        """The record of an open run: what is read here is this one until it is released."""
        self._live[record.id] = record

    def changed(self, record: ExitRecord) -> None:
        """An open run's record changed: it is written soon, and watchers hear of it."""
        self._live[record.id] = record
        self._tell(record)
        if record.id in self._writing:
            self._again.add(record.id)
        elif record.id not in self._soon:
            later = asyncio.get_running_loop().call_later
            self._soon[record.id] = later(SOON_SECONDS, self._begin, record.id)

    async def settle(self, record: ExitRecord) -> None:
        """Writes the record as it is now and returns when that is durable."""
        self._tell(record)
        self._not_soon(record.id)
        writing = self._writing.get(record.id)
        if writing is not None:
            self._again.discard(record.id)
            await asyncio.wait([writing])
        await self._put(record)

    def release(self, id: str) -> None:
        """The run is closed and its record durable, or it is somebody else's now."""
        self._live.pop(id, None)
        self._again.discard(id)
        self._not_soon(id)

    async def close(self) -> None:
        """Writes what has changed, and waits for it."""
        for id in list(self._soon):
            self._not_soon(id)
            self._begin(id)
        if self._writing:
            await asyncio.wait(list(self._writing.values()))

    def _not_soon(self, id: str) -> None:
        handle = self._soon.pop(id, None)
        if handle is not None:
            handle.cancel()

    def _begin(self, id: str) -> None:
        self._soon.pop(id, None)
        self._writing[id] = asyncio.ensure_future(self._write(id))

    async def _write(self, id: str) -> None:
        try:
            while (record := self._live.get(id)) is not None:
                self._again.discard(id)
                await self._put(record)
                if id not in self._again:
                    return
        except Exception as error:  # noqa: BLE001 - a record that is not out is written again with the next change
            log.warning("the ledger record %s could not be written: %s", id, error)
        finally:
            del self._writing[id]

    async def _put(self, record: ExitRecord) -> None:
        body = msgspec.to_builtins(record, builtin_types=(bytes,))
        written = await self._store.put_version(
            record.namespace, record.due_at, record.id, record.summary(), body, version=record.commits
        )
        if not written:
            log.info("the ledger has a later record of %s, by another owner", record.id)

    def _tell(self, record: ExitRecord) -> None:
        if self._watchers:
            copy = msgspec.structs.replace(record, attempts=list(record.attempts))
            for queue in self._watchers:
                queue.put_nowait(copy)

    # --- reading ------------------------------------------------------------------------------------------------------

    def live(self) -> Collection[ExitRecord]:
        """Records of open runs."""
        return self._live.values()

    async def get(self, id: str) -> ExitRecord | None:
        """The record of that id."""
        live = self._live.get(id)
        if live is not None:
            return live
        found = await self._store.get(id)
        return read_record(found[1]) if found else None

    async def page(self, wanted: Wanted, *, size: int, token: str, room: Room = lambda record: True) -> Page:
        """Records that fit, newest first: so many, or until `room` says of one that it was the last there is room for.

        Raises ValueError for a token that is none of ours.
        """
        before = _read_token(token)
        found: list[LedgerSummary] = []
        async for summary in self._merged(wanted.namespace, hour_of(before[0]) if before else ""):
            if wanted.since and summary.due_at < wanted.since:
                break
            if (before and _place(summary) >= before) or not wanted.fits(summary):
                continue
            if len(found) == size:
                return await self._filled(found, room, more=True)
            found.append(summary)
        return await self._filled(found, room, more=False)

    async def _filled(self, found: list[LedgerSummary], room: Room, *, more: bool) -> Page:
        records: list[ExitRecord] = []
        for start in range(0, len(found), AT_ONCE):
            some = found[start : start + AT_ONCE]
            for summary, record in zip(some, await asyncio.gather(*(self.get(one.id) for one in some)), strict=True):
                if record is None:
                    continue
                records.append(record)
                if not room(record) and (more or summary is not found[-1]):
                    return Page(records, _token(summary))
        return Page(records, _token(found[-1]) if more else "")

    @asynccontextmanager
    async def watching(self, wanted: Wanted, *, changes_only: bool = False) -> AsyncIterator[AsyncIterator[ExitRecord]]:
        """Records that fit as they change, here or with another exit handler; those that are there come first.

        Nothing that changes after this has been entered is missed.
        """
        queue: Changes = asyncio.Queue()
        if not changes_only:
            for record in self._live.values():
                queue.put_nowait(record)
        self._watchers.add(queue)
        stored = asyncio.ensure_future(self._follow(wanted.namespace or "*", queue, changes_only))
        try:
            yield self._changes(wanted, queue)
        finally:
            self._watchers.discard(queue)
            while not stored.done():  # wait_for in Python 3.11 loses a cancellation that comes together with a message
                stored.cancel()
                await asyncio.wait([stored], timeout=AGAIN_SECONDS)

    async def _changes(self, wanted: Wanted, queue: Changes) -> AsyncIterator[ExitRecord]:
        told: OrderedDict[str, LedgerSummary] = OrderedDict()
        while True:
            found = await queue.get()
            if isinstance(found, Exception):
                raise found
            summary = found.summary() if isinstance(found, ExitRecord) else found
            if told.get(summary.id) == summary or not wanted.fits(summary):
                continue
            record = found if isinstance(found, ExitRecord) else await self.get(summary.id)
            if record is None:
                continue
            told[summary.id] = summary
            told.move_to_end(summary.id)
            if len(told) > REMEMBERED:
                told.popitem(last=False)
            yield record

    async def _follow(self, namespace: str, queue: Changes, changes_only: bool) -> None:
        since = time.time() if changes_only else 0.0
        try:
            async for summary in self._store.follow(namespace, since):
                if summary.id not in self._live:  # of those that are live here changes are told as they happen
                    queue.put_nowait(summary)
        except Exception as error:  # noqa: BLE001 - it belongs to whoever watches
            queue.put_nowait(error)

    async def _merged(self, namespace: str, hour: str) -> AsyncIterator[LedgerSummary]:
        """Summaries, those that became due last first: stored ones, and the live ones in place of theirs."""
        live = {id: record.summary() for id, record in self._live.items()}
        left = sorted(live.values(), key=_place)  # the newest is the last
        pending: list[LedgerSummary] = []
        current = ""
        async for at, stored in self._store.walk(namespace or "*", hour):
            if at != current:
                for summary in _drawn(pending, left, current) if current else ():
                    yield summary
                pending, current = [], at
            if stored.id not in live:
                pending.append(stored)
        for summary in _drawn(pending, left, ""):
            yield summary


def _drawn(stored: list[LedgerSummary], live: list[LedgerSummary], hour: str) -> list[LedgerSummary]:
    """The stored ones of an hour with the live ones that are not older than that hour, newest first."""
    taken = list(stored)
    while live and hour_of(live[-1].due_at) >= hour:
        taken.append(live.pop())
    return sorted(taken, key=_place, reverse=True)


def _place(summary: LedgerSummary) -> tuple[float, str]:
    """Where a record stands in a list: by the time at which it became due."""
    return summary.due_at, summary.id


def _token(last: LedgerSummary) -> str:
    return base64.urlsafe_b64encode(f"{last.due_at!r}:{last.id}".encode()).decode()


def _read_token(token: str) -> tuple[float, str] | None:
    if not token:
        return None
    due, _, id = base64.urlsafe_b64decode(token.encode()).decode().partition(":")
    return float(due), id
