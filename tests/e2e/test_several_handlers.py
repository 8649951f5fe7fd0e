"""Several exit handlers of one workflow: each is owed on its own, and has a record and an end of its own."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster, nodes
from tests.e2e.test_operators import do, manifest, runs, sh, until

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]


def several(text: str, named: str, on: str = "") -> str:
    """The manifest with the annotation."""
    tree = json.loads(text)
    tree["metadata"]["annotations"] = {"exeunt.dev/exit-handlers": named, "exeunt.dev/exit-on": on}
    return json.dumps(tree)


def states(cluster: Cluster, name: str) -> dict[str, str]:
    return {entry["hook"]: entry["state"] for entry in cluster.exits("--workflow", name)}


def test_all_of_them_run_side_by_side_with_on_exit(cluster: Cluster, tmp_path: Path) -> None:
    met = "touch {0}/{1}; while ! [ -e {0}/{2} ]; do sleep 0.05; done; echo {{{{workflow.status}}}} > {0}/{1}"
    a, b = (sh(one, met.format(tmp_path, one, other)) for one, other in (("a", "b"), ("b", "a")))
    bye = sh("bye", f"echo bye > {tmp_path}/bye")
    [workflow] = cluster.run(several(manifest(sh("main", "true"), a, b, bye, onExit="bye"), "a, b"))
    assert workflow["status"]["finalization"] == "Succeeded"
    assert [(tmp_path / name).read_text() for name in ("a", "b", "bye")] == ["Succeeded\n", "Succeeded\n", "bye\n"]
    found = nodes(workflow)
    assert {found[name]["phase"] for name in (".onExit", ".hooks.a", ".hooks.b")} == {"Succeeded"}
    assert states(cluster, workflow["metadata"]["name"]) == dict.fromkeys(("exit", "a", "b"), "succeeded")


def test_one_that_fails_keeps_no_other_from_its_end(cluster: Cluster, tmp_path: Path) -> None:
    text = manifest(sh("main", "true"), sh("a", "exit 9"), sh("b", f"touch {tmp_path}/b"))
    [workflow] = cluster.run(several(text, "a,b"))
    status = workflow["status"]
    assert (status["outcome"], status["phase"], status["finalization"]) == ("Succeeded", "Failed", "Failed")
    [condition] = [c for c in status["conditions"] if c["type"] == "HandlerFailed"]
    assert ".hooks.a: " in condition["message"]
    assert (tmp_path / "b").exists()
    assert states(cluster, workflow["metadata"]["name"]) == {"a": "failed", "b": "succeeded"}


@pytest.mark.parametrize(
    ("act", "on", "state"),
    [("stop", "", "succeeded"), ("terminate", "", "skipped"), ("terminate", "terminate", "succeeded")],
)
def test_they_follow_the_rules_of_on_exit(cluster: Cluster, tmp_path: Path, act: str, on: str, state: str) -> None:
    [name] = cluster.submit(several(manifest(sh("main", "sleep 100"), sh("a", "true"), sh("b", "true")), "a,b", on))
    until(cluster, name, runs(""))
    do(cluster, act, name)
    cluster.wait(name)
    until(cluster, name, lambda _: set(states(cluster, name).values()) == {state})
    assert set(states(cluster, name)) == {"a", "b"}


def test_a_handler_of_a_stored_template(cluster: Cluster, tmp_path: Path) -> None:
    tools = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "WorkflowTemplate",
        "metadata": {"name": "several-tools"},
        "spec": {"templates": [sh("tell", f"echo {{{{workflow.name}}}} > {tmp_path}/told")]},
    }
    text = several(manifest(sh("main", "true")), "workflowtemplate/several-tools/tell")
    [workflow] = cluster.run(f"{json.dumps(tools)}\n---\n{text}")
    name = workflow["metadata"]["name"]
    assert (tmp_path / "told").read_text() == f"{name}\n"
    assert states(cluster, name) == {"several-tools.tell": "succeeded"}


def test_rule_12_they_run_beside_each_other_unless_one_comes_after_others(cluster: Cluster, tmp_path: Path) -> None:
    said = tmp_path / "said"
    slow = "sleep 0.5; echo {0} >> {1}"
    templates = [sh(name, slow.format(name, said)) for name in ("tell", "count")]
    late = [sh(name, f"echo {name} >> {said}; false") for name in ("clean-up", "bye")]
    text = manifest(sh("main", "true"), *templates, *late, onExit="bye")
    [workflow] = cluster.run(several(text, "clean-up after count+tell, tell after exit, count"))
    assert workflow["status"]["finalization"] == "Failed"
    lines = said.read_text().split()
    assert lines.index("bye") < lines.index("tell") < lines.index("clean-up"), "however the one before it ended"
    assert lines.index("count") < lines.index("clean-up")
    found = nodes(workflow)
    assert found[".hooks.count"]["startedAt"] <= found[".onExit"]["finishedAt"], "what waits for nobody is at once"


def test_one_that_waits_for_another_gets_its_end_when_the_workflow_is_terminated(cluster: Cluster) -> None:
    text = manifest(sh("main", "true"), sh("a", "sleep 100"), sh("b", "true"))
    [name] = cluster.submit(several(text, "b after a, a"))
    until(cluster, name, runs(".hooks.a"))
    do(cluster, "terminate", name)
    cluster.wait(name)
    until(cluster, name, lambda _: states(cluster, name) == {"a": "cancelled", "b": "skipped"})


@pytest.mark.parametrize(
    ("named", "why"),
    [
        ("aa", "there is no template 'aa'"),
        ("x/y", "TEMPLATE is expected"),
        ("main after", "TEMPLATE is expected"),
        ("main after x", "'main' comes after 'x', which is none of the handlers: exit"),
        ("main after a, a after main", "wait for each other"),
    ],
)
def test_what_is_not_there_is_refused(cluster: Cluster, named: str, why: str) -> None:
    done = cluster.call("submit", "-", stdin=several(manifest(sh("main", "true"), sh("a", "true")), named))
    assert done.returncode == 2
    assert "metadata.annotations" in done.stderr
    assert why in done.stderr


DEFAULTS = "clusterworkflowtemplate/ops/tell,team-a=workflowtemplate/bye/tell"
EXIT_ON = "terminate+delete,team-a=none"


def stored(kind: str, name: str, mark: Path, **metadata: str) -> str:
    """A stored template that tells which of them it is, for which workflow."""
    tell = sh("tell", f"echo {name} {{{{workflow.name}}}} >> {mark}")
    tree = {"apiVersion": "argoproj.io/v1alpha1", "kind": kind, "metadata": {"name": name, **metadata}}
    return json.dumps({**tree, "spec": {"templates": [tell]}})


@pytest.fixture
def ruled(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster whose operator gives every workflow a handler, and those of one namespace another."""
    ruled = Cluster(tmp_path / "data", environ={"EXEUNT_EXIT_HANDLERS": DEFAULTS, "EXEUNT_EXIT_ON": EXIT_ON})
    ruled.up()
    try:
        yield ruled
    finally:
        ruled.down()


