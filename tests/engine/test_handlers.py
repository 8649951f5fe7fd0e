"""Exit handlers and hooks: when they become due, what they are told, and how they end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from exeunt.engine import decide
from exeunt.engine.commands.inputs import AttemptEnded, AttemptLost, Rejected, Replay, ShutdownRun
from exeunt.engine.facts import commit
from exeunt.engine.facts.events import HookCancelled, HookDue, HookSkipped, RunClosed, RunStarted, StepDue, StepFinished
from exeunt.engine.facts.work import ContainerWork, StepOutcome
from tests.engine.world import HANDLER, LEAF, World, failing, step

Manifest = dict[str, Any]


def one_step(**more: Any) -> Manifest:
    main = {"name": "main", "steps": [[step("a")]]}
    return {"entrypoint": "main", "templates": [main, LEAF, HANDLER], **more}


def telling(*texts: str) -> Manifest:
    return {"name": "h", "container": {"image": "x", "command": ["echo"], "args": list(texts)}}


def obligations(world: World) -> list[Any]:
    found = []
    for data in world.logs[""]:
        found += [event.obligation for event in commit.decode(data).events if isinstance(event, HookDue)]
    return found


def told(world: World) -> list[str]:
    """The arguments of the first step of the workflow's handler."""
    [owed] = obligations(world)
    run = world.runs[owed.hook_id]
    for data in world.logs[owed.hook_id]:
        for event in commit.decode(data).events:
            if isinstance(event, StepDue):
                work = event.step.work
                assert isinstance(work, ContainerWork)
                return work.args
    raise AssertionError(f"no step of {run.name}'s handler was due")


def test_the_steps_end_and_the_handler_it_makes_due_are_one_commit() -> None:
    world = World(one_step(onExit="h")).run()
    [data] = [data for data in world.logs[""] if any(isinstance(e, HookDue) for e in commit.decode(data).events)]
    events = commit.decode(data).events
    assert commit.kind(events) == "h"
    assert any(isinstance(event, StepFinished) for event in events)


def test_the_handler_learns_how_the_workflow_ended() -> None:
    spec = {
        "entrypoint": "main",
        "onExit": "h",
        "templates": [
            {"name": "main", "steps": [[step("a")]]},
            LEAF,
            telling("{{workflow.status}}", "{{workflow.failures}}"),
        ],
    }
    status, failures = told(World(spec, failing("w[0].a")).run())
    assert status == "Failed"
    entries = json.loads(json.loads(failures))
    assert [entry["displayName"] for entry in entries] == ["a", "[0]", "w"]
    assert entries[0]["message"] == "main: Error (exit code 1)"
    assert entries[0]["podName"].startswith("w-t-")


def test_without_failures_the_handler_reads_a_quoted_null() -> None:
    spec = {
        "entrypoint": "main",
        "onExit": "h",
        "templates": [{"name": "main", "steps": [[step("a")]]}, LEAF, telling("{{workflow.failures}}")],
    }
    assert told(World(spec).run()) == ['"null"']


def test_the_workflow_is_running_until_its_handler_has_ended() -> None:
    world = World(one_step(onExit="h"))
    world.settle()
    world.step()
    assert (world.main.phase, world.main.outcome, world.main.reason) == ("Running", "Succeeded", "Completed")
    assert decide.status(world.main)["status"]["finalization"] == "Running"
    world.run()
    assert (world.main.phase, world.main.finalization) == ("Succeeded", "Succeeded")
    assert world.phases()["w.onExit"] == "Succeeded"


def test_a_failing_handler_fails_a_workflow_that_went_well() -> None:
    world = World(one_step(onExit="h"), failing("w.onExit")).run()
    assert (world.main.phase, world.main.outcome, world.main.finalization) == ("Failed", "Succeeded", "Failed")
    assert world.main.message == "main: Error (exit code 1)"


def test_a_failing_handler_does_not_hide_how_the_workflow_failed() -> None:
    world = World(one_step(onExit="h"), failing("w[0].a", "w.onExit")).run()
    assert world.main.phase == "Failed"
    assert world.main.message.startswith("child 'w-")
    conditions = decide.status(world.main)["status"]["conditions"]
    assert {"type": "HandlerFailed", "status": "True", "message": "w.onExit: main: Error (exit code 1)"} in conditions


