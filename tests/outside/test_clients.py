"""The clients of examples/grpc, on generated code alone, see a workflow to its end though the scheduler dies."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster
from tests.outside.tools import go

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "grpc"

pytestmark = [pytest.mark.services, pytest.mark.timeout(400)]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    found = Cluster(tmp_path / "cluster")
    found.up()
    yield found
    found.down()


def copied(language: str, folder: Path, **environ: str) -> tuple[Path, dict[str, str]]:
    """An example for itself, and what its generate.sh finds in its environment."""
    made = shutil.copytree(EXAMPLES / language, folder / language)
    return made, {**os.environ, "PROTO": str(ROOT / "proto"), "PYTHON": sys.executable, **environ}


def generated(folder: Path, environ: Mapping[str, str]) -> None:
    """Runs generate.sh."""
    done = subprocess.run(["./generate.sh"], cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def said(cluster: Cluster, command: Sequence[str], folder: Path, **environ: str) -> list[str]:
    """What the program prints while the scheduler dies under it, as soon as its workflow runs."""
    facts = cluster.facts()
    there = {
        "EXEUNT_SERVER": facts["scheduler"]["address"],
        "EXEUNT_EXIT_SERVER": facts["exithandler"]["address"],
        "EXEUNT_TOKEN": facts["token"],
    }
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=folder, env={**os.environ, **there, **environ}, stdout=pipe, stderr=pipe, text=True
    ) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        lines: list[str] = []
        killed = False
        for line in program.stdout:
            lines.append(line.rstrip())
            if not killed and line.endswith(" Running\n"):
                cluster.signal("scheduler")
                killed = True
        assert program.wait() == 0, "\n".join([*lines, program.stderr.read()])
    return lines


def look(lines: list[str]) -> None:
    """Both programs say the same in the end."""
    text = "\n".join(lines)
    assert "a break: Unavailable" in text.replace("UNAVAILABLE", "Unavailable")
    assert any("PHASE_SUCCEEDED" in line and "FINALIZATION_SUCCEEDED" in line for line in lines)
    assert any(line.startswith("handler exit: STATE_SUCCEEDED after 1 attempts") for line in lines)
    assert "REVISION_CHANGED (exeunt.dev)" in text
    assert "WORKFLOW_FINISHED (exeunt.dev)" in text
    assert sum(line.startswith("  it is about the workflow default/waiting-") for line in lines) == 2
    assert any(line.startswith("  workflow/default/waiting-") for line in lines), "what a precondition is about"


def test_a_python_program_on_generated_code(cluster: Cluster, tmp_path: Path) -> None:
    folder, environ = copied("python", tmp_path)
    generated(folder, environ)
    # without `site` there is no other package exeunt: an editable one would be found before what was generated
    look(said(cluster, [sys.executable, "-S", "main.py"], folder, PYTHONPATH=sysconfig.get_path("purelib")))


def test_a_go_program_on_generated_code(cluster: Cluster, tmp_path: Path) -> None:
    folder, environ = copied("go", tmp_path, PROTOC=f"{sys.executable} -m grpc_tools.protoc")
    go(folder, "mod", "download", environ=environ)
    generated(folder, environ)
    build = ["go", "build", "-o", "example", "."]
    built = subprocess.run(build, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    look(said(cluster, ["./example"], folder))
    formatted = subprocess.run(["gofmt", "-l", "main.go"], cwd=folder, capture_output=True, text=True, check=False)
    assert formatted.stdout == "", "gofmt main.go"
