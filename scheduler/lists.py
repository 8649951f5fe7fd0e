"""Lists of workflows, newest first by their creation: open ones of all schedulers, and finished ones of the archive.

Where a workflow stands never changes, so a page begins where the one before has ended, whatever ends, begins or is
deleted between them. Within a page open ones are read before finished ones: what ends meanwhile is in both. What is
retried meanwhile goes the other way, and the index remembers it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from bisect import bisect_left
from collections.abc import AsyncGenerator, Container, Mapping
from contextlib import aclosing
from typing import Any, NamedTuple, TypeVar

import grpc
import msgspec

from exeunt import words
from exeunt.engine.facts import phases
from exeunt.journal.access import NatsAccess
from exeunt.journal.index import LAST, Place, RecordIndex, stored
from exeunt.journal.records import ArchiveSummary, Records
from exeunt.journal.subjects import PARTITIONS
from exeunt.scheduler.archive import place_of
from exeunt.scheduler.entry import OpenWorkflow
from exeunt.scheduler.peers import Peers, was_passed_on
from exeunt.scheduler.runs import Runs
from exeunt.scheduler.selectors import Matches, SelectorError, selector
from exeunt.scheduler.unread import Unread
from exeunt.scheduler.view import listed, of_summary
from exeunt.service.bounds import PAGE_BYTES
from exeunt.service.errors import invalid, unavailable
from exeunt.service.grpc import ALL
from exeunt.v1 import workflow_service_pb2 as pb
from exeunt.v1.phase_pb2 import Phase

DEFAULT_SIZE = 100
LARGEST_SIZE = 1000
TOGETHER = 50  # lines that are made at the same time

PHASES = (phases.PENDING, phases.RUNNING, phases.SUCCEEDED, phases.FAILED, phases.ERROR)
"""Those of workflows."""
FINAL = frozenset({phases.SUCCEEDED, phases.FAILED, phases.ERROR})

NOWHERE: Place = (-1, "")
"""Below every place."""

T = TypeVar("T")
Context = grpc.aio.ServicerContext[Any, Any]


class PageToken(msgspec.Struct, array_like=True, tag="workflows"):
    """Where a list goes on: below this place. `filter` is a hash of what the list has."""

    created: float
    uid: str
    filter: str


def page_size(asked: int) -> int:
    """How many a page has. Raises INVALID_ARGUMENT for a negative number."""
    if asked < 0:
        raise invalid("page_size is negative", [("page_size", "0 means the default")])
    return min(asked or DEFAULT_SIZE, LARGEST_SIZE)


def read_token(text: str, wanted: WorkflowFilter) -> Place:
    """Where the page before has ended. Raises INVALID_ARGUMENT."""
    if not text:
        return LAST
    token = _read(text, PageToken)
    if token.filter != wanted.digest:
        told = "page_token is of a list with another namespace, selector or phases"
        raise invalid(told, [("page_token", "give it with the same namespace, selector and phases, or begin anew")])
    return token.created, token.uid


def write_token(place: Place, wanted: WorkflowFilter) -> str:
    """Where a page has ended, as text."""
    return base64.urlsafe_b64encode(msgspec.json.encode(PageToken(float(place[0]), place[1], wanted.digest))).decode()


class ExecutorsPageToken(msgspec.Struct, array_like=True, tag="executors"):
    """Where a list of executors goes on: behind this one."""

    id: str


def read_behind(text: str) -> str:
    """The executor that a page before ended with. Raises INVALID_ARGUMENT."""
    return _read(text, ExecutorsPageToken).id if text else ""


def write_behind(id: str) -> str:
    """A token as text."""
    return base64.urlsafe_b64encode(msgspec.json.encode(ExecutorsPageToken(id))).decode()


def _read(text: str, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text), type=kind)
    except (ValueError, binascii.Error, msgspec.DecodeError):
        raise invalid("page_token cannot be read", [("page_token", "give next_page_token as it came")]) from None


class WorkflowFilter(NamedTuple):
    """Which workflows a list or a watch has."""

    namespace: str  # or ALL
    phases: frozenset[str]  # all when empty
    labels: Matches
    digest: str = ""  # of all of it

    def fits(self, namespace: str, phase: str, labels: Mapping[str, str]) -> bool:
        """Whether such a workflow is among them."""
        return self.namespace in {ALL, namespace} and (not self.phases or phase in self.phases) and self.labels(labels)


def filter_of(request: pb.ListWorkflowsRequest | pb.WatchWorkflowsRequest) -> WorkflowFilter:
    """What a request asks for. Raises INVALID_ARGUMENT."""
    try:
        labels = selector(request.selector)
    except SelectorError as error:
        raise invalid(str(error), [("selector", str(error))]) from None
    for number, phase in zip(request.phases, words.phases.words(request.phases), strict=True):
        if phase not in PHASES:
            known = ", ".join(Phase.Name(words.phases.number(one)) for one in PHASES)
            text = f"{phase or number} is no phase of a workflow: {known} are"
            raise invalid(text, [("phases", text)])
    if request.view not in (pb.WORKFLOW_VIEW_UNSPECIFIED, pb.WORKFLOW_VIEW_BASIC, pb.WORKFLOW_VIEW_OBJECT):
        text = "WORKFLOW_VIEW_BASIC and WORKFLOW_VIEW_OBJECT are views of many workflows"
        raise invalid(text, [("view", text)])
    namespace, chosen = request.namespace or ALL, frozenset(words.phases.words(request.phases))
    said = msgspec.json.encode([namespace, sorted(chosen), request.selector])
    return WorkflowFilter(namespace, chosen, labels, hashlib.blake2b(said, digest_size=6).hexdigest())


class Line(NamedTuple):
    """A workflow in a list, and where it stands there."""

    place: Place
    workflow: pb.Workflow


class Page:
    """The lines of an answer: so many at most, and no more than a message holds; one at least."""

    def __init__(self, size: int) -> None:
        self.lines: list[Line] = []
        self._size = size
        self._bytes = 0

    def take(self, line: Line) -> bool:
        """Adds a line; False when there is no room for it."""
        size = line.workflow.ByteSize()
        if self.lines and (len(self.lines) == self._size or self._bytes + size > PAGE_BYTES):
            return False
        self.lines.append(line)
        self._bytes += size
        return True

    def answer(self, wanted: WorkflowFilter, *, more: bool) -> pb.ListWorkflowsResponse:
        """The page as an answer."""
        token = write_token(self.lines[-1].place, wanted) if more else ""
        return pb.ListWorkflowsResponse(workflows=[line.workflow for line in self.lines], next_page_token=token)


class WorkflowLists:
    """Answers ListWorkflows."""

    def __init__(self, runs: Runs, archive: Records[ArchiveSummary], peers: Peers, access: NatsAccess) -> None:
        self.index = RecordIndex(archive, place_of)
        self._runs = runs
        self._archive = archive
        self._peers = peers
        self._access = access

    async def page(self, request: pb.ListWorkflowsRequest, context: Context) -> pb.ListWorkflowsResponse:
        """One page. A scheduler that is asked by another one answers with its own open workflows only."""
        size = page_size(request.page_size)
        wanted = filter_of(request)
        place = read_token(request.page_token, wanted)
        request.namespace = wanted.namespace
        self.check_loaded()
        if was_passed_on(context):
            page, more = await self._open(request, wanted, place, size)
            for line in page.lines:
                line.workflow.create_time.FromMilliseconds(round(line.place[0] * 1000))
            return page.answer(wanted, more=more)
        before = self.index.sequence
        lines, complete = await self._all_open(request, wanted, place, size)
        lines |= await self._finished(request, wanted, place, complete, before, size, lines)
        page = Page(size)
        for line in sorted(lines.values(), key=_place, reverse=True):
            if line.place < complete or not page.take(line):
                return page.answer(wanted, more=True)
        return page.answer(wanted, more=complete > NOWHERE)

    def check_loaded(self) -> None:
        """Raises UNAVAILABLE while a partition that is ours, or nobody's, is not loaded: a list would lack it."""
        for partition in range(PARTITIONS):
            owner = self._peers.owners.scheduler_of(partition)
            if owner is None or (owner == "" and partition not in self._runs.loaded):
                raise unavailable("LOADING", "a part of the workflows is being loaded; ask again in a moment")

    async def _open(
        self, request: pb.ListWorkflowsRequest, wanted: WorkflowFilter, place: Place, size: int
    ) -> tuple[Page, bool]:
        """The next ones that are open here, as far as a page holds them, and whether there are more."""
        page = Page(size)
        async with (
            self._access.writing.required(),  # what is decided is shown once it is durable
            aclosing(self._below(wanted, place, min(TOGETHER, size + 1))) as coming,
        ):
            async for some in coming:
                shown = await asyncio.gather(*(self.line(one, request.view) for one in some))
                for one, workflow in zip(some, shown, strict=True):
                    if not page.take(Line(_place_of(one), workflow)):
                        return page, True
        return page, False

    async def _all_open(
        self, request: pb.ListWorkflowsRequest, wanted: WorkflowFilter, place: Place, size: int
    ) -> tuple[dict[str, Line], Place]:
        """The next ones that are open with any scheduler, and the place below which some of them may be missing."""
        asked = pb.ListWorkflowsRequest()
        asked.CopyFrom(request)
        asked.page_size = size
        others = self._peers.owners.schedulers()
        (page, more), *answers = await asyncio.gather(
            self._open(request, wanted, place, size),
            *(self._peers.pass_on(address, "ListWorkflows", asked) for address in others),
        )
        complete = page.lines[-1].place if more else NOWHERE
        lines: dict[str, Line] = {}
        for answer in answers:
            theirs = [_passed_on(workflow) for workflow in answer.workflows]
            lines |= {line.workflow.uid: line for line in theirs}
            if answer.next_page_token:
                complete = max(complete, theirs[-1].place)
        return lines | {line.workflow.uid: line for line in page.lines}, complete

    async def _finished(  # noqa: PLR0917 - all of one page
        self,
        request: pb.ListWorkflowsRequest,
        wanted: WorkflowFilter,
        place: Place,
        lowest: Place,
        before: int,
        size: int,
        shown: Container[str],
    ) -> dict[str, Line]:
        """The next ones that are over and are not `shown`, down to a place, and one more than a page holds at most.

        `before` is how far the index had come before those that are open were looked at.
        """
        if await self.index.at(await self._archive.position()):
            records = self.index.below(place, request.namespace)
        else:
            records = stored(self._archive, place_of, place, request.namespace)
        found: dict[str, Line] = {}

        def take(at: Place, record: ArchiveSummary) -> None:
            entry = self._runs.by_uid.get(record.uid)  # its record may be about to go
            if record.uid not in shown and _fits(wanted, record) and (entry is None or self.fits(wanted, entry)):
                found[record.uid] = Line(at, of_summary(record, request.view))

        async with aclosing(records) as coming:
            async for at, record in coming:
                if at < lowest or len(found) > size:
                    break
                take(at, record)
        for at, record in self.index.reopened(before):
            if lowest <= at < place:
                take(at, record)
        return found

    async def _below(
        self, wanted: WorkflowFilter, place: Place, together: int
    ) -> AsyncGenerator[list[OpenWorkflow | Unread], None]:
        """Open workflows that fit, newest first, some at a time."""
        unread = sorted(self._unread(wanted, place), key=_place_of)
        while True:
            number = bisect_left(self._runs.order, place)
            places = self._runs.order[max(0, number - together) : number]
            lowest = places[0] if places else NOWHERE
            some: list[OpenWorkflow | Unread] = []
            while unread and _place_of(unread[-1]) >= lowest:
                some.append(unread.pop())
            for _, uid in places:
                entry = self._runs.by_uid.get(uid)
                if entry is not None and self.fits(wanted, entry):
                    some.append(entry)
            some.sort(key=_place_of, reverse=True)
            if some:
                yield some
            if not places:
                return
            place = lowest
            await asyncio.sleep(0)

    def fits(self, wanted: WorkflowFilter, one: OpenWorkflow | Unread) -> bool:
        """Whether an open workflow is among those that are asked for."""
        if isinstance(one, Unread):
            return wanted.fits(one.namespace, phases.RUNNING, one.labels)
        return wanted.fits(one.run.namespace, one.run.phase, one.run.state.started.labels)

    async def line(self, one: OpenWorkflow | Unread, view: int) -> pb.Workflow:
        """The line of an open workflow; made in its turn, since many large manifests take long."""
        if isinstance(one, Unread):
            return listed(one.tree(), one.number, view)
        seen = await one.view(nodes=False)
        return await self._runs.turns.do(lambda: listed(seen.head, seen.version, view))

    def _unread(self, wanted: WorkflowFilter, place: Place) -> list[Unread]:
        """Runs that cannot be read. They stand in lists by the time of their first commit."""
        return [one for one in self._runs.unread.values() if _place_of(one) < place and self.fits(wanted, one)]


def _passed_on(workflow: pb.Workflow) -> Line:
    """A line of another scheduler: its time of creation is exact there, and has whole seconds for users."""
    place = workflow.create_time.ToMilliseconds() / 1000, workflow.uid
    workflow.create_time.nanos = 0
    return Line(place, workflow)


def _place_of(one: OpenWorkflow | Unread) -> Place:
    return (round(one.created, 3), one.uid) if isinstance(one, Unread) else one.place


def _fits(wanted: WorkflowFilter, record: ArchiveSummary) -> bool:
    return wanted.fits(record.namespace, record.phase, record.labels)


def _place(line: Line) -> Place:
    return line.place
