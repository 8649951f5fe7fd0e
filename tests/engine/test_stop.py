"""What a stop leaves behind: killed steps have their word, nothing new begins, handlers run, nothing waits for ever."""

from __future__ import annotations

from typing import Any

from exeunt.engine.commands.inputs import AttemptEnded, AttemptLost, ShutdownRun, SuspendRun, TimerFired
from exeunt.engine.facts.work import StepOutcome
from tests.engine.world import HANDLER, LEAF, World, failing, step

Manifest = dict[str, Any]
BAD = "steps.a.status == 'Failed'"
KILLED = StepOutcome(phase="Failed", message="main: Error (exit code 143)", exit_code=143)


def stopped(main: Manifest, strategy: str = "Stop", **more: Any) -> World:
    """A workflow whose first steps run when it is stopped."""
    world = World({"entrypoint": "main", "templates": [{"name": "main", **main}, LEAF, HANDLER], **more})
    world.settle()
    world.feed("", ShutdownRun(strategy))
    world.settle()
    return world


def says(world: World, name: str) -> None:
    """The killed step says that it is over."""
    node = next(one for one in world.main.nodes if world.main.names.full(one) == name)
    world.feed("", AttemptEnded(world.main.id(node), node.attempt, KILLED))
    world.settle()


def test_a_workflow_ends_when_what_it_ran_is_over() -> None:
    world = stopped({"steps": [[step("a"), step("b")]]})
    assert world.phases()["w[0].a"] == "Failed"
    says(world, "w[0].a")
    assert world.phases()["w[0]"] == "Running"
    says(world, "w[0].b")
    assert world.main.closed
    assert [node.message for node in world.main.nodes if node.type == "Pod"] == [KILLED.message] * 2


def test_a_dag_fails_at_once_and_its_tasks_handlers_run_all_the_same() -> None:
    world = stopped({"dag": {"tasks": [step("a", hooks={"exit": {"template": "h"}}), step("b", depends="a.Failed")]}})
    assert world.phases() == {"w": "Failed", "w.a": "Failed"}
    assert not world.main.closed
    says(world, "w.a")
    assert not world.main.closed
    world.run()
    assert world.phases() == {"w": "Failed", "w.a": "Failed", "w.a.onExit": "Succeeded"}


def test_the_workflows_handler_begins_when_the_killed_steps_are_over() -> None:
    world = stopped({"dag": {"tasks": [step("a")]}}, onExit="h")
    assert not world.main.state.hooks
    says(world, "w.a")
    world.run()
    assert world.phases()["w.onExit"] == "Succeeded"


def test_a_step_whose_executor_is_gone_is_not_waited_for() -> None:
    world = stopped({"steps": [[step("a")]]})
    world.feed("", AttemptLost(world.main.id(world.main.nodes[2]), 0, "the executor is gone"))
    assert world.main.closed


def test_a_step_that_never_says_a_word_is_not_waited_for_either() -> None:
    world = stopped({"steps": [[step("a")]]}, "Terminate")
    due = world.timers["", "killed"]
    world.now = due - 1
    assert not world.feed("", TimerFired("deadline"))
    world.now = due
    world.feed("", TimerFired("killed"))
    assert world.main.closed


def test_no_attempt_begins_after_a_stop() -> None:
    world = stopped({"dag": {"tasks": [step("a")]}, "retryStrategy": {"limit": 3}})
    says(world, "w(0).a")
    assert world.main.closed
    assert [name for name in world.phases() if name.startswith("w(")] == ["w(0)", "w(0).a"]


