"""Lists of workflows, newest first: open ones by their start, then finished ones by the hours of the archive."""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from bisect import bisect_left
from collections.abc import AsyncGenerator, Container, Iterable, Mapping
from contextlib import aclosing
from typing import Any, NamedTuple, TypeVar

import grpc
import msgspec

from exeunt import words
from exeunt.engine.facts import phases
from exeunt.journal.index import LAST, Index, stored
from exeunt.journal.records import ArchiveSummary, Records
from exeunt.journal.standing import Standing
from exeunt.journal.subjects import PARTITIONS
from exeunt.scheduler.archive import place_of
from exeunt.scheduler.entry import Entry
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
SKEW_SECONDS = 5.0  # that the clocks of schedulers may differ
TOGETHER = 50  # lines that are made at the same time

PHASES = (phases.PENDING, phases.RUNNING, phases.SUCCEEDED, phases.FAILED, phases.ERROR)
"""Those of workflows."""
FINAL = frozenset({phases.SUCCEEDED, phases.FAILED, phases.ERROR})

T = TypeVar("T")
Context = grpc.aio.ServicerContext[Any, Any]


class Token(msgspec.Struct, array_like=True):
    """Where a list goes on: below this start time among those that were open, or this end in the archive.

    Which workflows are open changes between pages. So the first page settles it for the list: what ends behind
    `position` of the archive counts as open, and keeps its place by its start.
    """

    created: int = 2**62
    uid: str = ""
    finished: float = 0.0
    archive: bool = False
    position: int = -1  # of the archive when the list began
    began: float = 0.0


def page_size(asked: int) -> int:
    """How many are shown. Raises INVALID_ARGUMENT for a negative number."""
    if asked < 0:
        raise invalid("page_size is negative", [("page_size", "0 means the default")])
    return min(asked or DEFAULT_SIZE, LARGEST_SIZE)


def read_token(text: str) -> Token:
    """The token of a page before. Raises INVALID_ARGUMENT."""
    return _read(text, Token) if text else Token()


def write_token(token: Token) -> str:
    """A token as text."""
    return base64.urlsafe_b64encode(msgspec.json.encode(token)).decode()


class Behind(msgspec.Struct, array_like=True, tag="executors"):
    """Where a list of executors goes on: behind this one."""

    id: str


def read_behind(text: str) -> str:
    """The executor that a page before ended with. Raises INVALID_ARGUMENT."""
    return _read(text, Behind).id if text else ""


def write_behind(id: str) -> str:
    """A token as text."""
    return base64.urlsafe_b64encode(msgspec.json.encode(Behind(id))).decode()


def _read(text: str, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text), type=kind)
    except (ValueError, binascii.Error, msgspec.DecodeError):
        raise invalid("page_token cannot be read", [("page_token", "give next_page_token as it came")]) from None


class Filter(NamedTuple):
    """Which workflows a list or a watch has."""

    namespace: str  # or ALL
    phases: frozenset[str]  # all when empty
    labels: Matches

    def fits(self, namespace: str, phase: str, labels: Mapping[str, str]) -> bool:
        """Whether such a workflow is among them."""
        return self.namespace in {ALL, namespace} and (not self.phases or phase in self.phases) and self.labels(labels)


def filter_of(request: pb.ListWorkflowsRequest | pb.WatchWorkflowsRequest) -> Filter:
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
    return Filter(request.namespace or ALL, frozenset(words.phases.words(request.phases)), labels)


class Page:
    """The lines of an answer: so many at most, and no more than a message holds; one at least."""

    def __init__(self, size: int, workflows: Iterable[pb.Workflow] = ()) -> None:
        self.workflows: list[pb.Workflow] = []
        self._size = size
        self._bytes = 0
        for workflow in workflows:
            self.take(workflow)

    def take(self, workflow: pb.Workflow) -> bool:
        """Adds a line; False when there is no room for it."""
        size = workflow.ByteSize()
        if self.workflows and (len(self.workflows) == self._size or self._bytes + size > PAGE_BYTES):
            return False
        self.workflows.append(workflow)
        self._bytes += size
        return True


