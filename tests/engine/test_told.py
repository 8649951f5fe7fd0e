"""What subscribers hear of steps: one end for each, when it is over, and as its node says."""

from __future__ import annotations

from typing import Any

import pytest

from exeunt.cloudevents import StepEnded as Told
from exeunt.engine import decide
from exeunt.engine.inputs import Shutdown, StepEnded, StepLost
from exeunt.engine.steps import StepOutcome
from tests.engine.world import HANDLER, LEAF, World, step

WELL = StepOutcome(phase="Succeeded", exit_code=0)
PAIR = {"entrypoint": "main", "templates": [{"name": "main", "steps": [[step("a")], [step("b")]]}, LEAF, HANDLER]}


def ends(world: World, *inputs: Any) -> list[tuple[str, str, str]]:
    """The events of steps of one commit in which all of this is decided."""
    events = [event for given in inputs for event in decide.decide(world.main, given, world.now)]
    told = decide.public_events(world.main, events)
    return [(one.type, one.subject, one.data.phase) for one in told if isinstance(one.data, Told)]


def started(manifest: Any = PAIR) -> tuple[World, str]:
    world = World(manifest)
    world.settle()
    return world, world.main.id(next(node for node in world.main.nodes if node.type == "Pod"))


@pytest.mark.parametrize("strategy", ["Stop", "Terminate"])
@pytest.mark.parametrize("late", [WELL, None], ids=["it ended well", "it was lost"])
def test_a_step_that_was_stopped_is_told_of_once_when_it_is_over(strategy: str, late: StepOutcome | None) -> None:
    world, node = started()
    word = StepLost(node, 0) if late is None else StepEnded(node, 0, late)
    assert ends(world, Shutdown(strategy)) == []
    assert ends(world, word) == [("step.failed", "w[0].a", "Failed")]
    assert ends(world, word) == []


def test_it_is_told_of_once_when_all_of_that_is_one_commit() -> None:
    world, node = started()
    assert ends(world, Shutdown("Stop"), StepEnded(node, 0, WELL)) == [("step.failed", "w[0].a", "Failed")]


def test_a_step_that_was_never_placed_is_over_at_once() -> None:
    world = World(PAIR)
    world.inbox.clear()
    assert ends(world, Shutdown("Stop")) == [("step.failed", "w[0].a", "Failed")]


def test_what_a_stop_keeps_from_running_is_no_step() -> None:
    hooks = {"failed": {"template": "h", "expression": "steps.a.status == 'Failed'"}}
    world, node = started(
        {"entrypoint": "main", "templates": [{"name": "main", "steps": [[step("a", hooks=hooks)]]}, LEAF, HANDLER]}
    )
    assert ends(world, Shutdown("Stop"), StepEnded(node, 0, WELL)) == [("step.failed", "w[0].a", "Failed")]
    assert world.phases()["w[0].a.hooks.failed"] == "Failed"


def test_a_workflow_runs_from_its_first_node_on_whatever_that_is() -> None:
    gate = {"name": "gate", "suspend": {}}
    empty = {"name": "main", "steps": [[step("a", withItems=[])]]}
    for first in (gate, empty):
        world = World({"entrypoint": first["name"], "templates": [first, LEAF]})
        assert world.told[:2] == ["workflow.submitted", "workflow.running"]
        assert world.told.count("workflow.running") == 1