def test_what_runs_in_steps_that_failed_fast_comes_to_its_own_end() -> None:
    inner = {"name": "inner", "dag": {"tasks": [step("x", hooks={"exit": {"template": "h"}}), step("y", depends="x")]}}
    main = {"name": "main", "failFast": True, "steps": [[step("a"), step("b", "inner")]]}
    world = World(
        {"entrypoint": "main", "templates": [main, inner, LEAF, HANDLER]},
        lambda name, attempt: KILLED if name == "w[0].a" else StepOutcome(phase="Succeeded", exit_code=0),
    )
    world.step()
    assert world.phases()["w"] == "Failed"
    assert not world.main.closed
    world.run()
    assert world.main.closed
    assert world.phases()["w[0].b.x"] == "Succeeded"
    assert world.phases()["w[0].b.x.onExit"] == "Succeeded"
    assert "w[0].b.y" not in world.phases()


def test_a_handler_that_cannot_begin_is_no_error_of_its_step() -> None:
    broken = {"name": "broken", "inputs": {"parameters": [{"name": "m"}]}, **{k: LEAF[k] for k in ("container",)}}
    main = {"name": "main", "steps": [[step("a", hooks={"exit": {"template": "broken"}})], [step("b")]]}
    world = World({"entrypoint": "main", "templates": [main, broken, LEAF]}).run()
    assert world.phases()["w[0].a.onExit"] == "Error"
    assert world.phases()["w[1].b"] == "Succeeded"
    assert world.main.phase == "Succeeded"


def test_the_inputs_of_a_hook_stay_what_they_were_when_it_began() -> None:
    hook = {"name": "hook", "inputs": {"parameters": [{"name": "m"}]}, "container": {"image": "x", "args": ["{{m}}"]}}
    arguments = {"parameters": [{"name": "m", "value": "{{steps.a.outputs.result}}"}]}
    hooks = {"running": {"template": "hook", "expression": "steps.a.status == 'Running'", "arguments": arguments}}
    world = World(
        {"entrypoint": "main", "templates": [{"name": "main", "steps": [[step("a", hooks=hooks)]]}, hook, LEAF]}
    )
    world.run()
    node = next(one for one in world.seen()["status"]["nodes"].values() if one["name"] == "w[0].a.hooks.running")
    assert node["inputs"]["parameters"] == [{"name": "m", "value": "{{steps.a.outputs.result}}"}]


def test_a_stop_begins_nothing_in_a_graph_that_had_ended_before() -> None:
    """The DAG has ended by failFast while one in it runs, which has more to begin when it is stopped."""
    inside = {"name": "inside", "parallelism": 1, "dag": {"tasks": [step("x"), step("y"), step("z", "deep")]}}
    deep = {"name": "deep", "dag": {"tasks": [step("x")]}}
    main = {"name": "main", "failFast": True, "dag": {"tasks": [step("a", "inside"), step("b")]}}
    world = World({"entrypoint": "main", "templates": [main, inside, deep, LEAF, HANDLER]}, failing("w.b"))
    world.settle()
    says(world, "w.b")
    assert world.phases() == {"w": "Failed", "w.a": "Running", "w.a.x": "Running", "w.b": "Failed"}
    world.feed("", ShutdownRun("Stop"))
    world.run()
    assert world.phases() == {"w": "Failed", "w.a": "Failed", "w.a.x": "Failed", "w.b": "Failed"}


def test_the_workflows_limit_counts_no_more_after_a_stop() -> None:
    """A hook that is due by the stop begins, and fails, at once, though another hook still has a handler that runs."""
    graph = {"name": "graph", "steps": [[step("x", hooks={"exit": {"template": "h"}})]]}
    hooks = {"always": {"template": "graph", "expression": "true"}, "bad": {"template": "plain", "expression": BAD}}
    main = {"name": "main", "failFast": True, "steps": [[step("a", "again", hooks=hooks)]]}
    again, plain = {**LEAF, "name": "again", "retryStrategy": {}}, {"name": "plain", "steps": [[step("x")]]}
    world = World({"entrypoint": "main", "parallelism": 1, "templates": [main, graph, plain, again, LEAF, HANDLER]})
    world.settle()
    hook = next(key for key in world.runs if key)
    inside = world.runs[hook]
    world.feed(hook, AttemptEnded(inside.id(inside.nodes[2]), 0, StepOutcome(phase="Succeeded")))
    world.settle()
    world.feed("", ShutdownRun("Stop"))
    world.settle()
    says(world, "w[0].a(0)")
    phases = world.phases()
    assert phases["w[0].a.hooks.bad"] == "Failed", phases
    assert "Succeeded" not in phases.values()
    world.run()
    assert world.main.closed


