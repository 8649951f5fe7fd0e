"""What is wrong with a manifest, said so that a person finds the place: file, line, path and what to do."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

Path = tuple[str | int, ...]
"""The way from a document's root to a value: field names and list positions."""

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_SHOWN = 80
_DEEP = 24


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is wrong, or with `warning` one that may surprise. `line` counts from 1; 0 means unknown."""

    file: str
    line: int
    path: str
    message: str
    warning: bool = False

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        said = f"warning: {self.message}" if self.warning else self.message
        return f"{place}: {self.path}: {said}" if self.path else f"{place}: {said}"


class ManifestError(Exception):
    """A manifest is refused. `problems` holds everything found; the text has a line for each."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def show_path(path: Path) -> str:
    """`spec.templates[2].steps[0][1].template`; keys with other characters stand in quotes and brackets."""
    if len(path) > _DEEP:
        return show_path(path[: _DEEP - 2]) + "…"
    shown = ""
    for part in path:
        if isinstance(part, int):
            shown += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part):
            shown += f".{part}" if shown else part
        else:
            shown += f'["{shorten(part)}"]'
    return shown


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean X?` for a name that is likely a slip of the pen, or nothing."""
    if len(name) > 200:
        return ""
    near = difflib.get_close_matches(name, list(known)[:2000], n=1, cutoff=0.6 if len(name) > 4 else 0.75)
    return f"; did you mean {near[0]}?" if near else ""


def shorten(text: str, limit: int = _SHOWN) -> str:
    """A text as it fits into a message: on one line and not too long."""
    flat = " ".join(text.split()) if any(c.isspace() for c in text) else text
    flat = "".join(c if c.isprintable() else "�" for c in flat)
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def quoted_list(names: Iterable[str], limit: int = 12) -> str:
    """Names for a message, the first few of them."""
    known = [shorten(name, 40) for name in names]
    return ", ".join(known[:limit]) + (f" and {len(known) - limit} more" if len(known) > limit else "")
