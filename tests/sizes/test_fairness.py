"""Workflows whose decisions are expensive: others are answered beside them, and what is too much ends."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, nodes
from tests.sizes.calls import client, ended, submit
from tests.sizes.manifests import BYE, Tree, canary, steps, text, workflow

pytestmark = [pytest.mark.services, pytest.mark.timeout(240)]

SECONDS = 15.0
"""For what took minutes once; most of it is what a busy machine needs."""


def loop(expression: str, count: int) -> Tree:
    """A loop with this as the argument of each item."""
    given = {"parameters": [{"name": "x", "value": "{{=" + expression + "}}"}]}
    each = {"name": "a", "template": "wait", "withSequence": {"count": str(count)}, "arguments": given}
    wait = {"name": "wait", "suspend": {"duration": "1"}, "inputs": {"parameters": [{"name": "x"}]}}
    return workflow("heavy", steps("main", each), wait, BYE, onExit="bye")


def twice() -> Tree:
    """A template that calls itself twice: as many nodes as a workflow may have."""
    tasks: list[Any] = [{"name": name, "template": "main"} for name in "st"]
    return workflow("heavy", {"name": "main", "dag": {"tasks": tasks}}, BYE, onExit="bye")


COSTLY = "len(filter(1..20000, # > 5)) + asInt(item)"
HEAVY = {
    "expressions near their limit": loop(COSTLY, 20_000),
    "large texts": loop("len(repeat('x', 4000000) + item)", 100),
    "wrapped texts": loop("sprig.wrapWith(1, repeat('z', 400), repeat('a', 10000))", 200),
    "nodes without end": twice(),
}


async def small_one(cluster: Cluster) -> None:
    """What others do: submit and follow a small workflow, list, and terminate one."""
    async with client(cluster) as calls:
        [uid] = await submit(calls, text(canary()))
        found = await ended(calls, uid)
        assert (found["status"]["phase"], found["status"]["finalization"]) == ("Succeeded", "Succeeded")
        assert await calls.list_workflows(limit=5)
        [waits] = await submit(calls, text(workflow("waits", {"name": "main", "suspend": {}})))
        await calls.terminate(uid=waits)


@pytest.mark.parametrize("case", HEAVY)
async def test_others_are_answered_beside_it_and_it_can_be_terminated(cluster: Cluster, case: str) -> None:
    async with client(cluster) as calls:
        [uid] = await submit(calls, text(HEAVY[case]))
        for restart in (False, True):
            if restart:
                cluster.signal("scheduler")
            began = time.monotonic()
            await small_one(cluster)
            took = time.monotonic() - began
            assert took < SECONDS + 15.0 * restart, f"a small workflow beside it took {took:.1f} s"
        began = time.monotonic()
        async with asyncio.timeout(100):
            if not (await calls.get(uid=uid)).finish_time.seconds:
                await calls.terminate(uid=uid)
            assert time.monotonic() - began < SECONDS


async def test_a_loop_that_takes_too_much_ends_in_error_with_its_handler(cluster: Cluster) -> None:
    async with client(cluster) as calls:
        [uid] = await submit(calls, text(loop(COSTLY, 20_000)))
        async with asyncio.timeout(200):
            found = await ended(calls, uid)
    assert found["status"]["phase"] in ("Error", "Failed"), json.dumps(found["status"])[:1000]
    by_name = nodes(found)
    assert any("the expressions of the loop take together more than" in n.get("message", "") for n in by_name.values())
    assert by_name[".onExit"]["phase"] == "Succeeded"
