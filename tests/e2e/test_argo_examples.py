"""Argo's own example manifests, unchanged, end as Argo's own CI expects them to."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.cluster import ARGO, Cluster, nodes

pytestmark = [
    pytest.mark.services,
    pytest.mark.skipif(not (ARGO / "examples").is_dir(), reason="Argo's examples are not beside this checkout"),
]

SUCCEED = """
hello-world steps dag-diamond dag-diamond-steps dag-multiroot dag-targets dag-nested dag-enhanced-depends
coinflip coinflip-recursive dag-coinflip loops loops-dag loops-maps loops-sequence loops-param-argument
withsequence-nested-result global-parameters output-parameter scripts-bash scripts-python
retry-container-to-completion status-reference exit-code-output-variable
steps-inline-workflow dag-inline-workflow parallelism-template-limit recursive-for-loop
exit-handler-with-param exit-handler-step-level exit-handler-dag-level continue-on-fail
""".split()
FAIL = "dag-continue-on-fail dag-disable-failFast exit-handlers".split()
BY_CHANCE = "retry-container retry-script retry-on-error retry-with-steps".split()
SLOW_SUCCEED = "parallelism-limit parallelism-nested loops-param-result".split()
SLOW_FAIL = "timeouts-step step-level-timeout".split()


def text(name: str) -> str:
    return (ARGO / "examples" / f"{name}.yaml").read_text()


def run(cluster: Cluster, name: str) -> dict[str, Any]:
    found = cluster.run(text(name), timeout=115)
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("name", SUCCEED + SLOW_SUCCEED)
def test_succeeds(cluster: Cluster, name: str) -> None:
    workflow = run(cluster, name)
    assert workflow["status"]["phase"] == "Succeeded", workflow["status"]


@pytest.mark.parametrize("name", FAIL + SLOW_FAIL)
def test_fails_as_it_is_meant_to(cluster: Cluster, name: str) -> None:
    workflow = run(cluster, name)
    assert workflow["status"]["phase"] == "Failed", workflow["status"]


@pytest.mark.parametrize("name", [*BY_CHANCE, "retry-backoff", "template-on-exit"])
def test_has_the_phase_of_its_last_attempt(cluster: Cluster, name: str) -> None:
    workflow = run(cluster, name)
    for node in workflow["status"]["nodes"].values():
        if node["type"] == "Retry":
            children = [workflow["status"]["nodes"][c] for c in node["children"]]
            attempts = [c for c in children if c["name"].startswith(node["name"] + "(")]
            last = max(attempts, key=lambda n: int(n["name"].rsplit("(", 1)[1].rstrip(")")))
            assert node["phase"] == last["phase"]
    assert workflow["status"]["phase"] in ("Succeeded", "Failed")


def test_exit_handlers_see_the_failure(cluster: Cluster) -> None:
    found = nodes(run(cluster, "exit-handlers"))
    assert found[".onExit"]["phase"] == "Succeeded"
    assert found[".onExit[0].celebrate"]["type"] == "Skipped"
    assert found[".onExit[0].cry"]["phase"] == "Succeeded"


def test_a_suspended_workflow_goes_on_when_resumed(cluster: Cluster) -> None:
    [name] = cluster.submit(text("suspend-template").replace('duration: "20"', 'duration: "1"'))
    for _ in range(600):
        found = nodes(cluster.get(name))
        if found.get("[1].approve", {}).get("phase") == "Running":
            break
    else:
        pytest.fail("the approval never came up")
    assert cluster.call("resume", name).returncode == 0
    workflow = cluster.wait(name)
    assert workflow["status"]["phase"] == "Succeeded"
    assert nodes(workflow)["[3].release"]["phase"] == "Succeeded"
