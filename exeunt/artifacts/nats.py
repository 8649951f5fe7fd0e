"""Artifacts in the embedded store, as one workflow sees it: it reads those that are handed to it, and keeps its own."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Iterator

from exeunt.artifacts.embedded_port import ArtifactHolder, EmbeddedRoad, EmbeddedStoreError, NoSuchArtifactError
from exeunt.artifacts.stores import MOST_OBJECTS, Store, StoreAccess, StoredObject, StoreError
from exeunt.language.places import NATSPlace


class NATSStore(Store):
    """The embedded store. A place without a uid is of the workflow that asks; into others nothing is written."""

    checks = True

    def __init__(self, place: NATSPlace, access: StoreAccess) -> None:
        super().__init__(place, access)
        self._holder = ArtifactHolder(access.namespace, place.uid or access.uid)

    async def open(self, key: str) -> AsyncIterator[bytes]:
        with self._errors(key):
            async with contextlib.aclosing(self._road().open(self._holder, key)) as pieces:  # type: ignore[type-var]
                async for piece in pieces:
                    yield piece

    async def save(self, key: str, stream: AsyncIterable[bytes], size: int | None = None) -> int:
        road, holder = self._road(), self._own(key)
        with self._errors(key):
            return (await road.save(holder, key, self._counted(key, stream, size))).size

    async def _counted(self, key: str, stream: AsyncIterable[bytes], size: int | None) -> AsyncIterator[bytes]:
        count = 0
        async for piece in stream:
            count += len(piece)
            if size is not None and count > size:
                break
            yield piece
        if size is not None and count != size:
            raise self.failed(f"{count} bytes came to be kept, {size} were said", key=key)

    async def list(self, prefix: str) -> AsyncIterator[StoredObject]:
        with self._errors(prefix):
            found = await self._road().list(self._holder, _below(prefix), MOST_OBJECTS + 1)
        if len(found) > MOST_OBJECTS:
            raise self.failed(f"more than {MOST_OBJECTS} objects lie there", key=prefix)
        for one in found:
            yield StoredObject(one.key, one.size)

    async def is_directory(self, key: str) -> bool:
        with self._errors(key):
            return bool(await self._road().list(self._holder, _below(key), 1))

    async def delete(self, key: str) -> None:
        road, holder = self._road(), self._own(key)
        with self._errors(key):
            await road.delete(holder, key)

    def _road(self) -> EmbeddedRoad:
        if self.access.embedded is None:
            raise self.failed("there is no way to the embedded store from here; name an artifact repository")
        return self.access.embedded

    def _own(self, key: str) -> ArtifactHolder:
        if self._holder.uid != self.access.uid:
            raise self.failed("it belongs to another workflow, which alone may change it", key=key)
        return self._holder

    @contextlib.contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        try:
            yield
        except EmbeddedStoreError as error:
            raise self._of(error, key) from error

    def _of(self, error: EmbeddedStoreError, key: str) -> StoreError:
        words = str(error).removeprefix(f"artifact {key}: ")
        missing = isinstance(error, NoSuchArtifactError)
        return self.failed(words, key=key, temporary=error.temporary, missing=missing)


def _below(prefix: str) -> str:
    bare = prefix.strip("/")
    return f"{bare}/" if bare else ""
