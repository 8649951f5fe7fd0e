"""Workflows that start each other: once more, when the child ends well, and when several have ended (fan-in)."""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.test_operators import do, manifest, sh

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

Tree = dict[str, Any]


def template(name: str, *templates: Tree, parameters: tuple[str, ...] = ()) -> str:
    """A stored template that begins with `main`."""
    given = {"parameters": [{"name": parameter} for parameter in parameters]}
    spec = {"entrypoint": "main", "templates": templates, "arguments": given}
    tree = {"apiVersion": "argoproj.io/v1alpha1", "kind": "WorkflowTemplate", "metadata": {"name": name}}
    return json.dumps({**tree, "spec": spec})


def trigger(**fields: Any) -> Tree:
    return {"name": "bye", "plugin": {"trigger": fields}}


def named(cluster: Cluster, prefix: str) -> list[str]:
    return sorted(name for name in do(cluster, "list", "-o", "name").split() if name.startswith(prefix))


def test_a_handler_resubmits_what_failed_until_it_goes_well(cluster: Cluster, tmp_path: Path) -> None:
    said = tmp_path / "said"
    prefix = f"again-{uuid.uuid4().hex[:6]}-"
    parameters = {"parameters": [{"name": "n", "value": "1"}, {"name": "who", "value": "a"}]}
    say = f"echo {{{{workflow.parameters.n}}}}{{{{workflow.parameters.who}}}} >> {said}"
    main = sh("main", f"{say}; [ $(wc -l < {said}) = 3 ]")
    more = {"n": "{{=string(int(workflow.parameters.n) + 1)}}"}
    hook = {"exit": {"template": "bye", "expression": 'workflow.status == "Failed"'}}
    text = manifest(main, trigger(resubmit=True, parameters=more), prefix=prefix, hooks=hook, arguments=parameters)
    found = cluster.run(text, "-p", "who=b")
    assert [w["status"]["phase"] for w in found] == ["Failed", "Failed", "Succeeded"]
    assert said.read_text().split() == ["1b", "2b", "3b"], "with the arguments that it had, but for those given"
    assert [w["metadata"].get("labels", {}).get("exeunt.dev/depth") for w in found] == [None, "1", "2"]
    assert all(w["metadata"]["name"].startswith(prefix) for w in found)


def test_a_main_step_that_starts_its_own_template_comes_to_an_end(cluster: Cluster) -> None:
    name = f"own-{uuid.uuid4().hex[:6]}"
    own = {"name": "main", "plugin": {"trigger": {"template": name}}}
    first = {"metadata": {"generateName": f"{name}-"}, "spec": {"workflowTemplateRef": {"name": name}}}
    head = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow"}
    found = cluster.run(template(name, own) + "\n---\n" + json.dumps(head | first))
    assert [w["metadata"].get("labels", {}).get("exeunt.dev/depth", "0") for w in found] == [str(n) for n in range(33)]
    assert {w["status"]["phase"] for w in found[:-1]} == {"Succeeded"}
    assert "32 workflows have started each other in a chain already; the bound is 32" in json.dumps(found[-1])


OUTPUT = "status.outputs.parameters.0.value"


@pytest.mark.parametrize(
    ("fields", "phase"),
    [
        ({"wait": True}, "Failed"),
        ({"successCondition": f"{OUTPUT} == poor"}, "Succeeded"),
        ({"failureCondition": f"{OUTPUT} == poor"}, "Failed"),
    ],
    ids=["wait", "success", "failure"],
)
def test_a_handler_judges_what_its_child_came_to(cluster: Cluster, tmp_path: Path, fields: Tree, phase: str) -> None:
    main = sh("main", f"printf poor > {tmp_path}/out; exit 1")
    main["outputs"] = {"parameters": [{"name": "o", "globalName": "o", "valueFrom": {"path": f"{tmp_path}/out"}}]}
    child = {"metadata": {"generateName": "judged-"}, "spec": {"entrypoint": "main", "templates": [main]}}
    workflow = cluster.run(manifest(sh("main", "true"), trigger(workflow=child, **fields), onExit="bye"))[0]
    assert workflow["status"]["finalization"] == phase


