"""The rules that answer what users of other engines complain about, each in one short test that names it.

Rules with a page of their own are tried there: every verb (7) in test_every_verb, retry (8) in test_again, several
handlers and defaults (12, 13) in test_several_handlers.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster, nodes
from tests.e2e.test_events import TERMINAL, heard, kind
from tests.e2e.test_hooks_over_http import Listener, listener
from tests.e2e.test_operators import do, manifest, recorded, runs, sh, until

__all__ = ["listener"]

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]


async def test_rule_1_there_is_exactly_one_terminal_event_and_its_id_is_the_same_again(cluster: Cluster) -> None:
    [workflow] = cluster.run(manifest(sh("main", "exit 1"), sh("bye", "true"), onExit="bye"))
    uid = workflow["metadata"]["uid"]
    first, again = await heard(cluster, uid), await heard(cluster, uid)
    [end] = [event for event in first if kind(event) in TERMINAL]
    assert end.headers is not None
    assert end.headers["ce-id"].startswith(f"{uid}.")
    assert [event.headers for event in first] == [event.headers for event in again]
    assert json.loads(end.data)["status"]["outcome"] == "Failed", "it carries the summary"


def test_rule_2_outcome_and_finalization_are_two_things(cluster: Cluster, tmp_path: Path) -> None:
    go = tmp_path / "go"
    bye = sh("bye", f"while ! [ -e {go} ]; do sleep 0.05; done")
    [name] = cluster.submit(manifest(sh("main", "true"), bye, onExit="bye"))
    status = until(cluster, name, runs(".onExit"))["status"]
    assert (status["outcome"], status["finalization"], status["phase"]) == ("Succeeded", "Running", "Running")
    go.touch()
    status = cluster.wait(name)["status"]
    assert (status["outcome"], status["finalization"], status["phase"]) == ("Succeeded", "Succeeded", "Succeeded")


def test_rule_3_a_handler_is_owed_whatever_becomes_of_the_graph_around_it(cluster: Cluster, tmp_path: Path) -> None:
    mark = tmp_path / "told"
    told = {"exit": {"template": "tell"}}
    tasks = [
        {"name": "a", "template": "bad", "hooks": told},
        {"name": "b", "template": "good", "depends": "a.Succeeded", "hooks": told},
    ]
    dag = {"name": "main", "dag": {"tasks": tasks}}
    [workflow] = cluster.run(manifest(dag, sh("bad", "exit 1"), sh("good", "true"), sh("tell", f"echo x >> {mark}")))
    found = nodes(workflow)
    assert found[".b"]["phase"] == "Omitted"
    assert found[".a.onExit"]["phase"] == "Succeeded"
    assert mark.read_text() == "x\n", "for the task that ended, and not for the one that was omitted"


@pytest.mark.parametrize("kind", ["http", "container"])
def test_rule_4_each_try_has_the_same_key_and_a_replay_too(
    cluster: Cluster, listener: Listener, tmp_path: Path, kind: str
) -> None:
    mark = tmp_path / "keys"
    bye = {"name": "bye", "http": {"url": listener.url}}
    if kind == "container":
        bye = sh("bye", f"echo $EXEUNT_IDEMPOTENCY_KEY >> {mark}; [ $(wc -l < {mark}) != 1 ]")
    else:
        bye["http"] = {"url": listener.url, "successCondition": "response.body == 'no'"}
    [workflow] = cluster.run(manifest(sh("main", "true"), {**bye, "retryStrategy": {"limit": 1}}, onExit="bye"))
    name = workflow["metadata"]["name"]
    [entry] = cluster.exits("--workflow", name)
    for again in ("", "--again"):
        do(cluster, "exits", "replay", entry["id"], *filter(None, [again]))
        until(cluster, name, lambda _: recorded(cluster, name) != [])

    def keys() -> list[str]:
        if kind == "container":
            return mark.read_text().split()
        return [headers["Idempotency-Key"] for _, headers, _ in listener.heard]

    tries = 2 if kind == "http" else 1  # of a replay: the container goes well from its second time on
    first, last = keys()[: 2 + tries], keys()[2 + tries :]
    assert (len(set(first)), len(last), len(set(last))) == (1, tries, 1)
    assert first[0] != last[0], "new keys when everything is to be done once more"


def test_rule_5_a_flood_of_work_leaves_room_for_handlers(cluster: Cluster, tmp_path: Path) -> None:
    wait = {"name": "main", "suspend": {}}
    [name] = cluster.submit(manifest(wait, sh("bye", f"touch {tmp_path}/bye"), onExit="bye"))
    until(cluster, name, runs(""))
    many = {"name": "main", "steps": [[{"name": "s", "template": "s", "withSequence": {"count": "40"}}]]}
    [flood] = cluster.submit(manifest(many, sh("s", f"touch {tmp_path}/busy-$$; sleep 100")))
    try:
        until(cluster, flood, lambda _: len(list(tmp_path.glob("busy-*"))) >= 32)
        do(cluster, "resume", name)
        assert cluster.wait(name)["status"]["finalization"] == "Succeeded"
        assert (tmp_path / "bye").exists()
        assert cluster.get(flood)["status"]["phase"] == "Running"
    finally:
        do(cluster, "terminate", flood)
        cluster.wait(flood)


def test_rule_6_a_handler_outlives_the_scheduler(cluster: Cluster, tmp_path: Path) -> None:
    go, mark = tmp_path / "go", tmp_path / "told"
    bye = sh("bye", f"while ! [ -e {go} ]; do sleep 0.05; done; echo x >> {mark}")
    [name] = cluster.submit(manifest(sh("main", "true"), bye, onExit="bye"))
    until(cluster, name, runs(".onExit"))
    cluster.signal("scheduler")
    go.touch()
    assert cluster.wait(name)["status"]["finalization"] == "Succeeded"
    assert mark.read_text() == "x\n"


def test_rule_9_what_does_not_run_says_why(cluster: Cluster) -> None:
    never = {"exit": {"template": "bye", "expression": 'workflow.status == "Failed"'}}
    [workflow] = cluster.run(manifest(sh("main", "true"), sh("bye", "true"), hooks=never))
    assert workflow["status"]["finalization"] == "Skipped"
    [entry] = cluster.exits("--workflow", workflow["metadata"]["name"])
    assert (entry["state"], "is false" in entry["error"]) == ("skipped", True)
    done = cluster.call("submit", "-", stdin=manifest(sh("main", "true"), onExit="byee"))
    assert done.returncode == 2
    assert "byee" in done.stderr


@pytest.mark.parametrize("level", ["workflow", "nested"])
@pytest.mark.parametrize("main", ["true", "exit 1"])
def test_rule_10_failures_are_always_defined(cluster: Cluster, tmp_path: Path, level: str, main: str) -> None:
    mark = tmp_path / "told"
    tell = sh("tell", f"cat > {mark} <<'END'\n{{{{workflow.failures}}}}\nEND")
    nested = {"name": "nested", "steps": [[{"name": "tell", "template": "tell"}]]}
    handler = "tell" if level == "workflow" else "nested"
    cluster.run(manifest(sh("main", main), tell, nested, onExit=handler))
    failures = json.loads(json.loads(mark.read_text()))
    assert (failures is None) == (main == "true")


def test_rule_11_a_handler_that_fails_hides_nothing(cluster: Cluster) -> None:
    [workflow] = cluster.run(manifest(sh("main", "exit 3"), sh("bye", "exit 4"), onExit="bye"))
    status = workflow["status"]
    assert (status["outcome"], status["finalization"]) == ("Failed", "Failed")
    assert "exit code 3" in status["message"]
    [condition] = [c for c in status["conditions"] if c["type"] == "HandlerFailed"]
    assert "exit code 4" in condition["message"]


@pytest.mark.parametrize(("word", "phase"), [("true", "Failed"), ("false", "Succeeded")])
def test_rule_11_whether_a_failing_handler_fails_the_workflow_is_its_choice(
    cluster: Cluster, word: str, phase: str
) -> None:
    tree = json.loads(manifest(sh("main", "true"), sh("bye", "exit 4"), sh("a", "exit 5"), onExit="bye"))
    tree["metadata"]["annotations"] = {"exeunt.dev/handlers-fail-workflow": word, "exeunt.dev/exit-handlers": "a"}
    [workflow] = cluster.run(json.dumps(tree))
    status = workflow["status"]
    assert (status["outcome"], status["finalization"], status["phase"]) == ("Succeeded", "Failed", phase)
    failed = [c["message"] for c in status["conditions"] if c["type"] == "HandlerFailed"]
    assert sorted(message[-2] for message in failed) == ["4", "5"], "they stand there in either case"


def test_rule_14_delivery_can_be_seen(cluster: Cluster) -> None:
    bye = {**sh("bye", "exit 4"), "retryStrategy": {"limit": 1}}
    [workflow] = cluster.run(manifest(sh("main", "true"), bye, onExit="bye"))
    name = workflow["metadata"]["name"]
    assert recorded(cluster, name) == ["failed"]
    [entry] = cluster.exits("--failed", "--workflow", name)
    assert "exit code 4" in entry["error"]
    assert ["exit code 4" in attempt["error"] for attempt in entry["attempts"]] == [True, True]


def test_rule_15_a_chain_is_known_and_its_child_is_one(cluster: Cluster) -> None:
    child = {
        "metadata": {"generateName": "rule-15-"},
        "spec": {"entrypoint": "main", "templates": [sh("main", "true")]},
    }
    start = {"name": "bye", "plugin": {"trigger": {"workflow": child}}}
    found = cluster.run(manifest(sh("main", "true"), start, onExit="bye"))
    assert [w["status"]["phase"] for w in found] == ["Succeeded", "Succeeded"]
    parent, started = (w["metadata"] for w in found)
    assert started["labels"]["exeunt.dev/depth"] == "1"
    assert started["annotations"]["exeunt.dev/started-by"] == f"default/{parent['name']}"
