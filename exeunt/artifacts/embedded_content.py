"""Contents of the embedded store: each lies once under its SHA-256, for as long as some artifact names it.

The order of writes keeps it whole, whoever dies in between:

- **save**: parts; when all are durable, the artifact, which names the digest; then the content under this digest,
  unless it is there. An artifact is there for readers when both are.
- **remove** a content: it is marked `asked`; then artifacts are looked for that name it; if there is one the mark is
  taken back, and else it is `dead`, and only then its parts are removed.

A save writes its artifact before it looks for the content. Where it finds the content whole, the mark comes later, and
so does the look for artifacts, which sees this one. Where it finds a mark it takes it back, or finds `dead` and puts
its own parts there. All of these are writes on the condition of what was read, so that of two who decide one wins.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import Literal, NamedTuple

import msgspec

from exeunt.artifacts.embedded_port import EmbeddedStoreError, KeptArtifact, NoSuchArtifactError, in_parts
from exeunt.artifacts.embedded_stream import ANSWER_SECONDS, ArtifactStream, Stored

TRANSFER_SECONDS = 6 * 3600.0
"""The longest time of one save."""
ABANDONED_SECONDS = 4 * TRANSFER_SECONDS
"""A save that has come to no end for so long is swept; clocks may differ by the rest."""
FEW_PARTS = 16
"""So many parts are removed one by one: a removal by subject goes through the whole stream."""
_TRIES = 20


class StoredContent(msgspec.Struct):
    """What lies under a digest. `by` makes each write unlike all others."""

    state: Literal["whole", "asked", "dead"]
    upload: str
    parts: int
    size: int
    by: str


class UploadMark(msgspec.Struct):
    """A transfer: when it began, or was about to be named."""

    at: float
    dead: bool = False
    by: str = ""


class FoundContent(NamedTuple):
    """An artifact, and where its bytes lie."""

    artifact: KeptArtifact
    upload: str
    parts: int


class SentContent(NamedTuple):
    """What a transfer brought."""

    digest: str
    size: int
    parts: int


class Transfer:
    """One upload: its parts, and its mark, by which a sweep knows how old it is."""

    def __init__(self, stream: ArtifactStream, window: int, now: Callable[[], float]) -> None:
        self.name = secrets.token_hex(12)
        self._stream = stream
        self._window = window
        self._now = now
        self._mark = 0
        self._count = 0
        self._unanswered = False

    async def begin(self) -> None:
        """Writes the mark."""
        data = msgspec.json.encode(UploadMark(self._now(), by=self.name))
        self._mark = await self._stream.swap(f"xf.u.{self.name}", data, 0)

    async def send(self, content: AsyncIterable[bytes]) -> SentContent:
        """Stores the parts."""
        sha, size = hashlib.sha256(), 0
        under_way: deque[asyncio.Task[None]] = deque()
        try:
            async for part in in_parts(content):
                sha.update(part)
                size += len(part)
                if len(under_way) >= self._window:
                    await under_way.popleft()
                under_way.append(asyncio.create_task(self._stream.put(f"xf.p.{self.name}.{self._count}", part)))
                self._count += 1
            while under_way:
                await under_way.popleft()
        finally:
            if under_way:  # NATS may carry out a removal before a part that was sent earlier: so wait for their answers
                _, late = await asyncio.wait(under_way, timeout=ANSWER_SECONDS)
                self._unanswered = bool(late)
            await _ended(under_way)
        return SentContent(sha.hexdigest(), size, self._count)

    async def renew(self, key: str) -> None:
        """Marks that it is about to be named; a sweep gives it another while. Raises where it was swept."""
        data = msgspec.json.encode(UploadMark(self._now(), by=secrets.token_hex(8)))
        self._mark = await self._stream.swap(f"xf.u.{self.name}", data, self._mark)
        if not self._mark:
            raise EmbeddedStoreError(f"artifact {key}: the transfer took too long and was swept", temporary=True)

    async def drop(self) -> None:
        """Removes what it brought; where a part may yet come its mark stays for a sweep."""
        with contextlib.suppress(EmbeddedStoreError):  # a sweep will do it
            await drop(self._stream, self.name, self._count, mark=not self._unanswered)


async def drop(stream: ArtifactStream, upload: str, parts: int, *, mark: bool = True) -> None:
    """Removes the parts of a transfer; its mark last, so that a sweep finds what is left."""
    if parts <= FEW_PARTS:
        found = await asyncio.gather(*(stream.last(f"xf.p.{upload}.{number}") for number in range(parts)))
        await asyncio.gather(*(stream.remove(one.sequence) for one in found if one is not None))
    else:
        await stream.purge(f"xf.p.{upload}.*")
    if mark and (found_mark := await stream.last(f"xf.u.{upload}")) is not None:
        await stream.remove(found_mark.sequence)


class Contents:
    """What lies under digests."""

    def __init__(self, stream: ArtifactStream) -> None:
        self._stream = stream

    async def bind(self, sent: SentContent, upload: str) -> bool:
        """Has the digest lead to a whole content; whether that is this transfer's."""
        subject = f"xf.b.{sent.digest}"
        mine = StoredContent("whole", upload, sent.parts, sent.size, "")
        for _ in range(_TRIES):
            found = await self._stream.last(subject)
            there = msgspec.json.decode(found.data, type=StoredContent) if found is not None else None
            if there is not None and there.state == "whole":
                return there.upload == upload
            chosen = there if there is not None and there.state == "asked" else mine
            written = msgspec.structs.replace(chosen, state="whole", by=secrets.token_hex(8))
            if await self._stream.swap(subject, msgspec.json.encode(written), found.sequence if found else 0):
                return chosen is mine
        raise EmbeddedStoreError(f"content {sent.digest}: others change it all the time", temporary=True)

    async def find(self, artifact: KeptArtifact) -> FoundContent:
        """Where the bytes of an artifact lie. Raises NoSuchArtifactError."""
        found = await self._stream.last(f"xf.b.{artifact.digest}")
        content = msgspec.json.decode(found.data, type=StoredContent) if found is not None else None
        if content is None or content.state == "dead":
            raise NoSuchArtifactError(f"artifact {artifact.key}: its content is not there (yet, or any more)")
        return FoundContent(artifact, content.upload, content.parts)

    async def parts(self, found: FoundContent, first: int, window: int) -> AsyncIterator[bytes]:
        """The parts of a content from this one on, unchecked. Raises EmbeddedStoreError, also in the midst."""
        ahead: deque[asyncio.Task[bytes | None]] = deque()
        number = first
        try:
            while ahead or number < found.parts:
                while number < found.parts and len(ahead) < window:
                    ahead.append(asyncio.create_task(self._stream.part(f"xf.p.{found.upload}.{number}")))
                    number += 1
                part = await ahead.popleft()
                if part is None:
                    raise EmbeddedStoreError(
                        f"artifact {found.artifact.key}: a part of its content is gone; was its workflow deleted "
                        "meanwhile?"
                    )
                yield part
        finally:
            await _ended(ahead)

    async def forget(self, digest: str, found: Stored | None = None) -> bool:
        """Removes a content if no artifact names it; whether it is gone by this. What is half removed is ended."""
        subject = f"xf.b.{digest}"
        found = found or await self._stream.last(subject)
        if found is None:
            return False
        content, sequence = msgspec.json.decode(found.data, type=StoredContent), found.sequence
        if content.state == "whole" and await self._named(digest):
            return False  # as most are, without a write
        if content.state != "dead":
            sequence = await self._turn(subject, content, "asked", sequence)
            if not sequence:
                return False
            if await self._named(digest):
                await self._turn(subject, content, "whole", sequence)
                return False
            sequence = await self._turn(subject, content, "dead", sequence)
            if not sequence:
                return False
        await drop(self._stream, content.upload, content.parts)
        await self._stream.remove(sequence)
        return True

    async def _named(self, digest: str) -> bool:
        return await self._stream.last(f"xf.r.*.*.*.{digest}") is not None

    async def _turn(
        self, subject: str, content: StoredContent, state: Literal["whole", "asked", "dead"], at: int
    ) -> int:
        written = msgspec.structs.replace(content, state=state, by=secrets.token_hex(8))
        return await self._stream.swap(subject, msgspec.json.encode(written), at)


async def _ended(tasks: deque[asyncio.Task[None]] | deque[asyncio.Task[bytes | None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
