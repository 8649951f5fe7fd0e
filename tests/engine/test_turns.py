"""One decision does its share and leaves the rest to the next ones: what comes of it is the same."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from exeunt.engine import decide
from exeunt.engine.commands.inputs import ShutdownRun
from exeunt.engine.facts import commit, turn
from exeunt.engine.facts.events import Event, NodeStarted, RunStarted, StepDue
from exeunt.language.expression.limits import MAX_STEPS
from tests.engine.world import HANDLER, START, World, bundle_of, drawn, step

SHOW = {
    "name": "show",
    "inputs": {"parameters": [{"name": "x"}]},
    "container": {"image": "x", "command": ["echo", "{{inputs.parameters.x}}"]},
}
OWN = {"arguments": {"parameters": [{"name": "x", "value": "{{item}}"}]}}


def loop(count: int, **more: Any) -> dict[str, Any]:
    return step("a", "show", withSequence={"count": str(count)}, **OWN, **more)


def steps(*groups: list[Any], **more: Any) -> dict[str, Any]:
    templates = [{"name": "main", "steps": list(groups)}, SHOW, HANDLER]
    return {"entrypoint": "main", "templates": templates, "onExit": "h", **more}


def tasks(*all_: Any, **more: Any) -> dict[str, Any]:
    templates = [{"name": "main", "dag": {"tasks": list(all_), "failFast": False}}, SHOW, HANDLER]
    return {"entrypoint": "main", "templates": templates, "onExit": "h", **more}


WIDE = {
    "loop": steps([loop(60)], [step("b", "show", arguments={"parameters": [{"name": "x", "value": "1"}]})]),
    "loop with a limit": steps([loop(60)], parallelism=7),
    "loop with conditions": steps([loop(60, when="{{item}} % 2 == 0")], parallelism=7),
    "loop with hooks": steps([loop(30, hooks={"exit": {"template": "h"}})]),
    "loop with a hook that has the item": steps([loop(30, hooks={"exit": {"template": "show", **OWN}})]),
    "steps": steps([step(f"a{i}", "h", when=f"{i} > 3") for i in range(40)]),
    "loop of tasks": tasks(loop(60, hooks={"exit": {"template": "h"}})),
    "loop of tasks with a hook that has the item": tasks(loop(30, hooks={"exit": {"template": "show", **OWN}})),
    "tasks": tasks(
        *(step(f"a{i}", "h", depends=f"a{i - 1}.Succeeded || a{i - 1}.Failed" if i % 3 else "") for i in range(40))
    ),
    "nests": {
        "entrypoint": "main",
        "onExit": "h",
        "templates": [
            {"name": "main", "steps": [[step("n", "nest", withSequence={"count": "12"})]]},
            {"name": "nest", "retryStrategy": {"limit": "2"}, "dag": {"tasks": [step("s", "h"), step("t", "h")]}},
            HANDLER,
        ],
    },
}


def told(manifest: Any, *, restarts: bool) -> tuple[World, Any]:
    world = World(manifest, drawn(3), restarts=restarts).run()
    seen = world.seen()
    for node in seen["status"]["nodes"].values():
        for key in ("children", "startedAt", "finishedAt"):
            node.pop(key, None)
    nodes = {node["name"]: node for node in seen["status"]["nodes"].values()}
    return world, (nodes, seen["status"]["phase"], seen["status"].get("finalization"))


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("shape", WIDE)
def test_a_run_ends_the_same_however_little_one_decision_does(
    shape: str, restarts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once, whole = told(WIDE[shape], restarts=False)
    assert at_once.main.closed
    assert at_once.turns == 0
    monkeypatch.setattr(turn, "WORK", 5 * turn.NODE)
    bit_by_bit, parts = told(WIDE[shape], restarts=restarts)
    assert bit_by_bit.turns > 1
    assert parts == whole


def test_a_stop_in_the_middle_of_it_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "WORK", 5 * turn.NODE)
    run, events = decide.begin(RunStarted("uid", "w", "default", "b"), bundle_of(steps([loop(60)])), START)
    assert run.unfinished
    assert sum(isinstance(event, NodeStarted) for event in events) < 10
    decide.decide(run, ShutdownRun("Terminate"), START)
    after: list[Event] = []
    while run.unfinished:
        after += decide.decide(run, decide.GoOn(), START)
    assert run.outcome == "Failed"
    assert not any(isinstance(event, StepDue) for event in after)


def test_a_stop_before_a_loop_has_begun_ends_all_that_would_wait_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "WORK", 5 * turn.NODE)
    each = step("a", "wait", withSequence={"count": "60"})
    waits = {"entrypoint": "main", "templates": [{"name": "main", "steps": [[each]]}, {"name": "wait", "suspend": {}}]}
    run, _ = decide.begin(RunStarted("uid", "w", "default", "b"), bundle_of(waits), START)
    decide.decide(run, ShutdownRun("Stop"), START)
    while run.unfinished:
        decide.decide(run, decide.GoOn(), START)
    assert run.outcome == "Failed"
    assert all(node.fulfilled for node in run.nodes)


def test_templates_call_each_other_as_deep_as_in_argo_and_no_deeper() -> None:
    calling_itself = {
        "entrypoint": "a",
        "onExit": "h",
        "templates": [{"name": "a", "steps": [[step("s", "a")]]}, HANDLER],
    }
    world = World(calling_itself).run()
    assert world.main.closed
    assert world.main.outcome == "Failed"
    pods = [node for node in decide.status(world.main)["status"]["nodes"].values() if node["type"] == "Steps"]
    assert len(pods) == 99
    [deepest] = [n for n in world.main.nodes if n.message.startswith("Maximum recursion depth exceeded")]
    assert deepest.phase == "Error"
    assert world.main.finalization == "Succeeded"


def test_a_large_workflow_is_begun_in_small_commits() -> None:
    run, events = decide.begin(RunStarted("uid", "w", "default", "b"), bundle_of(steps([loop(5000)])), START)
    sizes = [len(events)]
    while run.unfinished:
        events = decide.decide(run, decide.GoOn(), START)
        sizes.append(len(events))
        assert len(commit.encode(START, events)) < 256 * 1024
    assert len(run.nodes) == 5002
    assert max(sizes) < 2000


def test_expressions_of_one_template_share_what_an_expression_may_take() -> None:
    half = f"{{{{=len(filter(1..{MAX_STEPS // 6}, # > 0))}}}}"
    inputs = [{"name": f"x{i}", "value": half} for i in range(4)]
    echo = {
        "name": "echo",
        "inputs": {"parameters": [{"name": f"x{i}"} for i in range(4)]},
        "container": HANDLER["container"],
    }
    main = {"name": "main", "steps": [[step("a", "echo", arguments={"parameters": inputs})]]}
    world = World({"entrypoint": "main", "templates": [main, echo]}).run()
    assert world.main.outcome == "Failed"
    messages = " ".join(node.message for node in world.main.nodes)
    assert f"the expressions of one template or step take together more than {MAX_STEPS} steps" in messages


def test_what_is_unfinished_is_known_after_a_restart_and_from_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "WORK", 5 * turn.NODE)
    bundle = bundle_of(steps([loop(60)]))
    run, events = decide.begin(RunStarted("uid", "w", "default", "b"), bundle, START)
    run.commits = 1
    written = commit.decode(commit.encode(START, events))
    assert decide.replay(lambda _: bundle, [written]).unfinished
    taken = commit.decode(commit.encode(START, [decide.snapshot(run)]))
    assert decide.replay(lambda _: bundle, [taken]).unfinished
    assert msgspec.msgpack.encode(taken)
