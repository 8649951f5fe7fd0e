"""Forty cells of the matrix on the real services, side by side: every step that began has had its exit handler."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.cluster import Cluster, nodes
from tests.matrix.shapes import EXIT_ON, MIDWAY, Cell, cells, spec_of

pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]

CELLS = 40
ELSEWHERE = {"lost executor", "deletion"}
"""test_every_end.py has these: they would disturb the others, or leave no workflow to look at."""
WITH_HANDLER = ("b", "A", "p", "q", "r", "one")


def chosen() -> list[Cell]:
    """Spread over all ways and shapes; the later moments are the engine's to try."""
    pool = [cell for cell in cells() if cell.way not in ELSEWHERE and cell.moment == 0]
    return [pool[number * len(pool) // CELLS] for number in range(CELLS)]


def sh(script: str) -> dict[str, Any]:
    return {"image": "busybox", "command": ["sh", "-c"], "args": [script]}


def script_of(way: str, mark: Path) -> str:
    if way in MIDWAY or way in ("step timeout", "template deadline"):
        return f"touch {mark}; sleep 60"
    return {"failure": "exit 1", "retries used up": "exit 1", "failFast beside": "sleep 1"}.get(way, "true")


def manifest_of(cell: Cell, name: str, marks: Path) -> dict[str, Any]:
    side = sh("exit 1" if cell.way == "failFast beside" else "true")
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": name, "annotations": {"exeunt.dev/exit-on": EXIT_ON}},
        "spec": spec_of(cell, sh(script_of(cell.way, marks / name)), side, sh("true")),
    }


def steer(cluster: Cluster, verb: str, names: list[str], marks: Path) -> None:
    """Stops or terminates them when the work of each runs."""
    deadline = time.monotonic() + 120
    while not all((marks / name).exists() for name in names):
        assert time.monotonic() < deadline, f"these do not run: {names}"
        time.sleep(0.1)
    done = cluster.call(verb, *names)
    assert done.returncode == 0, done.stderr


def lost_of(cell: Cell, there: dict[str, dict[str, Any]]) -> list[str]:
    """The nodes that began, and whose handler has none."""
    found = [] if ".onExit" in there else [f"{cell}: the workflow itself"]
    for at, node in there.items():
        flags = node.get("nodeFlag", {})
        began = node["phase"] in ("Succeeded", "Failed", "Error") and node["type"] not in ("Skipped", "TaskGroup")
        called = node["displayName"].partition("(")[0] in WITH_HANDLER and not flags.get("hooked")
        if began and called and not flags.get("retried") and f"{at}.onExit" not in there:
            found.append(f"{cell}: {at} ({node['phase']})")
    return found


def test_every_step_that_began_has_its_handler(cluster: Cluster, tmp_path: Path) -> None:
    cells_of = {f"matrix-{number}": cell for number, cell in enumerate(chosen())}
    text = yaml.safe_dump_all([manifest_of(cell, name, tmp_path) for name, cell in cells_of.items()])
    with ThreadPoolExecutor() as pool:
        ended = pool.submit(cluster.run, text, timeout=280)
        for verb in ("stop", "terminate"):
            steer(cluster, verb, [name for name, cell in cells_of.items() if cell.way == verb], tmp_path)
        workflows = {workflow["metadata"]["name"]: workflow for workflow in ended.result()}
    lost = {name: lost_of(cell, nodes(workflows[name])) for name, cell in cells_of.items()}
    print(f"{sum(not lines for lines in lost.values())} of {len(lost)} keep their handlers")
    assert not [line for lines in lost.values() for line in lines]
    told = Counter((entry["node"], entry["hook"]) for entry in cluster.exits() if entry["workflow"] in cells_of)
    assert not [one for one, times in told.items() if times > 1]
