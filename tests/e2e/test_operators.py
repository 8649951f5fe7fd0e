"""What an operator does to a workflow under way, and what becomes of its exit handlers."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exeunt.cli.word import whoami
from tests.e2e.cluster import Cluster, nodes

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

Tree = dict[str, Any]


def sh(name: str, script: str) -> Tree:
    """A template that runs a shell script."""
    return {"name": name, "container": {"image": "none", "command": ["sh", "-c"], "args": [script]}}


def manifest(*templates: Tree, prefix: str = "op-", on: str = "", **spec: Any) -> str:
    """A workflow of these templates that begins with `main`."""
    metadata: Tree = {"generateName": prefix, **({"annotations": {"exeunt.dev/exit-on": on}} if on else {})}
    return json.dumps(
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Workflow",
            "metadata": metadata,
            "spec": {"entrypoint": "main", "templates": templates, **spec},
        }
    )


def until(cluster: Cluster, name: str, holds: Callable[[Tree], bool], seconds: float = 40) -> Tree:
    """Asks again until it holds of the workflow."""
    deadline = time.monotonic() + seconds
    while True:
        workflow = cluster.get(name)
        if holds(workflow):
            return workflow
        assert time.monotonic() < deadline, f"{name} never came so far: {workflow['status']}"
        time.sleep(0.1)


def runs(node: str) -> Callable[[Tree], bool]:
    """Whether that node runs (on an executor when it is a step)."""
    return lambda workflow: nodes(workflow).get(node, {}).get("phase") == "Running"


def do(cluster: Cluster, *arguments: str) -> str:
    """A command that has to succeed; its output."""
    done = cluster.call(*arguments)
    assert done.returncode == 0, f"{arguments}: {done.returncode} {done.stdout} {done.stderr}"
    return done.stdout


def recorded(cluster: Cluster, name: str) -> list[str]:
    """The states that the ledger has of a workflow's handlers, once it has any and all have ended."""
    deadline = time.monotonic() + 20
    while True:
        states = [e["state"] for e in cluster.exits("--workflow", name)]
        if states and not {"due", "running"} & {*states}:
            return states
        assert time.monotonic() < deadline, f"the ledger has {states or 'nothing'} of {name}"
        time.sleep(0.1)


def started(cluster: Cluster, tmp_path: Path, on: str = "") -> tuple[str, Path]:
    """A workflow in the midst of a long step, and the file that its handler will write."""
    mark = tmp_path / "handler"
    bye = sh("bye", f"echo {{{{workflow.status}}}} >> {mark}")
    [name] = cluster.submit(manifest(sh("main", "sleep 100"), bye, onExit="bye", on=on))
    until(cluster, name, runs(""))
    return name, mark


def test_stop_ends_the_step_and_runs_the_handler(cluster: Cluster, tmp_path: Path) -> None:
    name, mark = started(cluster, tmp_path)
    do(cluster, "stop", name, "--message", "enough")
    status = cluster.wait(name)["status"]
    assert (status["phase"], status["outcome"], status["reason"]) == ("Failed", "Failed", "Stopped")
    assert status["finalization"] == "Succeeded"
    assert mark.read_text() == "Failed\n"


def test_a_workflow_says_who_submitted_it_and_who_ended_it(cluster: Cluster) -> None:
    [name] = cluster.submit(manifest(sh("main", "sleep 100")), "--by", "ann of the yard")
    until(cluster, name, runs(""))
    do(cluster, "stop", name, "--message", "the tide is out")
    found = cluster.wait(name)
    assert found["metadata"]["annotations"]["exeunt.dev/creator"] == "ann of the yard"
    assert found["status"]["shutdown"] == {"strategy": "Stop", "by": whoami(), "message": "the tide is out"}
    again = cluster.get(do(cluster, "resubmit", name, "--by", "ben").strip())
    assert again["metadata"]["annotations"]["exeunt.dev/creator"] == "ben"
    do(cluster, "delete", again["metadata"]["name"])


