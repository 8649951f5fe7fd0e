"""One artifact on its way: from its store to where a step finds it, and from what a step left to its store.

What goes wrong for a moment is tried again from the start: nothing is seen of what came only in part.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from exeunt.artifacts.archive import ArchiveError, HeldFile, Strategy, UnpackLimits, names_below, pack, unpack
from exeunt.artifacts.beneath import set_mode
from exeunt.artifacts.directories import FileBelow, load_below, save_below
from exeunt.artifacts.landing import Landing
from exeunt.artifacts.stores import MissingError, Store, StoreError
from exeunt.artifacts.threads import consumed
from exeunt.artifacts.unpacking import directory_for, raw

T = TypeVar("T")
Kind = Literal["tar", "zip", "none"]
TRIES = 5
"""So often a transfer is begun, as Argo's executor does."""
REMOVED_TOGETHER = 16
"""Files of one directory that are removed at once."""
FIRST_PAUSE_SECONDS = 0.5
"""Before the second try; twice as long before each further one."""


class Content(msgspec.Struct, omit_defaults=True):
    """What an artifact comes to: bytes as they lie in the store, their SHA-256 as hex; `files` of a directory there."""

    size: int
    sha256: str = ""
    files: int | None = None


def strategy_of(tree: Mapping[str, Any]) -> Strategy:
    """How an artifact's tree says that it is packed; a tar.gz where it says nothing."""
    archive = tree.get("archive") or {}
    if "none" in archive:
        return Strategy("none")
    if "zip" in archive:
        return Strategy("zip")
    level = (archive.get("tar") or {}).get("compressionLevel")
    return Strategy("tar") if level is None else Strategy("tar", int(level))


async def fetch(store: Store, tree: Mapping[str, Any], into: Path, limits: UnpackLimits | None = None) -> None:
    """Makes `into` of an artifact. Raises MissingError, StoreError, ArchiveError; then nothing is there."""
    archive = tree.get("archive") or {}
    kind: Literal["tar", "zip", "none", ""] = strategy_of(tree).kind if archive else ""
    mode, recurse = tree.get("mode"), bool(tree.get("recurseMode"))
    key = store.place.key

    async def once() -> None:
        if store.directory:
            await store.check_out(into)
            _set_mode(into, mode, recurse=recurse)
            return
        try:
            async with aclosing(_checked(store, tree, store.open(key))) as stream:
                await unpack(stream, into, kind, mode=mode, recurse=recurse, limits=limits)
        except MissingError:
            if (tree.get("content") or {}).get("files") == 0:  # nothing lies in a store of an empty directory
                with directory_for(into):
                    pass
                _set_mode(into, mode, recurse=recurse)
                return
            if not await store.is_directory(key):
                raise
            await _fetch_below(store, key, into, mode, recurse=recurse, limits=limits or UnpackLimits())

    await _again(once)


async def _fetch_below(
    store: Store, key: str, into: Path, mode: int | None, *, recurse: bool, limits: UnpackLimits
) -> None:
    """The objects below a key, as the files of a directory."""
    written = 0
    with directory_for(into) as root:

        async def write(name: str, stream: AsyncIterator[bytes]) -> None:
            nonlocal written
            written += await consumed(stream, lambda packed: _land(Landing(root, limits), name, packed))
            if written > limits.unpacked_bytes:
                raise ArchiveError(f"the directory has more than the {limits.unpacked_bytes:,} bytes allowed")

        await load_below(store, key, write)
    _set_mode(into, mode, recurse=recurse)


async def keep(store: Store, source: HeldFile, strategy: Strategy) -> Content:
    """Keeps what a step left at the store's place. Raises StoreError, MissingFileError, ArchiveError."""
    key = store.place.key

    async def once() -> Content:
        names = await asyncio.to_thread(names_below, source) if strategy.kind == "none" else None
        if names is not None:
            files = (FileBelow(name, _opener(source._replace(below=name)), None) for name in names)
            count, size = await save_below(store, key, files)
            return Content(size, files=count)
        sha = hashlib.sha256()
        size = await store.save(key, _hashed(pack(source, strategy), sha))
        return Content(size, sha.hexdigest())

    return await _again(once)


async def keep_bytes(store: Store, file: Path) -> Content:
    """Keeps a file of the executor's own as it is. Raises StoreError, ArchiveError."""
    fd = os.open(file, os.O_PATH | os.O_CLOEXEC)
    try:
        return await keep(store, HeldFile(fd, file), Strategy("none"))
    finally:
        os.close(fd)


async def remove(store: Store, tree: Mapping[str, Any]) -> None:
    """Removes an artifact; one that is not there is fine. Raises StoreError."""
    key = store.place.key
    directory = key.endswith("/") or bool((tree.get("content") or {}).get("files"))

    async def once() -> None:
        if not directory:
            await store.delete(key)
            return
        some: list[str] = []
        async with aclosing(store.list(key)) as found:  # type: ignore[type-var]
            async for one in found:
                some.append(one.key)
                if len(some) == REMOVED_TOGETHER:
                    await asyncio.gather(*map(store.delete, some))
                    some.clear()
        await asyncio.gather(*map(store.delete, some))

    await _again(once)


def _opener(source: HeldFile) -> Callable[[], AsyncIterator[bytes]]:
    return lambda: pack(source, Strategy("none"))


async def _hashed(stream: AsyncIterable[bytes], sha: Any) -> AsyncIterator[bytes]:
    async for piece in stream:
        sha.update(piece)
        yield piece


async def _checked(store: Store, tree: Mapping[str, Any], stream: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The same bytes; where it is known what they are, the last piece comes only if all are right."""
    wanted = str((tree.get("content") or {}).get("sha256") or "")
    if not wanted or store.checks:
        async for piece in stream:
            yield piece
        return
    sha, last = hashlib.sha256(), b""
    async for piece in stream:
        if last:
            yield last
        sha.update(piece)
        last = piece
    if sha.hexdigest() != wanted:
        raise store.failed(
            f"its content has changed since it was kept (SHA-256 {sha.hexdigest()} instead of {wanted}); "
            "run the step again that made it"
        )
    if last:
        yield last


async def _again(once: Callable[[], Awaitable[T]]) -> T:
    pause = FIRST_PAUSE_SECONDS
    for _ in range(TRIES - 1):
        try:
            return await once()
        except StoreError as error:
            if not error.temporary:
                raise
        await asyncio.sleep(pause)
        pause *= 2
    return await once()


def _land(landing: Landing, name: str, packed: io.BufferedReader) -> int:
    """Writes one file; its size."""
    try:
        landing.file(name, 0o644, None, raw(packed, landing))
        return landing.written.size
    finally:
        landing.close()


def _set_mode(into: Path, mode: int | None, *, recurse: bool) -> None:
    if mode is None:
        return
    beside = os.open(into.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        set_mode(into.name, mode, recurse=recurse, folder=beside)
    except OSError as error:
        raise ArchiveError(f"{into.name}: its mode cannot be set: {error.strerror}") from error
    finally:
        os.close(beside)
