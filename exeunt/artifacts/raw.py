"""Raw artifacts: the manifest holds the text."""

from __future__ import annotations

from collections.abc import AsyncIterator

from exeunt.artifacts.stores import Store, StoreAccess
from exeunt.language.places import RawPlace


class RawStore(Store):
    """The text of a place; it can only be read."""

    def __init__(self, place: RawPlace, access: StoreAccess) -> None:
        super().__init__(place, access)
        self._data = place.data

    async def open(self, key: str) -> AsyncIterator[bytes]:
        yield self._data.encode()
