"""Retry of a workflow that ended: what runs again, what stays, and what handlers are owed then."""

from __future__ import annotations

from typing import Any

import pytest

from exeunt.engine import decide
from exeunt.engine.commands.inputs import Rejected, ResumeRun, RetryRun, ShutdownRun
from exeunt.engine.facts.work import StepOutcome
from tests.engine.world import HANDLER, LEAF, World, failing, step, succeed

WAYS = pytest.mark.parametrize(
    "way", [{}, {"restarts": True}, {"snapshots": True}], ids=["kept", "restarts", "snapshots"]
)


def steps(*groups: list[dict[str, Any]], **spec: Any) -> dict[str, Any]:
    return {"entrypoint": "m", "templates": [{"name": "m", "steps": list(groups)}, LEAF, HANDLER], **spec}


def dag(*tasks: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"entrypoint": "m", "templates": [{"name": "m", "dag": {"tasks": list(tasks)}}, LEAF, HANDLER], **spec}


class Tried(World):
    """A world that counts how often each step was run."""

    def retry(self, **parameters: str) -> Tried:
        self.ran: list[str] = []
        self.outcomes = self.well
        self.feed("", RetryRun("again", parameters))
        self.run()
        return self

    def well(self, name: str, attempt: int) -> StepOutcome:
        self.ran.append(name)
        return StepOutcome(phase="Succeeded", exit_code=0, result=str(attempt))


@WAYS
def test_what_failed_runs_again_and_what_went_well_stays(way: dict[str, bool]) -> None:
    world = Tried(steps([step("a")], [step("b"), step("c")], [step("d")], onExit="h"), failing("w[1].b"), **way)
    world.run()
    assert world.main.phase == "Failed"
    first = {node["name"]: node for node in world.seen()["status"]["nodes"].values()}
    world.now += 3600
    world.retry()
    assert sorted(world.ran) == ["w.onExit", "w[1].b", "w[2].d"]
    assert set(world.phases().values()) == {"Succeeded"}
    assert world.main.phase == "Succeeded"
    seen = world.seen()
    assert seen["status"]["runAttempt"] == 1
    for node in seen["status"]["nodes"].values():
        if node["name"] in ("w[0].a", "w[1].c"):
            assert {**node, "children": []} == {**first[node["name"]], "children": []}, "as it was, times and all"
    assert seen["metadata"]["creationTimestamp"] == "2026-01-02T03:04:05Z"
    assert seen["status"]["startedAt"] == "2026-01-02T04:04:05Z"


@WAYS
def test_each_attempt_owes_its_own_exit_run(way: dict[str, bool]) -> None:
    world = Tried(steps([step("a", hooks={"exit": {"template": "h"}})], onExit="h"), failing("w[0].a"), **way)
    world.run()
    before = set(world.runs)
    world.retry()
    owed = [run.obligation for key, run in world.runs.items() if key and key not in before]
    assert {(one.node_name, one.phase, one.run_attempt) for one in owed if one} == {
        ("w", "Succeeded", 1), ("w[0].a", "Succeeded", 1),
    }  # fmt: skip
    assert world.told.count("workflow.failed") == world.told.count("workflow.succeeded") == 1


@WAYS
def test_a_handler_alone_that_failed_is_owed_again(way: dict[str, bool]) -> None:
    world = Tried(steps([step("a")], onExit="h"), failing("w.onExit"), **way).run()
    assert (world.main.outcome, world.main.phase) == ("Succeeded", "Failed")
    assert isinstance(world, Tried)
    world.retry()
    assert world.ran == ["w.onExit"]
    assert (world.main.phase, world.main.finalization) == ("Succeeded", "Succeeded")


@WAYS
def test_of_a_graph_only_what_depends_on_the_failure(way: dict[str, bool]) -> None:
    tasks = [
        step("a"), step("b", dependencies=["a"]), step("c", dependencies=["b"]), step("d", dependencies=["a"]),
        step("x"), step("y", depends="x.Failed"),
    ]  # fmt: skip
    world = Tried(dag(*tasks), failing("w.b", "w.x"), **way)
    world.run()
    assert world.phases()["w.c"] == "Omitted"
    world.retry()
    assert world.ran == ["w.b", "w.c"], "x failed too, but what was there for that has gone well"
    phases = world.phases()
    assert (phases["w.x"], phases["w.y"], phases["w.c"]) == ("Failed", "Succeeded", "Succeeded")


@WAYS
@pytest.mark.parametrize("kind", ["steps", "dag"])
def test_of_a_loop_only_the_items_that_failed(way: dict[str, bool], kind: str) -> None:
    loop = step("l", withItems=["p", "q", "r", "s"])
    use = step(
        "u",
        arguments={
            "parameters": [{"name": "all", "value": f"{{{{{kind if kind == 'steps' else 'tasks'}.l.outputs.result}}}}"}]
        },
    )
    taking = {
        "name": "t2",
        "inputs": {"parameters": [{"name": "all"}]},
        "container": {"image": "x", "args": ["{{inputs.parameters.all}}"]},
    }
    use["template"] = "t2"
    spec = steps([loop], [use]) if kind == "steps" else dag(loop, {**use, "dependencies": ["l"]})
    spec["templates"].append(taking)
    root = "w[0].l" if kind == "steps" else "w.l"
    world = Tried(spec, failing(f"{root}(0:p)", f"{root}(2:r)"), **way)
    world.run()
    world.retry()
    last = "w[1].u" if kind == "steps" else "w.u"
    assert world.ran == [f"{root}(0:p)", f"{root}(2:r)", last]
    assert world.main.phase == "Succeeded"
    [node] = [n for n in world.seen()["status"]["nodes"].values() if n["name"] == last]
    assert node["inputs"]["parameters"][0]["value"] == "[1,1]", "of items that ran now; the first ones gave none"


