"""The port to where bytes of artifacts lie: what a store can do, and how it says that it could not.

A store is made for one place by `exeunt.artifacts.registry`. Bytes go through as streams of chunks; nothing here holds
more than a few of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol
from urllib.parse import urlsplit

import msgspec
from aiohttp.abc import AbstractResolver

from exeunt.artifacts.embedded_port import EmbeddedRoad
from exeunt.language.containers import KeySelector
from exeunt.language.place_parts import ArtifactPlace, selectors

CHUNK = 1 << 20
"""Bytes of a chunk of a stream, about."""
MOST_OBJECTS = 1_000_000
"""Objects below one prefix: more are not listed."""
LONGEST_REASON = 500
"""Characters of what a server says that go into an error."""


class StoreError(Exception):
    """A store did not do what it was asked. The text is for people: which place, what happened, what to do.

    With `temporary`, the same may succeed when it is tried again later.
    """

    def __init__(self, text: str, *, temporary: bool = False) -> None:
        super().__init__(text)
        self.temporary = temporary


class MissingError(StoreError):
    """The artifact is not there: an `optional` one is done without."""


class HostGuard(Protocol):
    """Which hosts may be read from, for a process that others can point at its own network."""

    def resolver(self) -> AbstractResolver:
        """For connections: refuses addresses that must not be reached, at the very lookup that is connected by."""

    def why_not(self, host: str) -> str:
        """Why a host must not be asked; empty where it may be. It looks names up, and so blocks."""

    def why_no_store(self, host: str) -> str:
        """The same for a store whose client follows redirects and looks names up by itself. It does not block."""


class StoredObject(NamedTuple):
    """A key of a store, and how many bytes lie there."""

    key: str
    size: int


class Store:
    """A store, as one place names it. All that it cannot do raises StoreError.

    What a kind of store has no way to do stays as it is here. `directory` says that the whole place is a directory,
    which `check_out` makes; it cannot be opened. `checks`: it never gives out other bytes than those that were kept.
    """

    directory: ClassVar[bool] = False
    checks: ClassVar[bool] = False

    def __init__(self, place: ArtifactPlace, access: StoreAccess) -> None:
        self.place = place
        self.access = access

    def open(self, key: str) -> AsyncIterator[bytes]:
        """The bytes of a key. Raises MissingError or StoreError, at the first chunk or later."""
        raise self.cannot("be read as a file")

    async def save(self, key: str, stream: AsyncIterable[bytes], size: int | None = None) -> int:
        """Keeps a stream whole or not at all; answers its length. `size` in bytes, where it is known, has to be right.

        What the stream raises is raised on, and then nothing is kept.
        """
        raise self.cannot("be written")

    def list(self, prefix: str) -> AsyncIterator[StoredObject]:
        """The objects below `prefix/`, in any order. Raises StoreError."""
        raise self.cannot("be listed")

    async def is_directory(self, key: str) -> bool:
        """Whether something lies below `key/`."""
        return False

    async def delete(self, key: str) -> None:
        """Removes a key; one that is not there is fine."""
        raise self.cannot("be removed")

    async def check_out(self, into: Path) -> None:
        """Makes the directory that the place is; `into` is not there yet, or is empty."""
        raise self.cannot("be checked out")

    async def close(self) -> None:
        """Lets go of connections."""

    def cannot(self, what: str) -> StoreError:
        """The error of a kind of store that has no way to do something."""
        kinds = "s3, gcs, azure or oss"
        return StoreError(f"{self.named()}: an artifact of kind {self.place.kind} cannot {what}; keep it in {kinds}")

    def failed(self, what: str, *, key: str = "", temporary: bool = False, missing: bool = False) -> StoreError:
        """The error of something that went wrong, with artifact and place before it."""
        kind = MissingError if missing else StoreError
        at = f" (key {key})" if key and key != self.place.key else ""
        return kind(f"{self.named()}{at}: {what}", temporary=temporary)

    def named(self) -> str:
        """The artifact and its place, for messages."""
        return f"artifact {self.access.artifact}, {self.place.shown}" if self.access.artifact else self.place.shown

    async def may_ask(self, url: str) -> None:
        """Raises StoreError where the host of a URL must not be asked."""
        if self.access.guard is not None:
            why = await asyncio.to_thread(self.access.guard.why_not, _host(url))
            if why:
                raise self.failed(why)

    def may_use(self, url: str) -> None:
        """Raises StoreError where the host of a URL is none whose answers a client may follow."""
        why = self.access.guard.why_no_store(_host(url)) if self.access.guard is not None else ""
        if why:
            raise self.failed(why)

    def secret(self, selector: KeySelector | None) -> str:
        """What a secret of the place holds; empty where none is named. Raises StoreError where it is not there."""
        if selector is None or not selector.name:
            return ""
        try:
            return self.access.secret(selector.name, selector.key)
        except KeyError:
            if selector.optional:
                return ""
            field = next((path for path, one in selectors(self.place) if one is selector), "")
            raise self.failed(
                f"{self.place.kind}.{field}: there is no key {selector.key!r} in a secret {selector.name!r}; create it"
            ) from None


class StoreAccess(msgspec.Struct, frozen=True, kw_only=True):
    """What a store may use besides its place.

    `secret` answers what the key of a secret holds, or raises KeyError. `artifact` is the name for messages. Where no
    secret is named, credentials of this process' environment are used only with `environment`. A repository on this
    machine's own disks can be checked out only with `local_repositories`. `embedded` is the way to the embedded store,
    None where there is none; there it is the workflow `uid` of `namespace` that reads and writes. `guard` says which
    hosts may be asked, None for all.
    """

    secret: Callable[[str, str], str]
    artifact: str = ""
    environment: bool = True
    local_repositories: bool = False
    embedded: EmbeddedRoad | None = None
    namespace: str = ""
    uid: str = ""
    guard: HostGuard | None = None


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def from_mapping(known: Mapping[str, Mapping[str, str]]) -> Callable[[str, str], str]:
    """A `secret` over values that were looked up before: name, key, value."""
    return lambda name, key: known[name][key]


def shortened(text: str) -> str:
    """What a server said, on one line and bounded."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_REASON else f"{line[:LONGEST_REASON]}…"