def test_a_stop_begins_nothing_in_a_try_that_it_has_ended() -> None:
    """What is tried waits for the place that a hook has when the workflow is stopped, and has failed with that."""
    inside = {"name": "inside", "retryStrategy": {}, "steps": [[step("x"), step("y", "graph")]]}
    graph = {"name": "graph", "dag": {"tasks": [step("z", "again")]}}
    again = {**LEAF, "name": "again", "retryStrategy": {}}
    slow = {"name": "slow", "steps": [[step("x")]]}
    hooks = {"bad": {"template": "slow", "expression": BAD}}
    main = {"name": "main", "steps": [[step("a", hooks=hooks), step("b", "inside")]]}
    templates = [main, inside, graph, again, slow, LEAF, HANDLER]
    world = World({"entrypoint": "main", "parallelism": 1, "templates": templates}, failing("w[0].a"))
    world.settle()
    says(world, "w[0].a")
    x = next(one for one in world.main.nodes if world.main.names.full(one) == "w[0].b(0)[0].x")
    world.feed("", AttemptEnded(world.main.id(x), x.attempt, StepOutcome(phase="Succeeded")))
    world.settle()
    before = set(world.phases())
    assert "w[0].b(0)[0].x" in before
    assert len(world.runs) == 2, "the hook runs"
    world.feed("", ShutdownRun("Stop"))
    world.run()
    assert set(world.phases()) - before <= {"w[0].a.hooks.bad", "w[0].a.hooks.bad[0]", "w[0].a.hooks.bad[0].x"}
    assert world.main.closed


def test_what_had_gone_well_before_a_stop_keeps_its_outputs() -> None:
    """The last try ended while the workflow was suspended, and a hook ran; that it went well is seen with the stop."""
    again = {**LEAF, "name": "again", "retryStrategy": {}}
    hooks = {"always": {"template": "h", "expression": "true"}}
    main = {"name": "main", "steps": [[step("a", "again", hooks=hooks)]]}
    world = World({"entrypoint": "main", "templates": [main, again, HANDLER]})
    world.settle()
    world.feed("", SuspendRun())
    attempt = next(one for one in world.main.nodes if world.main.names.full(one) == "w[0].a(0)")
    world.feed("", AttemptEnded(world.main.id(attempt), 0, StepOutcome(phase="Succeeded", exit_code=0)))
    world.feed("", ShutdownRun("Stop"))
    found = next(one for one in world.main.nodes if world.main.names.full(one) == "w[0].a")
    assert (found.phase, found.outputs) == ("Succeeded", attempt.outputs)
    assert found.outputs is not None


def test_what_a_stop_ended_before_its_steps_leads_nowhere() -> None:
    """What depends on a graph hangs below its last nodes; steps in it that have no end yet have none."""
    inside = {"name": "inside", "dag": {"tasks": [step("c", "deep")]}}
    deep = {"name": "deep", "steps": [[step("x")]]}
    main = {"name": "main", "dag": {"tasks": [step("a", "inside"), step("b", depends="a.Skipped")]}}
    world = World({"entrypoint": "main", "templates": [main, inside, deep, LEAF]})
    world.settle()
    world.feed("", ShutdownRun("Stop"))
    world.settle()
    assert world.phases()["w.b"] == "Omitted"
    b = next(node.key for node in world.main.nodes if world.main.names.full(node) == "w.b")
    assert not [world.main.names.full(node) for node in world.main.nodes if b in node.children]
