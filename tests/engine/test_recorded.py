"""The same promises, kept for the recorded manifests: larger and nastier than what is drawn."""

from __future__ import annotations

from typing import Any

import pytest

from exeunt.engine import decide
from exeunt.engine.commands.inputs import Rejected, ResumeRun
from exeunt.engine.facts import commit
from exeunt.engine.facts.state import pack
from tests.engine.world import World, drawn
from tests.golden.judge import refusal
from tests.golden.play import bundle_of
from tests.golden.runner import HERE, cases

CASES = [
    case
    for number, case in enumerate(cases(HERE / "random.jsonl.gz"))
    if number % 23 == 0 and "refused" not in case["expect"] and not refusal(case)
]


def world(case: dict[str, Any], **more: bool) -> World:
    return World({}, drawn(len(case["id"])), bundle=bundle_of(case), **more)


def resumed(one: World) -> World:
    """Runs it to its end; gates open by themselves."""
    one.run(300)
    for _ in range(40):
        waiting = [
            key for key, run in one.runs.items() if any(n.type == "Suspend" and not n.fulfilled for n in run.nodes)
        ]
        if one.main.closed or not waiting:
            break
        try:
            one.feed(waiting[0], ResumeRun())
        except Rejected:
            break
        one.run(300)
    return one


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_a_recorded_manifest_survives_restarts_snapshots_and_repetition(case: dict[str, Any]) -> None:
    plain = resumed(world(case))
    seen = plain.seen()
    again = decide.replay(lambda _: plain.bundle, [commit.decode(data) for data in plain.logs[""]])
    assert pack(again.state) == pack(plain.main.state)
    assert resumed(world(case, restarts=True)).seen() == seen
    assert resumed(world(case, snapshots=True)).seen() == seen
    assert resumed(world(case, doubled=True)).seen() == seen