@WAYS
def test_tries_begin_anew_and_have_numbers_of_their_own(way: dict[str, bool]) -> None:
    again = {**LEAF, "retryStrategy": {"limit": 1}}
    spec = {"entrypoint": "t", "templates": [again]}
    world = Tried(spec, failing("w(0)", "w(1)"), **way)
    world.run()
    assert world.phases() == {"w": "Failed", "w(0)": "Failed", "w(1)": "Failed"}
    world.retry()
    assert world.phases() == {"w": "Succeeded", "w(0)": "Succeeded"}
    [node] = [n for n in world.seen()["status"]["nodes"].values() if n["name"] == "w(0)"]
    assert node["outputs"]["result"] == "1", "attempts 0 of both nodes are known to executors already"


@WAYS
def test_a_retried_graph_goes_on_in_its_last_attempt(way: dict[str, bool]) -> None:
    inner = {"name": "m", "steps": [[step("a")], [step("b")]], "retryStrategy": {"limit": 1}}
    world = Tried({"entrypoint": "m", "templates": [inner, LEAF]}, failing("w(0)[1].b", "w(1)[1].b"), **way)
    world.run()
    world.retry()
    assert world.ran == ["w(1)[1].b"]
    phases = world.phases()
    assert (phases["w"], phases["w(0)"], phases["w(0)[1].b"], phases["w(1)"]) == (
        "Succeeded", "Failed", "Failed", "Succeeded",
    )  # fmt: skip


@WAYS
@pytest.mark.parametrize("strategy", ["Stop", "Terminate"])
def test_what_was_stopped_can_go_on(way: dict[str, bool], strategy: str) -> None:
    world = Tried(steps([step("a")], [step("b")], [step("c")], onExit="h"), **way)
    world.settle()
    world.step()  # a has ended, b runs
    world.feed("", ShutdownRun(strategy))
    world.run()
    assert (world.main.phase, world.main.reason) == ("Failed", {"Stop": "Stopped"}.get(strategy, "Terminated"))
    world.retry()
    assert world.ran == ["w[1].b", "w[2].c", "w.onExit"]
    assert (world.main.phase, world.main.reason) == ("Succeeded", "Completed")


@WAYS
def test_a_graph_that_was_stopped_before_it_began_anything(way: dict[str, bool]) -> None:
    spec = dag(step("wait", "s"), step("a", dependencies=["wait"]), parallelism=1)
    spec["templates"].append({"name": "s", "suspend": {}})
    world = Tried(spec, **way)
    world.settle()
    world.feed("", ShutdownRun("Stop"))
    world.run()
    world.retry()
    assert world.phases()["w.wait"] == "Running", "a suspended node that failed waits again"
    world.feed("", ResumeRun())
    world.run()
    assert world.main.phase == "Succeeded"


def test_parameters_take_the_place_of_those_before() -> None:
    leaf = {"name": "t", "container": {"image": "x", "args": ["{{workflow.parameters.p}}"]}}
    given = {"parameters": [{"name": "p", "value": "1"}]}
    world = Tried({"entrypoint": "t", "templates": [leaf], "arguments": given}, failing("w"))
    world.run()
    world.retry(p="2")
    assert world.seen()["spec"]["arguments"]["parameters"] == [{"name": "p", "value": "2"}]
    assert world.main.phase == "Succeeded"


def test_the_deadline_counts_anew() -> None:
    world = Tried(steps([step("a")], [step("b")], activeDeadlineSeconds=100), failing("w[1].b"))
    world.run()
    world.now += 1000
    world.feed("", RetryRun("again"))
    assert world.timers == {("", "deadline"): float(int(world.now)) + 100}
    world.outcomes = succeed
    world.run()
    assert (world.main.phase, world.timers) == ("Succeeded", {})


def test_what_runs_or_went_well_is_not_retried() -> None:
    world = World(steps([step("a")]))
    with pytest.raises(Rejected, match="wait until it has ended"):
        decide.decide(world.main, RetryRun("r"), world.now)
    world.run()
    with pytest.raises(Rejected, match="nothing to retry"):
        decide.decide(world.main, RetryRun("r"), world.now)


def test_the_same_request_is_one_retry() -> None:
    world = Tried(steps([step("a")]), failing("w[0].a"))
    world.run()
    world.retry()
    assert world.feed("", RetryRun("again")) == []


@WAYS
def test_a_second_retry(way: dict[str, bool]) -> None:
    world = Tried(steps([step("a")], [step("b")], onExit="h"), failing("w[0].a"), **way)
    world.run()
    world.outcomes = failing("w[1].b")
    world.feed("", RetryRun("first"))
    world.run()
    assert world.phases()["w[0].a"] == "Succeeded"
    assert world.main.phase == "Failed"
    world.retry()
    assert world.ran == ["w[1].b", "w.onExit"]
    assert world.seen()["status"]["runAttempt"] == 2
