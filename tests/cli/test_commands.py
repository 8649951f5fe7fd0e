"""Commands as a person calls them: what they print where, and with which exit code they end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from exeunt.cli.main import call
from exeunt.v1.exit_service_pb2 import Exit, ExitAttempt
from exeunt.v1.phase_pb2 import Phase
from exeunt.v1.workflow_service_pb2 import LogLine
from tests.cli.fake import Cluster, serving, workflow

HELLO = """\
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: hello-}
spec:
  entrypoint: hello
  templates:
    - name: hello
      container: {image: debian, command: [echo, hello]}
"""


class Result(NamedTuple):
    code: int
    out: str
    err: str


Exeunt = Callable[..., Result]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Cluster]:
    fake = Cluster()
    with serving(fake):
        monkeypatch.setenv("EXEUNT_SERVER", fake.address)
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        yield fake


@pytest.fixture
def exeunt(capsys: pytest.CaptureFixture[str]) -> Exeunt:
    def run(*arguments: str) -> Result:
        code = call(list(arguments))
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture
def hello(tmp_path: Path) -> str:
    path = tmp_path / "hello.yaml"
    path.write_text(HELLO)
    return str(path)


def started(name: str, child: str) -> dict[str, Any]:
    """A workflow with a node that started another one."""
    tree = workflow(name)
    result = json.dumps({"namespace": "default", "name": child, "uid": f"uid-{child}"})
    tree["status"]["nodes"][f"{name}-x"] = {
        "id": f"{name}-x",
        "name": f"{name}.onExit",
        "displayName": f"{name}.onExit",
        "type": "Plugin",
        "phase": "Succeeded",
        "message": f"started default/{child}",
        "outputs": {"result": result},
    }
    return tree


def test_submit_prints_the_names(cluster: Cluster, exeunt: Exeunt, hello: str) -> None:
    cluster.add(workflow("hello-1"), workflow("hello-2"))
    assert exeunt("submit", hello) == Result(0, "hello-1\nhello-2\n", "")


def test_submit_sends_what_was_asked_for(cluster: Cluster, exeunt: Exeunt, hello: str, tmp_path: Path) -> None:
    cluster.add(workflow("hello-1"))
    parameters = tmp_path / "parameters.yaml"
    parameters.write_text("a: 1\nb: x\n")
    exeunt(
        *("submit", hello, "-p", "a=2", "--parameter-file", str(parameters), "-n", "night"),
        *("--entrypoint", "other", "--request-id", "r-1", "-l", "team=blue"),
    )
    [request] = cluster.calls
    assert {p.name: p.value for p in request.parameters} == {"a": "2", "b": "x"}
    assert (request.namespace, request.entrypoint, request.request_id) == ("night", "other", "r-1")
    assert dict(request.labels) == {"team": "blue"}
    assert request.documents[0].text == HELLO


@pytest.mark.parametrize(("phase", "code"), [("Succeeded", 0), ("Failed", 1), ("Error", 1)])
def test_waiting_ends_with_the_workflows_fate(
    cluster: Cluster, exeunt: Exeunt, hello: str, phase: str, code: int
) -> None:
    cluster.add(workflow("hello-1", phase))
    result = exeunt("submit", hello, "--wait", "-o", "json")
    assert result.code == code
    [printed] = json.loads(result.out)
    assert printed["status"]["phase"] == phase
    assert result.err == ""


def test_waiting_includes_workflows_that_were_started(cluster: Cluster, exeunt: Exeunt, hello: str) -> None:
    cluster.add(started("parent", "child"))
    cluster.add(workflow("child", "Failed"), submitted=False)
    result = exeunt("submit", hello, "--wait", "-o", "name")
    assert result == Result(1, "parent\nchild\n", "")


def test_watching_tells_what_ends_on_standard_error(cluster: Cluster, exeunt: Exeunt, hello: str) -> None:
    cluster.add(workflow("hello-1"))
    result = exeunt("submit", hello, "--watch", "-o", "name")
    assert result.out == "hello-1\n"
    assert result.err.splitlines() == ["✔ hello-1", "✔ workflow hello-1"]


def test_a_watch_survives_a_change_of_owner(cluster: Cluster, exeunt: Exeunt, hello: str) -> None:
    cluster.add(started("parent", "parent"))
    cluster.outages = 2
    result = exeunt("submit", hello, "--wait", "-o", "json")
    assert result.code == 0
    assert set(json.loads(result.out)[0]["status"]["nodes"]) == {"parent", "parent-x"}


def test_a_wrong_manifest_is_told_line_by_line(cluster: Cluster, exeunt: Exeunt, hello: str) -> None:
    cluster.problems = [
        ("spec.entrypoint", "hello.yaml:4: spec.entrypoint: there is no template helo"),
        ("spec.onExit", "no such template"),
    ]
    result = exeunt("submit", hello)
    assert result.code == 2
    assert result.err.splitlines() == [
        "hello.yaml:4: spec.entrypoint: there is no template helo",
        "spec.onExit: no such template",
    ]


def test_a_timeout_ends_with_3(cluster: Cluster, exeunt: Exeunt, hello: str) -> None:
    cluster.add(workflow("hello-1"))
    cluster.endless.add("hello-1")
    result = exeunt("submit", hello, "--wait", "--timeout", "0.2")
    assert (result.code, result.err) == (3, "not done after 0.2 s\n")


def test_no_cluster_ends_with_4(exeunt: Exeunt, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("EXEUNT_SERVER", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    result = exeunt("list")
    assert (result.code, result.out) == (4, "")
    assert "exeunt up" in result.err


@pytest.mark.parametrize("arguments", [["--server", "127.0.0.1:1", "list"], ["list", "--server=127.0.0.1:1"]])
def test_a_cluster_that_does_not_answer_ends_with_4(
    exeunt: Exeunt, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setattr("exeunt.cli.connect.PATIENCE", 0.1)
    assert exeunt(*arguments).code == 4


def test_a_directory_means_all_manifests_below_it(exeunt: Exeunt, tmp_path: Path) -> None:
    for name in ("a/one.yaml", "two.yml", "three.json", "note.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(HELLO)
    assert exeunt("lint", str(tmp_path)).err == "no errors in 3 files\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["submit"],
        ["submit", "no-such-file.yaml"],
        ["submit", "FILE", "-p", "novalue"],
        ["submit", "FILE", "--from", "workflowtemplate/x"],
        ["submit", "--from", "nonsense"],
        ["node", "set", "x", "--output-parameter", "a=b"],
        ["list", "-o", "nonsense"],
        ["nonsense"],
    ],
)
def test_wrong_use_ends_with_2_and_sends_nothing(
    cluster: Cluster, exeunt: Exeunt, hello: str, arguments: list[str]
) -> None:
    result = exeunt(*(hello if a == "FILE" else a for a in arguments))
    assert (result.code, result.out, cluster.calls) == (2, "", [])
    assert result.err


def test_get_prints_one_object_as_json(cluster: Cluster, exeunt: Exeunt) -> None:
    cluster.add(workflow("hello-1"))
    assert json.loads(exeunt("get", "hello-1", "-o", "json").out)["metadata"]["name"] == "hello-1"


def test_what_does_not_exist_is_said(cluster: Cluster, exeunt: Exeunt) -> None:
    assert exeunt("get", "nobody") == Result(1, "", "workflow default/nobody does not exist\n")


def test_list_prints_all_pages(cluster: Cluster, exeunt: Exeunt) -> None:
    cluster.add(*(workflow(f"w-{n}") for n in range(5)))
    assert exeunt("list", "-o", "name").out.split() == ["w-0", "w-1", "w-2", "w-3", "w-4"]
    assert exeunt("list", "-o", "name", "--limit", "3").out.split() == ["w-0", "w-1", "w-2"]


def test_list_by_phase(cluster: Cluster, exeunt: Exeunt) -> None:
    cluster.add(workflow("good"), workflow("bad", "Failed"))
    result = exeunt("list", "--phase", "Failed,Error")
    assert [line.split()[:2] for line in result.out.splitlines()] == [["NAME", "STATUS"], ["bad", "Failed"]]


def test_logs_name_their_step(cluster: Cluster, exeunt: Exeunt) -> None:
    cluster.add(workflow("w"))
    cluster.lines = [
        LogLine(node="w-1", display_name="a", text="one"),
        LogLine(node="w-2", display_name="b", text="two"),
    ]
    assert exeunt("logs", "w").out == "a: one\nb: two\n"
    assert exeunt("logs", "w", "--no-name").out == "one\ntwo\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["stop", "w", "--message", "enough"], "workflow w stopped\n"),
        (["terminate", "w"], "workflow w terminated\n"),
        (["suspend", "w"], "workflow w suspended\n"),
        (["resume", "w", "--node-field-selector", "displayName=a"], "workflow w resumed\n"),
        (["delete", "w"], "workflow w deleted\n"),
        (["node", "set", "w", "--node-field-selector", "displayName=a", "-p", "x=1"], "workflow values set\n"),
    ],
)
def test_steering(cluster: Cluster, exeunt: Exeunt, arguments: list[str], said: str) -> None:
    cluster.add(workflow("w"))
    assert exeunt(*arguments) == Result(0, said, "")
    [request] = cluster.calls
    assert request.request_id
    assert request.name == "w"


def test_one_that_cannot_be_stopped_does_not_keep_others_from_it(cluster: Cluster, exeunt: Exeunt) -> None:
    cluster.add(workflow("w"))
    result = exeunt("stop", "nobody", "w")
    assert (result.code, result.out) == (1, "workflow w stopped\n")
    assert "nobody" in result.err


def test_the_ledger_as_json(cluster: Cluster, exeunt: Exeunt) -> None:
    failed = Exit(
        id="e1",
        namespace="default",
        workflow="w",
        node="w",
        hook="exit",
        state=Exit.State.STATE_FAILED,
        error="the archive is read-only",
        attempts=[ExitAttempt(node="tidy", phase=Phase.PHASE_FAILED, error="exit code 3")],
    )
    failed.attempts[0].start_time.FromSeconds(1_800_000_000)
    cluster.records = [failed, Exit(id="e2", workflow="w", state=Exit.State.STATE_SUCCEEDED)]
    result = exeunt("exits", "list", "--failed", "-o", "json")
    [record] = json.loads(result.out)
    assert (
        record.items()
        >= {
            "id": "e1",
            "workflow": "w",
            "namespace": "default",
            "node": "w",
            "hook": "exit",
            "state": "failed",
            "error": "the archive is read-only",
        }.items()
    )
    [attempt] = record["attempts"]
    assert attempt.items() >= {"startedAt": "2027-01-15T08:00:00Z", "finishedAt": None, "error": "exit code 3"}.items()


def test_the_ledger_as_a_table(cluster: Cluster, exeunt: Exeunt) -> None:
    cluster.records = [Exit(id="e2", workflow="w", node="w[0].a", hook="exit", state=Exit.State.STATE_SUCCEEDED)]
    head, line = exeunt("exits", "list").out.splitlines()
    assert head.split() == ["ID", "WORKFLOW", "HOOK", "NODE", "STATE", "ATTEMPTS", "AGE", "DURATION", "ERROR"]
    assert line.split() == ["e2", "w", "exit", "[0].a", "succeeded", "0"]


def test_a_replay_is_asked_for_once(cluster: Cluster, exeunt: Exeunt) -> None:
    cluster.records = [Exit(id="e2", workflow="w")]
    assert exeunt("exits", "replay", "e2", "--again").out == "exit run e2 of w runs again\n"
    [request] = cluster.calls
    assert (request.id, request.again) == ("e2", True)


def test_replays_of_several_have_a_request_id_each(cluster: Cluster, exeunt: Exeunt) -> None:
    cluster.records = [Exit(id=id, workflow="w", state=Exit.STATE_FAILED) for id in ("e1", "e2")]
    exeunt("exits", "replay", "e1", "--request-id", "r")
    exeunt("exits", "replay", "e1", "e2", "--request-id", "r")
    exeunt("exits", "replay", "--failed", "--request-id", "r")
    assert [request.request_id for request in cluster.calls] == ["r", *["r.e1", "r.e2"] * 2]


def test_executors_and_their_slots(cluster: Cluster, exeunt: Exeunt) -> None:
    _, line = exeunt("executors").out.splitlines()
    assert line.split() == ["executor-1", "ready", "1/16+2", "process", "default/a/a"]


def test_lint_needs_no_cluster(exeunt: Exeunt, hello: str) -> None:
    assert exeunt("lint", hello) == Result(0, "", "no errors in 1 file\n")


def test_lint_says_where_and_what(exeunt: Exeunt, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(HELLO.replace("entrypoint: hello", "entrypoint: helo"))
    result = exeunt("lint", str(path))
    assert result.code == 2
    [line] = result.out.splitlines()
    assert line.startswith(f"{path}:5: spec.entrypoint: ")


def test_run_refuses_a_wrong_manifest_before_it_starts_anything(exeunt: Exeunt, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(HELLO.replace("entrypoint: hello", "entrypoint: helo"))
    result = exeunt("run", str(path))
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"{path}:5: spec.entrypoint: ")


def test_doctor_tells_of_what_runs_need(exeunt: Exeunt) -> None:
    result = exeunt("doctor")
    assert result.code == 0
    assert "✔ nats-server:" in result.out


def test_help_of_every_command(exeunt: Exeunt) -> None:
    from exeunt.cli.main import COMMANDS

    for name in COMMANDS:
        assert exeunt(name, "--help").out.startswith(f"Usage: exeunt {name}")
