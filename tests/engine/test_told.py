"""What subscribers hear of steps: one end for each, when it is over, and as its node says."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from exeunt.cloudevents import StepEnded as Told
from exeunt.engine import decide
from exeunt.engine.commands.inputs import (
    AttemptEnded,
    AttemptLost,
    ResumeRun,
    RetryRun,
    SetNodes,
    ShutdownRun,
    SuspendRun,
)
from exeunt.engine.facts.work import StepOutcome
from exeunt.engine.shown.public_events import ending
from tests.engine.world import HANDLER, LEAF, World, failing, step, succeed

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
    word = AttemptLost(node, 0) if late is None else AttemptEnded(node, 0, late)
    assert ends(world, ShutdownRun(strategy)) == []
    assert ends(world, word) == [("step.failed", "w[0].a", "Failed")]
    assert ends(world, word) == []


def test_it_is_told_of_once_when_all_of_that_is_one_commit() -> None:
    world, node = started()
    assert ends(world, ShutdownRun("Stop"), AttemptEnded(node, 0, WELL)) == [("step.failed", "w[0].a", "Failed")]


def test_a_step_that_was_never_placed_is_over_at_once() -> None:
    world = World(PAIR)
    world.inbox.clear()
    assert ends(world, ShutdownRun("Stop")) == [("step.failed", "w[0].a", "Failed")]


def test_what_a_stop_keeps_from_running_is_no_step() -> None:
    hooks = {"failed": {"template": "h", "expression": "steps.a.status == 'Failed'"}}
    world, node = started(
        {"entrypoint": "main", "templates": [{"name": "main", "steps": [[step("a", hooks=hooks)]]}, LEAF, HANDLER]}
    )
    assert ends(world, ShutdownRun("Stop"), AttemptEnded(node, 0, WELL)) == [("step.failed", "w[0].a", "Failed")]
    assert world.phases()["w[0].a.hooks.failed"] == "Failed"


def test_a_workflow_runs_from_its_first_node_on_whatever_that_is() -> None:
    gate = {"name": "gate", "suspend": {}}
    empty = {"name": "main", "steps": [[step("a", withItems=[])]]}
    for first in (gate, empty):
        world = World({"entrypoint": first["name"], "templates": [first, LEAF]})
        assert world.told[:2] == ["workflow.submitted", "workflow.running"]
        assert world.told.count("workflow.running") == 1


# --- what an operator and a bot read ----------------------------------------------------------------------------------


def told(world: World, *inputs: Any) -> list[Any]:
    """The public events of one commit in which all of this is decided."""
    events = [event for given in inputs for event in decide.decide(world.main, given, world.now)]
    return decide.public_events(world.main, events)


def short(events: list[Any]) -> list[tuple[str, str, str, str]]:
    """Type, and who, why, which node."""
    return [(e.type, e.data.by, e.data.message, getattr(e.data, "node", "")) for e in events if hasattr(e.data, "by")]


GATE = {"name": "gate", "suspend": {}}
TIMED = {"name": "timed", "suspend": {"duration": "5m"}}


def gated(gate: Any, **spec: Any) -> Any:
    steps = [[step("ask", gate["name"])], [step("b")]]
    return {"entrypoint": "main", "templates": [{"name": "main", "steps": steps}, gate, LEAF, HANDLER], **spec}


def test_people_hear_what_waits_for_them_and_who_let_it_go_on() -> None:
    world = World(gated(GATE))
    assert world.told == ["workflow.submitted", "workflow.running", "workflow.suspended"]
    found = told(world, ResumeRun("1", selector="displayName=ask", message="fine", by="ann"))
    assert short(found) == [("workflow.resumed", "ann", "fine", "w[0].ask")]
    assert [e.type for e in found] == ["workflow.resumed", "step.succeeded"]


def test_what_waits_for_a_time_waits_for_nobody() -> None:
    world = World(gated(TIMED))
    assert world.told == ["workflow.submitted", "workflow.running"]


def test_a_node_that_is_refused_says_by_whom() -> None:
    world = World(gated(GATE))
    found = told(world, SetNodes("displayName=ask", phase="Failed", message="not today", request_id="1", by="ben"))
    assert short(found) == [("workflow.resumed", "ben", "not today", "w[0].ask")]
    assert [(e.type, e.data.message) for e in found if isinstance(e.data, Told)] == [("step.failed", "not today")]


def test_outputs_that_are_set_are_no_event_of_the_workflow() -> None:
    gate = {**GATE, "outputs": {"parameters": [{"name": "a", "valueFrom": {"supplied": {}}}]}}
    world = World(gated(gate))
    assert told(world, SetNodes("displayName=ask", {"a": "1"}, request_id="1", by="ben")) == []


def test_suspending_and_resuming_the_whole() -> None:
    world, _ = started()
    assert short(told(world, SuspendRun("1", "the tide", "ann"))) == [("workflow.suspended", "ann", "the tide", "")]
    assert told(world, SuspendRun("2", "again", "ben")) == []
    assert short(told(world, ResumeRun("3", message="ebb", by="ben"))) == [("workflow.resumed", "ben", "ebb", "")]
    assert told(world, ResumeRun("4", by="ann")) == []


def test_one_that_is_submitted_suspended_runs_when_it_is_resumed() -> None:
    world = World({**PAIR, "suspend": True})
    assert world.told == ["workflow.submitted", "workflow.suspended"]
    found = [e.type for e in told(world, ResumeRun("1", by="ann"))]
    assert found == ["workflow.resumed", "workflow.running"]


def test_a_stop_resumes_nothing() -> None:
    world = World(gated(GATE, onExit="h"))
    told(world, SuspendRun("1"))
    found = told(world, ShutdownRun("Stop", "2", "the tide", by="ann"))
    assert "workflow.resumed" not in [e.type for e in found]
    [exiting] = [e.data for e in found if e.type == "workflow.exiting"]
    assert msgspec.to_builtins(exiting.shutdown) == {"strategy": "Stop", "by": "ann", "message": "the tide"}
    assert exiting.reason == "Stopped"


def test_each_attempt_of_a_workflow_has_one_end() -> None:
    world = World(PAIR, failing("w[0].a"))
    world.run()
    world.outcomes = succeed
    [retried, running, *_] = told(world, RetryRun("1", message="mended", by="ann"))
    assert (retried.type, retried.data.by, retried.data.message) == ("workflow.retried", "ann", "mended")
    assert (running.type, retried.data.attempt, running.data.attempt) == ("workflow.running", 1, 1)


def test_a_handler_that_is_not_to_run_is_told_with_the_reason() -> None:
    world = World({**PAIR, "hooks": {"exit": {"template": "h", "expression": "workflow.status == 'Failed'"}}})
    found = [event for event in world.run().heard if event.type.startswith("exit.")]
    assert [e.type for e in found] == ["exit.skipped"]
    assert (found[0].data.hook, found[0].data.template, found[0].data.node) == ("exit", "h", "w")
    assert found[0].data.error.startswith("its expression is false")
    assert found[0].hook == found[0].data.id


def last(manifest: Any, *failed: str) -> Any:
    """The body of the last event of a workflow of which these steps fail."""
    world = World(manifest, failing(*failed))
    world.run()
    return ending(world.main)


SAID = "main: Error (exit code 1)"


@pytest.mark.parametrize(
    ("main", "failed", "message"),
    [
        ({"steps": [[step("a")]]}, "w[0].a", f"w[0].a: {SAID}"),
        ({"dag": {"tasks": [step("a"), {**step("b"), "depends": "a"}]}}, "w.a", f"w.a: {SAID}"),
        (
            {"dag": {"tasks": [{**step("x"), "continueOn": {"failed": True}}, step("y")]}},
            "w.x w.y",
            f"w.y: {SAID}",
        ),
    ],
)
def test_the_end_names_the_node_that_failed_and_its_words(main: Any, failed: str, message: str) -> None:
    found = last({"entrypoint": "main", "templates": [{"name": "main", **main}, LEAF]}, *failed.split())
    assert found.phase == "Failed"
    assert found.message == message


def test_a_step_that_was_given_up_says_what_its_last_attempt_said() -> None:
    leaf = {**LEAF, "retryStrategy": {"limit": 1}}
    world = World({"entrypoint": LEAF["name"], "templates": [leaf]}, failing("w(0)", "w(1)"))
    world.run()
    assert ending(world.main).message == f"No more retries left: {SAID}"


def test_a_dag_that_fails_as_a_handler_is_named_too() -> None:
    handler = {"name": "d", "dag": {"tasks": [step("t")]}}
    spec = {"entrypoint": "main", "onExit": "d", "templates": [{"name": "main", "steps": [[step("a")]]}, handler, LEAF]}
    found = last(spec, "w.onExit.t")
    assert (found.phase, found.outcome) == ("Failed", "Succeeded")
    assert found.message == f"w.onExit.t: {SAID}"
