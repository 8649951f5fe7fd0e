"""What is kept of a run and of its nodes between looks. It saves work, and may be forgotten at any time."""

from __future__ import annotations

from typing import Any, TypeVar

T = TypeVar("T")

RUN = -1
"""In place of a node's key: of the run as a whole."""


class Memory:
    """For a node, or the run, one memory of each kind: an instance of a class that the file that uses it has.

    It is made, without arguments, when it is asked for first.
    """

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: dict[int, dict[type, Any]] = {}

    def of(self, kind: type[T], key: int = RUN) -> T:
        """The memory of this kind."""
        kinds = self._kept.get(key)
        if kinds is None:
            kinds = self._kept[key] = {}
        found = kinds.get(kind)
        if found is None:
            found = kinds[kind] = kind()
        kept: T = found
        return kept

    def forget(self, key: int) -> None:
        """All that is kept of a node."""
        self._kept.pop(key, None)

    def forget_kind(self, kind: type) -> None:
        """This kind, of whatever it is kept."""
        for kinds in self._kept.values():
            kinds.pop(kind, None)

    def clear(self) -> None:
        """Everything."""
        self._kept.clear()
