"""Operators and clocks: suspend, resume, deadlines, retries that wait."""

from __future__ import annotations

from typing import Any

import pytest

from exeunt.engine import decide
from exeunt.engine.commands.inputs import (
    AttemptEnded,
    Rejected,
    ResumeRun,
    SetNodes,
    ShutdownRun,
    SuspendRun,
    TimerFired,
)
from exeunt.engine.facts.events import SuspensionSet
from exeunt.engine.facts.work import StepOutcome
from tests.engine.world import HANDLER, LEAF, START, World, failing, step

Manifest = dict[str, Any]


def workflow(*templates: Manifest, **more: Any) -> Manifest:
    return {"entrypoint": "main", "templates": [*templates, LEAF, HANDLER], **more}


GATE: Manifest = {
    "name": "gate",
    "suspend": {},
    "outputs": {"parameters": [{"name": "answer", "valueFrom": {"supplied": {}}}]},
}
ASKING = workflow({"name": "main", "steps": [[step("ask", "gate")], [step("b")]]}, GATE)


def test_a_suspended_run_starts_nothing_until_it_is_resumed() -> None:
    world = World(workflow({"name": "main", "steps": [[step("a")], [step("b")]]}))
    world.settle()
    world.feed("", SuspendRun())
    world.step()
    assert world.phases()["w[0].a"] == "Succeeded"
    assert not world.steps
    world.feed("", ResumeRun())
    world.run()
    assert world.main.phase == "Succeeded"


def test_a_workflow_may_be_submitted_suspended() -> None:
    world = World(workflow({"name": "main", "steps": [[step("a")]]}, suspend=True))
    assert world.phases() == {}
    assert world.main.suspended
    world.feed("", ResumeRun())
    assert world.run().main.phase == "Succeeded"


def test_a_gate_waits_for_what_it_was_promised() -> None:
    world = World(ASKING)
    with pytest.raises(Rejected) as caught:
        world.feed("", ResumeRun())
    assert caught.value.reason == "OUTPUT_MISSING"
    assert world.phases()["w[0].ask"] == "Running", "a refused command changes nothing"
    world.feed("", SetNodes("displayName=ask", {"answer": "yes"}))
    world.feed("", ResumeRun(selector="displayName=ask"))
    world.run()
    nodes = {node["name"]: node for node in decide.status(world.main)["status"]["nodes"].values()}
    assert nodes["w[0].ask"]["outputs"]["parameters"] == [{"name": "answer", "value": "yes"}]


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (SetNodes("displayName=nobody", {"answer": "x"}), "NO_SUCH_NODE"),
        (SetNodes("displayName=ask", {"other": "x"}), "NO_SUCH_OUTPUT"),
        (SetNodes("displayName=ask", phase="Happy"), "INVALID_PHASE"),
        (SetNodes("ask", {"answer": "x"}), "INVALID_SELECTOR"),
        (SetNodes("colour=red", {"answer": "x"}), "INVALID_SELECTOR"),
        (ResumeRun(selector="displayName=nobody"), "NO_SUCH_NODE"),
        (ShutdownRun("Sleep"), "INVALID_STRATEGY"),
    ],
)
def test_a_command_that_makes_no_sense_is_refused_with_a_reason(command: Any, reason: str) -> None:
    world = World(ASKING)
    with pytest.raises(Rejected) as caught:
        world.feed("", command)
    assert caught.value.reason == reason


def test_nothing_can_be_done_to_a_finished_workflow() -> None:
    world = World(workflow({"name": "main", "steps": [[step("a")]]})).run()
    for command in (ShutdownRun("Stop"), SuspendRun(), ResumeRun(), SetNodes("displayName=a", phase="Failed")):
        with pytest.raises(Rejected) as caught:
            world.feed("", command)
        assert caught.value.reason == "WORKFLOW_FINISHED"


def test_a_repeated_request_is_answered_and_changes_nothing() -> None:
    world = World(workflow({"name": "main", "steps": [[step("a")]]}))
    world.settle()
    assert world.feed("", SuspendRun("r1"))
    assert world.feed("", SuspendRun("r1")) == []


def test_a_gate_with_a_duration_opens_by_itself() -> None:
    gate = {"name": "gate", "suspend": {"duration": "20"}}
    world = World(workflow({"name": "main", "steps": [[step("ask", "gate")]]}, gate))
    assert list(world.timers.values()) == [START + 20]
    assert world.run().main.phase == "Succeeded"


def test_the_deadline_ends_the_work_but_not_the_handler() -> None:
    world = World(workflow({"name": "main", "steps": [[step("a")]]}, activeDeadlineSeconds=30, onExit="h"))
    world.settle()
    [(_, timer)] = world.timers
    world.now = START + 31
    world.feed("", TimerFired(timer))
    assert world.main.nodes[2].message == "Step exceeded its deadline"
    world.run()
    assert (world.main.phase, world.main.reason) == ("Failed", "Deadline")
    assert world.phases()["w.onExit"] == "Succeeded"