def test_terminate_ends_the_step_and_runs_no_handler(cluster: Cluster, tmp_path: Path) -> None:
    name, mark = started(cluster, tmp_path)
    do(cluster, "terminate", name)
    status = cluster.wait(name)["status"]
    assert (status["phase"], status["reason"], status["finalization"]) == ("Failed", "Terminated", "Skipped")
    assert not mark.exists()
    assert recorded(cluster, name) == ["skipped"], "what did not run says so"


def test_terminate_runs_the_handler_where_the_workflow_asks_for_it(cluster: Cluster, tmp_path: Path) -> None:
    name, mark = started(cluster, tmp_path, on="terminate")
    do(cluster, "terminate", name)
    status = cluster.wait(name)["status"]
    assert (status["phase"], status["reason"], status["finalization"]) == ("Failed", "Terminated", "Succeeded")
    assert mark.read_text() == "Failed\n"


def test_terminate_ends_a_handler_that_runs(cluster: Cluster) -> None:
    [name] = cluster.submit(manifest(sh("main", "true"), sh("bye", "sleep 100"), onExit="bye"))
    until(cluster, name, runs(".onExit"))
    do(cluster, "terminate", name)
    status = cluster.wait(name)["status"]
    assert status["outcome"] == "Succeeded", "the main run was over already"
    assert recorded(cluster, name) == ["cancelled"]


def test_stop_lets_a_handler_that_runs_end(cluster: Cluster, tmp_path: Path) -> None:
    go, mark = tmp_path / "go", tmp_path / "handler"
    bye = sh("bye", f"while ! [ -e {go} ]; do sleep 0.1; done; echo done > {mark}")
    [name] = cluster.submit(manifest(sh("main", "true"), bye, onExit="bye"))
    until(cluster, name, runs(".onExit"))
    cluster.call("stop", name)  # answered in one way or the other: there is nothing left to stop
    go.touch()
    status = cluster.wait(name)["status"]
    assert (status["outcome"], status["finalization"]) == ("Succeeded", "Succeeded")
    assert mark.read_text() == "done\n"


def test_suspend_starts_nothing_more_until_resume(cluster: Cluster, tmp_path: Path) -> None:
    go, first, second = (tmp_path / n for n in ("go", "first", "second"))
    steps = {"name": "main", "steps": [[{"name": "a", "template": "a"}], [{"name": "b", "template": "b"}]]}
    a = sh("a", f"while ! [ -e {go} ]; do sleep 0.1; done; touch {first}")
    [name] = cluster.submit(manifest(steps, a, sh("b", f"touch {second}")))
    until(cluster, name, runs("[0].a"))
    do(cluster, "suspend", name)
    go.touch()
    until(cluster, name, lambda w: nodes(w)["[0].a"]["phase"] == "Succeeded")
    waiting = cluster.get(name)
    assert waiting["status"]["phase"] == "Running"
    assert first.exists()
    assert not second.exists()
    do(cluster, "resume", name)
    assert cluster.wait(name)["status"]["phase"] == "Succeeded"
    assert second.exists()


def test_a_suspended_node_gets_its_outputs(cluster: Cluster) -> None:
    ask = {
        "name": "ask",
        "suspend": {},
        "outputs": {"parameters": [{"name": "answer", "valueFrom": {"supplied": {}}}]},
    }
    say = {**sh("say", "echo got {{inputs.parameters.answer}}"), "inputs": {"parameters": [{"name": "answer"}]}}
    value = "{{steps.ask.outputs.parameters.answer}}"
    use = {"name": "say", "template": "say", "arguments": {"parameters": [{"name": "answer", "value": value}]}}
    steps = {"name": "main", "steps": [[{"name": "ask", "template": "ask"}], [use]]}
    [name] = cluster.submit(manifest(steps, ask, say))
    until(cluster, name, runs("[0].ask"))
    selector = ("--node-field-selector", "displayName=ask")
    do(cluster, "node", "set", name, *selector, "--output-parameter", "answer=42")
    do(cluster, "resume", name)
    assert cluster.wait(name)["status"]["phase"] == "Succeeded"
    assert "got 42" in do(cluster, "logs", name)


