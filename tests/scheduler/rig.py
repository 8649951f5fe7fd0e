"""A scheduler in the test's process on a real nats-server, and an executor that does what it is told at once."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc

from exeunt.artifacts import embedded_stream
from exeunt.artifacts.embedded import EmbeddedStore
from exeunt.artifacts.embedded_stream import ArtifactStream
from exeunt.client import Client
from exeunt.internal.v1 import executor_service_pb2 as pb
from exeunt.internal.v1 import executor_service_pb2_grpc, step_pb2
from exeunt.journal.log import Log
from exeunt.journal.owners import FixedOwners
from exeunt.journal.projections import open_projections
from exeunt.journal.streams import ensure_stream
from exeunt.journal.wire import connect
from exeunt.scheduler.checks import work_here
from exeunt.scheduler.parts import Scheduler
from exeunt.scheduler.settings import Settings
from exeunt.service.grpc import serve_grpc

Outcome = Callable[[step_pb2.Step], step_pb2.StepResult | None]


def succeeds(step: step_pb2.Step) -> step_pb2.StepResult | None:
    """Every step succeeds; `exit N` as argument fails with N, `hold` never ends by itself."""
    words = list(step.container.args)
    if words[:1] == ["hold"]:
        return None
    if words[:1] == ["exit"] and words[1] != "0":
        return step_pb2.StepResult(
            phase="Failed", message=f"main: Error (exit code {words[1]})", exit_code=int(words[1])
        )
    return step_pb2.StepResult(phase="Succeeded", exit_code=0, result=" ".join(words))


class Hands:
    """An executor that ends each step as `outcome` says, at once; None leaves it running until it is cancelled."""

    def __init__(
        self,
        address: str,
        outcome: Outcome = succeeds,
        *,
        id: str = "hands",
        slots: int = 16,
        ended: dict[str, step_pb2.StepResult] | None = None,
        seen: list[str] | None = None,
    ) -> None:
        self.address = address
        self.outcome = outcome
        self.id = id
        self.slots = slots
        self.running: dict[str, step_pb2.Step] = {}
        self.ended = ended or {}  # not acknowledged yet
        self.seen = seen or []  # every attempt that was ever begun, in order
        self.began = asyncio.Condition()
        self._call: Any = None
        self._writing = asyncio.Lock()  # gRPC takes one write of a stream at a time

    async def run(self) -> None:
        """One stream after the other, until it is cancelled."""
        async with grpc.aio.insecure_channel(self.address) as channel:
            while True:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    await self._session(channel)
                await asyncio.sleep(0.02)

    async def _session(self, channel: grpc.aio.Channel) -> None:
        self._call = call = executor_service_pb2_grpc.ExecutorServiceStub(channel).Session()
        hello = pb.Hello(
            id=self.id,
            capabilities=["process", "http", "plugin"],
            slots=self.slots,
            attempts=[*self.running, *self.ended],
        )
        await self._write(pb.SessionRequest(hello=hello, updates=self._updates(self.ended), credits=self._free()))
        while isinstance(frame := await call.read(), pb.SessionResponse):
            await self._take(frame)

    async def _take(self, frame: pb.SessionResponse) -> None:
        new: list[str] = []
        for step in frame.dispatches:
            if step.id in self.running or step.id in self.ended:
                continue
            self.seen.append(step.id)
            result = self.outcome(step)
            if result is None:
                self.running[step.id] = step
            else:
                self.ended[step.id] = result
                new.append(step.id)
        for id in frame.cancels:
            if self.running.pop(id, None) is not None:
                self.ended[id] = step_pb2.StepResult(phase="Error", message="it was ended")
                new.append(id)
        for id in [*frame.acknowledged, *frame.forgotten]:
            self.ended.pop(id, None)
            self.running.pop(id, None)
        updates = self._updates({id: self.ended[id] for id in new})
        if frame.dispatches or new:
            await self._write(pb.SessionRequest(updates=updates, credits=self._free(), seen=frame.number))
            async with self.began:
                self.began.notify_all()

    async def _write(self, request: pb.SessionRequest) -> None:
        async with self._writing:
            await self._call.write(request)

    async def say(self, id: str, number: int, text: str) -> None:
        """Sends output of a step."""
        frame = step_pb2.LogFrame(id=id, number=number, data=text.encode())
        await self._write(pb.SessionRequest(logs=[frame]))

    async def end(self, id: str, result: step_pb2.StepResult) -> None:
        """Ends a step that runs."""
        del self.running[id]
        self.ended[id] = result
        await self._write(pb.SessionRequest(updates=self._updates({id: result})))

    async def until_running(self, count: int = 1) -> list[step_pb2.Step]:
        """Waits until so many steps run."""
        async with self.began:
            await self.began.wait_for(lambda: len(self.running) >= count)
        return list(self.running.values())

    def _updates(self, ended: dict[str, step_pb2.StepResult]) -> list[pb.AttemptUpdate]:
        return [pb.AttemptUpdate(id=id, result=result) for id, result in ended.items()]

    def _free(self) -> int:
        return max(0, self.slots - len(self.running))


def _always(partition: int, since: float | None) -> bool:
    """Nobody else could have taken it."""
    return True


@contextlib.asynccontextmanager
async def scheduling(url: str, folder: Path, **settings: Any) -> AsyncIterator[Scheduler]:
    """A scheduler alone in its cluster. Its address is `parts.address`."""
    chosen = Settings(nats_url=url, data_dir=folder, **settings)
    nc = await connect(url, "scheduler")
    projections = await open_projections(nc)
    writing = asyncio.create_task(projections.run())
    log = await Log.open(nc, "m", chosen.replica, chosen.log())
    await ensure_stream(log.wire, embedded_stream.config(1, 256 * 1024**2).as_dict())
    artifacts = EmbeddedStore(ArtifactStream(nc))
    parts = Scheduler(chosen, log, projections, FixedOwners(), check=work_here, artifacts=artifacts, fresh=_always)
    try:
        async with serve_grpc("127.0.0.1:0", parts.internal(), grace=0) as server, asyncio.TaskGroup() as group:
            parts.address = server.address
            tasks = [group.create_task(routine) for routine in parts.routines().values()]
            await parts.runs.take(range(64))
            try:
                yield parts
            finally:
                await parts.stop_intake()
                await server.stop(0)
                parts.runs.lose(range(64))
                for task in tasks:
                    task.cancel()
    finally:
        await parts.peers.close()
        await log.close()
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await nc.close()


@contextlib.asynccontextmanager
async def hands(parts: Scheduler, outcome: Outcome = succeeds, **more: Any) -> AsyncIterator[Hands]:
    """An executor of that scheduler."""
    made = Hands(parts.address, outcome, **more)
    task = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def final(client: Client, name: str) -> dict[str, Any]:
    """Waits until a workflow is over; the whole object."""
    async for change in client.watch(name):
        if change.final:
            tree: dict[str, Any] = json.loads((await client.get(name)).json)
            return tree
    raise AssertionError("the watch ended before the workflow did")