class Lists:
    """Answers ListWorkflows."""

    def __init__(self, runs: Runs, archive: Records[ArchiveSummary], peers: Peers, standing: Standing) -> None:
        self.index = Index(archive, place_of)
        self._runs = runs
        self._archive = archive
        self._peers = peers
        self._standing = standing

    async def page(self, request: pb.ListWorkflowsRequest, context: Context) -> pb.ListWorkflowsResponse:
        """One page. A scheduler that is asked by another one answers with its own open workflows only."""
        size = page_size(request.page_size)
        token = read_token(request.page_token)
        wanted = filter_of(request)
        request.namespace = wanted.namespace
        self.check_loaded()
        own = was_passed_on(context)
        if own:
            if token.archive:
                return pb.ListWorkflowsResponse()
            shown, more = await self._open(request, wanted, token, size)
            return _open_page(shown, token, more=more)
        recent: dict[str, ArchiveSummary] = {}
        position = await self._archive.position()
        indexed = await self.index.at(position)
        if token.position < 0:
            token.position, token.began = position, time.time()
        elif token.position < position:
            recent = await self._recent(request, token, indexed=indexed)
        shown = []
        if not token.archive:
            shown, more = await self._open(request, wanted, token, size)
            chosen = [one for one in recent.values() if _fits(wanted, one)]
            shown, more = await self._with_others(request, token, shown, chosen, size, more=more)
            if more:
                return _open_page(shown, token, more=True)
        return await self._finished_page(request, wanted, token, shown, recent, size, indexed=indexed)

    async def _recent(
        self, request: pb.ListWorkflowsRequest, token: Token, *, indexed: bool
    ) -> dict[str, ArchiveSummary]:
        """What has ended since the list began. A record that was only written anew keeps its place in the archive."""
        if indexed:
            since = self.index.since(token.position)
        else:
            since = await self._archive.since(token.position, request.namespace)
        return {one.uid: one for one in since if one.finished_at >= token.began - SKEW_SECONDS}

    def check_loaded(self) -> None:
        """A list is never short: while a partition that is ours, or nobody's, is not loaded there is none."""
        for partition in range(PARTITIONS):
            owner = self._peers.owners.scheduler_of(partition)
            if owner is None or (owner == "" and partition not in self._runs.loaded):
                raise unavailable("LOADING", "a part of the workflows is being loaded; ask again in a moment")

    async def _open(
        self, request: pb.ListWorkflowsRequest, wanted: Filter, token: Token, size: int
    ) -> tuple[list[pb.Workflow], bool]:
        """The next ones, as far as a page holds them, and whether there are more."""
        page = Page(size)
        async with (
            self._standing.writing.required(),  # what is decided is shown once it is durable
            aclosing(self._below(wanted, (token.created, token.uid), min(TOGETHER, size + 1))) as coming,
        ):
            async for some in coming:
                for workflow in await asyncio.gather(*(self.line(one, request.view) for one in some)):
                    if not page.take(workflow):
                        return page.workflows, True
        return page.workflows, False

    async def _below(
        self, wanted: Filter, place: tuple[int, str], together: int
    ) -> AsyncGenerator[list[Entry | Unread], None]:
        """Open workflows that fit, newest first, some at a time."""
        unread = sorted(self._unread(wanted, place), key=_place_of)
        while True:
            number = bisect_left(self._runs.order, place)
            places = self._runs.order[max(0, number - together) : number]
            lowest = places[0] if places else (0, "")
            some: list[Entry | Unread] = []
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

    def fits(self, wanted: Filter, one: Entry | Unread) -> bool:
        """Whether an open workflow is among those that are asked for."""
        if isinstance(one, Unread):
            return wanted.fits(one.namespace, phases.RUNNING, one.labels)
        return wanted.fits(one.run.namespace, one.run.phase, one.run.state.started.labels)

    async def line(self, one: Entry | Unread, view: int) -> pb.Workflow:
        """A workflow that is open. In its turn: a list of many large manifests takes long."""
        if isinstance(one, Unread):
            return listed(one.tree(), one.number, view)
        seen = await one.view(nodes=False)
        return await self._runs.turns.do(lambda: listed(seen.head, seen.version, view))

    def _unread(self, wanted: Filter, place: tuple[int, str]) -> list[Unread]:
        """Those that cannot be read, on the page that they belong to by their start."""
        return [one for one in self._runs.unread.values() if _place_of(one) < place and self.fits(wanted, one)]

    async def _with_others(
        self,
        request: pb.ListWorkflowsRequest,
        token: Token,
        shown: list[pb.Workflow],
        recent: list[ArchiveSummary],
        size: int,
        *,
        more: bool,
    ) -> tuple[list[pb.Workflow], bool]:
        """Those of all schedulers, and those that have ended meanwhile.

        Behind the last line of a page that has a next one others may be missing.
        """
        asked = pb.ListWorkflowsRequest()
        asked.CopyFrom(request)
        asked.page_size = size
        others = self._peers.owners.schedulers()
        answers = await asyncio.gather(*(self._peers.pass_on(a, "ListWorkflows", asked) for a in others))
        ends = [_place(shown[-1])] if more else []
        for answer in answers:
            shown += answer.workflows
            if answer.next_page_token:
                ends.append(_place(answer.workflows[-1]))
        here = {workflow.uid for workflow in shown}
        ended = [of_summary(one, request.view) for one in recent if one.uid not in here]
        shown += [workflow for workflow in ended if _place(workflow) < (token.created, token.uid)]
        page = Page(size)
        for workflow in sorted(shown, key=_place, reverse=True):
            if (ends and _place(workflow) < max(ends)) or not page.take(workflow):
                return page.workflows, True
        return page.workflows, bool(ends)

    async def _finished_page(  # noqa: PLR0917 - as above
        self,
        request: pb.ListWorkflowsRequest,
        wanted: Filter,
        token: Token,
        shown: list[pb.Workflow],
        recent: Container[str],
        size: int,
        *,
        indexed: bool,
    ) -> pb.ListWorkflowsResponse:
        here = {workflow.uid for workflow in shown}
        page = Page(size, shown)
        last = msgspec.structs.replace(token, archive=True)
        if not token.archive:
            last.finished, last.uid = LAST
        place = (last.finished, last.uid)
        if indexed:
            records = self.index.below(place, request.namespace)
        else:
            records = stored(self._archive, place_of, place, request.namespace)
        async with aclosing(records) as coming:
            async for found, record in coming:
                open_still = record.uid in here or record.uid in recent or record.uid in self._runs.by_uid
                if open_still or not _fits(wanted, record):
                    continue
                if not page.take(of_summary(record, request.view)):
                    return pb.ListWorkflowsResponse(workflows=page.workflows, next_page_token=write_token(last))
                last.finished, last.uid = found
        return pb.ListWorkflowsResponse(workflows=page.workflows)


def _place_of(one: Entry | Unread) -> tuple[int, str]:
    return (int(one.created), one.uid) if isinstance(one, Unread) else one.place


def _fits(wanted: Filter, record: ArchiveSummary) -> bool:
    return wanted.fits(record.namespace, record.phase, record.labels)


def _open_page(shown: list[pb.Workflow], token: Token, *, more: bool) -> pb.ListWorkflowsResponse:
    answer = pb.ListWorkflowsResponse(workflows=shown)
    if more:
        created, uid = _place(shown[-1])
        answer.next_page_token = write_token(msgspec.structs.replace(token, created=created, uid=uid))
    return answer


def _place(workflow: pb.Workflow) -> tuple[int, str]:
    return workflow.create_time.seconds, workflow.uid  # whole seconds: what Argo's times hold
