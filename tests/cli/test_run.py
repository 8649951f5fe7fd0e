"""`exeunt run` with real services: the outcome on standard output, the right exit code, and nothing left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.services, pytest.mark.xdist_group("run")]
EXEUNT = [sys.executable, "-m", "exeunt.cli.main"]
MANIFEST = """\
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {name: parent}
spec:
  entrypoint: MAIN
  onExit: child
  templates:
    - {name: good, container: {image: none, command: [sh, -c], args: ["echo well"]}}
    - {name: bad, container: {image: none, command: [sh, -c], args: ["exit 3"]}}
    - {name: approve, suspend: {}}
    - name: child
      resource:
        action: create
        manifest: |
          apiVersion: argoproj.io/v1alpha1
          kind: Workflow
          metadata: {name: child}
          spec:
            entrypoint: c
            templates: [{name: c, container: {image: none, command: ["true"]}}]
"""
Run = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def start(main: str, *arguments: str, handler: str = "child") -> "subprocess.Popen[str]":
        environ = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), "TMPDIR": str(tmp_path / "tmp")}
        (tmp_path / "tmp").mkdir(exist_ok=True)
        process = subprocess.Popen(
            [*EXEUNT, "run", "-", *arguments],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        process.stdin.write(MANIFEST.replace("MAIN", main).replace("onExit: child", f"onExit: {handler}"))
        process.stdin.close()
        process.stdin = None
        return process

    return start


def left(tmp_path: Path) -> list[str]:
    """Files and processes of a cluster that has ended."""
    found = [str(path) for path in (tmp_path / "tmp").glob("exeunt-*")]
    for process in psutil.process_iter(["cmdline"]):
        if any(str(tmp_path) in word for word in process.info["cmdline"] or ()):
            found.append(" ".join(process.info["cmdline"]))
    return found


@pytest.mark.parametrize(("main", "phase", "code"), [("good", "Succeeded", 0), ("bad", "Failed", 1)])
def test_workflows_and_those_they_start_are_printed(run: Run, tmp_path: Path, main: str, phase: str, code: int) -> None:
    process = run(main, "-o", "json")
    out, err = process.communicate(timeout=100)
    assert process.returncode == code, err
    found = json.loads(out)
    assert [(w["metadata"]["name"], w["status"]["phase"]) for w in found] == [("parent", phase), ("child", "Succeeded")]
    assert found[0]["status"]["finalization"] == "Succeeded"
    assert "workflow parent" in err
    assert left(tmp_path) == []


def test_a_timeout_stops_the_workflow_and_its_handlers_run(run: Run, tmp_path: Path) -> None:
    process = run("approve", "--timeout", "4", "-o", "json")
    out, err = process.communicate(timeout=100)
    assert process.returncode == 3, err
    assert "not done in time: stopping the workflows; their exit handlers run" in err
    assert ends(out) == [("parent", "Failed", "Succeeded"), ("child", "Succeeded", "None")]
    assert left(tmp_path) == []


def ends(out: str) -> list[tuple[str, str, str]]:
    found = [(w["metadata"]["name"], w["status"]) for w in json.loads(out)]
    return [(name, status["phase"], status.get("finalization", "None")) for name, status in found]


def test_an_approval_is_asked_for_and_given_from_another_terminal(run: Run, tmp_path: Path) -> None:
    process = run("approve")
    assert process.stderr is not None
    said = process.stderr.readline()
    assert said == "ǁ parent: `exeunt resume parent` goes on\n"
    environ = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}
    environ.pop("EXEUNT_SERVER", None)
    done = subprocess.run([*EXEUNT, "resume", "parent"], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    process.communicate(timeout=100)
    assert process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_workflow_and_its_handlers_run(run: Run, tmp_path: Path, number: signal.Signals) -> None:
    process = run("approve", "-o", "json")
    assert process.stderr is not None
    process.stderr.readline()
    process.send_signal(number)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 128 + number, err
    assert f"interrupted by {number.name}: stopping the workflows; their exit handlers run" in err
    assert ends(out) == [("parent", "Failed", "Succeeded"), ("child", "Succeeded", "None")]
    assert left(tmp_path) == []


def test_only_the_third_ctrl_c_gives_up_what_is_due(run: Run, tmp_path: Path) -> None:
    process = run("approve", "--entrypoint", "approve", handler="approve")
    assert process.stderr is not None
    heard = [process.stderr.readline()]
    for expected in ("stopping the workflows", "what has not run by its end is lost; once more gives that up"):
        process.send_signal(signal.SIGINT)
        while expected not in heard[-1]:
            heard.append(process.stderr.readline())
            assert heard[-1], heard
        while "stopping" in expected and "parent.onExit" not in heard[-1]:  # the handler waits by now
            heard.append(process.stderr.readline())
            assert heard[-1], heard
    assert "1 workflow (parent) is not ended; 1 exit handler (parent: parent" in heard[-1]
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 130
    assert "interrupted by SIGINT; 1 workflow" in err
    assert left(tmp_path) == []


def test_abandon_gives_up_at_the_first(run: Run, tmp_path: Path) -> None:
    process = run("approve", "--abandon")
    assert process.stderr is not None
    process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=100)
    assert (process.returncode, "no exit handler is due yet" in err) == (130, True), err
    assert left(tmp_path) == []


def test_a_broken_nats_configuration_ends_with_4(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    (folder / "nats").write_text("a file where the store should be")
    process = run("good", "--data-dir", str(folder))
    _, err = process.communicate(timeout=100)
    assert process.returncode == 4
    assert "nats-server did not start" in err


@pytest.mark.parametrize("seconds", [0.1, 0.2, 0.4, 0.6, 0.8])
def test_an_early_interrupt_ends_it_with_a_word(tmp_path: Path, seconds: float) -> None:
    file = tmp_path / "w.yaml"
    file.write_text(MANIFEST.replace("MAIN", "approve"))
    command = [sys.executable, "-c", "from exeunt.cli import entry; entry()", "run", str(file)]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(seconds)
    started.send_signal(signal.SIGINT)
    _, said = started.communicate(timeout=60)
    assert said.strip()
    assert seconds < 0.2 or "Traceback" not in said, "before the program begins it is Python's"
