"""Request ids: one stands for one call with one content, in a namespace, whichever service is asked.

Before a call is carried out its request id is claimed for what it asks for, and marked when it was carried out. A
repeat acts on what the first one was about or, where that was carried out, on nothing.
"""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

from exeunt.journal.names import ClaimedRequest, WorkflowNames
from exeunt.journal.repeat import RepeatOnReconnect
from exeunt.service.errors import Code, RpcError

_NOT_COMPARED = ("request_id", "namespace", "uid")
"""Fields of requests that are no part of their content.

Ids stand within a namespace, and for a uid (`ClaimedRequest.uid`)."""


class RequestIds:
    """What request ids stand for."""

    def __init__(self, names: WorkflowNames, repeat: RepeatOnReconnect) -> None:
        self._names = names
        self._repeat = repeat

    async def asked(self, method: str, request: Any, namespace: str) -> ClaimedRequest | None:
        """What a repeated request is about; None for a new one. Raises ALREADY_EXISTS for an id of another request."""
        id = request.request_id
        if not id:
            return None
        known = await self._repeat(lambda: self._names.asked(namespace, id))
        return None if known is None else _fitting(request, known, content_of(method, request))

    async def ask(
        self, method: str, request: Any, namespace: str, uid: str, *, lasting: bool = False
    ) -> ClaimedRequest:
        """Claims the request id for what has this uid; answers what it stands for.

        `lasting`: the request makes a workflow, and its id is known as long as that is.
        """
        return await self.claim(request, namespace, ClaimedRequest(uid, content_of(method, request)), lasting=lasting)

    async def claim(
        self, request: Any, namespace: str, asked: ClaimedRequest, *, lasting: bool = False
    ) -> ClaimedRequest:
        """The same for a content that is known."""
        id = request.request_id
        known = await self._repeat(lambda: self._names.ask(namespace, id, asked, lasting=lasting))
        return _fitting(request, known, asked.content)

    async def carried_out(self, request: Any, namespace: str, asked: ClaimedRequest | None) -> None:
        """What was asked for is durable."""
        if asked is not None and not asked.done:
            id = request.request_id
            await self._repeat(lambda: self._names.carried_out(namespace, id, asked))


def given_or_new(request_id: str) -> str:
    """A request id: one of its own where none was given."""
    return request_id or str(uuid.uuid4())


def used(request_id: str) -> RpcError:
    """The error for a request whose id stands for another one."""
    return RpcError(
        Code.ALREADY_EXISTS,
        "REQUEST_ID_USED",
        f"the request id {request_id!r} was used for another request: the same id stands for the same call "
        "with the same fields, so choose another one; nothing was done",
    )


def content_of(method: str, request: Any) -> str:
    """A hash of what is asked for, whichever way a workflow is named beside its name."""
    bare = type(request)()
    bare.CopyFrom(request)
    for field in _NOT_COMPARED:
        if field in bare.DESCRIPTOR.fields_by_name:
            bare.ClearField(field)
    text = method.encode() + b"\0" + bare.SerializeToString(deterministic=True)
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def _fitting(request: Any, known: ClaimedRequest, content: str) -> ClaimedRequest:
    if known.content == content and getattr(request, "uid", "") in ("", known.uid):
        return known
    raise used(request.request_id)
