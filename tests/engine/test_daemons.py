"""Daemons: what comes behind one goes on when it is ready, and it ends with the template that it was begun in."""

from __future__ import annotations

from typing import Any

import pytest

from exeunt.engine.commands.inputs import AttemptEnded, AttemptLost, AttemptReady, RetryRun, ShutdownRun
from exeunt.engine.facts.work import StepOutcome
from exeunt.engine.shown.status import status
from tests.engine.world import Manifest, World, failing, succeed

DAEMON: Manifest = {"name": "serve", "daemon": True, "container": {"image": "i"}}
CLIENT: Manifest = {
    "name": "ask",
    "inputs": {"parameters": [{"name": "at"}]},
    "container": {"image": "i", "args": ["{{inputs.parameters.at}}"]},
}
HANDLER: Manifest = {"name": "h", "container": {"image": "i"}}


def call(name: str, kind: str = "steps") -> Manifest:
    return {
        "name": name,
        "template": "ask",
        "arguments": {"parameters": [{"name": "at", "value": f"{{{{{kind}.d.ip}}}}"}]},
    }


def manifest(kind: str = "steps", daemon: Manifest = DAEMON, **more: Any) -> Manifest:
    """A daemon `d`, and two clients one after the other."""
    first: Manifest = {"name": "d", "template": "serve", **more}
    if kind == "steps":
        body: Manifest = {"steps": [[first], [call("b")], [call("c")]]}
    else:
        body = {
            "dag": {"tasks": [first, {**call("b", "tasks"), "depends": "d"}, {**call("c", "tasks"), "depends": "b"}]}
        }
    templates = [{"name": "main", **body}, daemon, CLIENT, HANDLER]
    return {"entrypoint": "main", "templates": templates}


def node(world: World, name: str) -> dict[str, Any]:
    return next(tree for tree in status(world.main)["status"]["nodes"].values() if tree["displayName"] == name)


def id_of(world: World, name: str) -> str:
    return str(node(world, name)["id"])


@pytest.mark.parametrize("kind", ["steps", "dag"])
@pytest.mark.parametrize("restarts", [False, True])
def test_clients_get_its_address_and_it_ends_when_they_are_done(kind: str, restarts: bool) -> None:
    world = World(manifest(kind), restarts=restarts)
    world.settle()
    assert (node(world, "d")["phase"], node(world, "d")["daemoned"], node(world, "d")["podIP"]) == (
        "Running",
        True,
        "10.0.0.1",
    )
    assert node(world, "b")["inputs"]["parameters"] == [{"name": "at", "value": "10.0.0.1"}]
    world.run()
    assert world.main.phase == "Succeeded"
    assert {node(world, name)["phase"] for name in "dbc"} == {"Succeeded"}
    assert "daemoned" not in node(world, "d")
    if not restarts:
        assert [event.node for event in world.cancelled] == [id_of(world, "d")]


def test_the_workflow_waits_for_its_end() -> None:
    world = World(manifest())
    world.settle()
    while world.steps:
        world.step()
    assert not world.main.closed
    world.feed(
        "", AttemptEnded(id_of(world, "d"), 0, StepOutcome(phase="Failed", message="main: Error (exit code 143)"))
    )
    assert (world.main.closed, world.main.phase) == (True, "Succeeded")
    assert node(world, "d")["phase"] == "Succeeded"
    assert "message" not in node(world, "d")


@pytest.mark.parametrize("kind", ["steps", "dag"])
def test_its_exit_handler_runs_when_it_has_ended(kind: str) -> None:
    world = World(manifest(kind, onExit="h")).run()
    assert node(world, "d.onExit")["phase"] == "Succeeded"


def test_one_that_dies_fails_its_steps_when_the_group_of_the_client_is_over() -> None:
    world = World(manifest(onExit="h"))
    world.settle()
    world.feed("", AttemptEnded(id_of(world, "d"), 0, StepOutcome(phase="Failed", message="main: Error (exit code 2)")))
    assert "d.onExit" in {tree["displayName"] for tree in status(world.main)["status"]["nodes"].values()} or world.inbox
    world.run()
    assert (world.main.phase, world.main.message) == ("Failed", f"child '{id_of(world, 'd')}' failed")
    assert [node(world, name)["phase"] for name in ("[0]", "[1]")] == ["Failed", "Succeeded"]
    assert node(world, "d.onExit")["phase"] == "Succeeded"


def test_one_that_may_die_leaves_its_group_well() -> None:
    world = World(manifest(continueOn={"failed": True}))
    world.settle()
    world.feed("", AttemptEnded(id_of(world, "d"), 0, StepOutcome(phase="Failed")))
    world.run()
    assert (world.main.phase, node(world, "[0]")["phase"]) == ("Succeeded", "Succeeded")


def test_one_that_ends_well_by_itself_has_failed() -> None:
    world = World(manifest("dag"))
    world.settle()
    world.feed("", AttemptEnded(id_of(world, "d"), 0, StepOutcome(phase="Succeeded", exit_code=0)))
    assert node(world, "d")["phase"] == "Failed"


