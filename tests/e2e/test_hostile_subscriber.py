"""Whatever is done to the public events, workflows and handlers end, and what waits for a child learns its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from exeunt.cloudevents import STATES, STREAM
from tests.e2e.cluster import Cluster
from tests.e2e.harm import acknowledge, done, edit, fill, lie, made_again, purge, remove, workflow
from tests.e2e.test_events import body, kind, subscribed

pytestmark = [pytest.mark.services, pytest.mark.timeout(240)]

ROUNDS = 6
"""Workflows that run while somebody does harm, one half after the other."""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A cluster that nobody else uses."""
    cluster = Cluster(tmp_path_factory.mktemp("hostile") / "data")
    cluster.up()
    yield cluster
    cluster.down()


@pytest.mark.parametrize("harm", [acknowledge, lie, purge, remove, fill, edit])
async def test_workflows_and_handlers_end_as_ever(
    own: Cluster, tmp_path: Path, harm: Callable[[Client], Awaitable[None]]
) -> None:
    lines = tmp_path / "lines"

    async def one() -> dict[str, Any]:
        [found] = await asyncio.to_thread(own.run, workflow(lines))
        return found

    async with done(own, harm):
        ended = await asyncio.gather(*(one() for _ in range(ROUNDS // 2)))
        ended += await asyncio.gather(*(one() for _ in range(ROUNDS // 2)))
    assert [w["status"]["phase"] for w in ended] == ["Succeeded"] * ROUNDS
    written = [line.split() for line in lines.read_text().splitlines()]
    assert sorted(who for who, _, _ in written) == ["child"] * ROUNDS + ["parent"] * ROUNDS
    assert {phase for _, _, phase in written} == {"Succeeded"}
    assert len({name for _, name, _ in written}) == 2 * ROUNDS

    [after] = await asyncio.to_thread(own.run, workflow(tmp_path / uuid.uuid4().hex))
    uid = after["metadata"]["uid"]
    await made_again(own)
    events = await _until(own, after, lambda events: kind(events[-1]) == "workflow.succeeded")
    assert [id for id, _ in _own(events)] == [f"{uid}.{n}" for n in range(1, len(_own(events)) + 1)]
    assert body(events[-1])["status"]["phase"] == "Succeeded"


GATE = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: gate-}
spec:
  entrypoint: main
  onExit: bye
  templates:
    - name: main
      steps: [[{name: a, template: one}], [{name: gate, template: gate}], [{name: b, template: one}]]
    - {name: one, container: {image: alpine, command: ["true"]}}
    - {name: gate, suspend: {}}
    - {name: bye, container: {image: alpine, command: ["true"]}}
"""


@pytest.mark.parametrize("verb", ["DELETE", "PURGE"])
async def test_what_was_told_is_told_again(own: Cluster, tmp_path: Path, verb: str) -> None:
    """Of workflows that run, and of those that have ended as long as the log holds them."""
    [ended] = await asyncio.to_thread(own.run, workflow(tmp_path / "lines"))
    [name] = await asyncio.to_thread(own.submit, GATE)
    waiting = await asyncio.to_thread(own.wait, name, ["Running"])
    while not any(n["type"] == "Suspend" for n in waiting["status"]["nodes"].values()):
        waiting = await asyncio.to_thread(own.get, name)
    before = await _until(own, ended, lambda events: kind(events[-1]) == "workflow.succeeded")
    open_before = await _until(own, waiting, lambda events: kind(events[-1]) == "step.succeeded")
    nc = await nats.connect(own.facts()["nats"]["url"])
    try:
        answer = await nc.request(f"$JS.API.STREAM.{verb}.{STREAM}", b"{}", timeout=5)
        assert b"error" not in answer.data
    finally:
        await nc.close()
    await asyncio.to_thread(own.call, "resume", name)
    await asyncio.to_thread(own.wait, name)
    open_after = await _until(own, waiting, lambda events: kind(events[-1]) == "workflow.succeeded")
    uid = waiting["metadata"]["uid"]
    assert _own(open_after) == [(f"{uid}.{n}", kind) for n, (_, kind) in enumerate(_own(open_after), 1)]
    assert _own(open_after)[: len(_own(open_before))] == _own(open_before)
    after = await _until(own, ended, lambda events: len(events) >= len(before))
    assert _own(after) == _own(before)
    assert sorted(_exits(after)) == sorted(_exits(before))


async def test_a_retried_and_a_replayed_workflow_are_told_again_in_order(own: Cluster, tmp_path: Path) -> None:
    """And what ends afterwards does so as ever; a deleted one does not come back."""
    fails = GATE.replace('command: ["true"]', 'command: ["false"]')
    [retried] = await asyncio.to_thread(own.run, fails)
    name = retried["metadata"]["name"]
    await asyncio.to_thread(own.call, "retry", name)
    await asyncio.to_thread(own.wait, name)
    [replayed] = await asyncio.to_thread(own.run, workflow(tmp_path / "replayed"))
    [handler] = json.loads(
        (
            await asyncio.to_thread(own.call, "exits", "list", "--workflow", replayed["metadata"]["name"], "-o", "json")
        ).stdout
    )
    assert (await asyncio.to_thread(own.call, "exits", "replay", handler["id"])).returncode == 0
    [deleted] = await asyncio.to_thread(own.run, workflow(tmp_path / "deleted"))
    assert (await asyncio.to_thread(own.call, "delete", deleted["metadata"]["name"])).returncode == 0
    before = await _until(own, retried, lambda events: kind(events[-1]) == "workflow.failed" and _count(events) == 2)
    nc = await nats.connect(own.facts()["nats"]["url"])
    try:
        await nc.request(f"$JS.API.STREAM.PURGE.{STREAM}", b"{}", timeout=5)
        after = await _until(own, retried, lambda events: len(_own(events)) >= len(_own(before)))
        assert _own(after) == _own(before)
        [later] = await asyncio.to_thread(own.run, workflow(tmp_path / "later"))
        assert later["status"]["finalization"] == "Succeeded"
        await _until(own, replayed, lambda events: kind(events[-1]) == "workflow.succeeded")
        found = await nc.request(f"$JS.API.DIRECT.GET.{STATES}.exeunt.state.default.{uid_of(deleted)}", b"", timeout=5)
        assert (found.headers or {}).get("ce-type", "") in {"", "dev.exeunt.workflow.deleted.v1"}
    finally:
        await nc.close()


def uid_of(tree: dict[str, Any]) -> str:
    uid: str = tree["metadata"]["uid"]
    return uid


def _count(events: list[Msg]) -> int:
    """How often it ended."""
    return sum(kind(event) == "workflow.failed" for event in events)


def _own(events: list[Msg]) -> list[tuple[str, str]]:
    """The workflow's own events."""
    return [((e.headers or {})["ce-id"], kind(e)) for e in events if not kind(e).startswith("exit.")]


def _exits(events: list[Msg]) -> list[tuple[str, str]]:
    return [((e.headers or {})["ce-id"], kind(e)) for e in events if kind(e).startswith("exit.")]


async def _until(cluster: Cluster, tree: dict[str, Any], enough: Callable[[list[Msg]], bool]) -> list[Msg]:
    """The events of a workflow that are there, as soon as they are enough."""
    async with asyncio.timeout(60), subscribed(cluster, tree["metadata"]["uid"]) as events:
        found: list[Msg] = []
        while not (found and enough(found)):
            with contextlib.suppress(nats.errors.TimeoutError):
                found.append(await events.next_msg(timeout=1))
        return found
