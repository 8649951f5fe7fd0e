"""docs/grpc.md: its code runs in its order, and it names every method and every reason of a refusal."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from exeunt.v1 import exit_service_pb2, workflow_service_pb2
from tests.docs.blocks import ROOT, blocks
from tests.e2e.cluster import Cluster

PAGE = (ROOT / "docs" / "grpc.md").read_text()
BLOCKS = blocks(ROOT / "docs" / "grpc.md")
REFUSING = {"RpcError", "ChainRefused", "Rejected", "unavailable", "wrong_state", "invalid"}
INSIDE = {"ARTIFACT_CHANGED", "ATTEMPT_OVER", "INVALID_STRATEGY", "MAIN_RUN_OVER", "NOT_FINISHED"}
"""Reasons that reach no user: they are about what executors and services say to each other."""


def reasons() -> Iterator[str]:
    """Those that the code gives."""
    for folder in (
        "exeunt/service",
        "exeunt/journal",
        "exeunt/engine",
        "exeunt/driver/driver.py",
        "exeunt/chains.py",
        "scheduler",
        "exithandler",
    ):
        for path in [ROOT / folder] if folder.endswith(".py") else (ROOT / folder).rglob("*.py"):
            for call in ast.walk(ast.parse(path.read_text())):
                if isinstance(call, ast.Call) and ast.unparse(call.func) in REFUSING:
                    given = [*call.args, *(keyword.value for keyword in call.keywords)]
                    texts = [one.value for one in given if isinstance(one, ast.Constant)]
                    yield from (text for text in texts if isinstance(text, str) and re.fullmatch("[A-Z_]+", text))


def test_it_names_every_reason_that_users_can_get() -> None:
    table = PAGE[PAGE.index("\n## Errors") : PAGE.index("\n## Deadlines")]
    named = set(re.findall(r"`([A-Z_]+)`", table))
    given = set(reasons()) - INSIDE
    made = {"INVALID_REQUEST"}  # by the helpers of errors.py
    made |= {f"{kind}_NOT_FOUND" for kind in ("EXIT", "NODE", "ARTIFACT", "SERVICE")}
    assert {"WORKFLOW_EXISTS", "LOADING", "NO_SUCH_NODE", "REVISION_CHANGED"} <= given, "they are found"
    assert named - {"ENHANCE_YOUR_CALM"} == given | made


def test_it_names_every_method() -> None:
    services = (
        workflow_service_pb2.DESCRIPTOR.services_by_name["WorkflowService"],
        exit_service_pb2.DESCRIPTOR.services_by_name["ExitService"],
    )
    table = PAGE[PAGE.index("\n## Two services") : PAGE.index("\n## Submitting")]
    assert [m.name for service in services for m in service.methods if not re.search(rf"\b{m.name}\b", table)] == []


@pytest.mark.services
@pytest.mark.timeout(110)
def test_its_code_runs(tmp_path: Path) -> None:
    (tmp_path / "proto").symlink_to(ROOT / "proto")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # without `site` there is no other package exeunt: an editable one would be found before what was generated
    environ = {**os.environ, "PATH": path, "PYTHONPATH": f"client{os.pathsep}{sysconfig.get_path('purelib')}"}

    def ran(*command: str) -> None:
        done = subprocess.run(
            command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr

    for block in BLOCKS:
        if block.language == "sh":
            ran("bash", "-euc", block.text)
    program = "\n".join(block.text for block in BLOCKS if block.language == "python")
    cluster = Cluster(tmp_path / "cluster")
    cluster.up()
    try:
        ran(sys.executable, "-S", "-c", program)
    finally:
        cluster.down()
    assert {block.language for block in BLOCKS} == {"sh", "python"}
