"""Plays generated workflows on real services beside a small one, kills services, and says what went wrong."""

from __future__ import annotations

import asyncio
import itertools
import math
import random

from exeunt.client import Client, ClientError
from tests.e2e.cluster import Cluster
from tests.sizes import calls as by_client
from tests.sizes.generated import Draft, generate
from tests.sizes.manifests import Tree, sh, text, workflow

KILLED = ("scheduler", "exithandler", "executor", "nats")
EVERY = 12
"""Of so many rounds, the first ones kill a service each; in the others none may end."""
AT_ONCE = 5
SECONDS = 200.0
LOST = ("was lost", "lost its executor", "executor")
"""What is said of a step whose executor was killed."""


def beside() -> str:
    """A small workflow with a handler; its steps are tried again where their executor was killed."""
    again = {"retryStrategy": {"retryPolicy": "Always", "limit": 20}}
    return text(workflow("canary", sh("main", "sleep 0.5", **again), sh("bye", "true", **again), onExit="bye"))


async def play(cluster: Cluster, runs: int, seed: int) -> list[str]:
    """All that went wrong in so many workflows; empty when nothing did."""
    drafts, chance = generate(seed), random.Random(seed)
    size = min(AT_ONCE, math.ceil(runs / len(KILLED)))
    wrong: list[str] = []
    left = runs
    for number in itertools.count():
        some = list(itertools.islice(drafts, min(size, left)))
        if not some:
            break
        left -= len(some)
        killed = dict(enumerate(KILLED)).get(number % EVERY, "")
        before = {service: cluster.pids(service) for service in KILLED}
        async with by_client.client(cluster) as calls:
            wrong += await _together(cluster, calls, some, killed, chance.random())
        if killed != "nats":
            ended = [s for s in KILLED if s != killed and cluster.pids(s) != before[s]]
            wrong += [f"the {service} was ended by {[draft.about for draft in some]}" for service in ended]
    return wrong


async def _together(cluster: Cluster, calls: Client, drafts: list[Draft], killed: str, moment: float) -> list[str]:
    """What went wrong with drafts at once, when a service is killed so many seconds after they were taken."""
    wrong: list[str] = []
    [canary] = await by_client.submit(calls, beside())
    running: list[tuple[Draft, str]] = []
    for draft in drafts:
        try:
            [uid] = await by_client.submit(calls, draft.text())
        except ClientError as error:
            if not any(words in str(error) for words in draft.refused):
                wrong.append(f"{draft.about}: {error.code}: {str(error)[:500]}")
            continue
        running.append((draft, uid))
        if draft.refused:
            wrong.append(f"{draft.about}: it is not refused")
    if killed:
        await asyncio.sleep(moment)
        cluster.signal(killed)
    found = await asyncio.gather(*(_ended(calls, uid) for _, uid in running))
    for (draft, uid), one in zip(running, found, strict=True):
        wrong += [f"{draft.about}: {uid}: {said}" for said in _judge(one, draft, killed == "executor")]
    after = await by_client.submit(calls, beside())
    for one in await asyncio.gather(*(_ended(calls, uid) for uid in (canary, *after))):
        status = one.get("status", {})
        if (status.get("phase"), status.get("finalization")) != ("Succeeded", "Succeeded"):
            about = [draft.about for draft in drafts]
            wrong.append(f"the workflow beside {about} is {status.get('phase')}: {status.get('message')}")
    return wrong


async def _ended(calls: Client, uid: str) -> Tree:
    """The workflow once it and its handlers are over; as it was last where that takes too long."""
    found: Tree = {}

    def note(seen: Tree) -> bool:
        found.update(seen)
        return False

    try:
        async with asyncio.timeout(SECONDS):
            await by_client.until(calls, uid, note)
    except (TimeoutError, ClientError) as error:
        found.setdefault("status", {})["message"] = f"not followed to its end: {type(error).__name__} {error}"
    return found


def _judge(found: Tree, draft: Draft, executor_killed: bool) -> list[str]:
    """What is wrong with a workflow that was taken."""
    status = found.get("status") or {}
    if not status.get("finishedAt"):
        return [f"it did not end: {status.get('phase')} {status.get('message')}"]
    nodes = (status.get("nodes") or {}).values()
    said = " ".join(node.get("message", "") for node in nodes)
    lost = executor_killed and any(words in said for words in LOST)
    wrong = []
    if status["finalization"] != "Succeeded" and not lost:
        wrong.append(f"its handlers {status['finalization']}: {said[:500]}")
    handlers = [node for node in nodes if node["name"] == f"{found['metadata']['name']}.onExit"]
    if [node["phase"] for node in handlers] != ["Succeeded"] and not lost:
        wrong.append(f"its handler did not run: {[node['phase'] for node in handlers]}")
    wrong += [f"nowhere it says {words!r}: {said[:500]}" for words in draft.said if words not in said and not lost]
    if not (draft.said or lost) and status["phase"] != "Succeeded":
        wrong.append(f"it is {status['phase']}: {status.get('message')}")
    return wrong
