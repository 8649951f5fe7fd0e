"""Semantic versions (semver.org) and the constraints on them that Sprig's `semverCompare` reads."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import total_ordering
from typing import Any, Final, Self

from exeunt.language.expression.errors import ExpressionError

_VERSION: Final = re.compile(
    r"v?([0-9]{1,18})(?:\.([0-9]{1,18}))?(?:\.([0-9]{1,18}))?"
    r"(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
)
_PART: Final = r"v?(?:[0-9]{1,18}|[xX*])(?:\.(?:[0-9]{1,18}|[xX*]))?(?:\.(?:[0-9]{1,18}|[xX*]))?"
_TERM: Final = re.compile(rf"\s*(!=|=<|=>|>=|<=|~>|[=<>~^])?\s*({_PART}(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?)\s*,?")
_HYPHEN: Final = re.compile(rf"\s*({_PART}(?:-[0-9A-Za-z.-]+)?)\s+-\s+({_PART}(?:-[0-9A-Za-z.-]+)?)\s*")
_MAX_LENGTH: Final = 1024


@total_ordering
class Version:
    """A semantic version; a missing minor or patch number is 0, and a leading `v` is allowed."""

    __slots__ = ("metadata", "numbers", "original", "prerelease")

    def __init__(self, numbers: tuple[int, int, int], prerelease: str, metadata: str, original: str) -> None:
        self.numbers = numbers
        self.prerelease = prerelease
        self.metadata = metadata
        self.original = original

    @classmethod
    def read(cls, text: str) -> Self:
        """The version in a text; raises ExpressionError."""
        match = _VERSION.fullmatch(text) if len(text) <= _MAX_LENGTH else None
        if match is None:
            raise ExpressionError(f"Invalid Semantic Version: {text[:80]}")
        major, minor, patch, prerelease, metadata = match.groups()
        return cls((int(major), int(minor or 0), int(patch or 0)), prerelease or "", metadata or "", text)

    def _key(self) -> tuple[Any, ...]:
        """Precedence by semver.org §11: a version is greater than its prereleases, numbers are less than words."""
        parts = [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in self.prerelease.split(".") if part]
        return (*self.numbers, not self.prerelease, parts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self._key() == other._key()

    def __lt__(self, other: Version) -> bool:
        return self._key() < other._key()

    def __hash__(self) -> int:
        return hash((self.numbers, self.prerelease))

    def __str__(self) -> str:
        text = ".".join(map(str, self.numbers))
        return (
            text + (f"-{self.prerelease}" if self.prerelease else "") + (f"+{self.metadata}" if self.metadata else "")
        )


def satisfies(version: Version, constraint: str) -> bool:
    """Whether a version meets `>=1.2 <2 || ^3`; raises ExpressionError when the constraint cannot be read."""
    if len(constraint) > _MAX_LENGTH:
        raise ExpressionError(f"the constraint is longer than {_MAX_LENGTH} characters")
    # all of it is read, so that a fault is found whatever the version is
    return any([all([test(version) for test in _tests(part)]) for part in constraint.split("||")])  # noqa: C419


def _tests(part: str) -> list[Callable[[Version], bool]]:
    hyphen = _HYPHEN.fullmatch(part)
    if hyphen:
        return [_test(">=", hyphen[1]), _test("<=", hyphen[2])]
    found: list[Callable[[Version], bool]] = []
    place = 0
    while place < len(part) and part[place:].strip():
        match = _TERM.match(part, place)
        if match is None:
            raise ExpressionError(f"improper constraint: {part}")
        found.append(_test(match[1] or "", match[2]))
        place = match.end()
    if not found:
        raise ExpressionError(f"improper constraint: {part}")
    return found


def _test(operator: str, text: str) -> Callable[[Version], bool]:
    """One comparison. `x` and missing numbers stand for any; a prerelease counts only where the constraint has one."""
    plain, dash, prerelease = text.partition("+")[0].removeprefix("v").partition("-")
    known: list[int] = []
    for piece in plain.split("."):
        if not piece.isdigit():
            break
        known.append(int(piece))
    low = (*known, 0, 0, 0)[:3]
    least = Version((low[0], low[1], low[2]), prerelease, "", text)
    beyond = _beyond(operator, known)
    wild = len(known) < 3

    def test(version: Version) -> bool:
        if version.prerelease and not (dash and prerelease):
            return operator == "!=" and not wild
        inside = version >= least and (beyond is None or version.numbers < beyond)
        match operator:
            case "" | "=" | "^" | "~" | "~>":
                return inside if wild or operator in ("^", "~", "~>") else version == least
            case "!=":
                return not inside if wild else version != least
            case ">":
                return version.numbers >= beyond if wild and beyond else version > least and not (wild and not known)
            case ">=" | "=>":
                return version >= least
            case "<":
                return version < least
            case _:
                return (beyond is None or version.numbers < beyond) if wild else version <= least

    return test


def _beyond(operator: str, known: list[int]) -> tuple[int, int, int] | None:
    """The first numbers that no longer belong: behind `1.2.x` comes 1.3.0."""
    if not known:
        return None
    major, minor, patch = (*known, 0, 0)[:3]
    if operator == "^" and (major or len(known) == 1):
        return (major + 1, 0, 0)
    if operator == "^":
        return (0, minor + 1, 0) if minor or len(known) < 3 else (0, 0, patch + 1)
    if len(known) == 1:
        return (major + 1, 0, 0)
    if len(known) == 2 or operator in ("~", "~>"):
        return (major, minor + 1, 0)
    return (major, minor, patch + 1)


def _incremented(version: Version, place: int) -> Version:
    if place == 2 and version.prerelease:
        return Version(version.numbers, "", "", version.original)
    numbers = (*version.numbers[:place], version.numbers[place] + 1, 0, 0)[:3]
    made = Version((numbers[0], numbers[1], numbers[2]), "", "", "")
    made.original = ("v" if version.original.startswith("v") else "") + str(made)
    return made


def _compared(left: Version, right: Any) -> int:
    if not isinstance(right, Version):
        raise ExpressionError("a version compares only with a version")
    return (left > right) - (left < right)


VERSION_METHODS: Final[dict[str, tuple[str, Callable[..., Any]]]] = {
    "Major": ("", lambda version: version.numbers[0]),
    "Minor": ("", lambda version: version.numbers[1]),
    "Patch": ("", lambda version: version.numbers[2]),
    "Prerelease": ("", lambda version: version.prerelease),
    "Metadata": ("", lambda version: version.metadata),
    "Original": ("", lambda version: version.original),
    "String": ("", str),
    "IncMajor": ("", lambda version: _incremented(version, 0)),
    "IncMinor": ("", lambda version: _incremented(version, 1)),
    "IncPatch": ("", lambda version: _incremented(version, 2)),
    "Compare": ("*", _compared),
    "Equal": ("*", lambda left, right: _compared(left, right) == 0),
    "LessThan": ("*", lambda left, right: _compared(left, right) < 0),
    "GreaterThan": ("*", lambda left, right: _compared(left, right) > 0),
}
