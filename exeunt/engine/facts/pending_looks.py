"""The composites that are to be looked at: as one walks the tree, the inner ones first; or as they came."""

from __future__ import annotations

import heapq

Place = tuple[float, ...]


class PendingLooks:
    """Keys of nodes, each with its place: where it stands in a walk of the tree."""

    def __init__(self) -> None:
        self._keys: dict[int, None] = {}
        self._heap: list[tuple[Place, int]] = []  # may have keys that are not pending any more

    def __bool__(self) -> bool:
        return bool(self._keys)

    def __contains__(self, key: int) -> bool:
        return key in self._keys

    def isdisjoint(self, keys: set[int]) -> bool:
        """Whether none of these keys is pending."""
        return self._keys.keys().isdisjoint(keys)

    def add(self, key: int, place: Place) -> None:
        if key not in self._keys:
            self._keys[key] = None
            heapq.heappush(self._heap, (place, key))

    def discard(self, key: int) -> None:
        self._keys.pop(key, None)
        if not self._keys:
            self._heap.clear()

    def clear(self) -> None:
        self._keys.clear()
        self._heap.clear()

    def take(self, *, as_they_came: bool = False) -> int:
        """The next one, which is pending no more."""
        if as_they_came:
            key = next(iter(self._keys))
        else:
            key = heapq.heappop(self._heap)[1]
            while key not in self._keys:
                key = heapq.heappop(self._heap)[1]
        self.discard(key)
        return key

    def take_inner(self, keys: set[int]) -> int:
        """The innermost of these keys that is pending: what stands in another has the higher number."""
        key = max(key for key in keys if key in self._keys)
        self.discard(key)
        return key
