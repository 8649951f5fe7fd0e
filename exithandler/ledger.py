"""The exit ledger of this process: records of open runs in memory, written as they change; read with what is stored.

A record that changes several times while a write is on its way is written once more, with its latest state. What is
read here is never behind what this process knows.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import aclosing, asynccontextmanager
from typing import NamedTuple

import msgspec

from exeunt.exithandler.record import ExitRecord, read_record
from exeunt.journal.index import LAST, Place, RecordIndex, stored
from exeunt.journal.records import Gone, LedgerSummary, Records

log = logging.getLogger(__name__)

REMEMBERED = 10_000  # of what a watcher was told, so that it is not told again when it comes back from the store
AT_ONCE = 20  # records that are read at the same time
SOON_SECONDS = 0.5
"""A change of an open run is written so long after it: most runs have ended by then, and are written once."""
AGAIN_SECONDS = 0.1


class StoredRecord(NamedTuple):
    """The summary of a record in the store, and its position there."""

    summary: LedgerSummary
    sequence: int


class _Loaded:
    """All that was there has come."""


Changes = asyncio.Queue[ExitRecord | StoredRecord | _Loaded | Exception]
"""What a watcher is told: records of this process, what comes from the store, that all that was there has come, or what
ended the reading of it."""

Line = ExitRecord | LedgerSummary
"""A record in a list: the whole, or its summary."""

Room = Callable[[Line], bool]
"""Takes a record into a page, and says whether there is room for more."""


class Told(NamedTuple):
    """What a watcher hears: a record as it is now, or that it does not fit any more (`left`); None: all was told."""

    record: Line | None
    left: bool = False
    position: int = 0  # up to which all was told; 0 where that is as it was


class OtherList(Exception):  # noqa: N818 - an answer
    """The token of a page is that of a list of other records."""


class ExitFilter(NamedTuple):
    """Which records are asked for. What is empty or 0 narrows nothing; times, in seconds, are those of becoming due."""

    namespace: str = ""
    workflow: str = ""
    uid: str = ""
    hook: str = ""
    states: Collection[str] = ()
    since: float = 0.0
    until: float = 0.0

    @property
    def digest(self) -> str:
        """A hash of all of it."""
        return hashlib.blake2b(repr(self._replace(states=sorted(self.states))).encode(), digest_size=6).hexdigest()

    def fits(self, summary: LedgerSummary) -> bool:
        """Whether the record is among them."""
        return (
            (not self.namespace or summary.namespace == self.namespace)
            and (not self.workflow or summary.workflow == self.workflow)
            and (not self.uid or summary.uid == self.uid)
            and (not self.hook or summary.hook == self.hook)
            and (not self.states or summary.state in self.states)
            and (not self.since or summary.due_at >= self.since)
            and (not self.until or summary.due_at < self.until)
        )


class Ledger:
    """The ledger. One for each process."""

    def __init__(self, store: Records[LedgerSummary]) -> None:
        self.index = RecordIndex(store, _place)
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

    async def page(self, wanted: ExitFilter, *, size: int, token: str, room: Room, full: bool) -> str:
        """Gives `room` the records that fit, newest first: so many, or until it says that there is no more room.

        Answers the token of the next page, empty at the end. Raises ValueError for a token that is none of ours,
        OtherList for that of other records.
        """
        place = _read_token(token, wanted) or LAST
        found: list[LedgerSummary] = []
        more = False
        async with aclosing(self._below(place, wanted.namespace or "*")) as coming:
            async for summary in coming:
                if wanted.since and summary.due_at < wanted.since:
                    break
                if not wanted.fits(summary):
                    continue
                if len(found) == size:
                    more = True
                    break
                found.append(summary)
        for start in range(0, len(found), AT_ONCE):
            some = found[start : start + AT_ONCE]
            lines = await asyncio.gather(*(self._line(one, full=full) for one in some))
            for summary, line in zip(some, lines, strict=True):
                if line is not None and not room(line) and (more or summary is not found[-1]):
                    return _token(summary, wanted)
        return _token(found[-1], wanted) if more else ""

    async def _line(self, summary: LedgerSummary, *, full: bool) -> Line | None:
        return await self.get(summary.id) if full else summary

    async def _below(self, place: Place, namespace: str) -> AsyncGenerator[LedgerSummary, None]:
        """Summaries below a place, those that became due last first: live ones, and what is stored of others."""
        live = {id: record.summary() for id, record in self._live.items()}
        left = sorted((one for one in live.values() if _place(one) < place), key=_place)  # the newest is the last
        if await self.index.at(await self._store.position()):
            stored_ones = self.index.below(place, namespace)
        else:
            stored_ones = stored(self._store, _place, place, namespace)
        async with aclosing(stored_ones) as records:
            async for at, summary in records:
                while left and _place(left[-1]) >= at:
                    yield left.pop()
                if summary.id not in live:
                    yield summary
        while left:
            yield left.pop()

    @asynccontextmanager
    async def watching(
        self, wanted: ExitFilter, *, position: int | None = None, changes_only: bool = False, full: bool = True
    ) -> AsyncIterator[AsyncIterator[Told]]:
        """Records that fit as they change, here or with another exit handler; those that are there come first.

        From a position on: those of open runs, and what was written since. Nothing that changes after this has been
        entered is missed.
        """
        queue: Changes = asyncio.Queue()
        if position is not None or not changes_only:
            for record in self._live.values():
                queue.put_nowait(record)
        self._watchers.add(queue)
        since = position
        if since is None:
            since = await self._store.position() if changes_only else 0
        follow = asyncio.ensure_future(self._follow(wanted.namespace or "*", queue, since))
        try:
            yield self._changes(wanted, queue, since, anew=position is None, full=full)
        finally:
            self._watchers.discard(queue)
            while not follow.done():  # wait_for in Python 3.11 loses a cancellation that comes together with a message
                follow.cancel()
                await asyncio.wait([follow], timeout=AGAIN_SECONDS)

    async def _changes(
        self, wanted: ExitFilter, queue: Changes, position: int, *, anew: bool, full: bool
    ) -> AsyncIterator[Told]:
        """`anew`: the watcher knows nothing but what it has been told here."""
        told: OrderedDict[str, LedgerSummary | None] = OrderedDict()  # None: that it left the filter
        while True:
            found = await queue.get()
            if isinstance(found, Exception):
                raise found
            if isinstance(found, _Loaded):
                yield Told(None, position=position)
                continue
            sequence, summary = (
                (found.sequence, found.summary) if isinstance(found, StoredRecord) else (0, found.summary())
            )
            position = max(position, sequence)
            fits = wanted.fits(summary)
            known = summary.id in told
            if (not known and anew and not fits) or (known and told[summary.id] == (summary if fits else None)):
                continue
            line: Line | None = summary
            if fits:
                line = found if isinstance(found, ExitRecord) else await self._line(summary, full=full)
            if line is None:
                continue
            told[summary.id] = summary if fits else None
            told.move_to_end(summary.id)
            if len(told) > REMEMBERED:
                told.popitem(last=False)
                anew = False
            yield Told(line, left=not fits, position=sequence)

    async def _follow(self, namespace: str, queue: Changes, position: int) -> None:
        try:
            for follow in (False, True):
                changes = self._store.changes(namespace, start=position + 1, follow=follow)
                async with aclosing(changes) as coming:
                    async for change in coming:
                        position = change.sequence
                        # of those that are live here changes are told as they happen
                        if not isinstance(change.found, Gone) and change.key not in self._live:
                            queue.put_nowait(StoredRecord(change.found, position))
                queue.put_nowait(_Loaded())
        except Exception as error:  # noqa: BLE001 - it belongs to whoever watches
            queue.put_nowait(error)

    async def position(self) -> int:
        """The position of the last record that was written."""
        return await self._store.position()


def _place(summary: LedgerSummary) -> Place:
    """Where a record stands in a list: by the time at which it became due."""
    return summary.due_at, summary.id


def _token(last: LedgerSummary, wanted: ExitFilter) -> str:
    return base64.urlsafe_b64encode(f"{wanted.digest}:{last.due_at!r}:{last.id}".encode()).decode()


def _read_token(token: str, wanted: ExitFilter) -> Place | None:
    if not token:
        return None
    digest, due, id = base64.urlsafe_b64decode(token.encode()).decode().split(":", 2)
    place = float(due), id
    if digest != wanted.digest:
        raise OtherList
    return place
