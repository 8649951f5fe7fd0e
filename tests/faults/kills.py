"""The kill test: workflows with handlers, while services and nats-server are killed with SIGKILL at seeded instants.

Each workflow has a main step that is retried, and an exit handler that appends a line to a file and starts one child
workflow, whose end every second one waits for. Whatever dies: in the end every workflow has its right phase, every
handler has run to its end, each child exists exactly once, and the ledger has each handler once.
`python -m tests.faults.kills [--rounds N] [--seed S]` runs it by hand; `make soak` does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import grpc

from exeunt.client import interceptors
from exeunt.v1 import exit_service_pb2 as exits
from exeunt.v1 import exit_service_pb2_grpc as exits_rpc
from exeunt.v1 import workflow_service_pb2 as pb
from exeunt.v1 import workflow_service_pb2_grpc as rpc
from exeunt.words import finalizations, phases
from tests.e2e.cluster import Cluster

SERVICES = ("scheduler", "exithandler", "executor", "nats")
T = TypeVar("T")


def manifest(number: int, marks: Path, fails: bool) -> str:
    """One workflow; JSON is YAML."""
    name = f"w{number:03d}"
    main = f"sleep 0.$(( {number} % 4 + 1 )); exit {1 if fails else 0}"
    child = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"generateName": f"child-{name}-", "labels": {"parent": name}},
        "spec": {
            "entrypoint": "c",
            "templates": [
                {
                    "name": "c",
                    "retryStrategy": {"retryPolicy": "Always", "limit": 20},
                    "container": {"image": "none", "command": ["true"]},
                }
            ],
        },
    }
    ended = {"successCondition": "status.phase == Succeeded", "failureCondition": "status.phase in (Failed, Error)"}
    waited = ended if number % 2 else {}
    templates: list[dict[str, Any]] = [
        {
            "name": "main",
            # a step that is lost with its executor is Error and is tried again; one that fails by itself only once more
            "retryStrategy": {"retryPolicy": "Always", "limit": 1 if fails else 20},
            "container": {"image": "none", "command": ["sh", "-c"], "args": [main]},
        },
        {
            "name": "bye",
            "steps": [
                [{"name": "mark", "template": "mark"}],
                [{"name": "child", "template": "child"}],
            ],
        },
        {
            "name": "mark",
            "container": {
                "image": "none",
                "command": ["sh", "-c"],
                "args": [f"echo {{{{workflow.name}}}} {{{{workflow.status}}}} >> {marks}; sleep 0.3"],
            },
        },
        {"name": "child", "resource": {"action": "create", "manifest": json.dumps(child), **waited}},
    ]
    return json.dumps(
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Workflow",
            "metadata": {"name": name, "labels": {"test": "kills"}},
            "spec": {"entrypoint": "main", "onExit": "bye", "templates": templates},
        }
    )


@dataclass
class Kill:
    """What stood where when a kill came."""

    what: str
    workflows: Counter[str]
    handlers: Counter[str]

    @property
    def met_a_handler(self) -> bool:
        """Whether a handler was due or running."""
        return self.handlers["due"] + self.handlers["running"] + self.workflows["exiting"] > 0


@dataclass
class Report:
    """How a round went; `wrong` is empty when all is well."""

    seed: int
    kills: list[Kill] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"seed {self.seed}"]
        for kill in self.kills:
            stood = ", ".join(f"{n} {s}" for s, n in sorted(kill.workflows.items()))
            handlers = ", ".join(f"{n} {s}" for s, n in sorted(kill.handlers.items())) or "none yet"
            lines.append(f"  kill {kill.what:11} workflows: {stood or 'unknown'}; handlers: {handlers}")
        met = sum(k.met_a_handler for k in self.kills)
        lines.append(f"  {met} of {len(self.kills)} kills met a due or running handler")
        lines += [f"  WRONG: {w}" for w in self.wrong]
        return "\n".join(lines)


async def patient(call: Callable[[], Awaitable[T]], seconds: float = 60) -> T:
    """Calls again while the answer is UNAVAILABLE, as a client does."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while True:
        try:
            return await call()
        except grpc.aio.AioRpcError as error:
            if (
                error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
                or loop.time() > end
            ):
                raise
            await asyncio.sleep(0.1)