def test_one_that_dies_is_tried_again_where_it_is_to_be() -> None:
    world = World(manifest(daemon={**DAEMON, "retryStrategy": {"limit": 1}}))
    world.settle()
    world.feed("", AttemptEnded(id_of(world, "d(0)"), 0, StepOutcome(phase="Failed")))
    world.run()
    assert world.main.phase == "Succeeded"
    assert [node(world, name)["phase"] for name in ("d", "d(0)", "d(1)")] == ["Succeeded", "Failed", "Succeeded"]


def test_a_lost_executor_is_its_error() -> None:
    world = World(manifest("dag"))
    world.settle()
    world.feed("", AttemptLost(id_of(world, "d"), 0, "executor e1 was lost"))
    assert (node(world, "d")["phase"], node(world, "d")["message"]) == ("Error", "executor e1 was lost")


@pytest.mark.parametrize("strategy", ["Stop", "Terminate"])
@pytest.mark.parametrize("kind", ["steps", "dag"])
def test_a_stop_ends_its_clients_and_it_with_them(kind: str, strategy: str) -> None:
    world = World(manifest(kind))
    world.settle()
    world.feed("", ShutdownRun(strategy))
    world.run()
    assert (world.main.phase, node(world, "d")["phase"], node(world, "b")["phase"]) == ("Failed", "Succeeded", "Failed")


def test_a_client_that_fails_fast_ends_it() -> None:
    spec = manifest()
    spec["templates"][0]["failFast"] = True
    world = World(spec, failing("w[1].b")).run()
    assert (world.main.phase, node(world, "d")["phase"]) == ("Failed", "Succeeded")


def test_one_that_serves_has_gone_well_whatever_may_fail_before_it() -> None:
    tasks = [
        {"name": "a", "template": "h", "continueOn": {"failed": True}},
        {"name": "d", "template": "serve", "dependencies": ["a"]},
    ]
    spec = {"entrypoint": "main", "templates": [{"name": "main", "dag": {"tasks": tasks}}, DAEMON, HANDLER]}
    assert World(spec, failing("w.a")).run().main.phase == "Succeeded"


def test_a_loop_of_them_in_a_dag() -> None:
    spec = manifest("dag", withItems=[1, 2])
    spec["templates"][0]["dag"]["tasks"][1:] = [{"name": "b", "template": "h", "depends": "d"}]  # it has no one address
    world = World(spec).run()
    assert world.main.phase == "Succeeded"
    assert [node(world, name)["phase"] for name in ("d", "d(0:1)", "d(1:2)")] == ["Succeeded"] * 3


@pytest.mark.parametrize("kind", ["steps", "dag"])
def test_no_limit_counts_it_once_it_is_ready(kind: str) -> None:
    spec = manifest(kind)
    spec["parallelism"] = spec["templates"][0]["parallelism"] = 1
    assert World(spec).run().main.phase == "Succeeded"


@pytest.mark.parametrize("kind", ["steps", "dag"])
def test_a_retry_of_the_workflow_begins_it_again_before_its_clients(kind: str) -> None:
    """What went well stays."""
    world = World(manifest(kind), failing("w[2].c", "w.c")).run()
    assert (world.main.phase, node(world, "d")["phase"]) == ("Failed", "Succeeded")
    world.outcomes = succeed
    world.feed("", RetryRun())
    ran = len(world.given)
    assert [tree["phase"] for tree in status(world.main)["status"]["nodes"].values() if tree["displayName"] == "d"] == [
        "Pending"
    ]
    world.settle()
    assert node(world, "d")["daemoned"]
    world.run()
    assert world.main.phase == "Succeeded"
    assert {node(world, name)["phase"] for name in "dbc"} == {"Succeeded"}
    assert len(world.given) == ran
    below = {child for tree in status(world.main)["status"]["nodes"].values() for child in tree.get("children", [])}
    assert below == set(status(world.main)["status"]["nodes"]) - {"w"}


def test_as_entrypoint_it_has_nobody_to_serve() -> None:
    world = World({"entrypoint": "serve", "templates": [DAEMON]}).run()
    assert world.main.phase == "Succeeded"


def test_as_exit_handler_it_has_nobody_to_serve() -> None:
    world = World({"entrypoint": "h", "onExit": "serve", "templates": [DAEMON, HANDLER]}).run()
    assert (world.main.phase, node(world, "w.onExit")["phase"]) == ("Succeeded", "Succeeded")


def test_that_it_is_ready_counts_once_and_only_for_the_attempt_that_runs() -> None:
    world = World(manifest())
    world.settle()
    assert world.feed("", AttemptReady(id_of(world, "d"), 0, "10.0.0.9")) == []
    assert world.feed("", AttemptReady(id_of(world, "b"), 0, "10.0.0.9")) == []
    assert world.feed("", AttemptReady("nobody", 0)) == []