def test_a_step_that_waits_for_its_next_try_says_which_deadline_it_met() -> None:
    again = {**LEAF, "name": "again", "retryStrategy": {"limit": 3, "backoff": {"duration": "60"}}}
    main = {"name": "main", "steps": [[step("a", "again")]]}
    world = World(workflow(main, again, activeDeadlineSeconds=30), failing("w[0].a(0)"), restarts=True).run()
    assert world.main.nodes[2].message == "retry exceeded workflow deadline 2026-01-02 03:04:35 +0000 UTC"


def test_the_deadline_ends_hooks_too_but_not_the_handlers_in_them() -> None:
    hooks = {"live": {"template": "group", "expression": "steps.a.status == 'Running'"}}
    group = {"name": "group", "steps": [[step("x", hooks={"exit": {"template": "h"}})]]}
    main = {"name": "main", "steps": [[step("a", hooks=hooks)]]}
    world = World(workflow(main, group, activeDeadlineSeconds=30))
    world.settle()
    assert len(world.runs) == 2, "the hook runs"
    world.now = START + 31
    world.feed("", TimerFired("deadline"))
    world.run()
    assert world.phases()["w[0].a.hooks.live[0].x"] == "Failed"
    assert world.phases()["w[0].a.hooks.live[0].x.onExit"] == "Succeeded"
    assert (world.main.phase, world.main.reason) == ("Failed", "Deadline")


def test_that_a_deadline_ended_a_step_is_not_hidden_by_what_the_killed_step_reports() -> None:
    timed = {"name": "t", "timeout": "10s", "container": {"image": "x"}}
    world = World(workflow({"name": "main", "steps": [[step("a", "t")]]}, timed, onExit="h"))
    world.settle()
    [(_, timer)], [(key, node)] = world.timers, world.steps
    world.feed("", TimerFired(timer))
    killed = StepOutcome(phase="Failed", message="main: Error (exit code 143)", exit_code=143)
    assert world.feed(key, AttemptEnded(node, 0, killed)), "the handler still runs, so the run takes it"
    [work] = [found for found in world.main.nodes if world.main.id(found) == node]
    assert (work.phase, work.message) == ("Failed", "Step exceeded its deadline")
    assert work.outputs is not None
    assert work.outputs.exit_code == 143


def test_a_retry_waits_longer_each_time_and_ends_with_its_limit() -> None:
    retried = {
        "name": "r",
        "retryStrategy": {"limit": 2, "backoff": {"duration": "10", "factor": 3}},
        "container": {"image": "x"},
    }
    world = World(
        workflow({"name": "main", "steps": [[step("a", "r")]]}, retried), failing(*[f"w[0].a({n})" for n in range(3)])
    )
    waits = []
    world.settle()
    while world.step():
        waits += [due - world.now for due in world.timers.values()]
    assert waits == [10, 30]
    assert world.phases()["w[0].a"] == "Failed"
    assert len([name for name in world.phases() if name.startswith("w[0].a(")]) == 3


def test_a_template_that_calls_itself_for_ever_ends() -> None:
    endless = {"name": "main", "steps": [[step("again", "main")]]}
    world = World({"entrypoint": "main", "templates": [endless]})
    assert world.main.phase == "Failed"
    assert any("recursion" in node.message for node in world.main.nodes)


def test_an_attempt_that_is_not_the_current_one_changes_nothing() -> None:
    world = World(workflow({"name": "main", "steps": [[step("a")]]}))
    world.settle()
    [(key, node)] = world.steps
    assert world.feed(key, AttemptEnded(node, 7, StepOutcome(phase="Succeeded"))) == []
    assert world.feed(key, AttemptEnded("w-1", 0, StepOutcome(phase="Succeeded"))) == []


WORDS: dict[str, Any] = {"by": "ann@ship", "message": "the tide"}


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (ShutdownRun("Stop", "id", **WORDS), "Stopped"),
        (ShutdownRun("Terminate", "id", **WORDS), "Terminated"),
        (ShutdownRun("Terminate", "id", **WORDS, deleted=True), "Deleted"),
    ],
)
def test_a_workflow_says_who_ended_it_and_why_also_when_it_is_read_again(command: ShutdownRun, reason: str) -> None:
    world = World(workflow({"name": "main", "steps": [[step("a")]]}), restarts=True, snapshots=True)
    world.settle()
    world.feed("", command)
    status = decide.status(world.run().main)["status"]
    assert (status["reason"], status["shutdown"]) == (reason, {"strategy": command.strategy, **WORDS})


def test_the_log_has_who_suspended_and_who_resumed() -> None:
    world = World(workflow({"name": "main", "steps": [[step("a")]]}))
    for command in (SuspendRun("1", "the tide", "ann"), ResumeRun("2", message="ebb", by="ben")):
        [said] = [event for event in world.feed("", command) if isinstance(event, SuspensionSet)]
        assert (said.by, said.message) == (command.by, command.message)


def test_a_deadline_is_nobodys() -> None:
    world = World(workflow({"name": "main", "steps": [[step("a")]]}, activeDeadlineSeconds=5))
    world.settle()
    world.now += 6
    world.feed("", TimerFired("deadline"))
    assert "shutdown" not in decide.status(world.run().main)["status"]