class Round:
    """One round on a running cluster."""

    def __init__(self, cluster: Cluster, seed: int, count: int, kills: int) -> None:
        self.cluster = cluster
        self.random = random.Random(seed)
        self.count = count
        self.kills = kills
        self.report = Report(seed)
        self.marks = cluster.data_dir.parent / f"marks-{seed}"
        self.marks.touch()
        self.failing = {n for n in range(count) if n % 5 == 0}

    async def run(self) -> Report:
        """Submits, kills, waits, judges."""
        facts = self.cluster.facts()
        options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)]
        how: dict[str, Any] = {"options": options, "interceptors": interceptors(facts["token"])}
        async with (
            grpc.aio.insecure_channel(facts["scheduler"]["address"], **how) as scheduler,
            grpc.aio.insecure_channel(facts["exithandler"]["address"], **how) as exithandler,
        ):
            self.workflows = rpc.WorkflowServiceStub(scheduler)
            self.exits = exits_rpc.ExitServiceStub(exithandler)
            async with asyncio.TaskGroup() as group:
                submitting = group.create_task(self._submit())
                group.create_task(self._kill(submitting))
            await self._wait()
            await self._judge()
        return self.report

    async def _submit(self) -> None:
        gate = asyncio.Semaphore(10)

        async def one(number: int) -> None:
            text = manifest(number, self.marks, number in self.failing)
            document = pb.Document(file=f"w{number}", text=text)
            request = pb.SubmitWorkflowRequest(request_id=f"kill-{self.report.seed}-{number}", documents=[document])
            async with gate:
                await patient(lambda: self.workflows.SubmitWorkflow(request, timeout=10))

        async with asyncio.TaskGroup() as group:
            for number in range(self.count):
                group.create_task(one(number))

    async def _kill(self, submitting: asyncio.Task[None]) -> None:
        plan = [*SERVICES, "all"] * (self.kills // 5 + 1)
        self.random.shuffle(plan)
        for what in plan[: self.kills]:
            await asyncio.sleep(self.random.uniform(0.3, 1.2))
            # most kills are told what they meet; the others come blind, also in the middle of a restart
            patience = 5.0 if self.random.random() < 0.8 else 0.0
            self.report.kills.append(Kill(what, *await self._look(patience)))
            for service in SERVICES if what == "all" else (what,):
                try:
                    self.cluster.signal(service)
                except ProcessLookupError:
                    continue  # it is being started again just now
        await submitting

    async def _look(self, patience: float) -> tuple[Counter[str], Counter[str]]:
        stood: Counter[str] = Counter()
        handlers: Counter[str] = Counter()
        try:
            for workflow in await patient(lambda: self._all_workflows(timeout=1), patience):
                if not workflow.labels.get("parent"):
                    phase = phases.word(workflow.phase)
                    exiting = workflow.outcome and phase == "Running"
                    stood["exiting" if exiting else phase.lower()] += 1
            for record in await patient(lambda: self._all_exits(timeout=1), patience):
                handlers[exits.Exit.State.Name(record.state).removeprefix("STATE_").lower()] += 1
        except grpc.aio.AioRpcError:
            pass  # what we ask is being started again
        return stood, handlers

    async def _all_workflows(self, timeout: float = 10) -> list[pb.Workflow]:
        return await all_workflows(self.workflows, timeout)

    async def _all_exits(self, timeout: float = 10) -> list[exits.Exit]:
        return await all_exits(self.exits, timeout)

    async def _wait(self, seconds: float = 90) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while loop.time() < end:
            all_of_them = await patient(self._all_workflows)
            if len(all_of_them) >= 2 * self.count and all(
                phases.word(w.phase) in ("Succeeded", "Failed", "Error") for w in all_of_them
            ):
                return
            await asyncio.sleep(0.5)
        stuck = [
            f"{w.name} {phases.word(w.outcome)} {finalizations.word(w.finalization)}"
            for w in all_of_them
            if phases.word(w.phase) == "Running"
        ]
        self.report.wrong.append(f"after {seconds:g} s: {len(all_of_them)} workflows, still running: {stuck[:5]}")

    async def _judge(self) -> None:
        found = await patient(self._all_workflows)
        records = await patient(self._all_exits)
        self.report.wrong += judge(found, records, self.marks, self.count, self.failing)


async def all_workflows(
    stub: rpc.WorkflowServiceAsyncStub, timeout: float = 10, namespace: str = "*"
) -> list[pb.Workflow]:
    """Every workflow, page by page."""
    found: list[pb.Workflow] = []
    token = ""
    while True:
        request = pb.ListWorkflowsRequest(namespace=namespace, page_size=1000, page_token=token)
        answer = await stub.ListWorkflows(request, timeout=timeout)
        found += answer.workflows
        token = answer.next_page_token
        if not token:
            return found


async def all_exits(stub: exits_rpc.ExitServiceAsyncStub, timeout: float = 10) -> list[exits.Exit]:
    """The whole ledger, page by page."""
    found: list[exits.Exit] = []
    token = ""
    while True:
        answer = await stub.ListExits(exits.ListExitsRequest(page_size=1000, page_token=token), timeout=timeout)
        found += answer.exits
        token = answer.next_page_token
        if not token:
            return found


def judge(found: list[pb.Workflow], records: list[exits.Exit], marks: Path, count: int, failing: set[int]) -> list[str]:
    """What is wrong with the end of `count` workflows of `manifest`: nothing, as it should be."""
    wrong: list[str] = []
    mine = {w.name: w for w in found if not w.labels.get("parent")}
    children = Counter(w.labels["parent"] for w in found if w.labels.get("parent"))
    ledger = Counter(r.workflow for r in records if r.workflow in mine)
    states = {r.workflow: r.state for r in records}
    lines = Counter(marks.read_text().splitlines())
    for number in range(count):
        name = f"w{number:03d}"
        phase = "Failed" if number in failing else "Succeeded"
        workflow = mine.get(name)
        if workflow is None:
            wrong.append(f"{name} is gone")
            continue
        # a failing step may have been lost with its executor as well, which is Error
        ended, handled = phases.word(workflow.phase), finalizations.word(workflow.finalization)
        if ended != phase and not (number in failing and ended == "Error"):
            wrong.append(f"{name} ended {ended} ({workflow.message}), not {phase}")
        if handled != "Succeeded":
            wrong.append(f"{name}: its handlers ended {handled}")
        if not any(line.startswith(f"{name} ") for line in lines):
            wrong.append(f"{name}: its handler left no mark")
        if children[name] != 1:
            wrong.append(f"{name} has {children[name]} children")
        if ledger[name] != 1 or states.get(name) != exits.Exit.STATE_SUCCEEDED:
            wrong.append(f"{name} stands {ledger[name]} times in the ledger")
    return wrong


async def one_round(folder: Path, seed: int, count: int = 100, kills: int = 5) -> Report:
    """A round on a cluster of its own."""
    cluster = Cluster(folder / f"data-{seed}", arguments=["--slots", "16"])
    await asyncio.to_thread(cluster.up)
    try:
        return await Round(cluster, seed, count, kills).run()
    finally:
        await asyncio.to_thread(cluster.down)


def main() -> int:
    """Rounds by hand."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.kills")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--workflows", type=int, default=100)
    parser.add_argument("--keep", action="store_true", help="leave the data directories of rounds that went wrong")
    chosen = parser.parse_args()
    bad = met = kills = 0
    for seed in range(chosen.seed, chosen.seed + chosen.rounds):
        folder = tempfile.mkdtemp(prefix="exeunt-kills-")
        report = Report(seed)
        try:
            report = asyncio.run(one_round(Path(folder), seed, chosen.workflows))
        except* (grpc.aio.AioRpcError, AssertionError) as errors:
            report.wrong.append(str(errors.exceptions[0]))
        print(report, flush=True)
        if report.wrong and chosen.keep:
            print(f"  its data directory is {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
        bad += bool(report.wrong)
        met += sum(k.met_a_handler for k in report.kills)
        kills += len(report.kills)
    print(f"{chosen.rounds - bad} of {chosen.rounds} rounds right; {met} of {kills} kills met a due or running handler")
    return 1 if bad or 2 * met < kills else 0


if __name__ == "__main__":
    sys.exit(main())
