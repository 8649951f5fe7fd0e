"""The exit ledger: what handlers did, and doing it again without doing twice what may be done once only."""

from __future__ import annotations

import json
import subprocess
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import EXEUNT, Cluster, nodes
from tests.e2e.test_operators import do, manifest, recorded, sh, until

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]


def parent(batch: str) -> str:
    """A workflow whose handler starts a child; both can be found by the label."""
    child = {
        "metadata": {"generateName": "child-", "labels": {"child-of": batch}},
        "spec": {"entrypoint": "main", "templates": [sh("main", "true")]},
    }
    return manifest(sh("main", "true"), {"name": "bye", "plugin": {"trigger": {"workflow": child}}}, onExit="bye")


def children(cluster: Cluster, batch: str) -> list[str]:
    return do(cluster, "list", "-o", "name", "--selector", f"child-of={batch}").split()


def replayed(cluster: Cluster, exit_id: str, *arguments: str, times: int) -> dict[str, Any]:
    """Replays, and waits until the ledger has the end of it."""
    do(cluster, "exits", "replay", exit_id, *arguments)
    deadline = time.monotonic() + 30
    while True:
        found = json.loads(do(cluster, "exits", "get", exit_id, "-o", "json"))
        record: dict[str, Any] = found[0] if isinstance(found, list) else found
        if record["replays"] == times and record["state"] not in ("due", "running"):
            return record
        assert time.monotonic() < deadline, record
        time.sleep(0.1)


def test_a_replay_finds_the_child_that_exists(cluster: Cluster) -> None:
    batch = uuid.uuid4().hex[:8]
    first = cluster.run(parent(batch))
    assert [w["status"]["phase"] for w in first] == ["Succeeded", "Succeeded"], "the child is waited for and printed"
    name = first[0]["metadata"]["name"]
    [entry] = cluster.exits("--workflow", name)
    assert (entry["state"], entry["hook"], entry["node"]) == ("succeeded", "exit", name)
    [child] = children(cluster, batch)

    assert replayed(cluster, entry["id"], times=1)["state"] == "succeeded"
    assert children(cluster, batch) == [child]

    assert replayed(cluster, entry["id"], "--again", times=2)["state"] == "succeeded"
    both = children(cluster, batch)
    assert len(both) == 2
    assert child in both
    assert cluster.get(name)["status"]["phase"] == "Succeeded"


def test_a_record_leads_to_what_the_handler_started(cluster: Cluster) -> None:
    [first, child] = cluster.run(parent(uuid.uuid4().hex[:8]))
    [entry] = cluster.exits("--workflow", first["metadata"]["name"], "--hook", "exit", "--since", "1h")
    assert entry["children"] == [{key: child["metadata"][key] for key in ("name", "namespace", "uid")}]
    shown = do(cluster, "exits", "get", entry["id"])
    assert f"Children:   default/{child['metadata']['name']}" in shown.splitlines()
    assert cluster.exits("--workflow", first["metadata"]["name"], "--until", "2020-01-01T00:00:00Z") == []


def test_a_record_shows_what_the_handler_was_given_and_gave(cluster: Cluster) -> None:
    bye = sh("bye", "echo it is {{inputs.parameters.day}}")
    bye["inputs"] = {"parameters": [{"name": "day"}, {"name": "api-token"}]}
    bye["outputs"] = {
        "parameters": [{"name": "password", "value": "fish and chips"}, {"name": "fixed", "value": "one"}]
    }
    given = [{"name": "day", "value": "monday"}, {"name": "api-token", "value": "sesame open"}]
    hook = {"exit": {"template": "bye", "arguments": {"parameters": given}}}
    [workflow] = cluster.run(manifest(sh("main", "true"), bye, hooks=hook))
    [entry] = cluster.exits("--workflow", workflow["metadata"]["name"])
    shown = do(cluster, "exits", "get", entry["id"])
    lines = [line.removeprefix("Inputs:").removeprefix("Outputs:").strip() for line in shown.splitlines()]
    for line in ("day = monday", "api-token = ***", "password = ***", "fixed = one", "exitCode = 0"):
        assert line in lines, shown
    whole = do(cluster, "exits", "get", entry["id"], "-o", "json")
    assert "sesame" not in whole + shown
    assert "fish" not in whole + shown