def test_a_handler_without_a_template_is_parked_and_the_workflow_ends() -> None:
    world = World(one_step(onExit="nobody")).run()
    assert world.main.closed
    [owed] = obligations(world)
    closing = commit.decode(world.logs[owed.hook_id][-1])
    assert commit.kind(closing.events) == "r"
    [end] = [event for event in closing.events if isinstance(event, RunClosed)]
    assert end.hook is not None
    assert (end.hook.state, end.hook.phase) == ("parked", "Error")
    assert "nobody" in end.hook.message


def test_a_handler_whose_expression_is_false_says_that_it_will_not_run() -> None:
    world = World(one_step(hooks={"exit": {"template": "h", "expression": 'workflow.status == "Failed"'}})).run()
    assert world.main.finalization == "Skipped"
    kinds = [commit.kind(commit.decode(data).events) for data in world.logs[""]]
    assert kinds[-2:] == ["h", "z"], "the ledger reads commits of kind h only"
    [skipped] = [e for data in world.logs[""] for e in commit.decode(data).events if isinstance(e, HookSkipped)]
    assert "workflow.status" in skipped.why


def test_terminate_withdraws_a_handler_that_runs() -> None:
    world = World(one_step(onExit="h"))
    world.settle()
    world.step()
    events = world.feed("", ShutdownRun("Terminate"))
    assert [event for event in events if isinstance(event, HookCancelled)]
    assert not world.main.closed, "the exit run still has to close"
    world.run()
    assert world.main.closed
    assert world.phases()["w.onExit"] == "Failed"


def test_terminate_runs_handlers_where_the_annotation_asks_for_it() -> None:
    started = RunStarted("uid", "w", "default", "bundle", annotations={"exeunt.dev/exit-on": "terminate, delete"})
    world = World(one_step(onExit="h"), started=started)
    world.settle()
    world.feed("", ShutdownRun("Terminate"))
    world.run()
    assert world.phases()["w.onExit"] == "Succeeded"
    assert (world.main.phase, world.main.reason) == ("Failed", "Terminated")


def test_deletion_runs_no_handler_unless_asked() -> None:
    world = World(one_step(onExit="h"))
    world.settle()
    world.feed("", ShutdownRun("Terminate", deleted=True))
    world.run()
    assert world.main.deleted
    assert world.main.reason == "Deleted"
    assert "w.onExit" not in world.phases()


def test_a_deletion_ends_the_handler_that_terminate_left_running() -> None:
    started = RunStarted("uid", "w", "default", "bundle", annotations={"exeunt.dev/exit-on": "terminate"})
    world = World(one_step(onExit="h"), started=started)
    world.settle()
    world.step()
    world.feed("", ShutdownRun("Terminate"))
    world.settle()
    assert [world.name(*at) for at in world.steps] == ["w.onExit"], "it goes on"
    world.feed("", ShutdownRun("Terminate", deleted=True))
    world.run()
    assert (world.main.closed, world.main.deleted) == (True, True)
    assert world.phases()["w.onExit"] == "Failed"


def test_each_try_has_the_key_of_what_is_tried() -> None:
    graph = {"name": "g", "steps": [[step("a")]], "retryStrategy": {"limit": 1}}
    leaf = {**LEAF, "retryStrategy": {"limit": 1}}
    spec = {"entrypoint": "g", "templates": [graph, leaf], "onExit": "t"}
    tried = failing(*(f"w({i})[0].a({j})" for i in range(2) for j in range(2)), "w.onExit(0)")
    world = World(spec, tried)
    keys: dict[str, str] = {}
    world.settle()
    while world.steps:
        for (key, node), due in world.steps.items():
            keys[world.name(key, node)] = due.step.idempotency_key
        world.step()
    assert len(keys) == 6
    assert len({key for name, key in keys.items() if "onExit" not in name}) == 1, "tries of tries, too"
    assert keys["w.onExit(0)"] == keys["w.onExit(1)"] != keys["w(0)[0].a(0)"]


def test_stop_ends_the_work_and_runs_the_handler() -> None:
    world = World(one_step(onExit="h"))
    world.settle()
    world.feed("", ShutdownRun("Stop"))
    assert [cancelled.attempt for cancelled in world.cancelled] == [0]
    world.run()
    assert (world.main.phase, world.main.reason) == ("Failed", "Stopped")
    assert world.main.message == "Stopped with strategy 'Stop'"
    assert world.phases()["w.onExit"] == "Succeeded"


