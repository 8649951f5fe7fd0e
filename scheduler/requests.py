"""Commands and their request ids: a repeat is about the workflow of the first call, whoever has its name by now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc

from exeunt.journal.names import ClaimedRequest, WorkflowNames
from exeunt.journal.repeat import RepeatOnReconnect
from exeunt.journal.request_ids import RequestIds
from exeunt.scheduler.archive import Archived
from exeunt.scheduler.checks import DEFAULT_NAMESPACE
from exeunt.scheduler.entry import OpenWorkflow
from exeunt.scheduler.find import Elsewhere, Finder, Found
from exeunt.service.errors import Code, RpcError

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True)
class ClaimedCommand:
    """A command and the workflow that it is for; `found` is None where that has been deleted since the first call."""

    found: Found | None
    asked: ClaimedRequest | None = None  # what its request id stands for; None without one, and for what is elsewhere

    @property
    def done(self) -> bool:
        """Whether it was carried out before: there is nothing to do but to answer."""
        return self.asked is not None and self.asked.done


class Requests:
    """Request ids of commands."""

    def __init__(self, names: WorkflowNames, finder: Finder, repeat: RepeatOnReconnect) -> None:
        self.ids = RequestIds(names, repeat)
        self._names = names
        self._finder = finder
        self._repeat = repeat

    async def turn(self, method: str, request: Any, context: Context) -> ClaimedCommand:
        """The workflow that a command is for. Raises NOT_FOUND, and ALREADY_EXISTS for an id that was used otherwise.

        The request id of a command for a workflow that is elsewhere is claimed there.
        """
        asked = await self.asked(method, request)
        if asked is None:
            found = await self._finder.find(context, request.namespace, request.name, request.uid)
            if isinstance(found, Elsewhere) or not request.request_id:
                return ClaimedCommand(found)
            asked = await self.ask(method, request, uid_of(found))
        try:
            found = await self._finder.find(context, request.namespace, request.name, asked.uid)
        except RpcError as error:
            uid = asked.uid
            if error.code is Code.NOT_FOUND and await self._repeat(lambda: self._names.deleted(uid)):
                return ClaimedCommand(None, asked)
            raise
        return ClaimedCommand(found, None if isinstance(found, Elsewhere) else asked)

    async def asked(self, method: str, request: Any) -> ClaimedRequest | None:
        """What a repeated request is about; None for a new one."""
        return await self.ids.asked(method, request, namespace_of(request))

    async def ask(self, method: str, request: Any, uid: str, *, lasting: bool = False) -> ClaimedRequest:
        """Claims the request id for this workflow; answers for which one it stands."""
        return await self.ids.ask(method, request, namespace_of(request), uid, lasting=lasting)

    async def carried_out(self, turn: ClaimedCommand, request: Any) -> None:
        """What was asked for is durable."""
        await self.ids.carried_out(request, namespace_of(request), turn.asked)

    async def deleted(self, uid: str) -> bool:
        """Whether a workflow of that uid existed and was deleted."""
        return await self._repeat(lambda: self._names.deleted(uid))


def uid_of(found: Any) -> str:
    """The uid of a workflow that is here."""
    uid: str
    if isinstance(found, Archived):
        uid = found.head["metadata"]["uid"]
    elif isinstance(found, OpenWorkflow):
        uid = found.run.uid
    else:
        uid = found.uid
    return uid


def deleted_since(done: str) -> RpcError:
    """The error for a repeat that could be answered only while its workflow was there."""
    return RpcError(Code.NOT_FOUND, "WORKFLOW_DELETED", f"{done} has been deleted since; use another request id")


def namespace_of(request: Any) -> str:
    """The namespace of a request, in which its request id stands."""
    namespace: str = request.namespace or DEFAULT_NAMESPACE
    return namespace
