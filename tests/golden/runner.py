"""Runs recorded cases and says how many agree (docs/golden.md)."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from tests.golden.judge import Verdict, judge

Case = dict[str, Any]

HERE = Path(__file__).parent
SHARED = HERE.parents[2] / "shared" / "argo" / "golden"
NAMES = ("hand", "hand2", "examples", "random", "hooks", "more")
DIFFERING = HERE / "differing.txt"
"""The ids of what differs today. It only gets shorter."""


class Judged(NamedTuple):
    file: str
    id: str
    title: str
    verdict: Verdict


def file_of(name: str) -> Path:
    """Where the recordings of this name are: `hand`, `hand.jsonl.gz` or a path."""
    file = name if name.endswith(".gz") else f"{name}.jsonl.gz"
    places = (Path(file), HERE / file, SHARED / file)
    return next((place for place in places if place.exists()), Path(file))


def cases(path: Path) -> Iterator[Case]:
    with gzip.open(path, "rt") as lines:
        for line in lines:
            yield json.loads(line)


def _judged(task: tuple[str, str]) -> Judged:
    file, line = task
    case = json.loads(line)
    return Judged(file, case["id"], case.get("title", ""), judge(case))


def judged(names: Iterable[str], only: str = "", jobs: int = os.cpu_count() or 1) -> Iterator[Judged]:
    """Every case with its verdict, in the order of the files; as many at a time as there are processors."""
    tasks = list(_tasks(names, only))
    if jobs < 2 or len(tasks) < 40:
        yield from map(_judged, tasks)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(_judged, tasks, chunksize=20)


def _tasks(names: Iterable[str], only: str) -> Iterator[tuple[str, str]]:
    for name in names:
        path = file_of(name)
        if not path.exists():
            print(f"{name} is not here: left out")
            continue
        with gzip.open(path, "rt") as lines:
            for line in lines:
                if not only or json.loads(line)["id"] == only:
                    yield path.name.removesuffix(".jsonl.gz"), line


def report(found: Iterable[Judged], show: int = 10**9, lines: int = 12) -> list[str]:
    """Prints every difference, then the counts; gives the ids that differ."""
    states: dict[str, Counter[str]] = {}
    rules: Counter[str] = Counter()
    nodes: Counter[str] = Counter()
    needed: Counter[str] = Counter()
    differing = []
    for file, identity, title, verdict in found:
        states.setdefault(file, Counter())[verdict.state] += 1
        if verdict.state == "rule":
            rules[verdict.rule] += 1
            nodes[verdict.rule] += verdict.nodes
        elif verdict.state == "skipped":
            needed[verdict.rule] += 1
        elif verdict.state == "differ":
            differing.append(identity)
            if len(differing) <= show:
                print(f"--- {identity} {title}".rstrip())
                more = len(verdict.lines) - lines
                print("\n".join("    " + line for line in verdict.lines[:lines]))
                if more > 0:
                    print(f"    … and {more} more")
    _table(states)
    if rules:
        print("by rule: " + ", ".join(f"{rule} {n} cases ({nodes[rule]} nodes)" for rule, n in rules.most_common()))
    if needed:
        print("skipped, for want of: " + ", ".join(f"{need} {n}" for need, n in needed.most_common()))
    every = sum(states.values(), Counter())
    print(f"exact: {every['Argo']} as Argo, {every['mended']} as mended")
    agree = every["Argo"] + every["mended"]
    print(f"{agree} of {every.total()} agree, {every['rule']} by rule, {every['skipped']} skipped")
    return differing


def _table(states: dict[str, Counter[str]]) -> None:
    columns = {"Argo": "as Argo", "mended": "as mended", "rule": "by rule", "skipped": "skipped", "differ": "differ"}
    print(f"\n{'file':<12}{'cases':>8}" + "".join(f"{title:>11}" for title in columns.values()))
    for file, count in states.items():
        print(f"{file:<12}{count.total():>8}" + "".join(f"{count[state]:>11}" for state in columns))


def known() -> set[str]:
    """What may differ today."""
    return {line for line in DIFFERING.read_text().split("\n") if line and not line.startswith("#")}


def keep(judged_ids: set[str], differing: set[str]) -> None:
    """Writes what may differ from now on; what was not judged stays as it was."""
    ids = sorted(known() - judged_ids | differing, key=lambda one: (len(one), one))
    DIFFERING.write_text(_HEAD + "".join(f"{identity}\n" for identity in ids))


_HEAD = "# Recorded cases that differ today, by id (python -m tests.golden --keep writes this). It only gets shorter.\n"
