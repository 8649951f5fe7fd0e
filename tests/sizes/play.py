"""Plays generated workflows on real services beside a small one, kills each service once, and says what went wrong."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import time
from typing import Any

from tests.e2e.cluster import Cluster
from tests.sizes.generated import Draft, generate
from tests.sizes.manifests import Tree, sh, text, workflow

KILLED = ("scheduler", "exithandler", "executor", "nats")
AT_ONCE = 5
SECONDS = 200.0
LOST = ("was lost", "lost its executor", "executor")
"""What is said of a step whose executor was killed."""


def beside() -> str:
    """A small workflow with a handler; its steps are tried again where their executor was killed."""
    again = {"retryStrategy": {"retryPolicy": "Always", "limit": 20}}
    return text(workflow("canary", sh("main", "sleep 0.5", **again), sh("bye", "true", **again), onExit="bye"))


def play(cluster: Cluster, runs: int, seed: int) -> list[str]:
    """All that went wrong in so many workflows; empty when nothing did."""
    drafts = generate(seed)
    size = min(AT_ONCE, math.ceil(runs / len(KILLED)))
    wrong: list[str] = []
    left = runs
    for number in itertools.count():
        some = list(itertools.islice(drafts, min(size, left)))
        if not some:
            break
        left -= len(some)
        killed = KILLED[number] if number < len(KILLED) else ""
        before = {service: cluster.pids(service) for service in KILLED}
        wrong += _together(cluster, some, killed)
        if killed != "nats":
            ended = [s for s in KILLED if s != killed and cluster.pids(s) != before[s]]
            wrong += [f"the {service} was ended by {[draft.about for draft in some]}" for service in ended]
    return wrong


def _together(cluster: Cluster, drafts: list[Draft], killed: str) -> list[str]:
    wrong: list[str] = []
    [canary] = cluster.submit(beside())
    running: list[tuple[Draft, str]] = []
    for draft in drafts:
        done = cluster.call("submit", "-", "-o", "name", stdin=draft.text())
        if done.returncode == 0 and not draft.refused:
            running.append((draft, done.stdout.strip()))
        elif done.returncode == 0:
            wrong.append(f"{draft.about}: it is not refused")
            cluster.call("terminate", done.stdout.strip())
        elif not any(words in done.stderr for words in draft.refused):
            wrong.append(f"{draft.about}: exit code {done.returncode}: {done.stderr[:500]}")
    if killed:
        cluster.signal(killed)
    for draft, name in running:
        wrong += [
            f"{draft.about}: {name}: {said}" for said in _judge(ended(cluster, name), draft, killed == "executor")
        ]
    for name in (canary, *cluster.submit(beside())):
        status = ended(cluster, name).get("status", {})
        if (status.get("phase"), status.get("finalization")) != ("Succeeded", "Succeeded"):
            about = [draft.about for draft in drafts]
            wrong.append(f"the workflow beside {about} is {status.get('phase')}: {status.get('message')}")
    return wrong


def ended(cluster: Cluster, name: str) -> Tree:
    """The workflow once it and its handlers are over; as it was last where that takes too long."""
    deadline = time.monotonic() + SECONDS
    found: Tree = {}
    while time.monotonic() < deadline:
        try:
            done = cluster.call("get", name, "-o", "json", timeout=60)
        except subprocess.TimeoutExpired:
            continue
        if done.returncode == 0:
            shown: Any = json.loads(done.stdout)
            found = shown[0] if isinstance(shown, list) else shown
            if found["status"].get("finishedAt") and found["status"]["finalization"] not in ("Pending", "Running"):
                return found
        time.sleep(0.3)
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
