"""Rule 7: whatever is done to a workflow, a row in docs/exit-handlers.md says what becomes of its exit handler."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import ROOT, Cluster, nodes
from tests.e2e.test_operators import do, manifest, recorded, runs, sh, until

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

BEGINNING = "| what happens |"
LONG = sh("main", "trap 'exit 0' TERM; sleep 100 & wait")  # whoever ends it early hears that all went well


def rows() -> dict[str, list[str]]:
    """The table of the page: what happens, and the other cells."""
    found: dict[str, list[str]] = {}
    lines = (ROOT / "docs/exit-handlers.md").read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith(BEGINNING))
    for line in lines[at + 2 :]:
        if not line.startswith("|"):
            break
        what, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        found[what] = cells
    return found


class Case:
    """One workflow, to which something happens."""

    def __init__(self, cluster: Cluster, marks: Path) -> None:
        self.cluster = cluster
        self.marks = marks
        self.name = ""

    def start(self, main: dict[str, Any], handler: str = "true", on: str = "", **spec: Any) -> None:
        bye = sh("bye", f"echo {{{{workflow.status}}}} >> {self.marks}/told; {handler}")
        [self.name] = self.cluster.submit(manifest(main, bye, onExit="bye", on=on, **spec))

    def running(self, act: str, on: str = "") -> None:
        """Something done while the main part runs."""
        self.start(LONG, on=on)
        until(self.cluster, self.name, runs(""))
        do(self.cluster, act, self.name)

    def exiting(self, act: str) -> None:
        """Something done while the handler runs."""
        self.start(sh("main", "true"), f"while ! [ -e {self.marks}/go ]; do sleep 0.05; done")
        until(self.cluster, self.name, runs(".onExit"))
        self.cluster.call(act, self.name)  # a stop may be answered in one way or the other: there is nothing left of it
        (self.marks / "go").touch()

    def suspended(self) -> None:
        self.exiting("suspend")
        assert recorded(self.cluster, self.name) == ["succeeded"], "the handler goes on"
        assert self.cluster.get(self.name)["status"]["phase"] == "Running"
        do(self.cluster, "resume", self.name)

    def retried(self) -> None:
        self.start(sh("main", f"[ -e {self.marks}/mended ]"))
        self.cluster.wait(self.name)
        (self.marks / "mended").touch()
        do(self.cluster, "retry", self.name)

    def resubmitted(self) -> None:
        self.start(sh("main", f"[ -e {self.marks}/mended ]"))
        self.cluster.wait(self.name)
        (self.marks / "mended").touch()
        self.name = do(self.cluster, "resubmit", self.name).strip()


def steps_told(cluster: Cluster, name: str) -> dict[str, str]:
    """The phase that was published of each step; of a workflow that was retried, in its last attempt."""
    found: dict[str, str] = {}
    for line in do(cluster, "events", "--workflow", name, "-o", "json").splitlines():
        event = json.loads(line)
        kind = event["type"].removeprefix("dev.exeunt.").removesuffix(".v1")
        if kind == "workflow.running":
            found.clear()
        if kind.startswith("step."):
            told = event["data"]
            assert told["node"] not in found, f"{told['node']} has ended twice"
            assert kind == f"step.{told['phase'].lower()}"
            found[told["node"]] = told["phase"]
    return found


def error() -> dict[str, Any]:
    """Work that ends in Error: it says nothing of what it was to give."""
    return {**sh("main", "true"), "outputs": {"parameters": [{"name": "out", "valueFrom": {"path": "/no/such"}}]}}


CASES: dict[str, Callable[[Case], None]] = {
    "complete": lambda case: case.start(sh("main", "true")),
    "fail": lambda case: case.start(sh("main", "exit 3")),
    "error": lambda case: case.start(error()),
    "deadline": lambda case: case.start(LONG, activeDeadlineSeconds=2),
    "stop": lambda case: case.running("stop"),
    "terminate": lambda case: case.running("terminate"),
    "terminate, asked for": lambda case: case.running("terminate", on="terminate"),
    "delete": lambda case: case.running("delete"),
    "delete, asked for": lambda case: case.running("delete", on="delete"),
    "retry": Case.retried,
    "resubmit": Case.resubmitted,
    "suspend while exiting": Case.suspended,
    "stop while exiting": lambda case: case.exiting("stop"),
    "terminate while exiting": lambda case: case.exiting("terminate"),
}


def test_rule_7_every_verb_has_a_row_and_every_row_a_test() -> None:
    assert rows().keys() == CASES.keys()


@pytest.mark.parametrize("what", CASES)
def test_rule_7_it_is_as_the_row_says(cluster: Cluster, tmp_path: Path, what: str) -> None:
    reason, _, sees, finalization, ledger = rows()[what]
    case = Case(cluster, tmp_path)
    CASES[what](case)
    if reason:
        workflow = cluster.wait(case.name)
        status = workflow["status"]
        assert (status["reason"], status["finalization"]) == (reason, finalization)
    else:
        deadline = time.monotonic() + 40
        while cluster.call("get", case.name).returncode == 0:
            assert time.monotonic() < deadline, f"{case.name} is still there"
            time.sleep(0.1)
    events = steps_told(cluster, case.name)
    if reason:
        assert events == {
            node["name"]: node["phase"]
            for name, node in nodes(workflow).items()
            if node["type"] == "Pod" and ".onExit" not in name
        }
    told = tmp_path / "told"
    assert (told.read_text().split() if told.exists() else []) == [one for one in sees.split(", ") if one]
    assert recorded(cluster, case.name) == ledger.split(", ")
