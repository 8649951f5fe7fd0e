"""Cost follows the change: a node costs the same among 500 as among 2,000. Calls are counted, not timed."""

from __future__ import annotations

import gc
import sys
import weakref
from collections import deque
from types import FrameType
from typing import Any

import pytest

from exeunt.engine import decide
from exeunt.engine.commands.inputs import AttemptEnded, GoOn, HookEnded, Input, Placed
from exeunt.engine.facts.events import HookDue, RunClosed, RunStarted, StepDue
from exeunt.engine.facts.work import StepOutcome
from tests.engine.world import HANDLER, LEAF, START, Manifest, World, bundle_of

SMALL, LARGE = 500, 2000
SLACK = 1.25


def fan_of_steps(n: int) -> Manifest:
    loop = {"name": "s", "template": "t", "withSequence": {"count": str(n)}}
    return {"entrypoint": "m", "templates": [{"name": "m", "steps": [[loop]]}, LEAF]}


def fan_of_tasks(n: int) -> Manifest:
    tasks = [{"name": f"s{i}", "template": "t"} for i in range(n)]
    return {"entrypoint": "m", "templates": [{"name": "m", "dag": {"tasks": tasks}}, LEAF]}


def chain_of_tasks(n: int) -> Manifest:
    tasks = [{"name": f"s{i}", "template": "t", "dependencies": [f"s{i - 1}"] if i else []} for i in range(n)]
    return {"entrypoint": "m", "templates": [{"name": "m", "dag": {"tasks": tasks}}, LEAF]}


def chain_of_groups(n: int) -> Manifest:
    groups = [[{"name": f"s{i}", "template": "t"}] for i in range(n)]
    return {"entrypoint": "m", "templates": [{"name": "m", "steps": groups}, LEAF]}


def fan_with_handlers(n: int) -> Manifest:
    loop = {"name": "s", "template": "t", "withSequence": {"count": str(n)}, "hooks": {"exit": {"template": "h"}}}
    return {"entrypoint": "m", "templates": [{"name": "m", "steps": [[loop]]}, LEAF, HANDLER]}


def calls(manifest: Manifest) -> tuple[int, int]:
    """How many calls inside the engine and the language the whole run takes, and its nodes."""
    bundle = bundle_of(manifest)
    runs: dict[str, Any] = {}
    inbox: deque[tuple[str, Input]] = deque()
    counted = 0

    def take(key: str, events: list[Any]) -> None:
        for event in events:
            match event:
                case StepDue():
                    inbox.append((key, Placed(event.node, event.attempt, "e")))
                    inbox.append((key, AttemptEnded(event.node, event.attempt, StepOutcome(phase="Succeeded"))))
                case HookDue(obligation=owed):
                    begin(owed.hook_id, RunStarted(owed.uid, owed.name, owed.namespace, "b", obligation=owed))
                case RunClosed(hook=outcome) if outcome is not None:
                    inbox.append(("", HookEnded(outcome)))
        if runs[key].unfinished:
            inbox.appendleft((key, GoOn()))

    def begin(key: str, started: RunStarted) -> None:
        runs[key], events = decide.begin(started, bundle, START)
        take(key, events)

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal counted
        if event == "call" and "exeunt" in frame.f_code.co_filename:
            counted += 1

    sys.setprofile(count)
    try:
        begin("", RunStarted("uid", "w", "default", "b"))
        while inbox:
            key, given = inbox.popleft()
            take(key, decide.decide(runs[key], given, START))
    finally:
        sys.setprofile(None)
    assert runs[""].closed
    return counted, len(runs[""].nodes)


@pytest.mark.parametrize(
    "shape", [fan_of_steps, fan_of_tasks, chain_of_tasks, chain_of_groups, fan_with_handlers], ids=lambda f: f.__name__
)
def test_a_node_costs_the_same_in_a_large_workflow(shape: Any) -> None:
    small, large = calls(shape(SMALL)), calls(shape(LARGE))
    assert large[1] >= LARGE
    assert large[0] / large[1] <= SLACK * small[0] / small[1]


def test_a_run_is_let_go_of_without_a_search_for_garbage() -> None:
    """Services search rarely: what is over must not hold itself."""
    world = World(chain_of_tasks(5))
    world.run()
    assert world.main.closed
    run = weakref.ref(world.main)
    gc.disable()
    try:
        world.runs.clear()
        assert run() is None
    finally:
        gc.enable()
