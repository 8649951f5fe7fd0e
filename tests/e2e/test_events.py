"""What a subscriber hears on NATS of one workflow: contract and order, with nothing of Exeunt but the subject."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.msg import Msg

from exeunt.cli.word import whoami
from tests.e2e.cluster import Cluster
from tests.e2e.test_operators import do, manifest, sh

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

TERMINAL = {"workflow.succeeded", "workflow.failed", "workflow.error"}


@asynccontextmanager
async def subscribed(cluster: Cluster, uid: str) -> AsyncIterator[Any]:
    """Everything that was published of a workflow, from the first event on."""
    nc = await nats.connect(cluster.facts()["nats"]["url"])
    try:
        yield await nc.jetstream().subscribe(f"exeunt.events.default.{uid}.>", ordered_consumer=True)
    finally:
        await nc.close()


async def heard(cluster: Cluster, uid: str) -> list[Msg]:
    """The events up to the terminal one, and whatever came behind it until now."""
    found: list[Msg] = []
    async with subscribed(cluster, uid) as events:
        while True:
            found.append(await events.next_msg(timeout=30))
            if kind(found[-1]) in TERMINAL and found[-1].metadata.num_pending == 0:
                return found


def kind(event: Msg) -> str:
    """The type as the subject says it."""
    return ".".join(event.subject.split(".")[4:])


def body(event: Msg) -> dict[str, Any]:
    """The JSON of an event."""
    found: dict[str, Any] = json.loads(event.data)
    return found


def in_order(events: list[Msg]) -> list[Msg]:
    """The workflow's own events, then those of its exit run, then the terminal one.

    Two services write: each keeps its order, and the terminal event comes last; between them nothing is promised.
    """
    *before, last = events
    return [*sorted(before, key=lambda e: kind(e).startswith("exit.")), last]


def with_handler(step: str, end: str) -> list[str]:
    """What is told of a workflow of one step with a handler that does well."""
    return ["workflow.submitted", "workflow.running", step, "workflow.exiting", "exit.started", "exit.succeeded", end]


def workflow(fails: bool = False) -> str:
    step = sh("main", "echo out; exit 3" if fails else "echo out")
    return manifest(step, sh("bye", "true"), onExit="bye")


@pytest.mark.parametrize("fails", [False, True])
async def test_a_workflow_tells_its_life_in_order(cluster: Cluster, fails: bool) -> None:
    [found] = cluster.run(workflow(fails))
    name, uid = found["metadata"]["name"], found["metadata"]["uid"]
    events = in_order(await heard(cluster, uid))
    end = "failed" if fails else "succeeded"
    assert [kind(e) for e in events] == with_handler(f"step.{end}", f"workflow.{end}")
    submitted, running, step, exiting, began, ended, last = map(body, events)
    assert all(
        (b["workflow"], b["uid"], b["namespace"], b["attempt"], b["parent"]) == (name, uid, "default", 0, None)
        for b in map(body, events)
    )
    assert (submitted["phase"], submitted["creator"], running["phase"]) == ("Running", whoami(), "Running")
    assert (step["template"], step["phase"], step["exitCode"]) == ("main", end.capitalize(), 3 if fails else 0)
    assert (step["node"], step["tries"], step["log"]) == (name, 1, ["out"] if fails else [])
    assert step["message"] == exiting["message"] == last["message"] == ("main: Error (exit code 3)" if fails else "")
    assert (exiting["phase"], len(exiting["failures"])) == (end.capitalize(), int(fails))
    [entry] = cluster.exits("--workflow", name)
    assert began["id"] == ended["id"] == entry["id"]
    assert (ended["hook"], ended["node"], len(ended["attempts"])) == ("exit", name, len(entry["attempts"]))
    assert last["status"]["phase"] == end.capitalize()
    assert last["status"]["finalization"] == "Succeeded"


async def test_events_are_cloud_events_whose_ids_never_repeat(cluster: Cluster) -> None:
    [found] = cluster.run(workflow())
    name, uid = found["metadata"]["name"], found["metadata"]["uid"]
    events = await heard(cluster, uid)
    headers = [e.headers or {} for e in events]
    ids = [h["ce-id"] for h in headers]
    assert len({*ids}) == len(ids)
    of_workflow = [i for i, e in zip(ids, events, strict=True) if not kind(e).startswith("exit.")]
    assert of_workflow == [f"{uid}.{n}" for n in range(1, len(of_workflow) + 1)]
    [entry] = cluster.exits("--workflow", name)
    of_exit = [i for i, e in zip(ids, events, strict=True) if kind(e).startswith("exit.")]
    assert of_exit == [f"{uid}.{entry['id']}.{n}" for n in (1, 2)]
    for event, header in zip(events, headers, strict=True):
        assert header["ce-specversion"] == "1.0"
        assert header["ce-type"] == f"dev.exeunt.{kind(event)}.v1"
        assert header["ce-datacontenttype"] == "application/json"
        assert header["ce-subject"].startswith(name)
        assert header["ce-source"]
        assert header["ce-time"]


async def test_only_the_end_of_all_attempts_is_told(cluster: Cluster, tmp_path: Path) -> None:
    tries = tmp_path / "tries"
    step = sh("main", f"echo x >> {tries}; [ $(wc -l < {tries}) -ge 3 ]")
    step["retryStrategy"] = {"limit": 5}
    [found] = cluster.run(manifest(step))
    events = await heard(cluster, found["metadata"]["uid"])
    assert tries.read_text() == "x\n" * 3
    assert [kind(e) for e in events] == [
        "workflow.submitted",
        "workflow.running",
        "step.succeeded",
        "workflow.exiting",
        "workflow.succeeded",
    ]


async def test_a_handler_with_nothing_to_do_has_begun_and_ended(cluster: Cluster) -> None:
    never = {"name": "never", "template": "quiet", "when": "{{workflow.status}} != Succeeded"}
    [found] = cluster.run(
        manifest(sh("main", "true"), {"name": "bye", "steps": [[never]]}, sh("quiet", "true"), onExit="bye")
    )
    events = in_order(await heard(cluster, found["metadata"]["uid"]))
    assert [kind(e) for e in events] == with_handler("step.succeeded", "workflow.succeeded")
    times = {kind(e): datetime.fromisoformat((e.headers or {})["ce-time"]) for e in events}
    assert times["workflow.exiting"] <= times["exit.started"] <= times["exit.succeeded"] <= times["workflow.succeeded"]


async def test_a_replay_tells_when_it_began(cluster: Cluster) -> None:
    [found] = cluster.run(workflow())
    uid = found["metadata"]["uid"]
    [entry] = cluster.exits("--workflow", found["metadata"]["name"])
    await heard(cluster, uid)
    before = datetime.now(UTC)
    assert cluster.call("exits", "replay", entry["id"]).returncode == 0
    exits: list[Msg] = []
    async with subscribed(cluster, uid) as events:
        while len(exits) < 4:
            event = await events.next_msg(timeout=30)
            exits += [event] if kind(event).startswith("exit.") else []
    assert [(e.headers or {})["ce-id"].rpartition(".")[2] for e in exits] == ["1", "2", "3", "4"]
    times = [datetime.fromisoformat((e.headers or {})["ce-time"]) for e in exits]
    assert times[:2] == sorted(times[:2])
    assert before - timedelta(seconds=1) < times[2] <= times[3]
    [again] = cluster.exits("--workflow", found["metadata"]["name"])
    assert datetime.fromisoformat(again["startedAt"]) >= before.replace(microsecond=0)


async def test_a_replay_is_followed_by_the_workflows_new_state(cluster: Cluster, tmp_path: Path) -> None:
    bye = sh("bye", f"[ -e {tmp_path}/mended ]")
    [found] = cluster.run(manifest(sh("main", "true"), bye, onExit="bye"))
    name, uid = found["metadata"]["name"], found["metadata"]["uid"]
    [entry] = cluster.exits("--workflow", name)
    [*_, first] = map(body, await heard(cluster, uid))
    assert (first["phase"], first["outcome"], first["finalization"]) == ("Failed", "Succeeded", "Failed")
    (tmp_path / "mended").touch()
    do(cluster, "exits", "replay", entry["id"])
    async with subscribed(cluster, uid) as events:
        while kind(last := await events.next_msg(timeout=30)) != "workflow.finalized":
            before = last
    assert (kind(before), (last.headers or {})["ce-id"]) == ("exit.succeeded", f"{uid}.{entry['id']}.5")
    told = body(last)
    assert (told["phase"], told["finalization"], told["status"]["finalization"]) == ("Failed", "Succeeded", "Succeeded")


async def test_each_attempt_of_a_workflow_ends_once(cluster: Cluster, tmp_path: Path) -> None:
    [found] = cluster.run(manifest(sh("main", f"[ -e {tmp_path}/mended ]")))
    name, uid = found["metadata"]["name"], found["metadata"]["uid"]
    (tmp_path / "mended").touch()
    do(cluster, "retry", name, "--by", "ann", "--message", "it is mended")
    cluster.wait(name)
    do(cluster, "delete", name, "--by", "ben")
    told: list[Msg] = []
    async with subscribed(cluster, uid) as events:
        while not told or kind(told[-1]) != "workflow.deleted":
            told.append(await events.next_msg(timeout=30))
    assert [(kind(e), body(e)["attempt"]) for e in told if kind(e) in TERMINAL] == [
        ("workflow.failed", 0),
        ("workflow.succeeded", 1),
    ]
    kinds = [kind(e) for e in told]
    again = kinds.index("workflow.retried")
    assert kinds[again : again + 2] == ["workflow.retried", "workflow.running"]
    assert (body(told[again])["by"], body(told[again])["message"]) == ("ann", "it is mended")
    assert body(told[-1])["by"] == "ben"


async def test_a_child_and_its_handlers_say_what_started_them(cluster: Cluster) -> None:
    child = json.loads(manifest(sh("main", "true"), sh("end", "true"), prefix="child-", onExit="end"))
    bye = {"name": "bye", "plugin": {"trigger": {"workflow": child, "wait": True}}}
    [found, *_] = cluster.run(manifest(sh("main", "true"), bye, onExit="bye"))
    name, uid = found["metadata"]["name"], found["metadata"]["uid"]
    [entry] = cluster.exits("--workflow", name)
    [ended] = [body(e) for e in await heard(cluster, uid) if kind(e) == "exit.succeeded"]
    [started] = ended["children"]
    parent = {"name": name, "namespace": "default", "uid": uid, "handler": entry["id"]}
    assert [body(e)["parent"] for e in await heard(cluster, started["uid"])] == [parent] * 7


@pytest.mark.xdist_group("restarts")
@pytest.mark.parametrize("service", ["scheduler", "exithandler"])
async def test_a_killed_service_repeats_no_event_and_leaves_none_out(tmp_path: Path, service: str) -> None:
    cluster = Cluster(tmp_path / "data")
    cluster.up()
    try:
        go = tmp_path / "go"
        slow = sh("bye", f"while ! [ -e {go} ]; do sleep 0.1; done")
        [name] = cluster.submit(manifest(sh("main", "true"), slow, onExit="bye"))
        uid = cluster.get(name)["metadata"]["uid"]
        async with subscribed(cluster, uid) as events:
            while kind(await events.next_msg(timeout=30)) != "exit.started":
                pass
        cluster.signal(service)
        go.touch()
        found = await heard(cluster, uid)
    finally:
        cluster.down()
    assert [kind(e) for e in in_order(found)] == with_handler("step.succeeded", "workflow.succeeded")
    ids = [(e.headers or {})["ce-id"] for e in found]
    assert len({*ids}) == len(ids)
