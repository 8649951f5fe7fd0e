"""Commands and their request ids: what a repeat is about, whoever has the workflow's name by now.

Before a command is carried out its request id is claimed for the uid that it is for, and marked when it was carried
out. A repeat acts on that uid or, where it was carried out, on nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import grpc

from exeunt.journal.names import Asked, Names
from exeunt.journal.steady import Steady
from exeunt.scheduler.archive import Archived
from exeunt.scheduler.checks import DEFAULT_NAMESPACE
from exeunt.scheduler.entry import Entry
from exeunt.scheduler.find import Elsewhere, Finder, Found
from exeunt.service.errors import Code, RpcError

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True)
class Turn:
    """A command that is to be carried out on what was found; None where that has been deleted since it was asked for.

    `done`: it was carried out before.
    """

    found: Found | None
    asked: Asked | None = None  # what its request id stands for; None without one, and for what is elsewhere

    @property
    def done(self) -> bool:
        """Whether there is nothing left to do but to answer."""
        return self.asked is not None and self.asked.done


class Requests:
    """Request ids of commands."""

    def __init__(self, names: Names, finder: Finder, steady: Steady) -> None:
        self._names = names
        self._finder = finder
        self._steady = steady

    async def turn(self, method: str, request: Any, context: Context) -> Turn:
        """The workflow that a command is for. Raises NOT_FOUND, and ALREADY_EXISTS for an id that was used otherwise.

        What is elsewhere is claimed there.
        """
        asked = await self.asked(method, request)
        if asked is None:
            found = await self._finder.find(context, request.namespace, request.name, request.uid)
            if isinstance(found, Elsewhere) or not request.request_id:
                return Turn(found)
            asked = await self.ask(method, request, uid_of(found))
        try:
            found = await self._finder.find(context, request.namespace, request.name, asked.uid)
        except RpcError as error:
            uid = asked.uid
            if error.code is Code.NOT_FOUND and await self._steady(lambda: self._names.deleted(uid)):
                return Turn(None, asked)
            raise
        return Turn(found, None if isinstance(found, Elsewhere) else asked)

    async def asked(self, method: str, request: Any) -> Asked | None:
        """What a repeated request is about; None for a new one."""
        if not request.request_id:
            return None
        known = await self._steady(lambda: self._names.asked(_namespace(request), request.request_id))
        return None if known is None else _fitting(method, request, known)

    async def ask(self, method: str, request: Any, uid: str) -> Asked:
        """Claims the request id for this workflow; answers for which one it stands."""
        asked = Asked(uid, _content(method, request))
        known = await self._steady(lambda: self._names.ask(_namespace(request), request.request_id, asked))
        return _fitting(method, request, known)

    async def carried_out(self, turn: Turn, request: Any) -> None:
        """What was asked for is durable."""
        asked = turn.asked
        if asked is not None and not asked.done:
            await self._steady(lambda: self._names.carried_out(_namespace(request), request.request_id, asked))

    async def deleted(self, uid: str) -> bool:
        """Whether a workflow of that uid existed and was deleted."""
        return await self._steady(lambda: self._names.deleted(uid))


def uid_of(found: Any) -> str:
    """Of a workflow that is here."""
    uid: str
    if isinstance(found, Archived):
        uid = found.head["metadata"]["uid"]
    elif isinstance(found, Entry):
        uid = found.run.uid
    else:
        uid = found.uid
    return uid


def deleted_since(done: str) -> RpcError:
    """The error for a repeat that could be answered only while its workflow was there."""
    return RpcError(Code.NOT_FOUND, "WORKFLOW_DELETED", f"{done} has been deleted since; use another request id")


def _fitting(method: str, request: Any, known: Asked) -> Asked:
    if known.content == _content(method, request) and request.uid in ("", known.uid):
        return known
    raise RpcError(
        Code.ALREADY_EXISTS,
        "REQUEST_ID_USED",
        f"the request id {request.request_id!r} was used for another request: the same id stands for the same call "
        "with the same fields, so choose another one; nothing was done",
    )


def _namespace(request: Any) -> str:
    namespace: str = request.namespace or DEFAULT_NAMESPACE
    return namespace


def _content(method: str, request: Any) -> str:
    """A hash of what is asked for, whichever way the workflow is named beside its name."""
    bare = type(request)()
    bare.CopyFrom(request)
    bare.request_id = bare.uid = ""
    bare.namespace = _namespace(request)
    text = method.encode() + b"\0" + bare.SerializeToString(deterministic=True)
    return hashlib.blake2b(text, digest_size=16).hexdigest()
