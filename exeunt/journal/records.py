"""Finished workflows and exit runs, one record each, filed by the hour: the archive and the exit ledger.

Streams `EXEUNT_ARCHIVE` (`xa.<namespace>.<yyyymmddhh>.<uid>`) and `EXEUNT_LEDGER`
(`xl.<namespace>.<yyyymmddhh>.<hook id>`). The newest record on a subject counts. A record's summary stands in a
header, so that lists read headers only; newest first means walking the hours backwards. Long texts are cut in there. A
record over 700 KB goes to the blobs and the message refers to it. What is removed leaves a word in its place for a day.
"""

from __future__ import annotations

import asyncio
import json
import time
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Generic, TypeVar

import msgspec
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from exeunt.journal.blobs import Blobs
from exeunt.journal.errors import Refused
from exeunt.journal.gather import PASSING
from exeunt.journal.reader import StoredMessage
from exeunt.journal.reading import read
from exeunt.journal.subjects import is_token
from exeunt.natspy import WRONG_LAST_SEQUENCE, whole
from exeunt.utf8 import cut

ARCHIVE = "EXEUNT_ARCHIVE"
LEDGER = "EXEUNT_LEDGER"
SUMMARY = "Exeunt-Summary"
BLOB = "Exeunt-Blob"
VERSION = "Exeunt-Version"
GONE = "Exeunt-Gone"
EXPECTED = "Nats-Expected-Last-Subject-Sequence"
INLINE_BYTES = 700 * 1024
SUMMARY_BYTES = 60 * 1024
TEXT_BYTES = 1000  # of each text in a summary
ASIDE_BYTES = 256 * 1024
GONE_SECONDS = 86_400
"""How long it is said of a record that it was removed: who has not heard of it by then begins anew."""
POSITIONS = 10_000  # of records that this process wrote last: without one a write is refused once

Publish = Callable[[str, bytes, dict[str, str]], Awaitable[int]]
S = TypeVar("S", bound=msgspec.Struct)
Revision = Callable[[S, Any], tuple[S, Any]]
"""Makes of a record's summary and body those that take their place."""


class ArchiveSummary(msgspec.Struct, omit_defaults=True):
    """What a list shows of a finished workflow."""

    uid: str
    name: str
    namespace: str
    phase: str
    outcome: str = ""
    reason: str = ""
    finalization: str = ""
    message: str = ""
    created_at: float = 0.0
    started_at: float = 0.0
    finished_at: float = 0.0
    progress: str = ""
    version: int = 0
    labels: dict[str, str] = {}
    attempt: int = 0
    collect: bool = False  # artifacts of it are to go yet


class LedgerSummary(msgspec.Struct, omit_defaults=True):
    """What a list shows of an exit run; state is due, running, succeeded, failed, skipped, cancelled or parked."""

    id: str
    uid: str
    workflow: str
    namespace: str
    node: str
    hook: str
    state: str
    error: str = ""
    due_at: float = 0.0
    started_at: float = 0.0
    finished_at: float = 0.0
    attempts: int = 0
    replays: int = 0
    revision: int = 0


class Gone(msgspec.Struct, omit_defaults=True):
    """What stands in the place of a record that was removed. `again`: what it told of goes on, and gets another one."""

    name: str = ""
    again: bool = False


@dataclass(frozen=True, slots=True)
class Change(Generic[S]):
    """A record that was written, by its summary, or the word that it was removed."""

    sequence: int
    namespace: str
    key: str
    found: S | Gone
    raw: bytes
    """The summary as it stands there; empty for what is gone."""
    pending: int
    """How many more there are already."""


def archive_config(replicas: int, max_age_seconds: float = 0) -> StreamConfig:
    """How the archive's stream is made; 0 keeps records until they are deleted."""
    return _config(ARCHIVE, "xa.>", replicas, max_age_seconds)


def ledger_config(replicas: int, max_age_seconds: float = 30 * 86400) -> StreamConfig:
    """How the ledger's stream is made."""
    return _config(LEDGER, "xl.>", replicas, max_age_seconds)


def _config(name: str, subject: str, replicas: int, max_age_seconds: float) -> StreamConfig:
    return StreamConfig(
        name=name,
        subjects=[subject],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        num_replicas=replicas,
        max_msgs_per_subject=1,
        max_age=max_age_seconds,
        allow_atomic=True,
        allow_msg_ttl=True,
    )


