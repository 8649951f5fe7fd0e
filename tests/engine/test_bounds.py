"""The bound of nodes: whatever a workflow makes of them, it ends in Error with the limit's name, and handlers run."""

from __future__ import annotations

from typing import Any

import pytest

from exeunt.engine import decide
from exeunt.engine.commands.inputs import GiveUp
from exeunt.engine.facts import turn
from exeunt.engine.facts.events import RunStarted
from exeunt.engine.walk import start
from tests.engine.world import START, World, bundle_of, failing

MOST = 60
LEAF = {"name": "leaf", "container": {"image": "x", "command": ["true"]}}
BYE = {"name": "bye", "container": {"image": "x", "command": ["true"]}}
AGAIN = {"template": "main"}


def steps(*calls: dict[str, Any]) -> dict[str, Any]:
    return {"name": "main", "steps": [[{"name": f"s{i}", "template": "leaf", **c} for i, c in enumerate(calls)]]}


def dag(*calls: dict[str, Any], **more: Any) -> dict[str, Any]:
    tasks = [{"name": f"t{i}", "template": "leaf", **c} for i, c in enumerate(calls)]
    return {"name": "main", "dag": {"tasks": tasks, **more}}


LOOP = {"withSequence": {"count": "500"}}
NEVER = {**LOOP, "when": "{{item}} < 0"}
HANDLED = {**LOOP, "hooks": {"exit": {"template": "bye"}}}
SHAPES = {
    "a loop of steps": steps(LOOP),
    "a loop of steps with handlers": steps(HANDLED),
    "skipped steps": steps(NEVER),
    "skipped steps beside one that runs": steps({}, NEVER),
    "a task's loop": dag(LOOP),
    "a task's loop with handlers": dag(HANDLED),
    "skipped items of tasks": dag(NEVER, NEVER, NEVER, failFast=False),
    "skipped items that follow one that runs": dag({}, {**NEVER, "depends": "t0"}),
    "tasks that are omitted": dag({}, *[{"depends": "t0.Failed"}] * 200),
    "a dag that calls itself twice": dag(AGAIN, AGAIN),
    "a dag that calls itself among many": dag(AGAIN, *[{}] * 20),
    "steps that call themselves and skip": steps({**NEVER, "withSequence": {"count": "10"}}, AGAIN),
}


@pytest.mark.parametrize("restarts", [False, True], ids=["", "restarted"])
@pytest.mark.parametrize("shape", SHAPES)
def test_it_ends_in_error_with_the_name_of_the_limit(
    monkeypatch: pytest.MonkeyPatch, shape: str, restarts: bool
) -> None:
    monkeypatch.setattr(start, "MAX_NODES", MOST)
    manifest = {"entrypoint": "main", "onExit": "bye", "templates": [SHAPES[shape], LEAF, BYE]}
    world = World(manifest, restarts=restarts).run()
    assert world.main.closed
    assert world.main.outcome in ("Error", "Failed")
    assert len(world.main.nodes) <= MOST + 40, "what is open at the limit may have one more each"
    said = [node for node in world.main.nodes if start.TOO_MANY_NODES in node.message]
    assert said
    handlers = [node for node in world.seen()["status"]["nodes"].values() if node["name"] == "w.onExit"]
    assert [node["phase"] for node in handlers] == ["Succeeded"]
    due = [node for node in world.main.nodes if node.suffix != "" and node.template == "leaf" and node.completed]
    if "handlers" in shape:
        names = {node["name"] for node in world.seen()["status"]["nodes"].values()}
        assert all(f"{world.main.names.full(node)}.onExit" in names for node in due)


def test_what_runs_at_the_limit_still_ends_as_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "MAX_NODES", MOST)
    manifest = {"entrypoint": "main", "onExit": "bye", "templates": [dag({}, NEVER), LEAF, BYE]}
    world = World(manifest, failing("w.t0")).run()
    phases = {world.main.names.full(node): node.phase for node in world.main.nodes}
    assert phases["w.t0"] == "Failed"
    assert world.main.closed


COSTLY = {"arguments": {"parameters": [{"name": "x", "value": "{{=len(filter(1..1000, # > 5)) + asInt(item)}}"}]}}
SHOW = {"name": "show", "inputs": {"parameters": [{"name": "x"}]}, "suspend": {}}


def test_what_the_expressions_of_one_loop_take_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "LOOP_STEPS", 100_000)
    for call in (steps, dag):
        made = call({"name": "a", "template": "show", "withSequence": {"count": "1000"}, **COSTLY})
        world = World({"entrypoint": "main", "onExit": "bye", "templates": [made, SHOW, BYE]}).run()
        assert world.main.outcome in ("Failed", "Error")
        assert any(
            "expressions of the loop take together more than 100,000 steps" in n.message for n in world.main.nodes
        )
        assert world.main.finalization == "Succeeded"
        assert world.turns < 10


def test_what_a_run_takes_until_it_is_decided_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "DECISION_STEPS", 300_000)
    made = steps({"name": "a", "template": "show", "withSequence": {"count": "1000"}, **COSTLY})
    bundle = bundle_of({"entrypoint": "main", "onExit": "bye", "templates": [made, SHOW, BYE]})
    run, _ = decide.begin(RunStarted("uid", "w", "default", "b"), bundle, START)
    with pytest.raises(turn.TooMuchToDecide, match="more than 300,000 steps"):
        _go_on(run)
    again, _ = decide.begin(RunStarted("uid", "w", "default", "b"), bundle, START)
    decide.decide(again, GiveUp("too much"), START)
    _go_on(again)
    assert again.outcome == "Error"


def _go_on(run: decide.Run) -> None:
    while run.unfinished:
        decide.decide(run, decide.GoOn(), START)
