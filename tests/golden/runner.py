"""Runs recorded cases and says how many agree (golden/README.md, differences.md)."""

from __future__ import annotations

import gzip
import json
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from exeunt.language.validate import validate
from tests.golden.compare import differences, short
from tests.golden.play import Follower, Player, bundle_of
from tests.golden.rules import excused, order_only, survives

Case = dict[str, Any]

HERE = Path(__file__).parent
SHARED = HERE.parents[2] / "shared" / "argo" / "golden"
FILES = [HERE / "hand.jsonl.gz", SHARED / "examples.jsonl.gz", HERE / "random.jsonl.gz"]

NOT_YET = {
    "inputs.artifacts": "artifacts", "outputs.artifacts": "artifacts", "arguments.artifacts": "artifacts",
}  # fmt: skip


class Verdict(NamedTuple):
    """state: agree, rule, skipped, differ."""

    state: str
    lines: list[str]
    rule: str = ""


def cases(path: Path) -> Iterator[Case]:
    with gzip.open(path, "rt") as lines:
        for line in lines:
            yield json.loads(line)


def judge(case: Case) -> Verdict:
    need = needs(case)
    if need:
        return Verdict("skipped", [], need)
    problems = refusal(case)
    if "refused" in case["expect"]:
        return (
            Verdict("agree", [])
            if problems
            else Verdict("differ", ["refused: only by Argo: " + short(case["expect"]["refused"])])
        )
    if problems:
        return Verdict("rule", problems, "refused-at-once")
    try:
        player = Player(case)
        player.play()
        ours = player.result()
    except Exception:  # noqa: BLE001 - the next case may go well
        return Verdict("differ", ["crash: " + traceback.format_exc(limit=-4)])
    if case["expect"].get("controller_dies"):
        state = "rule" if survives(case, ours) else "differ"
        return Verdict(state, ["controller_dies: Argo true — ours null"], "limit-waits")
    lines = differences(case, ours)
    if not lines:
        return Verdict("agree", [])
    follower = Follower(case)
    follower.play()
    ours = follower.result()
    left = [line for line in differences(case, ours) if not line.startswith(("rounds: ", "alive: "))]
    rule = excused(case, ours, left) if left else order_only(case, ours)
    return Verdict("rule", lines, rule) if rule else Verdict("differ", left or lines)


def refusal(case: Case) -> list[str]:
    """What is wrong with the case's manifests for us."""
    try:
        bundle = bundle_of(case)
        found = validate(bundle, support=False)
    except (msgspec.ValidationError, ValueError) as error:
        return [str(error)]
    return [str(problem) for problem in found if not problem.warning]


def needs(case: Case) -> str:
    """What a case needs that the engine does not do yet."""
    text = json.dumps(case["manifest"]) + json.dumps(case["extra"])
    for mark, what in (
        ('"artifacts": [', "artifacts"), ('"containerSet"', "containerSet"), ('"data": {', "data"),
        ('"daemon": true', "daemon"), ('"memoize"', "memoize"), ('"synchronization"', "locks"),
        ('"volumeClaimTemplates"', "volumes"), ('"resource": {', "resource"), ('"http": {', "http"),
        ('"plugin": {', "plugin"), ('"labelsFrom"', "labelsFrom"),
    ):  # fmt: skip
        if mark in text:
            return what
    return ""


def run(paths: Iterable[Path], *, show: int = 10**9, only: str = "") -> tuple[int, int, int, int]:
    """Prints every difference; gives how many there are, agree, agree by rule, are skipped."""
    total = agree = by_rule = skipped = 0
    rules: Counter[str] = Counter()
    needed: Counter[str] = Counter()
    tags: dict[str, Counter[str]] = {}
    for path in paths:
        if not path.exists():
            print(f"{path.name} is not here: left out")
            continue
        for case in cases(path):
            if only and case["id"] != only:
                continue
            verdict = judge(case)
            total += 1
            for tag in case["features"]:
                tags.setdefault(tag, Counter())[verdict.state] += 1
            if verdict.state == "agree":
                agree += 1
            elif verdict.state == "skipped":
                skipped += 1
                needed[verdict.rule] += 1
            elif verdict.state == "rule":
                by_rule += 1
                rules[verdict.rule] += 1
            elif show > 0:
                show -= 1
                print(f"--- {case['id']} {case.get('title', '')}")
                print("\n".join("    " + line for line in verdict.lines[:12]))
    _table(tags, rules, needed)
    print(f"{agree} of {total} agree, {by_rule} by rule, {skipped} skipped")
    return total, agree, by_rule, skipped


def _table(tags: dict[str, Counter[str]], rules: Counter[str], needed: Counter[str]) -> None:
    print(f"\n{'feature':<34}{'agree':>7}{'rule':>7}{'differ':>8}{'skipped':>9}")
    for tag, count in sorted(tags.items()):
        print(f"{tag:<34}{count['agree']:>7}{count['rule']:>7}{count['differ']:>8}{count['skipped']:>9}")
    for title, counter in (("by rule", rules), ("skipped, for want of", needed)):
        if counter:
            print(f"{title}: " + ", ".join(f"{name} {count}" for name, count in counter.most_common()))
