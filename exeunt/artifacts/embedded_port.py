"""The embedded store as its users see it: what it is asked, in which words, and how it says that it could not.

There are two roads to it: straight to NATS (`exeunt.artifacts.embedded`), and through a scheduler, for an executor that
has no connection to NATS. Both are an `EmbeddedRoad`.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import NamedTuple, Protocol

import msgspec

from exeunt.language.place_parts import TOKEN

PART_BYTES = 512 * 1024
"""Of one piece of a content; less than NATS' usual max_payload of 1 MB."""


class EmbeddedStoreError(Exception):
    """An artifact cannot be kept in NATS, or not be had from there; the text says which and what to do.

    `temporary`: it may be tried again.
    """

    def __init__(self, text: str, *, temporary: bool = False) -> None:
        super().__init__(text)
        self.temporary = temporary


class NoSuchArtifactError(EmbeddedStoreError):
    """There is no artifact of that key."""


class ArtifactHolder(NamedTuple):
    """The workflow that artifacts belong to."""

    namespace: str
    uid: str

    def subject(self) -> str:
        """As part of a subject. Raises EmbeddedStoreError."""
        if not TOKEN.fullmatch(self.namespace) or not TOKEN.fullmatch(self.uid):
            raise EmbeddedStoreError(f"no workflow can have the namespace {self.namespace!r} and the uid {self.uid!r}")
        return f"{self.namespace}.{self.uid}"


class KeptArtifact(msgspec.Struct):
    """An artifact. `digest`: SHA-256 of its content, as hex; `size` in bytes; `at`: when, in seconds since 1970."""

    key: str
    digest: str
    size: int
    at: float


class EmbeddedRoad(Protocol):
    """A way to the embedded store. Everything raises EmbeddedStoreError, which says which artifact and what to do."""

    async def save(self, holder: ArtifactHolder, key: str, content: AsyncIterable[bytes]) -> KeptArtifact:
        """Keeps a content under a key, instead of what was there; answers once it is durable and whole.

        What the content raises is raised on, and then nothing is kept.
        """

    def open(self, holder: ArtifactHolder, key: str) -> AsyncIterator[bytes]:
        """The content, checked: the last piece comes only if the digest is right. Raises NoSuchArtifactError."""

    async def list(self, holder: ArtifactHolder, prefix: str = "", most: int = 0) -> list[KeptArtifact]:
        """The artifacts whose keys begin so, by key; of each key the latest. With `most`, any so many of them."""

    async def delete(self, holder: ArtifactHolder, key: str) -> None:
        """Removes an artifact; one that is gone is fine."""


Check = Callable[[str, int], None]
"""Hears digest and size of a content before it is named; what it raises is raised on, and nothing is kept."""


async def in_parts(content: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in parts of PART_BYTES, the last one shorter."""
    waiting = bytearray()
    async for piece in content:
        waiting += piece
        while len(waiting) >= PART_BYTES:
            yield bytes(waiting[:PART_BYTES])
            del waiting[:PART_BYTES]
    if waiting:
        yield bytes(waiting)


async def checked(artifact: KeptArtifact, pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """The same bytes; the last piece comes only if all of them are the artifact's. Raises EmbeddedStoreError."""
    sha, last = hashlib.sha256(), b""
    async for piece in pieces:
        if last:
            yield last
        sha.update(piece)
        last = piece
    if sha.hexdigest() != artifact.digest:
        raise EmbeddedStoreError(
            f"artifact {artifact.key}: its content in NATS is damaged (SHA-256 {sha.hexdigest()} instead of "
            f"{artifact.digest}); run the step again that made it"
        )
    if last:
        yield last
