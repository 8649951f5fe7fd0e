"""Calls of a cluster by the client in this process: a command for each takes half a second of a processor."""

from __future__ import annotations

from collections.abc import Callable

from exeunt.client import Client
from tests.e2e.cluster import Cluster
from tests.sizes.manifests import Tree, text

PATIENCE = 60.0
"""How long a service may be away, in seconds: one that was killed starts again on a machine that has other work."""


def client(cluster: Cluster) -> Client:
    """A client of the cluster, for one event loop."""
    facts = cluster.facts()
    return Client(
        facts["scheduler"]["address"],
        exit_server=facts["exithandler"]["address"],
        token=facts["token"],
        timeout=120.0,
        patience=PATIENCE,
    )


async def submit(calls: Client, manifest: str) -> list[str]:
    """The uids of what a manifest's text holds, once that is submitted."""
    return [one.uid for one in (await calls.submit([("f", manifest)])).workflows]


async def until(calls: Client, uid: str, fits: Callable[[Tree], bool]) -> Tree:
    """A workflow once it fits, or once it and its handlers have ended."""
    found: Tree = {}
    async for state in calls.follow(uid=uid):
        found = state.object
        if fits(found):
            break
    return found


async def ended(calls: Client, uid: str) -> Tree:
    """A workflow once it and its handlers have ended."""
    return await until(calls, uid, lambda _: False)


async def run(cluster: Cluster, workflow: Tree) -> Tree:
    """A workflow that is submitted, once it and its handlers have ended."""
    async with client(cluster) as calls:
        [uid] = await submit(calls, text(workflow))
        return await ended(calls, uid)
