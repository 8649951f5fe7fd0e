"""Many workflows in one stream, whenever they change: those that run here and elsewhere, and what has ended or gone.

What waits to be told is kept once for each workflow, as it is now: a reader that is slow misses what was in between,
never the last word. A position is one of the archive: who goes on from it gets all that runs, and what has ended or was
deleted since.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, NamedTuple

import grpc

from exeunt.journal.records import GONE_SECONDS, ArchiveSummary, Gone, Records
from exeunt.scheduler.entry import OpenWorkflow
from exeunt.scheduler.lists import FINAL, WorkflowFilter, WorkflowLists
from exeunt.scheduler.peers import PASSED_ON, Peers
from exeunt.scheduler.runs import Runs
from exeunt.scheduler.unread import Unread
from exeunt.scheduler.view import of_summary
from exeunt.service.channel import metadata
from exeunt.service.errors import invalid
from exeunt.v1 import workflow_service_pb2 as pb
from exeunt.words import phases

REST_SECONDS = 0.05
"""Between two rounds of telling: what changes several times meanwhile is told once."""
BOOKMARK_SECONDS = 60.0
AGAIN_SECONDS = 0.2
REMEMBERED = 10_000
"""Deleted workflows of which nothing more is told, whatever comes late."""
OLDEST_SECONDS = GONE_SECONDS - 3600
_LEFT = b"left"
"""In place of the hash: that it left the filter has been told."""
_POSITION = re.compile(r"(\d{1,18})\.(\d{1,12})")

Kind = pb.WatchWorkflowsResponse.Kind


class WatchStart(NamedTuple):
    """Where a watch begins in the archive; `anew` with nothing that the client knows."""

    position: int
    anew: bool
    reset: bool = False


class _Left(NamedTuple):
    """What another scheduler tells of one that does not fit."""

    workflow: pb.Workflow


class _Removed(NamedTuple):
    """A workflow that was deleted."""

    namespace: str
    uid: str
    name: str


_Item = OpenWorkflow | Unread | pb.Workflow | ArchiveSummary | _Left | _Removed


def start_of(position: str, last: int) -> WatchStart:
    """Where to begin; `last` is the archive's position now. Raises INVALID_ARGUMENT."""
    if not position:
        return WatchStart(0, anew=True)
    found = _POSITION.fullmatch(position)
    if found is None:
        raise invalid("position cannot be read", [("position", "give the last position as it came, or none")])
    sequence, at = map(int, found.groups())
    if sequence > last or time.time() - at > OLDEST_SECONDS:
        return WatchStart(0, anew=True, reset=True)
    return WatchStart(sequence, anew=False)


