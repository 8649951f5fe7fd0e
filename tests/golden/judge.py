"""The verdict on one case: it agrees with Argo, or with Argo mended, in every node and field; or it does not."""

from __future__ import annotations

import json
import tomllib
import traceback
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from exeunt.language.validate import validate
from tests.golden.clock import ClockPlayer
from tests.golden.compare import Target, differences, short, targets
from tests.golden.play import Player, bundle_of
from tests.golden.rules import RULES, refused_at_once
from tests.invariants import broken

Case = dict[str, Any]

LISTED: dict[str, str] = tomllib.loads(Path(__file__).with_name("listed.toml").read_text())["oracle-is-wrong"]
"""Cases in which the recordings are wrong, by id, each with the reason."""

_NEEDS = (
    ('"data": {"source"', "data"),
    ('"memoize"', "memoize"), ('"synchronization"', "locks"),
    ('"jsonPath"', "resource"), ('"jqFilter"', "resource"),
)  # fmt: skip


class Verdict(NamedTuple):
    """state: Argo, mended (both agree), rule, skipped, differ. `rule` is the rule or what is not there yet."""

    state: str
    lines: list[str] = []
    rule: str = ""
    nodes: int = 0  # how many the rule left out

    @property
    def agrees(self) -> bool:
        return self.state in ("Argo", "mended")


def judge(case: Case) -> Verdict:
    need = needs(case)
    if need:
        return Verdict("skipped", rule=need)
    problems = refusal(case)
    theirs = [one for one in (case["expect"], case.get("mended", {})) if "refused" in one]
    if problems:
        return _refused(case, problems, bool(theirs))
    if theirs and not _refusal_is_chance(case):
        return Verdict("differ", [f"refused: only by Argo: {short(theirs[0]['refused'])}"])
    try:
        player = player_of(case)
        player.play()
        ours = player.result()
        wrong = broken(player.runs, player.events)
    except Exception:  # noqa: BLE001 - the next case may go well
        return Verdict("differ", ["crash: " + traceback.format_exc(limit=-4)])
    if wrong:
        return Verdict("differ", [f"invariant {line}" for line in wrong])
    known = [target for target in targets(case) if "refused" not in target.said]
    return _compared(case, ours, known)


def play(case: Case) -> Case:
    player = player_of(case)
    player.play()
    return player.result()


def player_of(case: Case) -> Player:
    return ClockPlayer(case) if "clock" in case["expect"] else Player(case)


def _compared(case: Case, ours: Case, known: list[Target]) -> Verdict:
    nearest: list[str] = ["there is no recording to agree with"]
    for target in known:
        lines = differences(target, ours)
        if not lines:
            return Verdict(target.name)
        nearest = lines if target is known[0] or len(lines) < len(nearest) else nearest
    if case["id"] in LISTED:
        return Verdict("rule", nearest, "listed")
    for target in known:
        for name, rule in RULES.items():
            excuse = rule(case, target, ours)
            if excuse is None:
                continue
            if not excuse.lines:
                return Verdict("rule", nearest, name, excuse.nodes)
            nearest = min(nearest, excuse.lines, key=len)
    return Verdict("differ", nearest)


def _refused(case: Case, problems: list[str], by_argo: bool) -> Verdict:
    if by_argo:
        return Verdict("Argo")
    if refused_at_once(problems):
        return Verdict("rule", problems, "refused-at-once", len(case["expect"]["nodes"]))
    return Verdict("differ", [f"refused: only ours: {problem}" for problem in problems])


def _refusal_is_chance(case: Case) -> bool:
    return "refused" in {*case.get("varies", ()), *case.get("mended_varies", ())}


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
    if "others" in case:
        return "several workflows"
    text = json.dumps(case["manifest"]) + json.dumps(case["extra"])
    return next((what for mark, what in _NEEDS if mark in text), "")
