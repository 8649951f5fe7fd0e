"""Many short workflows through a small log, past a few that stay open all the time.

The log, the memory of the services and what a restart reads must be at the end what they were at the beginning, however
many workflows went through; and those that were open from first to last have to end well. By hand:
`python -m tests.faults.small_log --workflows 20000 --window 10000`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nats
from nats.js.api import StreamState

from bench.echo import Echo
from bench.works import manifest, with_handler
from exeunt.v1 import workflow_service_pb2 as pb
from exeunt.v1 import workflow_service_pb2_grpc as rpc
from exeunt.words import phases
from tests.faults.kills import all_workflows, patient
from tests.faults.replicas import Replicas, replicas, workflows

AT_ONCE = 32
MEBIBYTE = 1024 * 1024


@dataclass(frozen=True)
class Size:
    """How much there is of everything."""

    workflows: int
    messages: int
    bytes: int
    memory: dict[str, int]
    restart: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        memory = ", ".join(f"{name} {used / MEBIBYTE:.0f} MB" for name, used in self.memory.items())
        restart = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.restart.items())
        log = f"log {self.messages:,} messages, {self.bytes / MEBIBYTE:.1f} MB"
        return f"after {self.workflows:6,} workflows: {log}; {memory}; restart {restart}"


@dataclass
class Report:
    """The sizes at the beginning and at the end, and how those ended that were open all the time."""

    before: Size
    after: Size
    largest: int
    cut: int
    stayed: list[pb.Workflow]
    passed: list[pb.Workflow]


def staying(url: str) -> str:
    """A workflow that waits until it is resumed, and has a handler for its end."""
    call = {"url": url, "method": "GET"}
    return manifest("stays", "main", [{"name": "main", "suspend": {}}, {"name": "bye", "http": call}], onExit="bye")


class Course:
    """One course through a running cluster."""

    def __init__(self, cluster: Replicas, stub: rpc.WorkflowServiceAsyncStub, url: str) -> None:
        self.cluster = cluster
        self.stub = stub
        self.url = url
        self.done = 0
        self.largest = 0

    async def run(self, workflows: int, stay: int, warm: int) -> Report:
        """Opens `stay`, sends `warm` to begin with, then the rest of `workflows`; resumes at last."""
        names = [await self._submit(staying(self.url), f"stay-{n}") for n in range(stay)]
        await self._send(warm)
        before = await self._size()
        await self._send(workflows - warm)
        after = await self._size()
        for name in names:
            await self._resume(name)
        found = await self._all_ended()
        stayed = [w for w in found if w.name in {*names}]
        passed = [w for w in found if w.name not in {*names}]
        return Report(before, after, self.largest, await self._first() - 1, stayed, passed)

    async def _submit(self, text: str, request_id: str) -> str:
        request = pb.SubmitWorkflowRequest(request_id=request_id, documents=[pb.Document(file="w", text=text)])
        answer = await patient(lambda: self.stub.SubmitWorkflow(request, timeout=30))
        return answer.workflows[0].name

    async def _resume(self, name: str) -> None:
        request = pb.ResumeWorkflowRequest(request_id=f"resume-{name}", name=name)
        await patient(lambda: self.stub.ResumeWorkflow(request, timeout=10))

    async def _send(self, count: int) -> None:
        """So many short workflows, a few at a time; all have ended afterwards."""
        gate = asyncio.Semaphore(AT_ONCE)
        text = with_handler(self.url)

        async def one(number: int) -> None:
            async with gate:
                name = await self._submit(text, f"short-{number}")
                async for change in self.stub.WatchWorkflow(pb.WatchWorkflowRequest(name=name), timeout=120):
                    if change.final:
                        break

        async with asyncio.TaskGroup() as group:
            looking = group.create_task(self._look())
            async with asyncio.TaskGroup() as sending:
                for number in range(self.done, self.done + count):
                    sending.create_task(one(number))
            looking.cancel()
        self.done += count

    async def _look(self) -> None:
        while True:
            self.largest = max(self.largest, (await self._log())[0])
            await asyncio.sleep(0.5)

    async def _size(self) -> Size:
        """The log and the memory when all is quiet, and how long a restart takes with them."""
        await asyncio.sleep(3)  # the log is tended every second
        memory = {s.kind: s.memory for s in self.cluster.services}
        messages, size = await self._log()
        restart: dict[str, float] = {}
        for service in (*self.cluster.schedulers, *self.cluster.exithandlers):
            await service.kill()
            began = time.monotonic()
            await service.start()
            restart[service.kind] = time.monotonic() - began
        return Size(self.done, messages, size, memory, restart)

    async def _log(self) -> tuple[int, int]:
        state = await self._state()
        return state.messages, state.bytes

    async def _first(self) -> int:
        return (await self._state()).first_seq

    async def _state(self) -> StreamState:
        nc = await nats.connect(self.cluster.nats.url)
        try:
            return (await nc.jetstream(timeout=60).stream_info("EXEUNT_LOG")).state
        finally:
            await nc.close()

    async def _all_ended(self) -> list[pb.Workflow]:
        async with asyncio.timeout(60):
            while True:
                found = await patient(lambda: all_workflows(self.stub))
                if all(phases.word(w.phase) not in ("Pending", "Running") for w in found):
                    return found
                await asyncio.sleep(0.3)


async def course(folder: Path, *, workflows_: int, window: int, stay: int = 50, warm: int | None = None) -> Report:
    """A course on a cluster of its own. `warm`: how many go through before the first look."""
    environ = {"EXEUNT_WINDOW": str(window), "EXEUNT_LOG_LEVEL": "warning"}
    with Echo() as url:
        async with replicas(folder, environ=environ) as cluster, workflows(cluster.schedulers[0]) as stub:
            return await Course(cluster, stub, url).run(workflows_, stay, warm or workflows_ // 4)


def main(arguments: Sequence[str] | None = None) -> int:
    """A course by hand."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.small_log", description=__doc__)
    parser.add_argument("--workflows", type=int, default=20_000)
    parser.add_argument("--window", type=int, default=10_000)
    parser.add_argument("--stay", type=int, default=50)
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="exeunt-small-log-") as folder:
        report = asyncio.run(course(Path(folder), workflows_=chosen.workflows, window=chosen.window, stay=chosen.stay))
    print(report.before)
    print(report.after)
    well = sum(phases.word(w.phase) == "Succeeded" for w in report.stayed)
    stayed = f"{well} of {len(report.stayed)} that stayed open ended well"
    print(f"largest log {report.largest:,} messages, cut {report.cut:,}; {stayed}")
    return 0 if report.after.messages <= 3 * chosen.window and well == len(report.stayed) == chosen.stay else 1


if __name__ == "__main__":
    sys.exit(main())
