"""The order of a DAG's tasks: what each depends on, whether the whole has an order, who comes before whom.

`dependencies` and the names in `depends` are the edges (Argo: docs/enhanced-depends-logic.md).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from exeunt.language.manifest import DAG, Step, Task

RESULTS = ("Succeeded", "Failed", "Errored", "Skipped", "Omitted", "Daemoned", "AnySucceeded", "AllFailed")
OF_ITEMS = frozenset({"AnySucceeded", "AllFailed"})
_TERM = re.compile(r"(?P<task>[A-Za-z0-9][A-Za-z0-9-]*?)\.(?P<result>[A-Z][A-Za-z]+)|[A-Za-z0-9][A-Za-z0-9-]*")


class DependsTerm(NamedTuple):
    """One term of a `depends` expression: `build.Succeeded`, or `build` alone, which asks for no result."""

    task: str
    result: str
    span: tuple[int, int]
    """Where it stands in the text."""


def terms(depends: str) -> list[DependsTerm]:
    """The terms of a `depends` expression, in their order."""
    return [
        DependsTerm(match["task"] or match[0], match["result"] or "", match.span()) for match in _TERM.finditer(depends)
    ]


def depends_on(task: Task) -> dict[str, bool]:
    """The tasks that this one waits for, and of each whether it is asked about its items."""
    if not task.depends:
        return dict.fromkeys(task.dependencies, False)
    wanted: dict[str, bool] = {}
    for name, result, _ in terms(task.depends):
        wanted[name] = wanted.get(name, False) or result in OF_ITEMS
    return wanted


def has_loop(step: Step) -> bool:
    """Whether a step or task runs once for each of several items."""
    return bool(step.with_items or step.with_param) or step.with_sequence is not None


class Order:
    """The tasks of a DAG, by name and by what comes before what. Unknown names are left out of the edges."""

    def __init__(self, dag: DAG) -> None:
        self.tasks = {task.name: task for task in reversed(dag.tasks)}
        self.wanted = {name: depends_on(task) for name, task in self.tasks.items()}
        self._before = {name: [dep for dep in deps if dep in self.tasks] for name, deps in self.wanted.items()}
        self.sequence = self._sort(dag)
        """Names so that everything comes after what it depends on; tasks on or behind a cycle are missing."""
        self._bits: dict[str, int] | None = None

    def _sort(self, dag: DAG) -> list[str]:
        behind: dict[str, list[str]] = {name: [] for name in self.tasks}
        missing = {name: len(deps) for name, deps in self._before.items()}
        for name, deps in self._before.items():
            for dep in deps:
                behind[dep].append(name)
        ready = deque(dict.fromkeys(task.name for task in dag.tasks if not missing[task.name]))
        done: list[str] = []
        while ready:
            name = ready.popleft()
            done.append(name)
            for follower in behind[name]:
                missing[follower] -= 1
                if not missing[follower]:
                    ready.append(follower)
        return done

    def cycle(self) -> list[str]:
        """A ring of tasks that wait for each other, its first name repeated at the end; empty when there is none."""
        rest = set(self.tasks).difference(self.sequence)
        if not rest:
            return []
        name, seen = min(rest), dict[str, int]()
        while name not in seen:  # every task of the rest waits for another one of it
            seen[name] = len(seen)
            name = next(dep for dep in self._before[name] if dep in rest)
        ring = list(seen)[seen[name] :]
        return [*ring, name]

    def is_before(self, name: str, later: str) -> bool:
        """Whether `later` waits for this task, directly or through others."""
        if later in self._before and name in self._before[later]:
            return True
        if self._bits is None:
            self._bits = self._ancestors()
        number, ancestors = self._number.get(name), self._bits.get(later, 0)
        return number is not None and bool(ancestors >> number & 1)

    def _ancestors(self) -> dict[str, int]:
        self._number = {name: at for at, name in enumerate(self.sequence)}
        bits: dict[str, int] = {}
        for name in self.sequence:
            bits[name] = _union((bits[dep] | 1 << self._number[dep]) for dep in self._before[name])
        return bits


def _union(sets: Iterable[int]) -> int:
    union = 0
    for one in sets:
        union |= one
    return union
