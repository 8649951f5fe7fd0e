"""The embedded store: artifacts in NATS, for a cluster without an artifact repository.

An artifact is a record under its workflow and a hash of its key. A small one has its bytes in it, and so is whole at
once; a larger one names its content by the digest (`embedded_content` says how those two stay together).
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence

import msgspec

from exeunt.artifacts.embedded_content import TRANSFER_SECONDS, Contents, FoundContent, Transfer
from exeunt.artifacts.embedded_port import (
    ArtifactHolder,
    Check,
    EmbeddedStoreError,
    KeptArtifact,
    NoSuchArtifactError,
    checked,
)
from exeunt.artifacts.embedded_stream import ArtifactStream, Stored

WINDOW = 8
"""So many parts of one transfer are on their way at once, which is its memory: 4 MB."""
SMALL_BYTES = 32 * 1024
"""A content up to this size lies in its artifact's record."""


class ArtifactRecord(KeptArtifact):
    """An artifact as it stands in the stream; `data` where it is a small one."""

    data: bytes = b""


class FoundArtifact(msgspec.Struct):
    """An artifact, and its bytes or where they lie."""

    artifact: KeptArtifact
    data: bytes | None = None
    content: FoundContent | None = None


class EmbeddedStore:
    """An EmbeddedRoad straight to NATS. Raises EmbeddedStoreError, which says which artifact and what to do."""

    def __init__(self, stream: ArtifactStream, now: Callable[[], float] = time.time, *, window: int = WINDOW) -> None:
        """`window`: parts of one transfer on their way at once."""
        self.stream = stream
        self.contents = Contents(stream)
        self._window = window
        self._now = now

    async def save(
        self, holder: ArtifactHolder, key: str, content: AsyncIterable[bytes], check: Check | None = None
    ) -> KeptArtifact:
        """Keeps a content under a key, instead of what was there; answers once it is durable and whole."""
        subject = _subject(holder, key)
        source = aiter(content)
        try:
            async with asyncio.timeout(TRANSFER_SECONDS):
                head, ended = await _head(source)
                if ended:
                    record, sequence = await self._save_small(subject, key, head, check)
                else:
                    record, sequence = await self._save_large(subject, key, _rest(head, source), check)
        except TimeoutError:
            raise EmbeddedStoreError(f"artifact {key}: not stored within {TRANSFER_SECONDS / 3600:.0f} hours") from None
        await self._remove([one for one in await self._records(subject) if one.sequence < sequence])
        return record

    async def _save_small(self, subject: str, key: str, data: bytes, check: Check | None) -> tuple[KeptArtifact, int]:
        digest = hashlib.sha256(data).hexdigest()
        if check is not None:
            check(digest, len(data))
        record = ArtifactRecord(key, digest, len(data), self._now(), data)
        sequence = await self.stream.write(f"xf.s.{subject}.s", msgspec.msgpack.encode(record))
        return _plain(record), sequence

    async def _save_large(
        self, subject: str, key: str, content: AsyncIterable[bytes], check: Check | None
    ) -> tuple[KeptArtifact, int]:
        transfer = Transfer(self.stream, self._window, self._now)
        dropped = True
        try:
            await transfer.begin()
            sent = await transfer.send(content)
            if check is not None:
                check(sent.digest, sent.size)
            record = KeptArtifact(key, sent.digest, sent.size, self._now())
            sequence = await self.stream.write(f"xf.r.{subject}.{sent.digest}", msgspec.msgpack.encode(record))
            await transfer.renew(key)
            dropped = False  # from here on it may be in use, also where no answer comes
            dropped = not await self.contents.bind(sent, transfer.name)
        finally:
            if dropped:
                await asyncio.shield(transfer.drop())
        return record, sequence

    async def find(self, holder: ArtifactHolder, key: str) -> FoundArtifact:
        """An artifact, and its bytes or where they lie. Raises NoSuchArtifactError."""
        records = await self._records(_subject(holder, key))
        found = max(records, default=None)
        if found is None:
            raise NoSuchArtifactError(f"artifact {key}: there is none of this key in workflow {holder.uid}")
        record = msgspec.msgpack.decode(found.data, type=ArtifactRecord)
        if found.subject.startswith("xf.s."):
            return FoundArtifact(_plain(record), record.data)
        return FoundArtifact(_plain(record), content=await self.contents.find(_plain(record)))

    async def open(self, holder: ArtifactHolder, key: str) -> AsyncIterator[bytes]:
        """The content of an artifact, checked: the last piece comes only if the digest is right.

        Raises NoSuchArtifactError, EmbeddedStoreError, also in the midst.
        """
        found = await self.find(holder, key)
        async for piece in checked(found.artifact, self.parts(found)):
            yield piece

    async def parts(self, found: FoundArtifact, first: int = 0) -> AsyncIterator[bytes]:
        """The parts of a content from this one on, unchecked. Raises EmbeddedStoreError, also in the midst."""
        if found.content is not None:
            async for part in self.contents.parts(found.content, first, self._window):
                yield part
        elif found.data and not first:
            yield found.data

    async def list(self, holder: ArtifactHolder, prefix: str = "", most: int = 0) -> list[KeptArtifact]:
        """The artifacts of a workflow whose keys begin so, by key; of each key the latest. With `most`, any so many."""
        known: dict[str, tuple[int, KeptArtifact]] = {}
        for kind in ("s", "r"):
            async for one in self.stream.each(f"xf.{kind}.{holder.subject()}.>"):
                artifact = _plain(msgspec.msgpack.decode(one.data, type=ArtifactRecord))
                if artifact.key.startswith(prefix) and one.sequence > known.get(artifact.key, (0,))[0]:
                    known[artifact.key] = one.sequence, artifact
                    if len(known) == most:
                        break
        return [known[key][1] for key in sorted(known)][: most or None]

    async def delete(self, holder: ArtifactHolder, key: str) -> None:
        """Removes an artifact; one that is gone is fine."""
        await self._remove(await self._records(_subject(holder, key)))

    async def delete_workflow(self, holder: ArtifactHolder) -> None:
        """Removes all artifacts of a workflow, and what nobody else names of their content. Twice is fine."""
        await self.stream.purge(f"xf.s.{holder.subject()}.>")
        named = [subject async for subject in self.stream.subjects(f"xf.r.{holder.subject()}.>")]
        await self.stream.purge(f"xf.r.{holder.subject()}.>")
        for digest in {subject.rpartition(".")[2] for subject in named}:
            await self.contents.forget(digest)

    async def _records(self, subject: str) -> Sequence[Stored]:
        """The records under a key: one, but for the moment in which it is written anew."""
        small, large = await asyncio.gather(
            self.stream.last(f"xf.s.{subject}.s"), self.stream.last(f"xf.r.{subject}.*")
        )
        found = [small] if small is not None else []
        if large is not None:  # as a rule it is the only one, but a search takes longer than a look
            found += [one async for one in self.stream.all(f"xf.r.{subject}.*")]
        return found

    async def _remove(self, records: Iterable[Stored]) -> None:
        for one in records:
            await self.stream.remove(one.sequence)
            if one.subject.startswith("xf.r."):
                await self.contents.forget(one.subject.rpartition(".")[2])


def _subject(holder: ArtifactHolder, key: str) -> str:
    """Where an artifact stands; the kind of its record comes before, and one token behind."""
    return f"{holder.subject()}.{hashlib.blake2b(key.encode(), digest_size=16).hexdigest()}"


def _plain(record: ArtifactRecord) -> KeptArtifact:
    return KeptArtifact(record.key, record.digest, record.size, record.at)


async def _head(source: AsyncIterator[bytes]) -> tuple[bytes, bool]:
    """The beginning of a content, and whether that is all of it: not more than SMALL_BYTES then."""
    head = bytearray()
    async for piece in source:
        head += piece
        if len(head) > SMALL_BYTES:
            return bytes(head), False
    return bytes(head), True


async def _rest(head: bytes, source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield head
    async for piece in source:
        yield piece
