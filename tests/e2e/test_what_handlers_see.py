"""What a handler is told of the end, beyond Argo's variables, and whose deadline it is under."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster, nodes
from tests.e2e.test_operators import do, manifest, recorded, runs, sh, until

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]


def telling(mark: Path, *variables: str) -> dict[str, object]:
    """A handler that writes the variables to a file, one on each line."""
    lines = "\n".join(f"{{{{workflow.{name}}}}}" for name in variables)
    return sh("bye", f"cat > {mark} <<'END'\n{lines}\nEND")


def test_failures_come_with_exit_code_node_and_the_end_of_the_log(cluster: Cluster, tmp_path: Path) -> None:
    mark = tmp_path / "told"
    main = sh("main", "for i in $(seq 1 30); do echo line $i; done; exit 7")
    main["retryStrategy"] = {"limit": 1}
    bye = telling(mark, "failures", "exeunt.failures", "exeunt.reason", "exeunt.outcome")
    [workflow] = cluster.run(manifest(main, bye, onExit="bye"))
    argos, ours, reason, outcome = mark.read_text().splitlines()
    assert (reason, outcome) == ("Failed", "Failed")
    entries = json.loads(ours)
    assert [
        {key: entry[key] for key in told} for entry, told in zip(entries, json.loads(json.loads(argos)), strict=True)
    ]
    first, second, whole = entries
    assert (first["exitCode"], first["retried"], second["retried"]) == (7, True, False)
    assert first["log"] == [f"line {i}" for i in range(11, 31)]
    assert nodes(workflow)["(0)"]["id"] == first["id"]
    assert whole["log"] == []


def test_without_failures_the_list_is_empty_and_the_reason_says_so(cluster: Cluster, tmp_path: Path) -> None:
    mark = tmp_path / "told"
    bye = telling(mark, "exeunt.failures", "exeunt.reason", "exeunt.outcome")
    cluster.run(manifest(sh("main", "true"), bye, onExit="bye"))
    assert mark.read_text().splitlines() == ["[]", "Completed", "Succeeded"]


def test_a_stop_is_told_from_a_failure_with_what_was_said(cluster: Cluster, tmp_path: Path) -> None:
    mark = tmp_path / "told"
    bye = telling(mark, "status", "exeunt.reason", "exeunt.message")
    [name] = cluster.submit(manifest(sh("main", "sleep 100"), bye, onExit="bye"))
    until(cluster, name, runs(""))
    do(cluster, "stop", name, "--message", "too late for today")
    cluster.wait(name)
    assert mark.read_text().splitlines() == ["Failed", "Stopped", "too late for today"]


@pytest.mark.parametrize("own", [{"activeDeadlineSeconds": 1}, {"timeout": "1s"}])
def test_a_handlers_own_deadline_ends_it(cluster: Cluster, own: dict[str, object]) -> None:
    [workflow] = cluster.run(manifest(sh("main", "true"), {**sh("bye", "sleep 100"), **own}, onExit="bye"))
    status = workflow["status"]
    assert (status["outcome"], status["phase"], status["finalization"]) == ("Succeeded", "Failed", "Failed")
    assert nodes(workflow)[".onExit"]["phase"] == "Failed"
    assert recorded(cluster, workflow["metadata"]["name"]) == ["failed"]


@pytest.mark.parametrize("main", ["true", "sleep 100"])
def test_the_workflows_deadline_does_not_reach_its_handler(cluster: Cluster, tmp_path: Path, main: str) -> None:
    mark = tmp_path / "told"
    bye = sh("bye", f"sleep 3; echo {{{{workflow.exeunt.reason}}}} > {mark}")
    [workflow] = cluster.run(manifest(sh("main", main), bye, onExit="bye", activeDeadlineSeconds=2))
    assert workflow["status"]["finalization"] == "Succeeded"
    assert mark.read_text() == ("Completed\n" if main == "true" else "Deadline\n")
