"""What is kept of a run and of its nodes between looks. It saves work, and may be forgotten at any time."""

from __future__ import annotations

from typing import Any, TypeVar

T = TypeVar("T")

RUN = -1
"""In place of a node's key: of the run as a whole."""


class Memory:
    """One memory of each kind for a node or for the run: an instance of a class that the file that uses it declares.

    It is made, without arguments, when it is first asked for.
    """

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: dict[type, dict[int, Any]] = {}

    def of(self, kind: type[T], key: int = RUN) -> T:
        """The memory of this kind."""
        kept = self._kept.get(kind)
        if kept is None:
            kept = self._kept[kind] = {}
        found: T | None = kept.get(key)
        if found is None:
            found = kept[key] = kind()
        return found

    def forget(self, key: int) -> None:
        """All that is kept of a node."""
        for kept in self._kept.values():
            kept.pop(key, None)

    def forget_kind(self, kind: type) -> None:
        """This kind, of whatever it is kept."""
        self._kept.pop(kind, None)

    def clear(self) -> None:
        """Everything."""
        self._kept.clear()
