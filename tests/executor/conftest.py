"""A scheduler of a few lines, on a real gRPC server, and executors that work for it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from exeunt import interleaved
from exeunt.executor.main import serve
from exeunt.executor.settings import Settings
from exeunt.internal.v1 import executor_service_pb2 as pb
from exeunt.internal.v1 import executor_service_pb2_grpc
from exeunt.internal.v1 import step_pb2 as step_pb
from exeunt.service.grpc import SERVER_OPTIONS
from exeunt.service.settings import environment

WITHIN = 30.0
"""Seconds after which a test that waits for something gives up."""


class Scheduler(executor_service_pb2_grpc.ExecutorServiceServicer):
    """Takes one executor and does what a test says. What it was told is in the fields."""

    def __init__(self, *, acknowledges: bool = True, replica: str = "s1") -> None:
        self.acknowledges = acknowledges
        self.replica = replica
        self.peers: list[str] = []
        self.grace = 30.0
        self.address = ""
        self.hellos: list[pb.SessionRequest] = []
        self.results: dict[str, step_pb.StepResult] = {}
        self.lost: set[str] = set()
        self.daemons: dict[str, str] = {}
        self.progress: dict[str, list[str]] = {}
        self.reports: list[str] = []
        self.claims: list[str] = []
        self.logs: dict[str, dict[int, step_pb.LogFrame]] = {}
        self.credits = self.exit_credits = 0
        self.largest = 0  # of all frames that came, in bytes
        self.frames = 0  # how many came
        self.draining = False
        self.connected = False
        self._server: grpc.aio.Server | None = None
        self._stream: Any = None
        self._number = 0
        self._writing = asyncio.Lock()
        self._changed = asyncio.Condition()
        self._listens = asyncio.Event()
        self._listens.set()

    async def start(self, port: int = 0) -> None:
        """Listens."""
        self._server = grpc.aio.server(options=SERVER_OPTIONS)
        executor_service_pb2_grpc.add_ExecutorServiceServicer_to_server(self, self._server)
        port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self.address = f"127.0.0.1:{port}"
        await self._server.start()

    async def stop(self) -> None:
        """Is gone; streams break."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    async def Session(self, requests: Any, context: Any) -> None:  # type: ignore[override]  # noqa: N802 - the contract's name
        """The stream."""
        self._stream, self._number = context, 0
        try:
            async for frame in requests:
                await self._listens.wait()
                if frame.HasField("hello"):
                    self.hellos.append(frame)
                    self.connected = True
                    await self.say(
                        welcome=pb.Welcome(replica=self.replica, peers=self.peers, grace_seconds=self.grace, format=1)
                    )
                await self._take(frame)
        finally:
            if self._stream is context:
                self.connected = False
                async with self._changed:
                    self._changed.notify_all()

    async def _take(self, frame: pb.SessionRequest) -> None:
        self.draining = frame.draining
        self.largest = max(self.largest, frame.ByteSize())
        self.frames += 1
        self.claims += frame.claims
        self.credits, self.exit_credits = frame.credits, frame.exit_credits
        for log in frame.logs:
            self.logs.setdefault(log.id, {})[log.number] = log
        for one in frame.ready:
            self.daemons[one.id] = one.address
        for news in frame.progress:
            self.progress.setdefault(news.id, []).append(news.progress)
        for update in frame.updates:
            self.reports.append(update.id)
            self.results[update.id] = update.result
            if update.lost:
                self.lost.add(update.id)
        if frame.updates and self.acknowledges:
            await self.say(acknowledged=[u.id for u in frame.updates])
        elif not (frame.updates or frame.logs or frame.HasField("hello")):
            await self.say()  # a heartbeat is answered
        async with self._changed:
            self._changed.notify_all()

    async def say(self, **what: Any) -> None:
        """Sends a frame."""
        async with self._writing:  # a stream takes one frame at a time
            self._number += 1
            await self._stream.write(pb.SessionResponse(number=self._number, **what))

    @contextlib.asynccontextmanager
    async def deaf(self) -> AsyncIterator[None]:
        """Reads nothing within the block."""
        self._listens.clear()
        try:
            yield
        finally:
            self._listens.set()

    async def until(self, condition: Callable[[], Any]) -> None:
        """Waits until the condition holds."""
        async with asyncio.timeout(WITHIN), self._changed:
            await self._changed.wait_for(condition)

    async def ready(self) -> None:
        """Waits for an executor."""
        await self.until(lambda: self.connected)

    async def run(self, *steps: step_pb.Step) -> list[step_pb.StepResult]:
        """Has steps run and returns their results."""
        await self.ready()
        await self.say(dispatches=steps)
        await self.until(lambda: all(s.id in self.results for s in steps))
        return [self.results[s.id] for s in steps]

    def output(self, id: str) -> str:
        """What a step wrote, put together."""
        frames = self.logs.get(id, {})
        return b"".join(frames[n].data for n in sorted(frames)).decode()

    def lines(self, id: str) -> list[tuple[bool, str]]:
        """The lines that came, each with whether it is of standard output."""
        frames = self.logs.get(id, {})
        told = [piece for n in sorted(frames) for piece in interleaved.pieces(frames[n].data, frames[n].runs)]
        return [(stdout, line) for stdout, data in told for line in data.decode().splitlines()]


