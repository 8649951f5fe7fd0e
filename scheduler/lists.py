"""Lists of workflows, newest first: open ones by their start, then finished ones by the hours of the archive."""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from collections.abc import AsyncIterator, Container, Iterable
from contextlib import aclosing
from typing import Any, TypeVar

import grpc
import msgspec

from exeunt.engine import phases
from exeunt.journal.records import ArchiveSummary, Records
from exeunt.journal.standing import Standing
from exeunt.journal.subjects import PARTITIONS
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

DEFAULT_SIZE = 100
LARGEST_SIZE = 1000
LAST_HOUR = "9999999999"
SKEW_SECONDS = 5.0  # that the clocks of schedulers may differ
TOGETHER = 50  # lines that are made at the same time

PHASES = (phases.PENDING, phases.RUNNING, phases.SUCCEEDED, phases.FAILED, phases.ERROR)

T = TypeVar("T")
Context = grpc.aio.ServicerContext[Any, Any]


class Token(msgspec.Struct, array_like=True):
    """Where a list goes on: below this start time among those that were open, or this end in the archive.

    Which workflows are open changes between pages. So the first page settles it for the list: what ends behind
    `position` of the archive counts as open, and keeps its place by its start.
    """

    created: int = 2**62
    uid: str = ""
    hour: str = ""
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
        self._runs = runs
        self._archive = archive
        self._peers = peers
        self._standing = standing

    async def page(self, request: pb.ListWorkflowsRequest, context: Context) -> pb.ListWorkflowsResponse:
        """One page. A scheduler that is asked by another one answers with its own open workflows only."""
        size = page_size(request.page_size)
        token = read_token(request.page_token)
        try:
            matches = selector(request.selector)
        except SelectorError as error:
            raise invalid(str(error), [("selector", str(error))]) from None
        _check_phases(request.phases)
        request.namespace = request.namespace or ALL
        self._check_loaded()
        own = was_passed_on(context)
        if own:
            if token.archive:
                return pb.ListWorkflowsResponse()
            shown, more = await self._open(request, matches, token, size)
            return _open_page(shown, token, more=more)
        recent: dict[str, ArchiveSummary] = {}
        if token.position < 0:
            token.position, token.began = await self._archive.position(), time.time()
        else:
            recent = await self._recent(request, token)
        shown = []
        if not token.archive:
            shown, more = await self._open(request, matches, token, size)
            chosen = [one for one in recent.values() if _wanted(request, matches, one)]
            shown, more = await self._with_others(request, token, shown, chosen, size, more=more)
            if more:
                return _open_page(shown, token, more=True)
        return await self._finished_page(request, matches, token, shown, recent, size)

    async def _recent(self, request: pb.ListWorkflowsRequest, token: Token) -> dict[str, ArchiveSummary]:
        """What has ended since the list began. A record that was only written anew keeps its place in the archive."""
        since = await self._archive.since(token.position, request.namespace)
        return {one.uid: one for one in since if one.finished_at >= token.began - SKEW_SECONDS}

    def _check_loaded(self) -> None:
        """A list is never short: while a partition that is ours, or nobody's, is not loaded there is none."""
        for partition in range(PARTITIONS):
            owner = self._peers.owners.scheduler_of(partition)
            if owner is None or (owner == "" and partition not in self._runs.loaded):
                raise unavailable("LOADING", "a part of the workflows is being loaded; ask again in a moment")

    async def _open(
        self, request: pb.ListWorkflowsRequest, matches: Matches, token: Token, size: int
    ) -> tuple[list[pb.Workflow], bool]:
        """The next ones, as far as a page holds them, and whether there are more."""
        namespace, wanted = request.namespace, set(request.phases)
        found: list[Entry | Unread] = self._unread(request, matches, token)
        for entry in self._runs.by_uid.values():
            run = entry.run
            if namespace not in {"*", run.namespace} or (wanted and run.phase not in wanted):
                continue
            if (int(entry.created), run.uid) < (token.created, token.uid) and matches(run.state.started.labels):
                found.append(entry)
        found.sort(key=lambda one: (int(one.created), one.uid), reverse=True)
        page = Page(size)
        async with self._standing.writing.required():  # what is decided is shown once it is durable
            for start in range(0, len(found), TOGETHER):
                for workflow in await asyncio.gather(*(self._line(one) for one in found[start : start + TOGETHER])):
                    if not page.take(workflow):
                        return page.workflows, True
        return page.workflows, False

    async def _line(self, one: Entry | Unread) -> pb.Workflow:
        """In its turn: a list of many large manifests takes long."""
        if isinstance(one, Unread):
            return listed(one.tree(), one.number)
        seen = await one.view(nodes=False)
        return await self._runs.turns.do(lambda: listed(seen.head, seen.version))

    def _unread(self, request: pb.ListWorkflowsRequest, matches: Matches, token: Token) -> list[Entry | Unread]:
        """Those that cannot be read, on the page that they belong to by their start."""
        namespace, wanted = request.namespace, set(request.phases)
        return [
            one
            for one in self._runs.unread.values()
            if namespace in {"*", one.namespace}
            and (not wanted or phases.RUNNING in wanted)
            and (int(one.created), one.uid) < (token.created, token.uid)
            and matches(one.labels)
        ]

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
        ended = [of_summary(one) for one in recent if one.uid not in here]
        shown += [workflow for workflow in ended if _place(workflow) < (token.created, token.uid)]
        page = Page(size)
        for workflow in sorted(shown, key=_place, reverse=True):
            if (ends and _place(workflow) < max(ends)) or not page.take(workflow):
                return page.workflows, True
        return page.workflows, bool(ends)

    async def _finished_page(  # noqa: PLR0917 - as above
        self,
        request: pb.ListWorkflowsRequest,
        matches: Matches,
        token: Token,
        shown: list[pb.Workflow],
        recent: Container[str],
        size: int,
    ) -> pb.ListWorkflowsResponse:
        here = {workflow.uid for workflow in shown}
        page = Page(size, shown)
        last = msgspec.structs.replace(token, archive=True)
        if not token.archive:
            last.hour, last.finished, last.uid = LAST_HOUR, 0.0, ""
        async for hour, record in self._records(request.namespace, token):
            open_still = record.uid in here or record.uid in recent or record.uid in self._runs.by_uid
            if open_still or not _wanted(request, matches, record):
                continue
            if not page.take(of_summary(record)):
                return pb.ListWorkflowsResponse(workflows=page.workflows, next_page_token=write_token(last))
            last.hour, last.finished, last.uid = hour, record.finished_at, record.uid
        return pb.ListWorkflowsResponse(workflows=page.workflows)

    async def _records(self, namespace: str, token: Token) -> AsyncIterator[tuple[str, ArchiveSummary]]:
        """Below the token, by hour, end and uid: none of these changes when others come or go."""
        some: list[tuple[str, float, str, ArchiveSummary]] = []
        behind = (token.hour, token.finished, token.uid) if token.archive else (LAST_HOUR, 0.0, "")
        async with aclosing(self._archive.walk(namespace, token.hour if token.archive else "")) as records:
            async for hour, record in records:
                if some and some[0][0] != hour:
                    for at, _, _, one in sorted(some, key=_key, reverse=True):
                        yield at, one
                    some = []
                if (hour, record.finished_at, record.uid) < behind:
                    some.append((hour, record.finished_at, record.uid, record))
        for at, _, _, one in sorted(some, key=_key, reverse=True):
            yield at, one


def _key(one: tuple[str, float, str, ArchiveSummary]) -> tuple[str, float, str]:
    return one[:3]


def _wanted(request: pb.ListWorkflowsRequest, matches: Matches, record: ArchiveSummary) -> bool:
    return (not request.phases or record.phase in request.phases) and matches(record.labels)


def _check_phases(given: Iterable[str]) -> None:
    for phase in given:
        if phase not in PHASES:
            text = f"{phase[:80]!r} is no phase of a workflow: {', '.join(PHASES)} are"
            raise invalid(text, [("phases", text)])


def _open_page(shown: list[pb.Workflow], token: Token, *, more: bool) -> pb.ListWorkflowsResponse:
    answer = pb.ListWorkflowsResponse(workflows=shown)
    if more:
        created, uid = _place(shown[-1])
        answer.next_page_token = write_token(msgspec.structs.replace(token, created=created, uid=uid))
    return answer


def _place(workflow: pb.Workflow) -> tuple[int, str]:
    return workflow.create_time.seconds, workflow.uid  # whole seconds: what Argo's times hold
