"""However something ends, its handler runs to its end once and is told how it ended: every kind of end at every level.

One workflow holds all four levels: the workflow itself, a step, a DAG's task, and two items of a loop. All of its work
ends in the same way.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, nodes
from tests.e2e.test_operators import do, manifest, recorded, sh

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

Tree = dict[str, Any]
WORK = ("step", "task", "one", "two")
HANDLERS = {
    "workflow": ".onExit",
    "step": "[0].step.onExit",
    "task": "[0].graph.task.onExit",
    "one": "[0].loop(0:one).onExit",
    "two": "[0].loop(1:two).onExit",
}


@dataclass(frozen=True)
class End:
    """A way to end, and what the handlers and the user are to see of it."""

    script: str
    phase: str
    reason: str
    outcome: str = ""  # of the workflow, where it is another than that of its work
    command: str = "sh"
    out: str = "none"
    on: str = ""
    act: str = ""  # what is done to the workflow when all of its work is under way
    message: str = ""  # part of what each node says
    spec: tuple[tuple[str, Any], ...] = ()
    template: tuple[tuple[str, Any], ...] = ()


LONG = "touch {marks}/started-{{{{inputs.parameters.me}}}}; sleep 100"
GOOD = "printf made > {marks}/out-{{{{inputs.parameters.me}}}}"
ENDS = {
    "success": End(GOOD, "Succeeded", "Completed", out="made"),
    "failure": End("exit 3", "Failed", "Failed", message="exit code 3"),
    "failure with outputs": End(GOOD + "; exit 3", "Failed", "Failed", out="made", message="exit code 3"),
    "lost executor": End(LONG, "Error", "Failed", "Failed", act="kill", message="executor"),
    "missing command": End("true", "Failed", "Failed", command="no-such-command", message="no-such-command"),
    "missing output": End("true", "Error", "Failed", "Failed", message="out"),
    "stop": End(LONG, "Failed", "Stopped", act="stop"),
    "deadline": End(
        "sleep 100", "Failed", "Deadline", message="exceeded its deadline", spec=(("activeDeadlineSeconds", 2),)
    ),
    "template deadline": End(
        "sleep 100", "Failed", "Failed", template=(("activeDeadlineSeconds", 1),), message="deadline"
    ),
    "template timeout": End("sleep 100", "Failed", "Failed", template=(("timeout", "1s"),), message="deadline"),
    "terminate": End(LONG, "Failed", "Terminated", act="terminate", on="terminate"),
    "deletion": End(LONG, "Failed", "Deleted", act="delete", on="terminate,delete"),
}


def told(level: str, status: str, out: str) -> Tree:
    """The arguments of a handler."""
    values = {"level": level, "status": status, "out": out}
    return {
        "template": "tell",
        "arguments": {"parameters": [{"name": name, "value": value} for name, value in values.items()]},
    }


def exit_of(level: str, reference: str) -> Tree:
    """The exit hook of a step or task."""
    out = f'{{{{={reference}.outputs?.parameters?.out ?? "none"}}}}'
    return {"exit": told(level, f"{{{{{reference}.status}}}}", out)}


def whole(end: End, marks: Path) -> str:
    """A workflow whose work ends like this, with a handler at every level."""

    def me(name: str) -> Tree:
        return {"parameters": [{"name": "me", "value": name}]}

    work = sh("work", end.script.format(marks=marks))
    work["container"]["command"][0] = end.command
    work["inputs"] = {"parameters": [{"name": "me"}]}
    work["outputs"] = {
        "parameters": [{"name": "out", "valueFrom": {"path": f"{marks}/out-{{{{inputs.parameters.me}}}}"}}]
    }
    work.update(end.template)
    step = {"name": "step", "template": "work", "arguments": me("step"), "hooks": exit_of("step", "steps.step")}
    task = {"name": "task", "template": "work", "arguments": me("task"), "hooks": exit_of("task", "tasks.task")}
    loop = {
        "name": "loop",
        "template": "work",
        "arguments": me("{{item}}"),
        "withItems": ["one", "two"],
        "hooks": exit_of("{{item}}", "steps.loop"),
    }
    tell = sh(
        "tell",
        f"echo {{{{inputs.parameters.level}}}} begins >> {marks}/told; "
        "out='{{inputs.parameters.out}}'; "
        f"echo {{{{inputs.parameters.level}}}} {{{{inputs.parameters.status}}}} ${{out:-none}} >> {marks}/told",
    )
    tell["inputs"] = {"parameters": [{"name": name} for name in ("level", "status", "out")]}
    main = {"name": "main", "steps": [[step, {"name": "graph", "template": "graph"}, loop]]}
    graph = {"name": "graph", "dag": {"tasks": [task]}}
    hooks = {"exit": told("workflow", "{{workflow.status}}", "none")}
    return manifest(main, graph, work, tell, prefix="end-", on=end.on, hooks=hooks, **dict(end.spec))


def act(cluster: Cluster, name: str, end: End, marks: Path) -> None:
    """Ends the workflow from outside, when all of its work is under way."""
    if not end.act:
        return
    eventually(lambda: all((marks / f"started-{me}").exists() for me in WORK))
    if end.act == "kill":
        cluster.signal("executor")
    else:
        do(cluster, end.act, name)


def eventually(holds: Callable[[], bool], seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came so far"
        time.sleep(0.05)


@pytest.mark.parametrize("kind", list(ENDS))
def test_however_it_ends_every_handler_runs_once_and_knows(cluster: Cluster, tmp_path: Path, kind: str) -> None:
    end = ENDS[kind]
    outcome = end.outcome or end.phase
    [name] = cluster.submit(whole(end, tmp_path))
    act(cluster, name, end, tmp_path)
    if end.act == "delete":
        eventually(lambda: cluster.call("get", name).returncode != 0)
    else:
        workflow = cluster.wait(name)
        status = workflow["status"]
        found = {key: status[key] for key in ("phase", "outcome", "reason", "finalization")}
        assert found == {
            "phase": outcome,
            "outcome": outcome,
            "reason": end.reason,
            "finalization": "Succeeded",
        }, status["message"]
        assert_nodes(nodes(workflow), end)

    lines = (tmp_path / "told").read_text().splitlines()
    outs = {level: end.out if level in WORK else "none" for level in HANDLERS}
    said = [f"{level} {end.phase if level in WORK else outcome} {outs[level]}" for level in HANDLERS]
    assert sorted(lines) == sorted([*said, *(f"{level} begins" for level in HANDLERS)])
    assert recorded(cluster, name) == ["succeeded"] * len(HANDLERS)
    ledger = {(entry["node"].removeprefix(name), entry["hook"]) for entry in cluster.exits("--workflow", name)}
    assert ledger == {(suffix.removesuffix(".onExit"), "exit") for suffix in HANDLERS.values()}


def assert_nodes(found: dict[str, Tree], end: End) -> None:
    """The nodes of the work ended like this, those of the handlers well."""
    for level, handler in HANDLERS.items():
        assert found[handler]["phase"] == "Succeeded", level
        if level in WORK:
            work = found[handler.removesuffix(".onExit")]
            assert (work["phase"], end.message in work.get("message", "")) == (end.phase, True), work


@pytest.mark.parametrize("kind", ["lost executor", "missing output", "template timeout", "success"])
def test_a_workflow_of_one_step_ends_as_its_step(cluster: Cluster, tmp_path: Path, kind: str) -> None:
    end = ENDS[kind]
    main = {**sh("main", end.script.replace("{{{{inputs.parameters.me}}}}", "one").format(marks=tmp_path))}
    main["outputs"] = {
        "parameters": [{"name": "out", "globalName": "out", "valueFrom": {"path": f"{tmp_path}/out-one"}}]
    }
    main.update(end.template)
    out = '{{=workflow.outputs?.parameters?.out ?? "none"}}'
    bye = sh("bye", f"echo {{{{workflow.status}}}} '{out}' >> {tmp_path}/told")
    [name] = cluster.submit(manifest(main, bye, onExit="bye"))
    if end.act == "kill":
        eventually((tmp_path / "started-one").exists)
        cluster.signal("executor")
    status = cluster.wait(name)["status"]
    assert (status["phase"], status["outcome"], status["finalization"]) == (end.phase, end.phase, "Succeeded")
    assert end.message in status.get("message", "")
    assert (tmp_path / "told").read_text().split() == [end.phase, end.out]
    assert recorded(cluster, name) == ["succeeded"]
