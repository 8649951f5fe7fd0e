"""Inputs that once stopped every workflow of a cluster: each runs, or is refused with the limit's name."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import nats
import pytest

from tests.e2e.cluster import Cluster
from tests.sizes.manifests import BYE, KB, Tree, canary, outputs, sh, steps, text, values, workflow, written

pytestmark = [pytest.mark.services, pytest.mark.timeout(240)]

EVENT_BYTES = 256 * 1024


def fan_out() -> Tree:
    each = {"name": "s", "template": "s", "when": "{{item}} < 0", "withSequence": {"count": "2000"}}
    return workflow("fan-out", steps("main", each), sh("s", "true"), BYE, onExit="bye")


def results() -> Tree:
    said = [{"name": letter, "template": "say"} for letter in "abcdef"]
    length = "{{=" + " + ".join(f"len(steps.{letter}.outputs.result)" for letter in "abcdef") + "}}"
    show = {"name": "show", "template": "show", "arguments": {"parameters": [{"name": "n", "value": length}]}}
    shown = sh("show", "test {{inputs.parameters.n}} = 1440000", inputs={"parameters": [{"name": "n"}]})
    say = sh("say", "head -c 240000 /dev/zero | tr '\\000' x")
    return workflow("results", steps("main", said, show), say, shown, BYE, onExit="bye")


def five_outputs() -> Tree:
    give = sh("main", written(5, 250 * KB), outputs=outputs(5))
    return workflow("five-outputs", give, BYE, onExit="bye")


def large_manifest() -> Tree:
    unused = [sh(f"t{i}", "z" * 200 * KB) for i in range(8)]
    return workflow("large-manifest", sh("main", "true"), BYE, *unused, onExit="bye")


def handler_graph() -> Tree:
    each = {"name": "s", "template": "s", "withSequence": {"count": "3000"}}
    handler = steps("handler", each)
    wait = {"name": "s", "suspend": {"duration": "1"}}
    return workflow("handler-graph", sh("main", "true"), handler, wait, onExit="handler")


def long_errors() -> Tree:
    handler = {
        "name": "handler",
        "retryStrategy": {"limit": 600, "retryPolicy": "Always"},
        "http": {"url": "http://127.0.0.1:9/" + "x" * 5 * KB},
    }
    return workflow("long-errors", sh("main", "true"), handler, onExit="handler")


def large_child() -> Tree:
    unused = [sh(f"t{i}", "z" * 200 * KB) for i in range(8)]
    child = workflow("child", sh("main", "true"), *unused, metadata={"annotations": {"a": "n" * 250 * KB}})
    child["spec"]["arguments"] = values(6, 250 * KB)
    action = {"name": "handler", "plugin": {"trigger": {"workflow": child, "wait": True}}}
    return workflow("large-child", sh("main", "true"), action, onExit="handler")


def failures() -> Tree:
    tasks = [{"name": f"t{i}", "template": "bad"} for i in range(50)]
    graph = {"name": "main", "dag": {"failFast": False, "tasks": tasks}}
    bad = steps("bad", {"name": "b", "template": "bye", "withParam": "{{workflow.parameters.b0}}"})
    shown = sh("shown", "cat > /dev/null <<'E'\n{{workflow.failures}}\nE")
    return workflow("failures", graph, bad, shown, BYE, onExit="shown", arguments=values(1, 100 * KB))


def many_megabytes() -> Tree:
    """A step whose start holds 10 MB, and then a handler that is told of 1.5 MB."""
    give = sh("give", written(6, 250 * KB), outputs=outputs(6))
    for i, parameter in enumerate(give["outputs"]["parameters"]):
        parameter["globalName"] = f"g{i}"
    long = {"name": "long", "container": {"image": "x", "command": ["true"], "env": _variables(40)}}
    tried = {"name": "l", "template": "long", "continueOn": {"error": True, "failed": True}}
    main = steps("main", {"name": "g", "template": "give"}, tried)
    return workflow("many-megabytes", main, give, long, BYE, onExit="bye", arguments=values(1, 250 * KB))


def _variables(count: int) -> list[Tree]:
    return [{"name": f"E{i}", "value": "{{workflow.parameters.b0}}"} for i in range(count)]


def half_a_character() -> Tree:
    say = sh("say", "printf '[\"\\\\ud800\"]'")
    each = {
        "name": "each",
        "template": "show",
        "withParam": "{{steps.say.outputs.result}}",
        "arguments": {"parameters": [{"name": "x", "value": "{{item}}"}]},
    }
    show = sh("show", "test '{{inputs.parameters.x}}' = '\ufffd'", inputs={"parameters": [{"name": "x"}]})
    return workflow("half-a-character", steps("main", {"name": "say", "template": "say"}, each), say, show, BYE)


RUNS: list[tuple[Callable[[], Tree], str, str]] = [
    (fan_out, "Succeeded", "Succeeded"),
    (results, "Succeeded", "Succeeded"),
    (five_outputs, "Succeeded", "Succeeded"),
    (large_manifest, "Succeeded", "Succeeded"),
    (handler_graph, "Succeeded", "Succeeded"),
    (long_errors, "Failed", "Failed"),
    (large_child, "Succeeded", "Succeeded"),
    (failures, "Failed", "Succeeded"),
    (many_megabytes, "Succeeded", "Succeeded"),
    (half_a_character, "Succeeded", "None"),
]


@pytest.mark.parametrize(("make", "phase", "finalization"), RUNS, ids=[one[0].__name__ for one in RUNS])
async def test_it_runs_and_others_do_not_notice(
    cluster: Cluster, make: Callable[[], Tree], phase: str, finalization: str
) -> None:
    found = cluster.run(text(make()), timeout=200)
    status = found[0]["status"]
    assert (status["phase"], status["finalization"]) == (phase, finalization), status.get("message")
    assert len(status.get("message", "")) <= 16 * 1024
    [beside] = cluster.run(text(canary()), timeout=60)
    assert (beside["status"]["phase"], beside["status"]["finalization"]) == ("Succeeded", "Succeeded")
    for kind, size, body in await events_of(cluster, found[0]["metadata"]["uid"]):
        assert size <= EVENT_BYTES, kind
        for path in body.get("truncated", []):
            holder: Any = body
            *parents, name = path.split(".")
            for parent in parents:
                holder = holder[parent]
            assert name not in holder or "left out" in holder[name], f"{kind}: {path}"


async def events_of(cluster: Cluster, uid: str) -> list[tuple[str, int, dict[str, Any]]]:
    """The events of a workflow that is over: type, size of the body, the body."""
    nc = await nats.connect(cluster.facts()["nats"]["url"])
    found: list[tuple[str, int, dict[str, Any]]] = []
    try:
        events = await nc.jetstream().subscribe(f"exeunt.events.*.{uid}.>", ordered_consumer=True)
        async with asyncio.timeout(30):
            while True:
                event = await events.next_msg(timeout=30)
                kind = event.subject.split(".", 4)[4]
                found.append((kind, len(event.data), json.loads(event.data)))
                if kind in ("workflow.succeeded", "workflow.failed", "workflow.error"):
                    return found
    finally:
        await nc.close()


async def test_what_an_event_leaves_out_it_names(cluster: Cluster) -> None:
    left_out = {}
    for make, kind in (
        (fan_out, "workflow.succeeded"),
        (five_outputs, "step.succeeded"),
        (large_manifest, "workflow.succeeded"),
    ):
        [found] = cluster.run(text(make()), timeout=100)
        told = {kind: body for kind, _, body in await events_of(cluster, found["metadata"]["uid"])}
        left_out[make.__name__] = told[kind]["truncated"]
        assert "truncated" not in told["workflow.submitted"]
    assert left_out == {
        "fan_out": ["status.nodes"],
        "five_outputs": ["outputs.parameters"],
        "large_manifest": ["spec"],
    }


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"labels": {"a": "x" * 1200 * KB}}, "labels have 1,200,001 bytes together; 16,384 are allowed"),
        ({"annotations": {"a": "x" * 1200 * KB}}, "annotations have 1,200,001 bytes together; 262,144 are allowed"),
    ],
    ids=["labels", "annotations"],
)
def test_it_is_refused_with_the_limit(cluster: Cluster, metadata: Tree, said: str) -> None:
    done = cluster.call("submit", "-", stdin=text(workflow("large", sh("main", "true"), metadata=metadata)))
    assert done.returncode == 2
    assert said in done.stderr
    [beside] = cluster.run(text(canary()), timeout=60)
    assert beside["status"]["phase"] == "Succeeded"