def test_rule_13_an_operators_handlers_run_for_every_workflow_also_those_that_handlers_start(
    ruled: Cluster, tmp_path: Path
) -> None:
    mark = tmp_path / "told"
    templates = [
        stored("ClusterWorkflowTemplate", "ops", mark),
        stored("WorkflowTemplate", "bye", mark, namespace="team-a"),
    ]
    child = {
        "metadata": {"name": "child"},
        "spec": {"entrypoint": "main", "templates": [sh("main", "true")]},
    }
    start = {"name": "start", "plugin": {"trigger": {"workflow": child}}}
    own = several(manifest(sh("main", "true"), sh("a", "true"), start, onExit="start"), "a")
    found = ruled.run("\n---\n".join([*templates, own]), "--name", "parent")
    assert [w["status"]["phase"] for w in found] == ["Succeeded", "Succeeded"]
    assert states(ruled, "parent") == dict.fromkeys(("exit", "a", "ops.tell"), "succeeded")
    assert states(ruled, "child") == {"ops.tell": "succeeded"}
    assert sorted(mark.read_text().splitlines()) == ["ops child", "ops parent"]

    [mine] = ruled.run(manifest(sh("main", "true")), "--namespace", "team-a", "--name", "mine")
    shown = mine["metadata"]["annotations"]["exeunt.dev/exit-handlers"]
    assert shown == "workflowtemplate/bye/tell,clusterworkflowtemplate/ops/tell", "what runs can be read"
    assert sorted(mark.read_text().splitlines())[:1] == ["bye mine"]
    assert "ops mine" in mark.read_text().splitlines()

    # at which ends they run: what the workflow says, or else its namespace, or else the cluster
    sleeps = manifest(sh("main", "sleep 100"))
    for namespace, on, shown, state in (
        ("default", None, "terminate,delete", "succeeded"),
        ("default", "delete", "delete", "skipped"),
        ("team-a", None, "none", "skipped"),
    ):
        text = sleeps if on is None else several(sleeps, "", on)
        [name] = ruled.submit(text, "--namespace", namespace)
        do(ruled, "terminate", name, "--namespace", namespace)
        [ended] = json.loads(ruled.call("watch", name, "--namespace", namespace, "-o", "json").stdout)
        assert ended["metadata"]["annotations"]["exeunt.dev/exit-on"] == shown
        deadline = time.monotonic() + 20
        while set(states(ruled, name).values()) != {state}:
            assert time.monotonic() < deadline, states(ruled, name)
            time.sleep(0.1)
