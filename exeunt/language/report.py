"""Collecting what is wrong: places inside documents, and a report that says each thing once."""

from __future__ import annotations

from typing import NamedTuple

from exeunt.language.load import Document
from exeunt.language.problems import Path, Problem


class Place(NamedTuple):
    """A value in a document: where a rule looks, and where a person will."""

    document: Document
    path: Path

    def at(self, *parts: str | int) -> Place:
        return Place(self.document, (*self.path, *parts))


class Report:
    """The problems found so far, in the order in which they were found; the same one is not said twice."""

    def __init__(self, limit: int = 200) -> None:
        self._found: dict[Problem, None] = {}
        self._limit = limit

    def add(self, place: Place, message: str, *, warning: bool = False) -> None:
        if not self.full:
            self._found[place.document.problem(place.path, message, warning=warning)] = None

    @property
    def full(self) -> bool:
        """Whether more problems would only be noise."""
        return len(self._found) >= self._limit

    def problems(self) -> list[Problem]:
        return list(self._found)