def test_all_that_match_are_replayed(cluster: Cluster, tmp_path: Path) -> None:
    mended, mark = tmp_path / "mended", tmp_path / "mark"
    name = f"many-{uuid.uuid4().hex[:8]}"
    text = manifest(sh("main", "true"), sh("bad", f"[ -e {mended} ]"), sh("good", f"echo x >> {mark}"), onExit="bad")
    tree = json.loads(text)
    tree["metadata"]["annotations"] = {"exeunt.dev/exit-handlers": "good"}
    cluster.run(json.dumps(tree), "--name", name)
    watch = subprocess.Popen(
        [*EXEUNT, "exits", "watch", "--workflow", name, "--hook", "exit", "--all", "-o", "json"],
        env=cluster.environ, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert watch.stdout is not None
        assert json.loads(watch.stdout.readline())["state"] == "failed", "what is there comes first"
        mended.touch()
        [entry] = cluster.exits("--failed", "--workflow", name)
        out = do(cluster, "exits", "replay", "--failed", "--workflow", name)
        assert out == f"exit run {entry['id']} of {name} runs again\n"
        seen = []
        while not seen or seen[-1] != (entry["id"], "succeeded"):
            told = json.loads(watch.stdout.readline())
            seen.append((told["id"], told["state"]))
        assert seen[0] == (entry["id"], "running")
    finally:
        watch.kill()
        watch.wait()
    do(cluster, "exits", "replay", "--workflow", name, "--request-id", "all-of-it", "-o", "json")
    deadline = time.monotonic() + 30
    while {entry["hook"]: (entry["replays"], entry["state"]) for entry in cluster.exits("--workflow", name)} != {
        "exit": (2, "succeeded"), "good": (1, "succeeded"),
    }:  # fmt: skip
        assert time.monotonic() < deadline, cluster.exits("--workflow", name)
        time.sleep(0.1)
    assert mark.read_text() == "x\n" * 2
    assert cluster.call("exits", "replay").returncode == 2, "all of everything has to be said"


def test_the_same_replay_sent_twice_is_one(cluster: Cluster, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    [found] = cluster.run(manifest(sh("main", "true"), sh("bye", f"echo x >> {mark}"), onExit="bye"))
    [entry] = cluster.exits("--workflow", found["metadata"]["name"])
    once = uuid.uuid4().hex
    replayed(cluster, entry["id"], "--request-id", once, times=1)
    replayed(cluster, entry["id"], "--request-id", once, times=1)
    assert mark.read_text() == "x\n" * 2, "once by itself and once by the replay"


def test_a_failed_handler_can_be_replayed_when_its_cause_is_mended(cluster: Cluster, tmp_path: Path) -> None:
    mended = tmp_path / "mended"
    [found] = cluster.run(manifest(sh("main", "true"), sh("bye", f"[ -e {mended} ]"), onExit="bye"))
    name = found["metadata"]["name"]
    assert (found["status"]["outcome"], found["status"]["phase"]) == ("Succeeded", "Failed")
    assert found["status"]["finalization"] == "Failed"
    [entry] = cluster.exits("--failed", "--workflow", name)
    assert entry["error"]
    mended.touch()
    record = replayed(cluster, entry["id"], times=1)
    assert record["state"] == "succeeded"
    assert [a["phase"] for a in record["attempts"]] == ["Failed", "Succeeded"]
    assert cluster.exits("--failed", "--workflow", name) == []
    assert came_to(cluster, name, "Succeeded") == ["Completed"]
    mended.unlink()
    assert replayed(cluster, entry["id"], times=2)["state"] == "failed"
    assert came_to(cluster, name, "Failed") == ["Completed", "HandlerFailed"]
    status = cluster.get(name)["status"]
    assert status["phase"] == "Failed", "a replay never changes a phase"


def came_to(cluster: Cluster, name: str, finalization: str) -> list[str]:
    """The types of the workflow's conditions, once its handlers came to that."""
    found = until(cluster, name, lambda workflow: workflow["status"]["finalization"] == finalization)
    return [one["type"] for one in found["status"]["conditions"]]


def test_a_replay_while_another_handler_runs_changes_the_finalization_and_no_phase(
    cluster: Cluster, tmp_path: Path
) -> None:
    mended, go = tmp_path / "mended", tmp_path / "go"
    bad, slow = sh("bad", f"[ -e {mended} ]"), sh("slow", f"while ! [ -e {go} ]; do sleep 0.1; done")
    tree = json.loads(manifest(sh("main", "true"), bad, slow, onExit="bad"))
    tree["metadata"]["annotations"] = {"exeunt.dev/exit-handlers": "slow"}
    [name] = cluster.submit(json.dumps(tree))
    until(cluster, name, lambda workflow: nodes(workflow).get(".onExit", {}).get("phase") == "Failed")
    [entry] = cluster.exits("--workflow", name, "--hook", "exit")
    mended.touch()
    replayed(cluster, entry["id"], times=1)
    go.touch()
    status = cluster.wait(name)["status"]
    assert (status["phase"], status["finalization"]) == ("Failed", "Succeeded")
    assert nodes(cluster.get(name))[".onExit"]["phase"] == "Failed"


def test_a_child_that_is_waited_for_is_recorded_from_its_start_on(cluster: Cluster, tmp_path: Path) -> None:
    go = tmp_path / "go"
    child = {
        "metadata": {"generateName": "awaited-"},
        "spec": {"entrypoint": "main", "templates": [sh("main", f"while ! [ -e {go} ]; do sleep 0.1; done")]},
    }
    bye = {"name": "bye", "plugin": {"trigger": {"wait": True, "workflow": child}}}
    [name] = cluster.submit(manifest(sh("main", "true"), bye, onExit="bye"))
    deadline = time.monotonic() + 30
    while not (found := cluster.exits("--workflow", name)) or not found[0]["children"]:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    [known] = found[0]["children"]
    assert found[0]["state"] == "running"
    cluster.signal("exithandler")
    do(cluster, "terminate", name)
    cluster.wait(name)
    [ended] = cluster.exits("--workflow", name)
    assert (ended["state"], ended["children"]) == ("cancelled", [known])
    assert cluster.get(known["name"])["status"]["phase"] == "Running", "it is a workflow of its own"
    go.touch()
    cluster.wait(known["name"])


def test_handlers_of_a_handlers_own_steps_stand_in_its_record(cluster: Cluster) -> None:
    inner = {"exit": {"template": "tidy"}}
    never = {"exit": {"template": "tidy", "expression": "steps.b.status == 'Failed'"}}
    steps = [[{"name": "a", "template": "main", "hooks": inner}], [{"name": "b", "template": "main", "hooks": never}]]
    bye = {"name": "bye", "steps": steps}
    [found] = cluster.run(manifest(sh("main", "true"), sh("tidy", "true"), bye, onExit="bye"))
    name = found["metadata"]["name"]
    [entry] = cluster.exits("--workflow", name)
    record = json.loads(do(cluster, "exits", "get", entry["id"], "-o", "json"))["record"]
    assert [(one["node"], one["hook"], one["state"]) for one in record["handlers"]] == [
        (f"{name}.onExit[1].b", "exit", "skipped"),
        (f"{name}.onExit[0].a", "exit", "succeeded"),
    ]


def test_every_attempt_stands_in_the_ledger(cluster: Cluster, tmp_path: Path) -> None:
    tries = tmp_path / "tries"
    bye = sh("bye", f"echo x >> {tries}; [ $(wc -l < {tries}) -ge 3 ]")
    bye["retryStrategy"] = {"limit": 5}
    [found] = cluster.run(manifest(sh("main", "true"), bye, onExit="bye"))
    assert found["status"]["finalization"] == "Succeeded"
    [entry] = cluster.exits("--workflow", found["metadata"]["name"])
    assert [a["phase"] for a in entry["attempts"]] == ["Failed", "Failed", "Succeeded"]
    assert all(a["startedAt"] and a["finishedAt"] for a in entry["attempts"])


def test_what_was_skipped_cannot_be_replayed_and_says_why(cluster: Cluster) -> None:
    hook = {"exit": {"template": "bye", "expression": "workflow.status == 'Failed'"}}
    [found] = cluster.run(manifest(sh("main", "true"), sh("bye", "true"), hooks=hook))
    name = found["metadata"]["name"]
    assert recorded(cluster, name) == ["skipped"]
    [entry] = cluster.exits("--workflow", name)
    assert "expression is false" in entry["error"]
    done = cluster.call("exits", "replay", entry["id"])
    assert done.returncode == 1
    assert "was not due" in done.stderr