class WorkflowsWatcher:
    """Answers WatchWorkflows."""

    def __init__(self, runs: Runs, lists: WorkflowLists, archive: Records[ArchiveSummary], peers: Peers) -> None:
        self._runs = runs
        self._lists = lists
        self._archive = archive
        self._peers = peers

    async def own(
        self, request: pb.WatchWorkflowsRequest, wanted: WorkflowFilter
    ) -> AsyncGenerator[pb.WatchWorkflowsResponse, None]:
        """For another scheduler: the workflows that run here."""
        watch = _Watch(self._lists, request, wanted, anew=False, position=0)
        async with aclosing(self._told(watch, request, {})) as told:
            async for one in told:
                yield one

    async def all(
        self, request: pb.WatchWorkflowsRequest, wanted: WorkflowFilter
    ) -> AsyncGenerator[pb.WatchWorkflowsResponse, None]:
        """For users: all workflows."""
        last = await self._archive.position()
        start = start_of(request.position, last)
        if start.reset:
            yield pb.WatchWorkflowsResponse(kind=Kind.KIND_RESET)
        skipped = request.changes_only or (wanted.phases and not wanted.phases & FINAL)
        position = last if start.anew and skipped else start.position
        watch = _Watch(self._lists, request, wanted, anew=start.anew, position=position)
        sources: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "archive": lambda: self._ended(watch, position),
            "others": lambda: self._others(watch, request),
        }
        async with aclosing(self._told(watch, request, sources)) as told:
            async for one in told:
                yield one

    async def _told(
        self,
        watch: _Watch,
        request: pb.WatchWorkflowsRequest,
        sources: dict[str, Callable[[], Coroutine[Any, Any, None]]],
    ) -> AsyncGenerator[pb.WatchWorkflowsResponse, None]:
        self._runs.on_changed.add(watch.take_entry)
        if not request.changes_only or request.position:
            for entry in self._runs.by_uid.values():
                watch.take_entry(entry)
            for unread in self._runs.unread.values():
                watch.take(unread.uid, unread)
        watch.loading = set(sources)
        tasks = [asyncio.create_task(source(), name=name) for name, source in sources.items()]
        try:
            async with aclosing(watch.told(tasks)) as told:
                async for one in told:
                    yield one
        finally:
            self._runs.on_changed.discard(watch.take_entry)
            while left := [task for task in tasks if not task.done()]:
                for task in left:
                    task.cancel()
                await asyncio.wait(left, timeout=1.0)

    async def _ended(self, watch: _Watch, position: int) -> None:
        """What stands in the archive behind the position, and what comes."""
        for follow in (False, True):
            async with aclosing(
                self._archive.changes(watch.wanted.namespace, start=position + 1, follow=follow)
            ) as changes:
                async for change in changes:
                    position = change.sequence
                    if not isinstance(change.found, Gone):
                        watch.take(change.key, change.found, position)
                    elif not change.found.again:
                        gone = _Removed(change.namespace, change.key, change.found.name)
                        watch.take(change.key, gone, position)
            watch.loaded("archive")

    async def _others(self, watch: _Watch, request: pb.WatchWorkflowsRequest) -> None:
        """What runs with other schedulers, whoever they are at the time."""
        owners = self._peers.owners
        changed = asyncio.Event()
        streams: dict[str, asyncio.Task[None]] = {}
        owners.on_members.append(changed.set)
        synced: set[str] = set()
        try:
            while True:
                changed.clear()
                there = set(owners.schedulers())
                for address in streams.keys() - there:
                    streams.pop(address).cancel()
                for address in there - streams.keys():
                    streams[address] = asyncio.create_task(self._other(address, watch, request, synced, changed))
                if there <= synced:
                    watch.loaded("others")
                await changed.wait()
        finally:
            owners.on_members.remove(changed.set)
            for stream in streams.values():
                stream.cancel()
            if streams:
                await asyncio.wait(streams.values())

    async def _other(
        self,
        address: str,
        watch: _Watch,
        request: pb.WatchWorkflowsRequest,
        synced: set[str],
        changed: asyncio.Event,
    ) -> None:
        asked = pb.WatchWorkflowsRequest()
        asked.CopyFrom(request)
        asked.position = ""
        asked.changes_only = request.changes_only and not request.position
        while True:
            call = self._peers.workflows(address).WatchWorkflows(asked, metadata=[(PASSED_ON, "1"), *metadata()])
            try:
                async for one in call:
                    if one.kind == Kind.KIND_CHANGED:
                        watch.take(one.workflow.uid, one.workflow)
                    elif one.kind == Kind.KIND_LEFT:
                        watch.take(one.workflow.uid, _Left(one.workflow))
                    elif one.kind == Kind.KIND_SYNCED:
                        synced.add(address)
                        changed.set()
                        asked.changes_only = False  # what happens while it is away is in what is there afterwards
            except grpc.aio.AioRpcError:
                pass  # it is away, or loads
            finally:
                call.cancel()
            await asyncio.sleep(AGAIN_SECONDS)