class Joined:
    """Two workflows whose handlers join, and a template that writes down what it was given."""

    def __init__(self, marks: Path, **join: Any) -> None:
        marks.mkdir(exist_ok=True)
        self.key = uuid.uuid4().hex[:8]
        self.child = f"b-{self.key}"
        self.said = marks / "said"
        given = " | ".join(f"{{{{workflow.parameters.{name}}}}}" for name in ("a", "b", "last"))
        main = sh("main", f"cat >> {self.said} <<'END'\n{given}\nEND")
        self.template = template(self.child, main, parameters=("a", "b", "last"))
        self.join = {"key": f"nightly {self.key}", "of": ["a1", "a2"], **join}

    def member(self, name: str, letter: str, main: str = "true", **fields: Any) -> str:
        parameters = {letter: "{{workflow.name}}:{{workflow.status}} \"q'", "last": name}
        start = trigger(template=self.child, join={**self.join, "as": name}, parameters=parameters, **fields)
        return manifest(sh("main", main), start, prefix=f"{name}-{self.key}-", onExit="bye")


def test_b_starts_when_a1_and_a2_have_ended(cluster: Cluster, tmp_path: Path) -> None:
    joined = Joined(tmp_path)
    [first] = cluster.run(f"{joined.template}\n---\n{joined.member('a1', 'a', 'exit 1')}")
    [entry] = cluster.exits("--workflow", first["metadata"]["name"])
    [join] = entry["children"]
    waiting = cluster.get(join["name"])
    assert waiting["status"]["phase"] == "Running"
    assert waiting["metadata"]["annotations"]["exeunt.dev/join"] == joined.join["key"]
    phases = {n["displayName"]: n["phase"] for n in waiting["status"]["nodes"].values()}
    assert (phases["a1"], phases["a2"]) == ("Succeeded", "Running"), "it can be seen who is waited for"
    assert named(cluster, joined.child) == []

    [second] = cluster.run(joined.member("a2", "b"))
    cluster.wait(join["name"])
    [child] = named(cluster, joined.child)
    cluster.wait(child)
    told = [f"{first['metadata']['name']}:Failed \"q'", f"{second['metadata']['name']}:Succeeded \"q'", "a2"]
    assert joined.said.read_text().strip().split(" | ") == told, "of two that give `last` the later one in `of` counts"

    do(cluster, "exits", "replay", entry["id"])
    cluster.run(joined.member("a1", "a"))
    assert named(cluster, joined.child) == [child], "however often one arrives"


def test_a_member_waits_for_the_joint_child(cluster: Cluster, tmp_path: Path) -> None:
    joined = Joined(tmp_path)
    texts = [joined.template, joined.member("a1", "a", wait=True), joined.member("a2", "b", wait=True)]
    found = cluster.run("\n---\n".join(texts))
    assert {w["status"]["finalization"] for w in found[:2]} == {"Succeeded"}
    assert joined.said.exists(), "the child has ended before its members have"


def test_a_join_does_not_wait_for_ever(cluster: Cluster, tmp_path: Path) -> None:
    joined = Joined(tmp_path, within=1)
    [workflow] = cluster.run(f"{joined.template}\n---\n{joined.member('a1', 'a', wait=True)}")
    assert workflow["status"]["finalization"] == "Failed"
    [entry] = cluster.exits("--workflow", workflow["metadata"]["name"])
    status = cluster.get(entry["children"][0]["name"])["status"]
    assert (status["phase"], status["reason"]) == ("Failed", "Deadline")
    cluster.run(joined.member("a2", "b"))
    assert named(cluster, joined.child) == [], "who comes too late finds it over"


def test_who_is_no_member_is_told(cluster: Cluster, tmp_path: Path) -> None:
    joined = Joined(tmp_path)
    [workflow] = cluster.run(f"{joined.template}\n---\n{joined.member('other', 'a')}")
    [entry] = cluster.exits("--workflow", workflow["metadata"]["name"])
    assert entry["state"] == "failed"
    assert "other is none of the join's members a1, a2" in entry["error"]


@pytest.mark.parametrize("service", ["exithandler", "scheduler"])
def test_a_join_comes_about_once_whatever_dies(cluster: Cluster, tmp_path: Path, service: str) -> None:
    joins = [Joined(tmp_path / str(i)) for i in range(6)]
    do(cluster, "submit", *(str(_written(tmp_path / f"{i}.yaml", joined.template)) for i, joined in enumerate(joins)))
    names = []
    for joined in joins:
        a1 = joined.member("a1", "a", "sleep 0.5", wait=True)
        a2 = joined.member("a2", "b", "sleep 1", wait=True)
        names += cluster.submit(f"{a1}\n---\n{a2}")
    rng, over = random.Random(service), threading.Event()

    def kill() -> None:
        while not over.wait(rng.uniform(0.2, 1.2)):
            cluster.signal(service)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        time.sleep(5)
    finally:
        over.set()
        killer.join()
    for name in names:
        assert cluster.wait(name)["status"]["finalization"] == "Succeeded"
    for joined in joins:
        assert len(named(cluster, joined.child)) == 1
        assert len(joined.said.read_text().splitlines()) == 1


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
