"""Who has a workflow's name: claimed once, before the first commit, and free again when the workflow is deleted.

Stream `EXEUNT_NAMES`, one message for each subject: `xn.<namespace>.<hash of name>` holds the claim, and `xn.t.<uid>`
what the request stands for whose first workflow has that uid, or would have it (`uids`): so submissions and commands
share their request ids. Later it is the tombstone of the deleted uid. A claim expects nothing on its subject, or the
released claim that it has seen there: of two claimants one wins. Claims of one moment go out together: each workflow
needs one before it may begin.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from typing import NamedTuple

import msgspec
from nats.js import JetStreamContext
from nats.js.api import RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import APIError, NotFoundError

from exeunt.journal.errors import JetStreamError, Refused
from exeunt.journal.records import Publish
from exeunt.journal.subjects import is_token, partition_of
from exeunt.natspy import WRONG_LAST_SEQUENCE, whole

STREAM = "EXEUNT_NAMES"
WAS = "Exeunt-Was"
"""Of a tombstone: what stood there before, so that another request of that id is known as one."""
TOMBSTONE_SECONDS = 30 * 86400
FREED_SECONDS = 60
CLAIM_SECONDS = 15.0


class Claim(msgspec.Struct, omit_defaults=True):
    """The content of a name's subject. `uid` is empty once the name was released."""

    name: str
    uid: str = ""
    request_id: str = ""


class NameTaken(Exception):  # noqa: N818 - an answer
    """Another workflow has the name."""

    def __init__(self, claim: Claim) -> None:
        super().__init__(f"a workflow named {claim.name!r} exists already")
        self.claim = claim


class ClaimedRequest(msgspec.Struct, omit_defaults=True):
    """What a request id stands for. `content` is a hash of what was asked; empty once it was let go.

    A command is to the workflow, or the exit run, of this `uid`; a submission has none.
    """

    uid: str = ""
    content: str = ""
    done: bool = False


class _Said(NamedTuple):
    """What stands on the subject of a uid, and its position; 0 where nothing does."""

    asked: ClaimedRequest
    sequence: int
    deleted: bool = False


class RequestUsed(Exception):  # noqa: N818 - an answer
    """The request id stands for another request."""


def config(replicas: int) -> StreamConfig:
    """How the stream is made."""
    return StreamConfig(
        name=STREAM,
        subjects=["xn.>"],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        num_replicas=replicas,
        max_msgs_per_subject=1,
        allow_msg_ttl=True,
        allow_atomic=True,
    )


def _subject(namespace: str, name: str) -> str:
    return f"xn.{namespace}.{hashlib.blake2b(name.encode(), digest_size=12).hexdigest()}"


def uids(namespace: str, request_id: str, count: int) -> list[str]:
    """The uids of a request's workflows: the same for each repeat, all in one partition, so that one owner has them."""
    found: list[str] = []
    home = -1
    nonce = 0
    while len(found) < count:
        content = f"{namespace}\0{request_id}\0{len(found)}\0{nonce}".encode()
        uid = str(uuid.UUID(bytes=hashlib.blake2b(content, digest_size=16).digest(), version=4))
        if home < 0:
            home = partition_of(uid)
        if partition_of(uid) == home:
            found.append(uid)
            nonce = 0
        else:
            nonce += 1
    return found


def _request_subject(namespace: str, request_id: str) -> str:
    return f"xn.t.{uids(namespace, request_id, 1)[0]}"


