"""A cache that is bounded by bytes: what was used last stays."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
ENTRY_BYTES = 256
"""What an entry takes besides its content."""


class ByteCache(Generic[K, V]):
    """Keeps values whose sizes come to no more than `room` bytes, and in any case the newest one."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._kept: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: K) -> V | None:
        """The value, which counts as used now."""
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def put(self, key: K, value: V, size: int) -> None:
        """Keeps a value of so many bytes in place of what was not used for the longest time."""
        self.drop(key)
        size += ENTRY_BYTES
        self._kept[key] = value, size
        self._room -= size
        while self._room < 0 and len(self._kept) > 1:
            _, (_, freed) = self._kept.popitem(last=False)
            self._room += freed

    def drop(self, key: K) -> None:
        """Forgets a value."""
        found = self._kept.pop(key, None)
        if found is not None:
            self._room += found[1]
