"""W4: services die while exit handlers run. How often each handler started and completed, and how soon all is done.

100 workflows, each a main step of 2 s and a handler of 0.2 s that also starts a child. As soon as 30 handlers have
started, one kind of process, or all of them, is killed with SIGKILL. The handlers themselves write when they start and
complete, one line each, so that nothing is taken from the services' own books.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any

import grpc

from bench import works
from exeunt.client import interceptors
from exeunt.v1 import exit_service_pb2 as exits
from exeunt.v1 import exit_service_pb2_grpc as exits_rpc
from exeunt.v1 import workflow_service_pb2 as pb
from exeunt.v1 import workflow_service_pb2_grpc as rpc
from exeunt.words import phases
from tests.e2e.cluster import Cluster
from tests.faults.kills import SERVICES, all_exits, all_workflows, patient

COUNT = 100
MET = 30  # handlers that have started when the kill comes
MAIN, HANDLER = 2.0, 0.2
SLOTS = 128  # all of them at once: what is left to do is then as long as its longest chain
NOTHING = "nothing"  # no kill: what the same work takes on this machine at this moment
ROUNDS = (NOTHING, *SERVICES, "all")
BEYOND = 2.0  # seconds that the end may come later than a restart and the work that is left
LONGEST = 120.0
FINAL = ("Succeeded", "Failed", "Error")


@dataclass
class Crash:
    """What one kill came to."""

    what: str
    started: Counter[int]  # how many handlers started so often: 0, 1, more
    completed: Counter[int]
    children: Counter[int]
    ledger: Counter[int]
    succeeded: int  # workflows
    restart: float  # seconds from the kill until all that was killed answers again
    left: float  # seconds of the longest chain of work that was left
    done: float  # seconds from the kill until everything is final

    @property
    def beyond(self) -> float:
        """Seconds that the end came later than the restart and the work that was left."""
        return self.done - self.restart - self.left

    @property
    def sound(self) -> bool:
        """Nothing was lost; what is promised once happened once."""
        never = self.started[0] + self.completed[0]
        return not never and self.children == {1: COUNT} and self.ledger == {1: COUNT} and self.succeeded == COUNT

    def __str__(self) -> str:
        def split(counts: Counter[int]) -> str:
            more = sum(n for times, n in counts.items() if times > 1)
            return f"{counts[1]:3} once {more:3} more {counts[0]:3} never"

        return (
            f"  kill {self.what:11} started {split(self.started)}, completed {split(self.completed)}, "
            f"children {split(self.children)}, ledger {split(self.ledger)}, {self.succeeded} Succeeded; restart "
            f"{self.restart:.1f} s, left {self.left:.1f} s, done {self.done:.1f} s, beyond {self.beyond:+.1f} s"
        )


def manifest(name: str, folder: Path) -> str:
    """One workflow. Its main step is tried again when it was lost with its executor."""
    child = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"generateName": "w4-child-", "labels": {"w4-child-of": name}},
        "spec": {"entrypoint": "c", "templates": [{"name": "c", "suspend": {"duration": "0"}}]},
    }

    def sh(script: str) -> dict[str, Any]:
        return {"image": "none", "command": ["sh", "-c"], "args": [script]}

    script = f"echo {name} >> {folder}/started; sleep {HANDLER}; echo {name} >> {folder}/completed"
    templates: list[dict[str, Any]] = [
        {
            "name": "main",
            "retryStrategy": {"retryPolicy": "Always", "limit": 10},
            "container": sh(f"echo {name} >> {folder}/main; sleep {MAIN}"),
        },
        {"name": "bye", "steps": [[{"name": "work", "template": "work"}, {"name": "child", "template": "child"}]]},
        {"name": "work", "container": sh(script)},
        {"name": "child", "resource": {"action": "create", "manifest": json.dumps(child)}},
    ]
    tree = json.loads(works.manifest("w4", "main", templates, onExit="bye"))
    tree["metadata"] = {"name": name}
    return json.dumps(tree)


class _Round:
    """100 workflows and one kill."""

    def __init__(self, cluster: Cluster, what: str, channels: tuple[grpc.aio.Channel, grpc.aio.Channel]) -> None:
        self.cluster = cluster
        self.what = what
        self.workflows = rpc.WorkflowServiceStub(channels[0])
        self.exits = exits_rpc.ExitServiceStub(channels[1])
        self.folder = cluster.data_dir.parent / what
        self.folder.mkdir()
        self.namespace = f"w4-{what}"  # of its own, so that looking at it costs the same in each round
        self.names = [f"w4-{what}-{number:03d}" for number in range(COUNT)]

    def lines(self, name: str) -> Counter[str]:
        path = self.folder / name
        return Counter(path.read_text().split()) if path.exists() else Counter()

    async def run(self) -> Crash:
        async with asyncio.TaskGroup() as group:
            for name in self.names:
                group.create_task(self._submit(name))
        await _until(lambda: len(self.lines("started")) >= MET)
        dying = {"all": SERVICES, NOTHING: ()}.get(self.what, (self.what,))
        before = {service: self.cluster.pids(service) for service in dying}
        killed = time.time()
        for service in dying:
            self.cluster.signal(service)
        mains = any(name not in self.lines("started") for name in self.names)
        async with asyncio.TaskGroup() as group:
            restarting = group.create_task(self._restarted(before))
            ending = group.create_task(self._ended(killed + LONGEST))
        restarted = restarting.result()
        left = self._left(restarted, mains, lost="executor" in dying)
        return await self._judged(restarted - killed, left, ending.result() - killed)

    async def _submit(self, name: str) -> None:
        document = pb.Document(file=name, text=manifest(name, self.folder))
        request = pb.SubmitWorkflowRequest(request_id=name, namespace=self.namespace, documents=[document])
        await self.workflows.SubmitWorkflow(request, timeout=60)

    def _left(self, restarted: float, mains: bool, *, lost: bool) -> float:
        """The longest chain that is left at the restart: a handler, or a main step and its handler."""
        if mains and lost:
            return MAIN + HANDLER
        begun = (self.folder / "main").stat().st_mtime
        return max(0.0, begun + MAIN - restarted) + HANDLER

    async def _restarted(self, before: dict[str, list[int]]) -> float:
        for service, pids in before.items():
            await _until(lambda: self._replaced(service, pids))  # noqa: B023 - used within the turn
            await self._answers(service, time.time())
        return time.time()

    def _replaced(self, service: str, pids: list[int]) -> bool:
        now = self.cluster.pids(service)
        return bool(now) and not set(now) & set(pids)

    async def _answers(self, service: str, since: float) -> None:
        match service:
            case "scheduler":
                await patient(lambda: self.workflows.ListWorkflows(pb.ListWorkflowsRequest(page_size=1), timeout=1))
            case "exithandler":
                await patient(lambda: self.exits.ListExits(exits.ListExitsRequest(page_size=1), timeout=1))
            case "executor":
                await _until(lambda: self._heard(since))
            case "nats":
                url = self.cluster.facts()["nats"]["url"]
                await _until(lambda: asyncio.to_thread(_greets, url))

    async def _heard(self, since: float) -> bool:
        answer = await patient(lambda: self.workflows.ListExecutors(pb.ListExecutorsRequest(), timeout=1))
        return any(executor.seen_time.ToDatetime(UTC).timestamp() > since for executor in answer.executors)

    async def _ended(self, at_most: float) -> float:
        while time.time() < at_most:
            await _until(
                lambda: time.time() >= at_most or len(self.lines("completed")) >= COUNT
            )  # costs services nothing
            found = await patient(self._all)
            if len(found) >= 2 * COUNT and all(phases.word(w.phase) in FINAL for w in found):
                break
            await asyncio.sleep(0.05)
        return time.time()

    async def _all(self) -> list[pb.Workflow]:
        return await all_workflows(self.workflows, namespace=self.namespace)

    async def _judged(self, restart: float, left: float, done: float) -> Crash:
        found = await patient(self._all)
        records = await patient(lambda: all_exits(self.exits))
        children = Counter(w.labels["w4-child-of"] for w in found if "w4-child-of" in w.labels)
        ledger = Counter(r.workflow for r in records if r.state == exits.Exit.STATE_SUCCEEDED)
        mine = set(self.names)
        return Crash(
            self.what,
            started=self._often(self.lines("started")),
            completed=self._often(self.lines("completed")),
            children=self._often(children),
            ledger=self._often(ledger),
            succeeded=sum(phases.word(w.phase) == "Succeeded" for w in found if w.name in mine),
            restart=restart,
            left=left,
            done=done,
        )

    def _often(self, counts: Counter[str]) -> Counter[int]:
        return Counter(counts[name] for name in self.names)


async def _until(holds: Callable[[], bool | Awaitable[bool]]) -> None:
    """Looks again until it holds; for what can only be looked at, as files and processes of others."""
    while True:
        found = holds()
        if found if isinstance(found, bool) else await found:
            return
        await asyncio.sleep(0.01)


def _greets(url: str) -> bool:
    """Whether nats-server says its first line."""
    host, _, port = url.rpartition("/")[2].rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=1) as connection:
            return connection.recv(4) == b"INFO"
    except OSError:
        return False


async def crashes(cluster: Cluster, rounds: Sequence[str] = ROUNDS) -> list[Crash]:
    """A kill of each kind, one after the other, on one cluster; each is printed when it is over."""
    facts = cluster.facts()
    options = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 100)]
    found = []
    how: dict[str, Any] = {"options": options, "interceptors": interceptors(facts["token"])}
    async with (
        grpc.aio.insecure_channel(facts["scheduler"]["address"], **how) as scheduler,
        grpc.aio.insecure_channel(facts["exithandler"]["address"], **how) as exithandler,
    ):
        for what in rounds:
            crash = await _Round(cluster, what, (scheduler, exithandler)).run()
            print(crash, flush=True)
            found.append(crash)
    return found