class WorkflowNames:
    """Claims, looks up and releases names. `publish` gathers writes; it resolves once one is durable."""

    def __init__(self, js: JetStreamContext, publish: Publish) -> None:
        self._js = js
        self._publish = publish
        self._under_way: dict[str, asyncio.Future[int]] = {}

    async def claim(self, namespace: str, name: str, uid: str, request_id: str = "") -> bool:
        """Makes the name the uid's; a repeat by the same uid is fine. Raises NameTaken.

        True when nobody ever had the name: then nothing of that uid exists yet either, unless it is under another name.
        """
        subject = _subject(namespace, name)
        data = msgspec.json.encode(Claim(name, uid, request_id))
        expected = 0
        while True:
            try:
                headers = {"Nats-Expected-Last-Subject-Sequence": str(expected)}
                await self._write(subject, data, headers)
            except Refused as error:
                if error.code != WRONG_LAST_SEQUENCE:
                    raise JetStreamError(subject, error.code, error.description) from None
            else:
                return expected == 0
            claim, expected = await self._read(subject)
            if claim is None:
                expected = 0
            elif claim.uid == uid:
                return False
            elif claim.uid:
                raise NameTaken(claim)

    async def bind(self, uid: str, content: str) -> bool:
        """Makes the request whose first workflow gets that uid stand for this content. Raises RequestUsed.

        True when it is the first such request: then none of its workflows exists. A deleted one is known by `deleted`.
        """
        known = await self._stand(f"xn.t.{uid}", ClaimedRequest(content=content), {})
        if known is not None and known.content not in ("", content):
            raise RequestUsed(uid)
        return known is None

    async def unbind(self, uid: str) -> None:
        """Lets go of a request that started nothing: it may come again with another content."""
        data = msgspec.json.encode(ClaimedRequest())
        await whole(self._js.publish(f"xn.t.{uid}", data, headers={"Nats-TTL": f"{FREED_SECONDS}s"}, timeout=15))

    async def asked(self, namespace: str, request_id: str) -> ClaimedRequest | None:
        """What the request id stands for; None when there is nothing, or it was too long ago."""
        said = await self._said(_request_subject(namespace, request_id))
        return said.asked if said.asked.content or said.deleted else None

    async def ask(
        self, namespace: str, request_id: str, asked: ClaimedRequest, *, lasting: bool = False
    ) -> ClaimedRequest:
        """Makes the request id stand for this, unless it stands for something already; answers what it stands for.

        It is kept as long as tombstones of workflows are; `lasting`: as long as the workflow that the request makes.
        """
        headers = {} if lasting else {"Nats-TTL": f"{TOMBSTONE_SECONDS}s"}
        return await self._stand(_request_subject(namespace, request_id), asked, headers) or asked

    async def _stand(self, subject: str, asked: ClaimedRequest, headers: dict[str, str]) -> ClaimedRequest | None:
        """Writes what a request stands for; answers what it stood for already, None when that was nothing."""
        data, expected = msgspec.json.encode(asked), 0
        while True:
            try:
                await self._write(subject, data, {**headers, "Nats-Expected-Last-Subject-Sequence": str(expected)})
            except Refused as error:
                if error.code != WRONG_LAST_SEQUENCE:
                    raise JetStreamError(subject, error.code, error.description) from None
            else:
                return None
            said = await self._said(subject)
            if said.asked.content or said.deleted:
                return said.asked
            expected = said.sequence  # it was let go, or is not there any more

    async def carried_out(self, namespace: str, request_id: str, asked: ClaimedRequest) -> None:
        """What was asked has been carried out, durably: a repeat has only to be answered. Saying so twice is fine."""
        done = msgspec.json.encode(ClaimedRequest(asked.uid, asked.content, done=True))
        await self._write(_request_subject(namespace, request_id), done, {"Nats-TTL": f"{TOMBSTONE_SECONDS}s"})

    async def _said(self, subject: str) -> _Said:
        try:
            message = await whole(self._js.get_last_msg(STREAM, subject))
        except NotFoundError:
            return _Said(ClaimedRequest(), 0)
        said = message.data or (message.headers or {}).get(WAS, "{}").encode()
        return _Said(msgspec.json.decode(said, type=ClaimedRequest), message.seq or 0, deleted=not message.data)

    async def _write(self, subject: str, data: bytes, headers: dict[str, str]) -> None:
        """One claim of a name after the other: two in one batch are refused as being in each other's way (10164).

        One that is given up may still be on its way, and the next one waits for it.
        """
        async with asyncio.timeout(CLAIM_SECONDS):
            while (before := self._under_way.get(subject)) is not None:
                await asyncio.wait([before])
            written = self._under_way[subject] = asyncio.ensure_future(self._publish(subject, data, headers))
            written.add_done_callback(lambda done: self._over(subject, done))
            await asyncio.shield(written)

    def _over(self, subject: str, done: asyncio.Future[int]) -> None:
        del self._under_way[subject]
        if not done.cancelled():
            done.exception()  # whoever claimed may have given up

    async def lookup(self, namespace: str, name: str) -> str | None:
        """The uid of the workflow that has the name, or None."""
        if not is_token(namespace):
            return None
        claim, _ = await self._read(_subject(namespace, name))
        return (claim.uid or None) if claim else None

    async def release(self, namespace: str, name: str, uid: str) -> None:
        """Frees the name of a deleted workflow and leaves a tombstone for its uid. Doing so twice is fine."""
        was = msgspec.json.encode((await self._said(f"xn.t.{uid}")).asked).decode()
        headers = {"Nats-TTL": f"{TOMBSTONE_SECONDS}s", WAS: was}
        await whole(self._js.publish(f"xn.t.{uid}", b"", headers=headers, timeout=15))
        await self.free(namespace, name, uid)

    async def free(self, namespace: str, name: str, uid: str) -> None:
        """Frees a name that this uid has claimed. Doing so twice is fine."""
        subject = _subject(namespace, name)
        claim, sequence = await self._read(subject)
        if claim is None or claim.uid != uid:
            return
        headers = {"Nats-Expected-Last-Subject-Sequence": str(sequence)}
        try:
            await whole(self._js.publish(subject, msgspec.json.encode(Claim(name)), headers=headers, timeout=15))
        except APIError as error:
            if error.err_code != WRONG_LAST_SEQUENCE:  # else somebody was quicker: also a repeat of ours
                raise

    async def deleted(self, uid: str) -> bool:
        """True when a workflow of that uid existed and was deleted."""
        return (await self._said(f"xn.t.{uid}")).deleted

    async def _read(self, subject: str) -> tuple[Claim | None, int]:
        try:
            message = await whole(self._js.get_last_msg(STREAM, subject))
        except NotFoundError:
            return None, 0
        return msgspec.json.decode(message.data or b"{}", type=Claim), message.seq or 0
