"""The exit ledger of this process: records of open runs in memory, written as they change; read with what is stored.

A record that changes several times while a write is on its way is written once more, with its latest state. What is
read here is never behind what this process knows.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import AsyncIterator, Collection
from typing import NamedTuple

import msgspec

from exeunt.exithandler.record import ExitRecord, read_record
from exeunt.journal.records import LedgerSummary, Records

log = logging.getLogger(__name__)

AT_ONCE = 50  # records that are read at the same time
SOON_SECONDS = 0.5
"""A change of an open run is written so long after it: most runs have ended by then, and are written once."""
LIVE = "live"  # where records of open runs stand in the order of a list: before all hours


class Page(NamedTuple):
    """Records, newest first, and where the next page begins; empty at the end."""

    records: list[ExitRecord]
    next: str


class Ledger:
    """One for each process."""

    def __init__(self, store: Records[LedgerSummary]) -> None:
        self._store = store
        self._live: dict[str, ExitRecord] = {}
        self._writing: dict[str, asyncio.Task[None]] = {}
        self._soon: dict[str, asyncio.TimerHandle] = {}
        self._again: set[str] = set()
        self._watchers: set[asyncio.Queue[ExitRecord]] = set()

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

    async def page(self, *, namespace: str, workflow: str, states: Collection[str], size: int, token: str) -> Page:
        """Records that fit, newest first. Raises ValueError for a token that is none of ours."""
        hour, skipped = _read_token(token)
        seen_in_hour: dict[str, int] = {}
        ids: dict[str, None] = {}
        async for at, summary in self._merged(namespace, hour):
            seen_in_hour[at] = seen_in_hour.get(at, 0) + 1
            if at == hour and seen_in_hour[at] <= skipped:
                continue
            if summary.id in ids or not _fits(summary, namespace, workflow, states):
                continue
            if len(ids) == size:
                return Page(await self._all(list(ids)), _token(at, seen_in_hour[at] - 1))
            ids[summary.id] = None
        return Page(await self._all(list(ids)), "")

    async def _all(self, ids: list[str]) -> list[ExitRecord]:
        records: list[ExitRecord | None] = []
        for i in range(0, len(ids), AT_ONCE):
            records += await asyncio.gather(*(self.get(id) for id in ids[i : i + AT_ONCE]))
        return [record for record in records if record is not None]

    async def watch(self, *, namespace: str, workflow: str) -> AsyncIterator[ExitRecord]:
        """Records that fit: those that are there, then each change that this process makes."""
        queue: asyncio.Queue[ExitRecord] = asyncio.Queue()
        self._watchers.add(queue)
        try:
            async for _, summary in self._merged(namespace, ""):
                if _fits(summary, namespace, workflow, ()):
                    record = await self.get(summary.id)
                    if record is not None:
                        yield record
            while True:
                changed = await queue.get()
                if _fits(changed.summary(), namespace, workflow, ()):
                    yield changed
        finally:
            self._watchers.discard(queue)

    async def _merged(self, namespace: str, hour: str) -> AsyncIterator[tuple[str, LedgerSummary]]:
        """Stored summaries with their hours, in place of which the live ones stand where there are any."""
        fresh = {i: r.summary() for i, r in self._live.items()}
        if hour in {"", LIVE}:
            for summary in sorted(fresh.values(), key=lambda s: s.due_at, reverse=True):
                yield LIVE, summary
        async for at, stored in self._store.walk(namespace or "*", "" if hour == LIVE else hour):
            if stored.id not in fresh:
                yield at, stored


def _fits(summary: LedgerSummary, namespace: str, workflow: str, states: Collection[str]) -> bool:
    return (
        (not namespace or summary.namespace == namespace)
        and (not workflow or summary.workflow == workflow)
        and (not states or summary.state in states)
    )


def _token(hour: str, skip: int) -> str:
    return base64.urlsafe_b64encode(f"{hour}:{skip}".encode()).decode()


def _read_token(token: str) -> tuple[str, int]:
    if not token:
        return "", 0
    hour, _, skip = base64.urlsafe_b64decode(token.encode()).decode().partition(":")
    return hour, int(skip)