def test_the_late_word_of_a_killed_step_is_kept_but_its_phase_stands() -> None:
    world = World(one_step(onExit="h"))
    world.settle()
    world.feed("", ShutdownRun("Stop"))
    [cancelled] = world.cancelled
    late = StepOutcome(phase="Succeeded", message="main: Error (exit code 143)", exit_code=143)
    world.feed("", AttemptEnded(cancelled.node, cancelled.attempt, late))
    node = decide.status(world.main)["status"]["nodes"][cancelled.node]
    assert (node["phase"], node["message"]) == ("Failed", "main: Error (exit code 143)")
    assert node["outputs"]["exitCode"] == "143"


def test_a_lost_step_of_a_handler_starts_again_and_one_of_the_work_ends_in_error() -> None:
    world = World(one_step(onExit="h"))
    world.settle()
    [(_, node)] = world.steps
    world.steps.clear()
    events = world.feed("", AttemptLost(node, 0))
    assert [event.outcome.phase for event in events if isinstance(event, StepFinished)] == ["Error"]
    world.settle()
    [(key, node)] = world.steps
    events = world.feed(key, AttemptLost(node, 0))
    [again] = events
    assert isinstance(again, StepDue)
    assert (again.node, again.attempt, again.exit) == (node, 1, True)
    world.run()
    assert world.main.finalization == "Succeeded"


def test_a_replayed_handler_runs_again_under_its_old_key_or_a_new_one() -> None:
    world = World(one_step(onExit="h"), failing("w.onExit")).run()
    [owed] = obligations(world)
    first = due_of(world, owed.hook_id)
    world.feed(owed.hook_id, Replay("once"))
    second = due_of(world, owed.hook_id)
    assert second.attempt > first.attempt
    assert second.step.idempotency_key == first.step.idempotency_key
    world.run()
    world.feed(owed.hook_id, Replay("twice", again=True))
    assert due_of(world, owed.hook_id).step.idempotency_key != first.step.idempotency_key


def due_of(world: World, key: str) -> StepDue:
    dues = [e for data in world.logs[key] for e in commit.decode(data).events if isinstance(e, StepDue)]
    return dues[-1]


def test_only_a_closed_exit_run_can_be_replayed() -> None:
    world = World(one_step(onExit="h"))
    with pytest.raises(Rejected) as caught:
        world.feed("", Replay("once"))
    assert caught.value.reason == "NOT_FINISHED"


def test_the_group_after_a_step_waits_for_its_handler() -> None:
    main = {"name": "main", "steps": [[step("a", hooks={"exit": {"template": "h"}})], [step("b")]]}
    world = World({"entrypoint": "main", "templates": [main, LEAF, HANDLER]})
    world.settle()
    world.step()
    assert list(world.phases()) == ["w", "w[0]", "w[0].a"]
    world.step()
    assert world.phases()["w[1].b"] == "Running"


def test_each_item_of_a_loop_has_its_own_handler() -> None:
    looped = step("a", withItems=["x", "y"], hooks={"exit": {"template": "h"}})
    main = {"name": "main", "steps": [[looped]]}
    world = World({"entrypoint": "main", "templates": [main, LEAF, HANDLER]}, failing("w[0].a(0:x)")).run()
    handlers = [name for name in world.phases() if name.endswith(".onExit")]
    assert handlers == ["w[0].a(0:x).onExit", "w[0].a(1:y).onExit"]


def test_the_handler_of_a_loop_comes_after_those_of_items_that_could_not_begin() -> None:
    asking = {"name": "asking", "inputs": {"parameters": [{"name": "m"}]}, "container": {"image": "x"}}
    loop = {**step("a", "asking"), "withItems": ["x", "y"], "onExit": "h"}
    main = {"name": "main", "dag": {"tasks": [loop]}}
    world = World({"entrypoint": "main", "templates": [main, asking, LEAF, HANDLER]}).run()
    phases = world.phases()
    assert [phases[name] for name in ("w.a(0:x)", "w.a(1:y)", "w.a")] == ["Error"] * 3
    due = [owed.hook_node_name for owed in obligations(world)]
    assert sorted(due[:2]) == ["w.a(0:x).onExit", "w.a(1:y).onExit"]
    assert due[2:] == ["w.a.onExit"]


def test_ids_hold_a_hash_of_64_bits_and_the_root_has_the_workflows_name() -> None:
    world = World(one_step()).run()
    nodes = decide.status(world.main)["status"]["nodes"]
    assert nodes["w"]["name"] == "w"
    assert max(int(identity.rpartition("-")[2]) for identity in nodes if identity != "w") > 2**40
