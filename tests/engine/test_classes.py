"""Every class of mistakes with handlers has a small workflow, and what has to come of it (classes.yaml)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.golden.play import Player
from tests.invariants import broken

CASES = list(yaml.safe_load_all(Path(__file__).with_name("classes.yaml").read_text()))


@pytest.mark.parametrize("case", CASES, ids=[f"{case['class']}: {case['says']}" for case in CASES])
def test_a_workflow_of_each_class_ends_as_it_should(case: dict[str, Any]) -> None:
    kind = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"name": "w"}}
    player = Player(
        {
            "manifest": {**kind, "spec": case["spec"]},
            "extra": case.get("stored", []),
            "script": case.get("ends", {}),
            "by_template": case.get("ends_of", {}),
            "order": case.get("order", "first"),
            "ops": case.get("ops", []),
        }
    )
    player.play()
    found, want = player.result(), case["want"]
    nodes = {node["name"]: node for node in found["nodes"]}
    assert {name: node["phase"] for name, node in nodes.items()} == want["nodes"]
    assert (found["phase"], found["message"]) == (want["phase"], want.get("message", ""))
    for field, plural in (("message", "messages"), ("inputs", "inputs")):
        wanted = want.get(plural, {})
        assert {name: nodes[name].get(field) for name in wanted} == wanted
    assert found["alive"] == want.get("alive", found["alive"])  # what ran at each round
    assert not broken(player.runs, player.events)
