"""Every example of ours runs, and ends as it says."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.e2e.cluster import ROOT, Cluster, nodes

pytestmark = pytest.mark.services

EXAMPLES = sorted(p for p in (ROOT / "examples").rglob("*.yaml"))
ENDS = "exeunt.dev/example-ends"
NEEDS = "exeunt.dev/example-needs"


def runnable(path: Path) -> bool:
    """Examples that call a host of the reader's own say so, and are run by the tests of their action."""
    return NEEDS not in path.read_text()


@pytest.mark.parametrize("path", [pytest.param(p, id=p.stem) for p in EXAMPLES if runnable(p)])
def test_ends_as_it_says(cluster: Cluster, path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# "), "an example says in its first line what it shows"
    expected = [
        (d["metadata"].get("annotations") or {}).get(ENDS, "Succeeded")
        for d in yaml.safe_load_all(text)
        if d and d["kind"] == "Workflow"
    ]
    found = cluster.run(text)
    assert [w["status"]["phase"] for w in found[: len(expected)]] == expected, [w["status"] for w in found]


def test_there_are_at_least_ten() -> None:
    assert len(EXAMPLES) >= 10


def test_outputs_travel(cluster: Cluster) -> None:
    [workflow] = cluster.run((ROOT / "examples/basics/steps-and-outputs.yaml").read_text())
    outputs = nodes(workflow)[""]["outputs"]["parameters"]
    assert [(p["name"], p["value"]) for p in outputs] == [("doubled", "42")]


def test_a_loop_brings_a_list(cluster: Cluster) -> None:
    [workflow] = cluster.run((ROOT / "examples/basics/loop.yaml").read_text())
    [parameter] = nodes(workflow)["[1].show"]["inputs"]["parameters"]
    assert parameter["value"] == '["1","4","9"]' or parameter["value"] == "[1,4,9]"


def test_the_third_attempt_succeeds(cluster: Cluster) -> None:
    [workflow] = cluster.run((ROOT / "examples/basics/retry.yaml").read_text())
    found = nodes(workflow)
    assert [found[f"({i})"]["phase"] for i in range(3)] == ["Failed", "Failed", "Succeeded"]


def test_recursion_ends(cluster: Cluster) -> None:
    [workflow] = cluster.run((ROOT / "examples/basics/recursion.yaml").read_text(), "-p", "from=2")
    found = nodes(workflow)
    assert found["[1].again[1].again"]["type"] == "Skipped"
