"""A storm: several of each service and a nats-server, all of them paused, killed and ended at seeded instants.

Afterwards every workflow has ended as it has to, and no commit in the log is anybody's but the owner's of that moment.
`python -m tests.faults.storm [--rounds N] [--seed S]` runs it by hand.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from exeunt.v1 import workflow_service_pb2 as pb
from exeunt.v1 import workflow_service_pb2_grpc as rpc
from exeunt.words import finalizations, phases
from tests.faults.audit import audit
from tests.faults.kills import all_exits, all_workflows, judge, manifest, patient
from tests.faults.replicas import Replicas, Service, exits, replicas, workflows

PAUSE_SECONDS = 5.0  # five times as long as a member may be silent

Fault = Callable[[Service], Awaitable[None]]


async def pause(service: Service) -> None:
    """It sleeps for a while, and goes on as if nothing had been."""
    service.pause()
    await asyncio.sleep(PAUSE_SECONDS)
    service.resume()


async def kill(service: Service) -> None:
    """It dies, and is there again after a while."""
    await service.kill()
    await asyncio.sleep(PAUSE_SECONDS)
    await service.start()


async def leave(service: Service) -> None:
    """It ends in good order, and is there again after a while."""
    await service.stop()
    await asyncio.sleep(1)
    await service.start()


@dataclass
class Report:
    """How a round went; `wrong` is empty when all is well."""

    seed: int
    struck: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    commits: int = 0
    moved: int = 0

    def __str__(self) -> str:
        lines = [f"seed {self.seed}: {', '.join(self.struck)}", f"  {self.commits} commits, {self.moved} moves"]
        return "\n".join([*lines, *(f"  WRONG: {w}" for w in self.wrong)])


class Storm:
    """One round on a running cluster."""

    def __init__(self, cluster: Replicas, seed: int, count: int, strikes: int) -> None:
        self.cluster = cluster
        self.count = count
        self.strikes = strikes
        self.random = random.Random(seed)
        self.report = Report(seed)
        self.failing = {n for n in range(count) if n % 5 == 0}
        self.marks = cluster.folder / "marks"
        self.marks.touch()
        self._busy: set[str] = set()

    async def run(self) -> Report:
        """Submits while services are struck, waits until all is quiet, judges."""
        async with workflows(self.cluster.schedulers[0]) as scheduler, exits(self.cluster.exithandlers[0]) as handler:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._submit(scheduler))
                group.create_task(self._strike())
            await self._wait(scheduler)
            found = await patient(lambda: all_workflows(scheduler))
            records = await patient(lambda: all_exits(handler))
            self.report.wrong += judge(found, records, self.marks, self.count, self.failing)
        log = await audit(self.cluster.nats.url)
        self.report.wrong += log.wrong
        self.report.commits, self.report.moved = log.commits, log.moved
        return self.report

    async def _submit(self, scheduler: rpc.WorkflowServiceAsyncStub) -> None:
        async def one(number: int) -> None:
            document = pb.Document(file=f"w{number}", text=manifest(number, self.marks, number in self.failing))
            request = pb.SubmitWorkflowRequest(request_id=f"storm-{self.report.seed}-{number}", documents=[document])
            await patient(lambda: scheduler.SubmitWorkflow(request, timeout=3), seconds=90)

        async with asyncio.TaskGroup() as group:
            for number in range(self.count):
                group.create_task(one(number))
                await asyncio.sleep(0.2)

    async def _strike(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self.strikes):
                await asyncio.sleep(self.random.uniform(0.5, 2.5))
                group.create_task(self._one())

    async def _one(self) -> None:
        if self.random.random() < 0.15 and "nats" not in self._busy:
            self.report.struck.append("kill nats")
            self._busy.add("nats")
            await self.cluster.nats.restart()
            self._busy.discard("nats")
            return
        service = self.random.choice([s for s in self.cluster.services if s.name not in self._busy])
        fault: Fault = self.random.choice([pause, kill, leave])
        self.report.struck.append(f"{fault.__name__} {service.name}")
        self._busy.add(service.name)
        await fault(service)
        self._busy.discard(service.name)

    async def _wait(self, scheduler: rpc.WorkflowServiceAsyncStub, seconds: float = 120) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while True:
            found = await patient(lambda: all_workflows(scheduler))
            going = [w for w in found if phases.word(w.phase) in ("Pending", "Running")]
            if len(found) >= 2 * self.count and not going:
                return
            if loop.time() > end:
                stuck = [
                    f"{w.name} {phases.word(w.phase)} {phases.word(w.outcome)} {finalizations.word(w.finalization)}"
                    for w in going[:5]
                ]
                self.report.wrong.append(f"after {seconds:g} s: {len(found)} workflows, still running: {stuck}")
                return
            await asyncio.sleep(0.5)


async def one_round(folder: Path, seed: int, count: int = 80, strikes: int = 8) -> Report:
    """A round on a cluster of its own: two of each service."""
    async with replicas(folder, schedulers=2, exithandlers=2, executors=2) as cluster:
        return await Storm(cluster, seed, count, strikes).run()


def main() -> int:
    """Rounds by hand."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.storm")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--workflows", type=int, default=80)
    parser.add_argument("--strikes", type=int, default=8)
    chosen = parser.parse_args()
    bad = 0
    for seed in range(chosen.seed, chosen.seed + chosen.rounds):
        folder = Path(tempfile.mkdtemp(prefix=f"exeunt-storm-{seed}-"))
        report = asyncio.run(one_round(folder, seed, chosen.workflows, chosen.strikes))
        print(report, flush=True)
        if report.wrong:
            bad += 1
            print(f"  what is left of it lies in {folder}", flush=True)
        else:
            shutil.rmtree(folder)
    print(f"{chosen.rounds - bad} of {chosen.rounds} rounds right")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
