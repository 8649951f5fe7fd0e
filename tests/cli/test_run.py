"""`exeunt run` with real services: the outcome on standard output, the right exit code, and nothing left behind."""

import json
import os
import signal
import subprocess
import sys
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
    def start(main: str, *arguments: str) -> "subprocess.Popen[str]":
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
        process.stdin.write(MANIFEST.replace("MAIN", main))
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


def test_a_timeout_stops_the_cluster(run: Run, tmp_path: Path) -> None:
    process = run("approve", "--timeout", "0.5")
    _, err = process.communicate(timeout=100)
    assert process.returncode == 3
    assert err.endswith("not done after 0.5 s; the cluster is stopped\n")
    assert left(tmp_path) == []


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


def test_ctrl_c_stops_the_cluster(run: Run, tmp_path: Path) -> None:
    process = run("approve")
    assert process.stderr is not None
    process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=100)
    assert (process.returncode, err) == (130, "interrupted; the cluster is stopped\n")
    assert left(tmp_path) == []


def test_a_broken_nats_configuration_ends_with_4(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    (folder / "nats").write_text("a file where the store should be")
    process = run("good", "--data-dir", str(folder))
    _, err = process.communicate(timeout=100)
    assert process.returncode == 4
    assert "nats-server did not start" in err
