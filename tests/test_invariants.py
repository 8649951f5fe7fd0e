"""The invariants notice what they are about: a good run has nothing to say, a spoilt one has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from exeunt.engine.facts import commit, phases
from exeunt.engine.facts.nodes import Node
from tests.engine.world import HANDLER, LEAF, World, failing, step
from tests.invariants import broken

HOOKED = {"hooks": {"exit": {"template": "h"}}}
RETRIED = {"name": "r", "retryStrategy": {"limit": 1}, "container": {"image": "x"}}
MAIN = {
    "name": "main",
    "steps": [
        [step("a", **HOOKED), step("b", "inner", **HOOKED)],
        [step("c", "r", withItems=["x", "y"], **HOOKED)],
    ],
}
INNER = {"name": "inner", "dag": {"tasks": [step("p", **HOOKED), step("q", dependencies=["p"])]}}


def ended(*failed: str) -> World:
    spec = {"entrypoint": "main", "onExit": "h", "templates": [MAIN, INNER, LEAF, RETRIED, HANDLER]}
    return World(spec, failing(*failed)).run()


def events(world: World) -> dict[str, Any]:
    return {key: [e for data in log for e in commit.decode(data).events] for key, log in world.logs.items()}


def node(world: World, name: str) -> Node:
    return next(one for one in world.main.nodes if world.main.names.full(one) == name)


@pytest.mark.parametrize(
    "failed", [(), ("w[0].a",), ("w[0].b.p",), ("w[1].c(0:x)(0)",), ("w[1].c(0:x)(0)", "w[1].c(0:x)(1)")]
)
def test_a_good_run_has_nothing_to_say(failed: tuple[str, ...]) -> None:
    world = ended(*failed)
    assert world.main.closed
    assert broken(world.runs, events(world)) == []


def lose_a_handler(world: World) -> None:
    node(world, "w[0].a").hooks.clear()
    world.main.state.hooks[:] = [one for one in world.main.state.hooks if one.parent != node(world, "w[0].a").key]


def run_it_twice(world: World) -> None:
    hooks = world.main.state.hooks
    hooks.append(next(one for one in hooks if one.parent == node(world, "w[0].a").key))


def handle_what_never_began(world: World) -> None:
    node(world, "w[0].b.p").phase = phases.SKIPPED


def succeed_in_spite_of_a_step(world: World) -> None:
    node(world, "w[0].b.q").phase = phases.FAILED


def leave_one_running(world: World) -> None:
    node(world, "w[0].a").phase = phases.RUNNING


def end_without_a_place(world: World) -> None:
    node(world, "w[0].a").executor = ""


def hang(world: World) -> None:
    world.main.state.closed = False


def hand_on_a_tag(world: World) -> None:
    key = node(world, "w[0].a").key
    hook = next(one for one in world.main.state.hooks if one.parent == key)
    assert hook.outcome is not None
    inputs = {"parameters": [{"name": "m", "value": "{{steps.a.exitCode}}"}]}
    hook.outcome = msgspec.structs.replace(hook.outcome, nodes=[{**hook.outcome.nodes[0], "inputs": inputs}])


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lose_a_handler, "promise"),
        (run_it_twice, "promise"),
        (handle_what_never_began, "promise"),
        (succeed_in_spite_of_a_step, "verdict"),
        (leave_one_running, "open"),
        (end_without_a_place, "unran"),
        (hang, "stuck"),
        (hand_on_a_tag, "literal"),
    ],
)
def test_a_spoilt_run_is_noticed(spoil: Callable[[World], None], word: str) -> None:
    world = ended()
    spoil(world)
    assert word in {text.partition(":")[0] for text in broken(world.runs)}


def test_work_that_begins_in_what_has_ended_is_noticed() -> None:
    world = ended()
    told = events(world)
    first = next(at for at, event in enumerate(told[""]) if getattr(event, "suffix", "") == ".q")
    over = next(event for event in told[""] if getattr(event, "node", None) == node(world, "w[0].b").key)
    told[""].insert(first, over)
    assert [text for text in broken(world.runs, told) if text.startswith("late: w[0].b.q")]