def test_a_deleted_workflow_is_gone_after_its_handler_ran(cluster: Cluster, tmp_path: Path) -> None:
    name, mark = started(cluster, tmp_path, on="delete")
    do(cluster, "delete", name)
    deadline = time.monotonic() + 40
    while cluster.call("get", name).returncode == 0:
        assert time.monotonic() < deadline, f"{name} is still there"
        time.sleep(0.1)
    assert mark.read_text() == "Failed\n"
    assert recorded(cluster, name) == ["succeeded"], "the ledger remembers"
    assert name not in do(cluster, "list", "-o", "name")


def test_logs_follow_until_the_end_with_every_line(cluster: Cluster) -> None:
    count = sh("main", "for i in 1 2 3; do echo main $i; sleep 0.2; done")
    [name] = cluster.submit(manifest(count, sh("bye", "echo bye"), onExit="bye"))
    lines = do(cluster, "logs", "-f", "--no-name", name).splitlines()
    assert [line for line in lines if line.startswith("main")] == ["main 1", "main 2", "main 3"]
    assert cluster.wait(name)["status"]["phase"] == "Succeeded"
    assert "bye" in do(cluster, "logs", "--no-name", name).splitlines()


def test_watch_ends_with_the_workflow_and_its_exit_code(cluster: Cluster) -> None:
    [good] = cluster.submit(manifest(sh("main", "sleep 0.5")))
    [bad] = cluster.submit(manifest(sh("main", "exit 3")))
    assert cluster.call("watch", good).returncode == 0
    done = cluster.call("watch", bad, "-o", "json")
    assert done.returncode == 1
    [workflow] = json.loads(done.stdout)
    assert workflow["status"]["phase"] == "Failed"
    assert nodes(workflow)[""]["outputs"]["exitCode"] == "3"


def test_lists_choose_by_phase_label_and_number(cluster: Cluster) -> None:
    mine = uuid.uuid4().hex[:8]
    good = [cluster.submit(manifest(sh("main", "true")), "--label", f"batch={mine}")[0] for _ in range(3)]
    [bad] = cluster.submit(manifest(sh("main", "false")), "--label", f"batch={mine}")
    for name in [*good, bad]:
        cluster.wait(name)

    def listed(*arguments: str) -> list[str]:
        return do(cluster, "list", "-o", "name", "--selector", f"batch={mine}", *arguments).split()

    assert listed() == [bad, *reversed(good)], "newest first"
    assert listed("--phase", "Failed") == [bad]
    assert listed("--phase", "Succeeded", "--limit", "2") == [good[2], good[1]]


@pytest.mark.parametrize("ended", [False, True])
def test_a_submission_sent_twice_is_one(cluster: Cluster, ended: bool) -> None:
    once = uuid.uuid4().hex
    text = manifest(sh("main", "true"), prefix=f"twice-{once[:6]}-")
    [first] = cluster.submit(text, "--request-id", once)
    if ended:
        cluster.wait(first)
    [second] = cluster.submit(text, "--request-id", once)
    assert first == second
    listed = do(cluster, "list", "-o", "name").split()
    assert [n for n in listed if n.startswith(f"twice-{once[:6]}-")] == [first]


def test_output_is_told_apart_by_its_stream(cluster: Cluster) -> None:
    text = manifest(sh("main", "echo out; sleep 0.1; echo err >&2; sleep 0.1; echo more"))
    [name] = cluster.submit(text)
    cluster.wait(name)
    told = {which: do(cluster, "logs", name, "--stream", which) for which in ("stdout", "stderr")}
    assert [line.split()[-1] for line in do(cluster, "logs", name).splitlines()] == ["out", "err", "more"]
    assert {which: [line.split()[-1] for line in lines.splitlines()] for which, lines in told.items()} == {
        "stdout": ["out", "more"],
        "stderr": ["err"],
    }
