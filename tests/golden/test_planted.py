"""The comparison notices what is planted in the recordings, so that what we do is not as recorded."""

from __future__ import annotations

import copy
from random import Random
from typing import Any

import pytest

from tests.golden.judge import judge
from tests.golden.runner import cases, file_of, known

Case = dict[str, Any]

CASES = 200
NOT_COMPARED = ("refused-at-once", "own-outputs", "listed")
"""Rules under which what was recorded says nothing of what is right."""
NOTICED = 0.98


def handler_dropped(nodes: list[Case], name: str) -> None:
    """We run a handler that the recording has not."""
    _without(nodes, name)


def phase_flipped(nodes: list[Case], name: str) -> None:
    for node in nodes:
        if node["name"] == name:
            node["phase"] = "Failed" if node["phase"] == "Succeeded" else "Succeeded"


def inputs_changed(nodes: list[Case], name: str) -> None:
    for node in nodes:
        if node["name"] == name:
            node["inputs"] = {**node.get("inputs", {}), "m": "planted"}


def step_more(nodes: list[Case], name: str) -> None:
    """The recording has a step that we do not run."""
    for node in list(nodes):
        if node["name"] == name:
            nodes.append({**node, "name": f"{name}x", "displayName": "x", "children": []})


def message_changed(nodes: list[Case], name: str) -> None:
    for node in nodes:
        if node["name"] == name:
            node["message"] += " planted"


def _without(nodes: list[Case], name: str) -> None:
    gone = {
        node["name"]
        for node in nodes
        if node["name"] == name or node["name"].startswith((f"{name}.", f"{name}(", f"{name}["))
    }
    nodes[:] = [node for node in nodes if node["name"] not in gone]
    for node in nodes:
        node["children"] = [child for child in node["children"] if child not in gone]


CHANGES = (handler_dropped, phase_flipped, inputs_changed, step_more, message_changed)


def planted(case: Case, number: int) -> Case | None:
    """The case with one change in all that it may agree with; None where it has no place for it."""
    change = CHANGES[number % len(CHANGES)]
    sides = [side for side in ("expect", "mended") if "nodes" in case.get(side, {})]
    if not sides:
        return None
    names = sorted(set.intersection(*({node["name"] for node in case[side]["nodes"]} for side in sides)) - {"w"})
    if change is handler_dropped:
        names = [name for name in names if name.endswith(".onExit")]
    if not names or any(case.get(key) for key in ("unstable", "mended_unstable")):
        return None
    name = Random(number).choice(names)
    changed = copy.deepcopy(case)
    for side in sides:
        change(changed[side]["nodes"], name)
    return changed


@pytest.fixture(scope="module")
def spoilt() -> list[tuple[str, Case]]:
    """Those that do not differ without the change."""
    found: list[tuple[str, Case]] = []
    differing = known()
    for name, each in (("hooks", 16), ("random", 16)):
        for at, case in enumerate(cases(file_of(name))):
            if at % each or case["id"] in differing or "refused" in case["expect"]:
                continue
            verdict = judge(case)
            if verdict.state == "differ" or verdict.rule in NOT_COMPARED:
                continue
            changed = planted(case, len(found))
            if changed is not None and len(found) < CASES:
                found.append((CHANGES[len(found) % len(CHANGES)].__name__, changed))
    return found


def test_planted_changes_are_noticed(spoilt: list[tuple[str, Case]]) -> None:
    assert len(spoilt) == CASES
    missed = [(change, case["id"]) for change, case in spoilt if judge(case).state != "differ"]
    assert len(missed) <= CASES * (1 - NOTICED), missed
