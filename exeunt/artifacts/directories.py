"""A directory that is kept as it is (`archive: none`): many keys below a prefix, a few of them on their way at once."""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable
from typing import Any, NamedTuple

from exeunt.artifacts.stores import Store, StoredObject

FILES_AT_ONCE = 4
"""Files on their way at once, each with the memory of one upload or download."""


class FileBelow(NamedTuple):
    """A file of a directory: its name from there with `/` between, its bytes when asked for, and how many."""

    name: str
    open: Callable[[], AsyncIterable[bytes]]
    size: int | None


async def save_below(store: Store, key: str, files: Iterable[FileBelow]) -> tuple[int, int]:
    """Keeps each file below a key; answers how many, and their bytes. Raises StoreError and what a file raises.

    When one fails the others are given up; those that are kept by then stay.
    """
    count = size = 0

    async def one(file: FileBelow) -> None:
        nonlocal count, size
        kept = await store.save(posixpath.join(key, _checked(store, file.name)), file.open(), file.size)
        count, size = count + 1, size + kept

    async with _together() as group:
        turns = asyncio.Semaphore(FILES_AT_ONCE)
        for file in files:
            await turns.acquire()
            group.create_task(one(file)).add_done_callback(lambda _: turns.release())
    return count, size


async def load_below(
    store: Store, key: str, write: Callable[[str, AsyncIterator[bytes]], Coroutine[Any, Any, None]]
) -> tuple[int, int]:
    """Gives `write` the name and the bytes of each file below a key; answers how many, and their bytes.

    `write` is called for several at once. Raises StoreError, and MissingError where nothing lies there.
    """
    count = size = 0
    async with _together() as group:
        turns = asyncio.Semaphore(FILES_AT_ONCE)
        async for found in _files(store, key):
            name = _checked(store, found.key.removeprefix(f"{key.strip('/')}/"))
            count, size = count + 1, size + found.size
            await turns.acquire()
            group.create_task(write(name, store.open(found.key))).add_done_callback(lambda _: turns.release())
    if not count:
        raise store.failed("nothing lies there, neither an object nor objects below it", key=key, missing=True)
    return count, size


@contextlib.asynccontextmanager
async def _together() -> AsyncIterator[asyncio.TaskGroup]:
    """A group of tasks, of whose errors the first is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _files(store: Store, key: str) -> AsyncIterator[StoredObject]:
    """What lies below, without the empty objects by which some tools mark a directory."""
    before: StoredObject | None = None
    async for found in store.list(key):
        if before is not None and not (before.size == 0 and found.key.startswith(f"{before.key}/")):
            yield before
        before = found
    if before is not None:
        yield before


def _checked(store: Store, name: str) -> str:
    """A name that stays below. Raises StoreError."""
    if not name or "\0" in name or any(part in ("", ".", "..") for part in name.split("/")):
        raise store.failed(f"{name!r} is no name of a file in a directory; name it otherwise")
    return name
