"""The embedded store: artifacts in NATS, for a cluster without an artifact repository.

Content lies once under its SHA-256. The order of writes keeps it whole, whoever dies in between:

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
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import Literal, NamedTuple

import msgspec

from exeunt.artifacts.embedded_port import (
    ArtifactHolder,
    Check,
    EmbeddedStoreError,
    KeptArtifact,
    NoSuchArtifactError,
    checked,
    in_parts,
)
from exeunt.artifacts.embedded_stream import ANSWER_SECONDS, ArtifactStream, Stored

WINDOW = 8
"""So many parts of one transfer are on their way at once, which is its memory: 4 MB."""
TRANSFER_SECONDS = 6 * 3600.0
"""The longest time of one save."""
ABANDONED_SECONDS = 4 * TRANSFER_SECONDS
"""A save that has come to no end for so long is swept; clocks may differ by the rest."""
_TRIES = 20


class _Content(msgspec.Struct):
    """What lies under a digest. `by` makes each write unlike all others."""

    state: Literal["whole", "asked", "dead"]
    upload: str
    parts: int
    size: int
    by: str


class FoundContent(NamedTuple):
    """An artifact, and where its bytes lie."""

    artifact: KeptArtifact
    upload: str
    parts: int


class _Upload(msgspec.Struct):
    at: float
    dead: bool = False
    by: str = ""


def _key_hash(key: str) -> str:
    return hashlib.blake2b(key.encode(), digest_size=16).hexdigest()


class EmbeddedStore:
    """An EmbeddedRoad straight to NATS. Raises EmbeddedStoreError, which says which artifact and what to do."""

    def __init__(self, stream: ArtifactStream, now: Callable[[], float] = time.time, *, window: int = WINDOW) -> None:
        """`window`: parts of one transfer on their way at once."""
        self._stream = stream
        self._window = window
        self._now = now
        self._unanswered: set[str] = set()

    async def save(
        self, holder: ArtifactHolder, key: str, content: AsyncIterable[bytes], check: Check | None = None
    ) -> KeptArtifact:
        """Keeps a content under a key, instead of what was there; answers once it is durable and whole."""
        below = holder.subject()
        upload = secrets.token_hex(12)
        mark = await self._stream.swap(f"xf.u.{upload}", msgspec.json.encode(_Upload(self._now(), by=upload)), 0)
        drop = True
        try:
            async with asyncio.timeout(TRANSFER_SECONDS):
                digest, size, parts = await self._sent(upload, content)
                if check is not None:
                    check(digest, size)
                record = KeptArtifact(key, digest, size, self._now())
                subject = f"{below}.{_key_hash(key)}.{digest}"
                sequence = await self._stream.write(subject, msgspec.json.encode(record))
                await self._renewed(upload, mark, key)
                drop = False  # from here on it may be in use, also where no answer comes
                drop = not await self._bound(digest, _Content("whole", upload, parts, size, ""))
        except TimeoutError:
            raise EmbeddedStoreError(f"artifact {key}: not stored within {TRANSFER_SECONDS / 3600:.0f} hours") from None
        finally:
            if drop:
                with contextlib.suppress(EmbeddedStoreError):  # a sweep will do it
                    await asyncio.shield(self._drop(upload))
        await self._supersede(f"{below}.{_key_hash(key)}.*", sequence)
        return record

    async def _sent(self, upload: str, content: AsyncIterable[bytes]) -> tuple[str, int, int]:
        """Stores the parts; answers digest, size and their number."""
        sha, size, number = hashlib.sha256(), 0, 0
        under_way: deque[asyncio.Task[None]] = deque()
        try:
            async for part in in_parts(content):
                sha.update(part)
                size += len(part)
                if len(under_way) >= self._window:
                    await under_way.popleft()
                under_way.append(asyncio.create_task(self._stream.put(f"xf.p.{upload}.{number}", part)))
                number += 1
            while under_way:
                await under_way.popleft()
        finally:
            if under_way:  # NATS may carry out a removal before a part that was sent earlier: so wait for their answers
                _, late = await asyncio.wait(under_way, timeout=ANSWER_SECONDS)
                if late:
                    self._unanswered.add(upload)
            await _ended(under_way)
        return sha.hexdigest(), size, number

    async def _bound(self, digest: str, content: _Content) -> bool:
        """Has the digest lead to a whole content; whether that is this one."""
        subject = f"xf.b.{digest}"
        for _ in range(_TRIES):
            found = await self._stream.last(subject)
            there = msgspec.json.decode(found.data, type=_Content) if found is not None else None
            if there is not None and there.state == "whole":
                return there.upload == content.upload
            chosen = there if there is not None and there.state == "asked" else content
            written = msgspec.structs.replace(chosen, state="whole", by=secrets.token_hex(8))
            if await self._stream.swap(subject, msgspec.json.encode(written), found.sequence if found else 0):
                return chosen is content
        raise EmbeddedStoreError(f"content {digest}: others change it all the time", temporary=True)

    async def _renewed(self, upload: str, mark: int, key: str) -> None:
        """Marks that the transfer is about to be named; a sweep gives it another while. Raises where it was swept."""
        data = msgspec.json.encode(_Upload(self._now(), by=secrets.token_hex(8)))
        if not await self._stream.swap(f"xf.u.{upload}", data, mark):
            raise EmbeddedStoreError(f"artifact {key}: the transfer took too long and was swept", temporary=True)

    async def _drop(self, upload: str) -> None:
        """Removes what a transfer brought; its mark last, so that a sweep finds what is left."""
        await self._stream.purge(f"xf.p.{upload}.*")
        if upload in self._unanswered:  # a part may yet come: its mark stays for a sweep
            self._unanswered.discard(upload)
            return
        await self._stream.purge(f"xf.u.{upload}")

    async def _supersede(self, subject: str, sequence: int) -> None:
        older = [one async for one in self._stream.all(subject) if one.sequence < sequence]
        for one in older:
            await self._stream.remove(one.sequence)
            await self._forget(one.subject.rpartition(".")[2])

    async def find(self, holder: ArtifactHolder, key: str) -> KeptArtifact:
        """What is known of an artifact. Raises NoSuchArtifactError."""
        found = await self._stream.last(f"{holder.subject()}.{_key_hash(key)}.*")
        if found is None:
            raise NoSuchArtifactError(f"artifact {key}: there is none of this key in workflow {holder.uid}")
        return msgspec.json.decode(found.data, type=KeptArtifact)

    async def open(self, holder: ArtifactHolder, key: str) -> AsyncIterator[bytes]:
        """The content of an artifact, checked: the last piece comes only if the digest is right.

        Raises NoSuchArtifactError, EmbeddedStoreError, also in the midst.
        """
        found = await self.find_content(holder, key)
        async for piece in checked(found.artifact, self.parts(found)):
            yield piece

    async def find_content(self, holder: ArtifactHolder, key: str) -> FoundContent:
        """Where the content of an artifact lies. Raises NoSuchArtifactError."""
        artifact = await self.find(holder, key)
        found = await self._stream.last(f"xf.b.{artifact.digest}")
        content = msgspec.json.decode(found.data, type=_Content) if found is not None else None
        if content is None or content.state == "dead":
            raise NoSuchArtifactError(f"artifact {key}: its content is not there (yet, or any more)")
        return FoundContent(artifact, content.upload, content.parts)

    async def parts(self, found: FoundContent, first: int = 0) -> AsyncIterator[bytes]:
        """The parts of a content from this one on, unchecked. Raises EmbeddedStoreError, also in the midst."""
        ahead: deque[asyncio.Task[bytes | None]] = deque()
        number = first
        try:
            while ahead or number < found.parts:
                while number < found.parts and len(ahead) < self._window:
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

    async def list(self, holder: ArtifactHolder, prefix: str = "", most: int = 0) -> list[KeptArtifact]:
        """The artifacts of a workflow whose keys begin so, by key; of each key the latest. With `most`, any so many."""
        known: dict[str, KeptArtifact] = {}
        async for one in self._stream.all(f"{holder.subject()}.>"):
            artifact = msgspec.json.decode(one.data, type=KeptArtifact)
            if artifact.key.startswith(prefix):
                known[artifact.key] = artifact
                if len(known) == most:
                    break
        return [known[key] for key in sorted(known)]

    async def delete(self, holder: ArtifactHolder, key: str) -> None:
        """Removes an artifact; one that is gone is fine."""
        await self._remove(f"{holder.subject()}.{_key_hash(key)}.*")

    async def delete_workflow(self, holder: ArtifactHolder) -> None:
        """Removes all artifacts of a workflow, and what nobody else names of their content. Twice is fine."""
        await self._remove(f"{holder.subject()}.>")

    async def _remove(self, subject: str) -> None:
        digests = {one.subject.rpartition(".")[2] async for one in self._stream.all(subject)}
        await self._stream.purge(subject)
        for digest in digests:
            await self._forget(digest)

    async def _forget(self, digest: str) -> bool:
        """Removes a content if no artifact names it; whether it is gone by this. What is half removed is ended."""
        subject = f"xf.b.{digest}"
        found = await self._stream.last(subject)
        if found is None:
            return False
        content, sequence = msgspec.json.decode(found.data, type=_Content), found.sequence
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
        await self._drop(content.upload)
        await self._stream.remove(sequence)
        return True

    async def _named(self, digest: str) -> bool:
        return await self._stream.last(f"xf.r.*.*.*.{digest}") is not None

    async def _turn(self, subject: str, content: _Content, state: Literal["whole", "asked", "dead"], at: int) -> int:
        written = msgspec.structs.replace(content, state=state, by=secrets.token_hex(8))
        return await self._stream.swap(subject, msgspec.json.encode(written), at)

    async def sweep(self, exists: Callable[[ArtifactHolder], Awaitable[bool]] | None = None) -> int:
        """Removes what no artifact names, transfers that came to no end, and artifacts without content; how many.

        `exists`: whether there is such a workflow; artifacts of others go too. Safe beside saves and other sweeps.
        """
        swept = 0
        known: dict[ArtifactHolder, bool] = {}
        async for one in self._stream.all("xf.r.>"):
            _, _, namespace, uid, _, digest = one.subject.split(".")
            holder = ArtifactHolder(namespace, uid)
            if exists is not None and holder not in known:
                known[holder] = await exists(holder)
            if not known.get(holder, True) or await self._hollow(one, digest):
                await self._stream.remove(one.sequence)
                swept += 1
        uploads = set()
        for one in [one async for one in self._stream.all("xf.b.>")]:  # a mark is a new message, and would be met again
            if await self._forget(one.subject.removeprefix("xf.b.")):
                swept += 1
            else:
                uploads.add(msgspec.json.decode(one.data, type=_Content).upload)
        async for one in self._stream.all("xf.u.>"):
            if one.subject.removeprefix("xf.u.") not in uploads and await self._abandoned(one):
                swept += 1
        return swept

    async def _hollow(self, record: Stored, digest: str) -> bool:
        """Whether an artifact has no content, though there was time enough to write it."""
        if self._now() - msgspec.json.decode(record.data, type=KeptArtifact).at < ABANDONED_SECONDS:
            return False
        return await self._stream.last(f"xf.b.{digest}") is None

    async def _abandoned(self, mark: Stored) -> bool:
        """Removes a transfer that is old and whose content nobody has come to name. Its mark is `dead` before that."""
        upload, subject = msgspec.json.decode(mark.data, type=_Upload), mark.subject
        if self._now() - upload.at < ABANDONED_SECONDS:
            return False
        dead = msgspec.json.encode(_Upload(upload.at, dead=True, by=secrets.token_hex(8)))
        if not await self._stream.swap(subject, dead, mark.sequence):
            return False
        name = subject.removeprefix("xf.u.")
        async for one in self._stream.all("xf.b.>"):
            if msgspec.json.decode(one.data, type=_Content).upload == name:
                return False
        await self._drop(name)
        return True


async def _ended(tasks: deque[asyncio.Task[None]] | deque[asyncio.Task[bytes | None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
