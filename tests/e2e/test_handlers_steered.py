"""Every verb reaches what handlers run: a gate in one can be opened, set and ended, and a handler ended for good."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, nodes
from tests.e2e.test_operators import do, manifest, runs, sh, until

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

ASKS = {"name": "gate", "suspend": {}, "outputs": {"parameters": [{"name": "answer", "valueFrom": {"supplied": {}}}]}}
TELL = {**sh("tell", "echo {{inputs.parameters.answer}}"), "inputs": {"parameters": [{"name": "answer"}]}}
ANSWER = {"parameters": [{"name": "answer", "value": "{{steps.gate.outputs.parameters.answer}}"}]}
BYE = {
    "name": "bye",
    "steps": [[{"name": "gate", "template": "gate"}], [{"name": "tell", "template": "tell", "arguments": ANSWER}]],
}
GATE = ".onExit[0].gate"
BY_NAME = ("--node-field-selector", "displayName=gate")


def asking(cluster: Cluster, on: str = "", **spec: Any) -> str:
    """A workflow whose handler waits for an answer."""
    [name] = cluster.submit(manifest(sh("main", "true"), BYE, ASKS, TELL, on=on, **(spec or {"onExit": "bye"})))
    until(cluster, name, runs(GATE))
    return name


def entry(cluster: Cluster, name: str) -> dict[str, Any]:
    [found] = cluster.exits("--workflow", name)
    return found


def test_a_gate_in_a_handler_is_given_its_answer_and_opened(cluster: Cluster) -> None:
    name = asking(cluster)
    assert "waits for output parameter 'answer'" in cluster.call("resume", name).stderr
    do(cluster, "node", "set", name, *BY_NAME, "-p", "answer=yes")
    assert cluster.call("resume", name, "--node-field-selector", "displayName=other").returncode == 1
    do(cluster, "resume", name, *BY_NAME)
    assert cluster.wait(name)["status"]["finalization"] == "Succeeded"
    assert do(cluster, "logs", name, "tell").splitlines() == ["tell: yes"]


def test_a_step_in_a_handler_can_be_ended(cluster: Cluster) -> None:
    name = asking(cluster)
    do(cluster, "stop", name, *BY_NAME, "--message", "nobody answers")
    found = cluster.wait(name)
    assert (nodes(found)[GATE]["phase"], nodes(found)[GATE]["message"]) == ("Failed", "nobody answers")
    assert found["status"]["finalization"] == "Failed"


def test_the_gate_of_a_steps_handler_is_reached_while_the_workflow_goes_on(cluster: Cluster) -> None:
    main = {"name": "main", "steps": [[{"name": "a", "template": "tell", "hooks": {"exit": {"template": "gate"}}}]]}
    main["steps"][0][0]["arguments"] = {"parameters": [{"name": "answer", "value": "a"}]}
    [name] = cluster.submit(manifest(main, {"name": "gate", "suspend": {}}, TELL))
    until(cluster, name, runs("[0].a.onExit"))
    do(cluster, "resume", name)
    assert cluster.wait(name)["status"]["phase"] == "Succeeded"


@pytest.mark.parametrize("verb", ["terminate", "delete"])
def test_a_handler_that_outlives_its_workflow_can_be_ended_for_good(cluster: Cluster, verb: str) -> None:
    name = asking(cluster, on="terminate,delete")
    do(cluster, verb, name)
    found = entry(cluster, name)
    assert found["state"] == "running", "as its workflow asked for"
    do(cluster, "exits", "cancel", found["id"], "--message", "no longer needed", "--by", "ann")
    if verb == "terminate":
        status = cluster.wait(name)["status"]
        assert (status["outcome"], status["finalization"]) == ("Succeeded", "Failed")
    ended = entry(cluster, name)
    assert (ended["state"], ended["error"]) == ("cancelled", "cancelled by ann: no longer needed")
    do(cluster, "exits", "cancel", found["id"])
    assert entry(cluster, name)["error"] == "cancelled by ann: no longer needed", "a repeat changes nothing"


def test_a_gate_in_a_handler_ends_at_its_own_deadline(cluster: Cluster) -> None:
    gate = {"name": "gate", "suspend": {}, "activeDeadlineSeconds": 1}
    [found] = cluster.run(manifest(sh("main", "true"), gate, onExit="gate"))
    assert nodes(found)[".onExit"]["message"] == "Step exceeded its deadline"
    assert entry(cluster, found["metadata"]["name"])["state"] == "failed"


def test_a_gate_is_reached_in_a_replay_too(cluster: Cluster) -> None:
    name = asking(cluster)
    do(cluster, "node", "set", name, *BY_NAME, "-p", "answer=no", "--phase", "Failed")
    cluster.wait(name)
    found = entry(cluster, name)
    do(cluster, "exits", "replay", found["id"])
    do(cluster, "node", "set", name, *BY_NAME, "-p", "answer=yes", "--phase", "Succeeded")
    record = json.loads(do(cluster, "exits", "get", found["id"], "-o", "json"))
    assert record["replays"] == 1


def hooked(tmp_path: Path) -> str:
    hooks = {
        "exit": {"template": "quick"},
        "running": {"template": "slow", "expression": "steps.a.status == 'Running'"},
        "failed": {"template": "quick", "expression": "steps.a.status == 'Failed'"},
    }
    main = {"name": "main", "steps": [[{"name": "a", "template": "slow", "hooks": hooks}]]}
    of_all = {"late": {"template": "quick", "expression": "workflow.status == 'Failed'"}}
    return manifest(main, sh("slow", "sleep 100"), sh("quick", "true"), hooks=of_all, onExit="quick")


def test_hooks_that_a_stop_ends_or_keeps_from_running_are_recorded_and_no_failed_handlers(
    cluster: Cluster, tmp_path: Path
) -> None:
    [name] = cluster.submit(hooked(tmp_path))
    until(cluster, name, runs("[0].a.hooks.running"))
    do(cluster, "stop", name, "--message", "enough")
    found = cluster.wait(name)
    tree = {short: node["phase"] for short, node in nodes(found).items() if ".hooks" in short or ".onExit" in short}
    assert tree == {
        "[0].a.hooks.running": "Failed",
        "[0].a.hooks.failed": "Failed",
        "[0].a.onExit": "Succeeded",
        ".hooks.late": "Failed",
        ".onExit": "Succeeded",
    }
    records = {(one["hook"], one["state"], one["error"]) for one in cluster.exits("--workflow", name)}
    assert records == {
        ("running", "cancelled", "ended by stop: enough"),
        ("failed", "skipped", "not run: the workflow was stopped"),
        ("late", "skipped", "not run: the workflow was stopped"),
        ("exit", "succeeded", ""),
    }
    status = found["status"]
    assert status["finalization"] == "Succeeded"
    assert [one["type"] for one in status["conditions"]] == ["Completed", "HookFailed"]


def test_what_runs_while_the_workflow_is_exiting_goes_on_after_a_stop(cluster: Cluster, tmp_path: Path) -> None:
    go = tmp_path / "go"
    wait = sh("wait", f"while ! [ -e {go} ]; do sleep 0.1; done")
    hooks = {"failed": {"template": "wait", "expression": "workflow.status == 'Failed'"}}
    [name] = cluster.submit(manifest(sh("main", "exit 3"), wait, hooks=hooks))
    until(cluster, name, runs(".hooks.failed"))
    do(cluster, "stop", name)
    go.touch()
    found = cluster.wait(name)
    assert nodes(found)[".hooks.failed"]["phase"] == "Succeeded"
    assert found["status"]["message"] == "main: Error (exit code 3)", "the stop came too late to be why"
    assert found["status"]["finalization"] == "None", "a hook is no exit handler"