class _Watch:
    """What one client knows, and what it has yet to be told."""

    def __init__(
        self,
        lists: WorkflowLists,
        request: pb.WatchWorkflowsRequest,
        wanted: WorkflowFilter,
        *,
        anew: bool,
        position: int,
    ) -> None:
        self.wanted = wanted
        self.loading: set[str] = set()  # sources of which what is there has not come yet
        self._lists = lists
        self._view = request.view
        self._anew = anew
        self._waiting: dict[str, _Item] = {}
        self._sequences: dict[str, int] = {}  # of these, where they come from the archive: the first one
        self._position = position
        self._known: dict[str, tuple[int, bytes]] = {}  # revision and hash of what was told of each, or _LEFT
        self._deleted: dict[str, None] = {}
        self._some = asyncio.Event()
        self._synced = False

    def take_entry(self, entry: OpenWorkflow) -> None:
        """A run has changed."""
        self.take(entry.uid, entry)

    def take(self, uid: str, item: _Item, sequence: int = 0) -> None:
        """Something is to be told of this workflow, unless it is known."""
        before = self._waiting.get(uid)
        if isinstance(before, _Removed) or (isinstance(before, pb.Workflow) and _older(item, before)):
            return
        self._waiting[uid] = item
        if sequence:
            self._sequences.setdefault(uid, sequence)
            self._position = max(self._position, sequence)
        self._some.set()

    def loaded(self, source: str) -> None:
        """All that was there has been taken."""
        self.loading.discard(source)
        self._some.set()

    async def told(self, sources: list[asyncio.Task[None]]) -> AsyncGenerator[pb.WatchWorkflowsResponse, None]:
        """What is to be told, as it comes, for ever. Raises what ended one of the sources."""
        while True:
            self._some.clear()
            while self._waiting:
                uid = next(iter(self._waiting))
                item = self._waiting.pop(uid)
                sequence = self._sequences.pop(uid, 0)
                found = await self._message(uid, item)
                if found is not None:
                    found.position = self._here() if sequence else ""
                    yield found
                    await asyncio.sleep(0)
            if not self._synced and not self.loading:
                self._synced = True
                yield self._bookmark()
            elif self._synced:
                await asyncio.sleep(REST_SECONDS)
            for source in sources:
                if source.done():
                    source.result()
            try:
                async with asyncio.timeout(BOOKMARK_SECONDS):
                    await self._some.wait()
            except TimeoutError:
                if self._synced:
                    yield self._bookmark()

    def _bookmark(self) -> pb.WatchWorkflowsResponse:
        return pb.WatchWorkflowsResponse(kind=Kind.KIND_SYNCED, position=self._here())

    def _here(self) -> str:
        """Up to where in the archive everything has been told."""
        first = next(iter(self._sequences.values()), None)
        return f"{self._position if first is None else first - 1}.{int(time.time())}"

    async def _message(self, uid: str, item: _Item) -> pb.WatchWorkflowsResponse | None:
        """What is told; None where there is nothing new, or nothing that is asked for."""
        if isinstance(item, _Removed):
            self._deleted[uid] = None
            if len(self._deleted) > REMEMBERED:
                del self._deleted[next(iter(self._deleted))]
            if self._known.pop(uid, None) is None and self._anew:
                return None
            gone = pb.Workflow(namespace=item.namespace, uid=uid, name=item.name)
            return pb.WatchWorkflowsResponse(kind=Kind.KIND_DELETED, workflow=gone)
        if uid in self._deleted:
            return None
        found, fits = await self._looked(item)
        if found is None:
            return None
        workflow: pb.Workflow = found
        revision, before = self._known.get(uid, (-1, b""))
        if workflow.revision < revision:
            return None
        if not fits:
            if before == _LEFT or (revision < 0 and self._anew):
                return None
            self._known[uid] = workflow.revision, _LEFT
            return pb.WatchWorkflowsResponse(kind=Kind.KIND_LEFT, workflow=workflow)
        told = hashlib.blake2b(workflow.SerializeToString(deterministic=True), digest_size=8).digest()
        if told == before:
            return None
        self._known[uid] = workflow.revision, told
        return pb.WatchWorkflowsResponse(kind=Kind.KIND_CHANGED, workflow=workflow)

    async def _looked(
        self, item: OpenWorkflow | Unread | pb.Workflow | ArchiveSummary | _Left
    ) -> tuple[pb.Workflow | None, bool]:
        """The workflow, and whether it fits."""
        if isinstance(item, pb.Workflow):
            return item, True
        if isinstance(item, _Left):
            return item.workflow, False
        if isinstance(item, OpenWorkflow) and item.driver.dropped and not item.closed:
            return None, False  # who has it now tells of it
        shown = (
            of_summary(item, self._view)
            if isinstance(item, ArchiveSummary)
            else await self._lists.line(item, self._view)
        )
        return shown, self.wanted.fits(shown.namespace, phases.word(shown.phase), shown.labels)


def _older(item: _Item, known: pb.Workflow) -> bool:
    return isinstance(item, pb.Workflow) and item.revision < known.revision
