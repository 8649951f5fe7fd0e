"""The containers of a set are nodes of their own, which live as their pod does: manifest in, phases out."""

from __future__ import annotations

from typing import Any

import pytest

from exeunt.engine.commands.inputs import AttemptLost, RetryRun, ShutdownRun
from exeunt.engine.facts.work import ContainerEnd, ContainerSetWork, StepOutcome
from exeunt.engine.shown.status import status
from tests.engine.world import Manifest, Outcomes, World, succeed

ONE: Manifest = {"name": "one", "image": "i"}
TWO: Manifest = {"name": "two", "image": "i", "dependencies": ["one"]}
MAIN: Manifest = {"name": "main", "image": "i", "dependencies": ["one", "two"]}


def manifest(*containers: Manifest, **more: Any) -> Manifest:
    """A set `a`, its exit handler, and a step behind it."""
    steps = [[{"name": "a", "template": "set", "onExit": "t"}], [{"name": "b", "template": "t"}]]
    return {
        "entrypoint": "main",
        "templates": [
            {"name": "main", "steps": steps},
            {"name": "set", "containerSet": {"containers": list(containers or (MAIN, TWO, ONE)), **more}},
            {"name": "t", "container": {"image": "i"}},
        ],
    }


def ending(**phases: str) -> Outcomes:
    """The set's containers end so; it has failed where one of them has."""

    def outcome(name: str, attempt: int) -> StepOutcome:
        if not name.endswith(".a"):
            return succeed(name, attempt)
        ends = [ContainerEnd(name=one, phase=phase, message=f"{one}: {phase}") for one, phase in phases.items()]
        bad = [end for end in ends if end.phase != "Succeeded"]
        return StepOutcome(
            phase="Failed" if bad else "Succeeded", message=bad[0].message if bad else "", containers=ends
        )

    return outcome


def nodes(world: World) -> dict[str, dict[str, Any]]:
    return {tree["name"]: tree for tree in status(world.main)["status"]["nodes"].values()}


def containers(world: World) -> dict[str, tuple[str, str]]:
    return {
        name.rpartition(".")[2]: (tree["phase"], tree.get("message", ""))
        for name, tree in nodes(world).items()
        if tree["type"] == "Container"
    }


def children(world: World, name: str) -> list[str]:
    found = nodes(world)
    names = {tree["id"]: tree["name"] for tree in found.values()}
    return [names[id] for id in found[name].get("children", [])]


@pytest.mark.parametrize("restarts", [False, True])
def test_each_hangs_below_those_it_depends_on_and_what_follows_below_the_last(restarts: bool) -> None:
    world = World(manifest(), ending(one="Succeeded", two="Succeeded", main="Succeeded"), restarts=restarts).run()
    assert world.main.phase == "Succeeded"
    assert containers(world) == {"one": ("Succeeded", "one: Succeeded"), "two": ("Succeeded", "two: Succeeded"),
                                 "main": ("Succeeded", "main: Succeeded")}  # fmt: skip
    assert "w[0].a.one" in children(world, "w[0].a")
    assert children(world, "w[0].a.one") == ["w[0].a.two", "w[0].a.main"]
    assert children(world, "w[0].a.main") == ["w[1]"]
    assert nodes(world)["w[0].a.one"]["boundaryID"] == nodes(world)["w[0].a"]["id"]
    assert status(world.main)["status"]["progress"] == "6/6"


def test_they_are_pending_until_the_pod_runs() -> None:
    world = World(manifest())
    assert {phase for phase, _ in containers(world).values()} == {"Pending"}
    world.feed(*world.inbox.popleft())
    assert {phase for phase, _ in containers(world).values()} == {"Running"}


@pytest.mark.parametrize("restarts", [False, True])
def test_one_that_fails_fails_the_set_and_the_handler_runs(restarts: bool) -> None:
    world = World(manifest(), ending(one="Failed", two="Error"), restarts=restarts).run()
    assert (world.main.phase, nodes(world)["w[0].a"]["phase"]) == ("Failed", "Failed")
    assert containers(world) == {"one": ("Failed", "one: Failed"), "two": ("Error", "two: Error"),
                                 "main": ("Failed", "Pod Failed whilst container running")}  # fmt: skip
    assert nodes(world)["w[0].a.onExit"]["phase"] == "Succeeded"


def test_a_stop_ends_all_of_them() -> None:
    world = World(manifest())
    world.feed(*world.inbox.popleft())
    world.feed("", ShutdownRun("Terminate"))
    assert set(containers(world).values()) == {("Failed", "workflow shutdown with strategy:  Terminate")}


def test_a_lost_executor_ends_all_of_them() -> None:
    world = World(manifest())
    world.feed(*world.inbox.popleft())
    ((key, node),) = world.steps
    world.feed(key, AttemptLost(node, 0, "lost"))
    assert {phase for phase, _ in containers(world).values()} == {"Error"}


def test_a_retry_of_the_workflow_takes_out_a_failed_set_with_all_its_containers() -> None:
    world = World(manifest(), ending(one="Succeeded", two="Failed")).run()
    world.outcomes = ending(one="Succeeded", two="Succeeded", main="Succeeded")
    world.feed("", RetryRun())
    world.run()
    assert world.main.phase == "Succeeded"
    assert {phase for phase, _ in containers(world).values()} == {"Succeeded"}
    assert len(containers(world)) == 3


def test_what_is_to_be_run_says_how_often_each_is_tried() -> None:
    world = World(manifest(ONE, retryStrategy={"retries": "3", "duration": "1m"}))
    work = world.given["w[0].a"].work
    assert isinstance(work, ContainerSetWork)
    assert (work.tries, work.pause_seconds) == (4, 60.0)
