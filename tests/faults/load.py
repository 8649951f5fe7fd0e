"""Work for a cluster that something happens to: workflows with handlers, submitted at a pace, and how they must end.

The workflows are those of `kills.manifest`. Whoever submits is a patient client: it comes again when it is told to.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from exeunt.client import interceptors
from exeunt.service.errors import Code, RpcError, received
from exeunt.v1 import exit_service_pb2_grpc as exits_rpc
from exeunt.v1 import workflow_service_pb2 as pb
from exeunt.v1 import workflow_service_pb2_grpc as rpc
from exeunt.words import finalizations, phases
from tests.faults.kills import all_exits, all_workflows, judge, manifest, patient
from tests.faults.replicas import OPTIONS

WORKFLOWS, EXITS = "exeunt.v1.WorkflowService", "exeunt.v1.ExitService"
FINAL = ("Succeeded", "Failed", "Error")


class Load:
    """What a test asks of a scheduler and an exit handler."""

    def __init__(self, scheduler: grpc.aio.Channel, exithandler: grpc.aio.Channel, folder: Path, count: int) -> None:
        self.workflows = rpc.WorkflowServiceStub(scheduler)
        self.exits = exits_rpc.ExitServiceStub(exithandler)
        self.count = count
        self.failing = {n for n in range(count) if n % 5 == 0}
        self.marks = folder / "marks"
        self.marks.touch()
        self._health = {
            WORKFLOWS: health_pb2_grpc.HealthStub(scheduler),
            EXITS: health_pb2_grpc.HealthStub(exithandler),
        }

    # --- the work -----------------------------------------------------------------------------------------------------

    async def submit(self, pace: float, seconds: float = 120) -> None:
        """Submits all of them, one every `pace` seconds, each as often as it takes."""
        async with asyncio.TaskGroup() as group:
            for number in range(self.count):
                group.create_task(self._one(number, seconds))
                await asyncio.sleep(pace)

    async def _one(self, number: int, seconds: float) -> None:
        document = pb.Document(file=f"w{number}", text=manifest(number, self.marks, number in self.failing))
        request = pb.SubmitWorkflowRequest(request_id=f"load-{number}", documents=[document])
        async with asyncio.timeout(seconds):
            while True:
                try:
                    await self.workflows.SubmitWorkflow(request, timeout=10)
                except grpc.aio.AioRpcError as error:
                    told = received(error)
                    if told.code not in (Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED, Code.DEADLINE_EXCEEDED):
                        raise
                    await asyncio.sleep(told.retry_after or 0.1)
                else:
                    return

    async def ended(self, seconds: float = 90) -> None:
        """Waits until every workflow and every child has ended, handlers included."""
        going = ["nothing has been seen yet"]
        try:
            async with asyncio.timeout(seconds):
                while True:
                    found = await patient(lambda: all_workflows(self.workflows))
                    going = [
                        f"{w.name} {phases.word(w.phase)} {finalizations.word(w.finalization)}"
                        for w in found
                        if phases.word(w.phase) not in FINAL
                    ]
                    if len(found) >= 2 * self.count and not going:
                        return
                    await asyncio.sleep(0.3)
        except TimeoutError:
            raise AssertionError(f"after {seconds:g} s {len(going)} are still running: {going[:5]}") from None

    async def judged(self) -> None:
        """Nothing is lost, nothing that happens once has happened twice."""
        found = await patient(lambda: all_workflows(self.workflows))
        records = await patient(lambda: all_exits(self.exits))
        wrong = judge(found, records, self.marks, self.count, self.failing)
        assert not wrong, "\n".join(wrong)

    # --- what people see meanwhile ------------------------------------------------------------------------------------

    async def serving(self, service: str) -> bool:
        """What health says."""
        answer = await self._health[service].Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    async def until(self, serving: bool, seconds: float = 60) -> None:
        """Waits until health says so of both services. It is asked, since a test has both to look at."""
        async with asyncio.timeout(seconds):
            while True:
                if [await self.serving(WORKFLOWS), await self.serving(EXITS)] == [serving, serving]:
                    return
                await asyncio.sleep(0.05)

    async def answered(self) -> None:
        """Whoever looks gets what there is, or is told to come again; nobody is left to their deadline."""
        for look in (lambda: all_workflows(self.workflows), lambda: all_exits(self.exits)):
            try:
                await look()
            except grpc.aio.AioRpcError as error:
                told = received(error)
                assert told.code is Code.UNAVAILABLE, told
                assert told.retry_after, told

    async def submission_refused(self) -> RpcError:
        """What a client without patience is told: it submits one workflow more, which must not be taken."""
        document = pb.Document(file="more", text=manifest(999, self.marks, False))
        try:
            await self.workflows.SubmitWorkflow(pb.SubmitWorkflowRequest(documents=[document]), timeout=10)
        except grpc.aio.AioRpcError as error:
            return received(error)
        raise AssertionError("a workflow was taken although nothing can be written")


@asynccontextmanager
async def load(scheduler: str, exithandler: str, folder: Path, count: int, *, token: str = "") -> AsyncIterator[Load]:
    """Work for the services at these addresses, which may want a token."""
    async with (
        grpc.aio.insecure_channel(scheduler, options=OPTIONS, interceptors=interceptors(token)) as first,
        grpc.aio.insecure_channel(exithandler, options=OPTIONS, interceptors=interceptors(token)) as second,
    ):
        yield Load(first, second, folder, count)
