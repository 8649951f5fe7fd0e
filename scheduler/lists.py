"""Lists of workflows, newest first: open ones by their start, then finished ones by the hours of the archive."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator
from typing import Any

import grpc
import msgspec

from exeunt.journal.records import ArchiveSummary, Records
from exeunt.journal.standing import Standing
from exeunt.journal.subjects import PARTITIONS
from exeunt.scheduler.peers import Peers, was_passed_on
from exeunt.scheduler.runs import Entry, Runs
from exeunt.scheduler.selectors import Matches, SelectorError, selector
from exeunt.scheduler.view import Tree, message, of_summary
from exeunt.service.errors import invalid, unavailable
from exeunt.v1 import workflow_service_pb2 as pb

DEFAULT_SIZE = 100
LARGEST_SIZE = 1000

Context = grpc.aio.ServicerContext[Any, Any]


class Token(msgspec.Struct, array_like=True):
    """Where a list goes on: below this start time among open workflows, or behind this record of the archive."""

    created: int = 2**62
    uid: str = ""
    hour: str = ""
    skip: int = 0  # records of that hour that were shown
    archive: bool = False


def page_size(asked: int) -> int:
    """How many are shown. Raises INVALID_ARGUMENT for a negative number."""
    if asked < 0:
        raise invalid("page_size is negative", [("page_size", "0 means the default")])
    return min(asked or DEFAULT_SIZE, LARGEST_SIZE)


def read_token(text: str) -> Token:
    """The token of a page before. Raises INVALID_ARGUMENT."""
    if not text:
        return Token()
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text), type=Token)
    except (ValueError, binascii.Error, msgspec.DecodeError):
        raise invalid("page_token cannot be read", [("page_token", "give next_page_token as it came")]) from None


def write_token(token: Token) -> str:
    """A token as text."""
    return base64.urlsafe_b64encode(msgspec.json.encode(token)).decode()


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
        self._check_loaded()
        own = was_passed_on(context)
        shown: list[pb.Workflow] = []
        if not token.archive:
            shown = await self._open(request, matches, token, size + 1)
            if not own:
                shown = await self._with_others(request, shown, size + 1)
            if own or len(shown) > size:
                return self._open_page(shown, size)
        if own:
            return pb.ListWorkflowsResponse(workflows=shown)
        return await self._finished_page(request, matches, token, shown, size)

    def _check_loaded(self) -> None:
        """A list is never short: while a partition that is ours, or nobody's, is not loaded there is none."""
        for partition in range(PARTITIONS):
            owner = self._peers.owners.scheduler_of(partition)
            if owner is None or (owner == "" and partition not in self._runs.loaded):
                raise unavailable("LOADING", "a part of the workflows is being loaded; ask again in a moment")

    async def _open(
        self, request: pb.ListWorkflowsRequest, matches: Matches, token: Token, count: int
    ) -> list[pb.Workflow]:
        namespace = request.namespace or "default"
        phases = set(request.phases)
        found: list[Entry] = []
        for entry in self._runs.by_uid.values():
            run = entry.run
            if namespace not in {"*", run.namespace} or (phases and run.phase not in phases):
                continue
            if (int(entry.created), run.uid) < (token.created, token.uid) and matches(run.state.started.labels):
                found.append(entry)
        found.sort(key=lambda e: (int(e.created), e.run.uid), reverse=True)
        shown = found[:count]
        async with self._standing.writing.required():  # what is decided is shown once it is durable
            if any(entry.driver.busy for entry in shown):
                views = await asyncio.gather(*(entry.view() for entry in shown))
            else:
                views = [await entry.view() for entry in shown]
        views += self._unread(request, matches, token)
        return [message(tree, version, nodes=False) for tree, version in views]

    def _unread(self, request: pb.ListWorkflowsRequest, matches: Matches, token: Token) -> list[tuple[Tree, int]]:
        """Those that cannot be read, on the page that they belong to by their start."""
        namespace, phases = request.namespace or "default", set(request.phases)
        return [
            (one.tree(), one.number)
            for one in self._runs.unread.values()
            if namespace in {"*", one.namespace}
            and (not phases or "Running" in phases)
            and (int(one.created), one.family.uid) < (token.created, token.uid)
            and matches(one.labels)
        ]

    async def _with_others(
        self, request: pb.ListWorkflowsRequest, shown: list[pb.Workflow], count: int
    ) -> list[pb.Workflow]:
        asked = pb.ListWorkflowsRequest()
        asked.CopyFrom(request)
        asked.page_size = min(count, LARGEST_SIZE)
        others = self._peers.owners.schedulers()
        answers = await asyncio.gather(*(self._peers.pass_on(a, "ListWorkflows", asked) for a in others))
        for answer in answers:
            shown += answer.workflows
        return sorted(shown, key=_place, reverse=True)[:count]

    def _open_page(self, shown: list[pb.Workflow], size: int) -> pb.ListWorkflowsResponse:
        answer = pb.ListWorkflowsResponse(workflows=shown[:size])
        if len(shown) > size:
            created, uid = _place(shown[size - 1])
            answer.next_page_token = write_token(Token(created=created, uid=uid))
        return answer

    async def _finished_page(
        self, request: pb.ListWorkflowsRequest, matches: Matches, token: Token, shown: list[pb.Workflow], size: int
    ) -> pb.ListWorkflowsResponse:
        here = {workflow.uid for workflow in shown}
        phases = set(request.phases)
        hour, seen = token.hour, token.skip
        async for at, record in self._records(request.namespace or "default", token):
            if at != hour:
                hour, seen = at, 0
            if len(shown) == size:
                place = Token(hour=hour, skip=seen, archive=True)
                return pb.ListWorkflowsResponse(workflows=shown, next_page_token=write_token(place))
            seen += 1
            open_still = record.uid in here or record.uid in self._runs.by_uid
            if not open_still and (not phases or record.phase in phases) and matches(record.labels):
                shown.append(of_summary(record))
        return pb.ListWorkflowsResponse(workflows=shown)

    async def _records(self, namespace: str, token: Token) -> AsyncIterator[tuple[str, ArchiveSummary]]:
        skip = token.skip
        async for hour, record in self._archive.walk(namespace, token.hour):
            if hour == token.hour and skip > 0:
                skip -= 1
                continue
            yield hour, record


def _place(workflow: pb.Workflow) -> tuple[int, str]:
    return workflow.create_time.seconds, workflow.uid  # whole seconds: what Argo's times hold