def hour_of(seconds: float) -> str:
    """The hour that a time is filed under, in UTC: yyyymmddhh."""
    return _hour(int(seconds // 3600))


@lru_cache(maxsize=64)
def _hour(number: int) -> str:
    return time.strftime("%Y%m%d%H", time.gmtime(3600 * number))


class Records(Generic[S]):
    """One of the two streams. `publish` gathers writes; it resolves once a record is durable."""

    def __init__(
        self, js: JetStreamContext, *, stream: str, prefix: str, summary: type[S], blobs: Blobs, publish: Publish
    ) -> None:
        self._js = js
        self._stream = stream
        self._prefix = prefix
        self._summary = summary
        self._blobs = blobs
        self._publish = publish
        self._positions: dict[str, int] = {}

    async def put(self, namespace: str, at: float, key: str, summary: S, body: Any) -> int:
        """Writes (or replaces) the record `key` of the hour of `at`; answers its position."""
        return await self._publish(*await self._message(namespace, at, key, summary, body))

    async def put_version(self, namespace: str, at: float, key: str, summary: S, body: Any, *, version: int) -> bool:
        """Writes the record unless one of a later version is there: then it stays, and the answer is False.

        So a former owner that wakes up behind its time cannot put back what the new one has written.
        """
        subject, data, headers = await self._message(namespace, at, key, summary, body)
        headers[VERSION] = str(version)
        while True:
            headers[EXPECTED] = str(self._positions.get(subject, 0))
            try:
                position = await self._publish(subject, data, headers)
            except Refused as error:
                if error.code != WRONG_LAST_SEQUENCE and error.code not in PASSING:
                    raise
                self._positions.pop(subject, None)
                try:
                    found = await whole(self._js.get_last_msg(self._stream, subject))
                except NotFoundError:
                    continue
                if int((found.headers or {}).get(VERSION, "0")) > version:
                    return False
                self._positions[subject] = found.seq or 0
            else:
                self._positions[subject] = position
                while len(self._positions) > POSITIONS:
                    del self._positions[next(iter(self._positions))]
                return True

    async def revise(self, key: str, change: Revision[S], namespace: str = "*") -> Any:
        """Changes a record where it stands, whoever else writes it meanwhile; answers its body, None without one."""
        while True:
            found = await self._last(key, namespace)
            if found is None or GONE in (found.headers or {}):
                return None
            summary, body = change(*await self._read(found))
            data, headers = await self._packed(summary, body)
            headers[EXPECTED] = str(found.seq)
            try:
                await self._publish(str(found.subject), data, headers)
            except Refused as error:
                if error.code != WRONG_LAST_SEQUENCE and error.code not in PASSING:
                    raise
            else:
                return body

    async def _message(
        self, namespace: str, at: float, key: str, summary: S, body: Any
    ) -> tuple[str, bytes, dict[str, str]]:
        return f"{self._prefix}.{namespace}.{hour_of(at)}.{key}", *await self._packed(summary, body)

    async def _packed(self, summary: S, body: Any) -> tuple[bytes, dict[str, str]]:
        content = msgspec.msgpack.encode(body)
        data = await _aside(len(content), partial(zlib.compress, content, 1))
        shown = {k: cut(v, TEXT_BYTES) if isinstance(v, str) else v for k, v in msgspec.to_builtins(summary).items()}
        headers = {SUMMARY: json.dumps(shown)}  # headers are ASCII
        if len(headers[SUMMARY]) > SUMMARY_BYTES:  # labels that no list can show
            headers = {SUMMARY: json.dumps({k: v for k, v in shown.items() if not isinstance(v, dict)})}
        if len(data) + len(headers[SUMMARY]) > INLINE_BYTES:
            headers[BLOB] = await self._blobs.put(data)
            data = b""
        return data, headers

    async def get(self, key: str, namespace: str = "*", type: Any = Any) -> tuple[S, Any] | None:
        """The record of that key, its body read as that type, or None."""
        if not (is_token(key) and _is_namespace(namespace)):
            return None
        message = await self._last(key, namespace)
        if message is None or GONE in (message.headers or {}):
            return None
        return await self._read(message, type)

    async def has(self, key: str, namespace: str) -> bool:
        """Whether there is such a record, as the stream's leader has it."""
        if not (is_token(key) and is_token(namespace)):
            return False
        message = await self._last(key, namespace)
        return message is not None and GONE not in (message.headers or {})

    async def removed(self, key: str, namespace: str) -> bool:
        """Whether the record was removed for good, as long as that is remembered (GONE_SECONDS)."""
        if not (is_token(key) and is_token(namespace)):
            return False
        message = await self._last(key, namespace)
        word = None if message is None else (message.headers or {}).get(GONE)
        return word is not None and not msgspec.json.decode(word, type=Gone).again

    async def _last(self, key: str, namespace: str) -> RawStreamMsg | None:
        try:
            return await whole(self._js.get_last_msg(self._stream, f"{self._prefix}.{namespace}.*.{key}"))
        except NotFoundError:
            return None

    async def _read(self, message: RawStreamMsg, type: Any = Any) -> tuple[S, Any]:
        headers = message.headers or {}
        data = await self._blobs.get(headers[BLOB]) if BLOB in headers else message.data or b""
        summary = msgspec.json.decode(headers[SUMMARY], type=self._summary)
        content = await _aside(len(data), partial(zlib.decompress, data))
        return summary, msgspec.msgpack.decode(content, type=type)

    async def remove(self, key: str, namespace: str, *, name: str = "", again: bool = False) -> None:
        """Puts the word that it is gone in the place of the record. Where there is none that is said all the same,
        unless what it tells of goes on (`again`). Doing so twice is fine."""
        if not (is_token(key) and is_token(namespace)):
            return
        found = await self._last(key, namespace)
        if found is None and again:
            return
        subject = found.subject if found is not None else f"{self._prefix}.{namespace}.{hour_of(time.time())}.{key}"
        word = msgspec.json.encode(Gone(name, again))
        if found is not None and (found.headers or {}).get(GONE) == word.decode():
            return
        await self._publish(str(subject), b"", {GONE: word.decode(), "Nats-TTL": f"{GONE_SECONDS}s"})

    async def hours(self, namespace: str = "*") -> list[str]:
        """The hours that hold records, newest first."""
        if not _is_namespace(namespace):
            return []
        found: set[str] = set()
        subject = f"{self._prefix}.{namespace}.>"
        info = await whole(self._js.stream_info(self._stream, subjects_filter=subject))
        for name in info.state.subjects or {}:
            found.add(name.split(".")[2])
        return sorted(found, reverse=True)

    async def walk(self, namespace: str = "*", before_hour: str = "") -> AsyncGenerator[tuple[str, S], None]:
        """Hours and summaries, newest first; from `before_hour` (inclusive) backwards."""
        for hour in await self.hours(namespace):
            if before_hour and hour > before_hour:
                continue
            messages = read(self._js, self._stream, f"{self._prefix}.{namespace}.{hour}.*", headers_only=True)
            found = [self._summary_of(message) async for message in messages if GONE not in (message.headers or {})]
            for summary in reversed(found):
                yield hour, summary

    async def position(self) -> int:
        """That of the last record that was written."""
        info = await whole(self._js.stream_info(self._stream))
        return info.state.last_seq

    async def since(self, position: int, namespace: str = "*") -> list[S]:
        """What was written behind that position, and stands there still."""
        return [
            change.found
            async for change in self.changes(namespace, start=position + 1, follow=False)
            if not isinstance(change.found, Gone)
        ]

    async def follow(self, namespace: str = "*", since: float = 0.0) -> AsyncIterator[S]:
        """Every record's summary as it stands (or only what was written since a time), then each change, for ever."""
        async for change in self.changes(namespace, since=since):
            if not isinstance(change.found, Gone):
                yield change.found

    async def changes(
        self, namespace: str = "*", *, start: int = 1, since: float = 0.0, follow: bool = True
    ) -> AsyncGenerator[Change[S], None]:
        """What stands there from a position on, or since a time, in the order of writing; then what comes, for ever."""
        if not _is_namespace(namespace):
            return
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(since)) if since else ""
        messages = read(
            self._js,
            self._stream,
            f"{self._prefix}.{namespace}.>",
            follow=follow,
            headers_only=True,
            start=start,
            start_time=at,
        )
        async with aclosing(messages) as items:
            async for message in items:
                yield self._change(message)

    def _change(self, message: StoredMessage) -> Change[S]:
        _, namespace, _, key = message.subject.split(".")
        headers = message.headers or {}
        gone, raw = headers.get(GONE), headers.get(SUMMARY, "").encode()
        found = msgspec.json.decode(raw, type=self._summary) if gone is None else msgspec.json.decode(gone, type=Gone)
        return Change(message.sequence, namespace, key, found, raw, message.pending)

    def decoded(self, raw: bytes) -> S:
        """A summary as it stands in a record (`Change.raw`)."""
        return msgspec.json.decode(raw, type=self._summary)

    def _summary_of(self, message: StoredMessage) -> S:
        return msgspec.json.decode((message.headers or {})[SUMMARY], type=self._summary)


async def _aside(size: int, work: Callable[[], bytes]) -> bytes:
    """What the work gives: in a thread where it takes long."""
    return await asyncio.to_thread(work) if size > ASIDE_BYTES else work()


def _is_namespace(text: str) -> bool:
    """A namespace, or `*` for all of them; anything else has no records, whatever it would mean in a subject."""
    return text == "*" or is_token(text)