def step(name: str, *command: str, **fields: Any) -> step_pb.Step:
    """A container step; `env`, `args`, `image`, `working_dir`, `source` go into the work, the rest into the step."""
    work = {k: fields.pop(k) for k in ("env", "args", "image", "working_dir", "source", "script") if k in fields}
    env = [step_pb.EnvironmentVariable(name=k, value=v) for k, v in work.pop("env", {}).items()]
    fields.setdefault("grace_seconds", 10.0)
    return step_pb.Step(
        id=f"u1/{name}/0",
        namespace="default",
        uid="u1",
        workflow="wf",
        node=name,
        node_name=f"wf.{name}",
        partition=3,
        container=step_pb.ContainerWork(command=command, env=env, **work),
        **fields,
    )


def shell(name: str, text: str, **fields: Any) -> step_pb.Step:
    """A step that runs a line of shell."""
    return step(name, "sh", "-c", text, **fields)


def settings(scheduler: Scheduler, directory: Path, **changes: Any) -> Settings:
    """Settings of an executor that works for this scheduler."""
    values: dict[str, Any] = {
        "schedulers": (scheduler.address,),
        "data_dir": directory,
        "executor_id": "e1",
        "slots": 4,
        "exit_slots": 1,
        "heartbeat_seconds": 0.2,
        "drain_seconds": 0.0,
        "shutdown_seconds": 10.0,
        "log_format": "text",
        "log_level": "warning",
    }
    return Settings(**(values | changes))


@pytest.fixture
async def scheduler() -> AsyncIterator[Scheduler]:
    """A scheduler that listens."""
    fake = Scheduler()
    await fake.start()
    yield fake
    await fake.stop()


Serve = Callable[..., contextlib.AbstractAsyncContextManager[None]]


@contextlib.asynccontextmanager
async def inside(scheduler: Scheduler, directory: Path, **changes: Any) -> AsyncIterator[None]:
    """An executor in this process."""
    task = asyncio.create_task(serve(settings(scheduler, directory, **changes)))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def executor(scheduler: Scheduler, tmp_path: Path) -> AsyncIterator[None]:
    """An executor in this process that is connected."""
    async with inside(scheduler, tmp_path / "executor"):
        await scheduler.ready()
        yield


class Service:
    """An executor as a process of its own."""

    def __init__(self, scheduler: Scheduler, directory: Path, **changes: Any) -> None:
        self._settings = settings(scheduler, directory, **changes)
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Service:
        program = (
            "import asyncio, os\n"
            "from exeunt.executor.main import serve\n"
            "from exeunt.executor.settings import Settings\n"
            "from exeunt.service.settings import load\n"
            "asyncio.run(serve(load(Settings, os.environ)))\n"
        )
        env = os.environ | environment(self._settings)
        self._process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, env=env)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.end(signal.SIGTERM)

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process is not None
        return self._process.pid

    async def end(self, number: int) -> int:
        """Sends a signal and waits for the end; the exit code."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
        async with asyncio.timeout(WITHIN):
            return await self._process.wait()


async def vanished(*pids: int) -> None:
    """Waits until these processes are gone."""
    async with asyncio.timeout(WITHIN):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                fd = os.pidfd_open(pid)
                gone = asyncio.Event()
                asyncio.get_running_loop().add_reader(fd, gone.set)
                await gone.wait()
                asyncio.get_running_loop().remove_reader(fd)
                os.close(fd)
