"""Any number of schedulers, exit handlers and executors on one nats-server, as processes to be killed or paused.

Unlike `exeunt up` nobody starts again what died: a test says when.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import grpc
import psutil

from exeunt.cli.child import ChildProcess, Spec, start, tail
from exeunt.v1 import exit_service_pb2_grpc as exits_rpc
from exeunt.v1 import workflow_service_pb2_grpc as rpc
from tests.nats_server import NatsServer, free_ports

SERVE = [sys.executable, "-m", "exeunt.cli.main", "serve"]
SECONDS_TO_START = 60.0
OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.max_send_message_length", 64 * 1024 * 1024),
]


@dataclass
class Service:
    """One process of ours, by its service and name; the same address and data directory whenever it is started."""

    kind: str
    name: str
    address: str
    spec: Spec
    child: ChildProcess | None = None

    @property
    def internal(self) -> str:
        """Where the other services reach it."""
        return self.spec.environ["EXEUNT_INTERNAL"]

    @property
    def pid(self) -> int:
        """The process of now."""
        assert self.child is not None
        return self.child.pid

    @property
    def memory(self) -> int:
        """Resident bytes."""
        return int(psutil.Process(self.pid).memory_info().rss)

    async def start(self, seconds: float = SECONDS_TO_START) -> None:
        """Starts it and waits until it says that it is ready, at most so long."""
        self.child = start(self.spec)
        try:
            async with asyncio.timeout(seconds):
                ready = await self.child.ready()
        except TimeoutError:
            ready = False
        assert ready, f"{self.name} did not start:\n{tail(self.spec.log)}"

    async def kill(self) -> None:
        """SIGKILL, and waits for its end."""
        assert self.child is not None
        self.child.signal(signal.SIGKILL)
        await self.child.ended()

    async def stop(self) -> None:
        """SIGTERM, and waits for its end. Doing so twice is fine."""
        if self.child is not None:
            self.child.signal(signal.SIGCONT)
            await self.child.end()

    def pause(self) -> None:
        """SIGSTOP: it keeps its connections and answers nobody."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT: it goes on where it was."""
        os.kill(self.pid, signal.SIGCONT)

    @property
    def runs(self) -> bool:
        """Whether its process is there."""
        return self.child is not None and psutil.pid_exists(self.pid)


@dataclass
class Replicas:
    """What was started. `environ` is what all services get beside their own settings."""

    folder: Path
    nats: NatsServer
    environ: Mapping[str, str] = field(default_factory=dict)
    schedulers: list[Service] = field(default_factory=list)
    exithandlers: list[Service] = field(default_factory=list)
    executors: list[Service] = field(default_factory=list)

    @property
    def services(self) -> list[Service]:
        """All of them, executors last."""
        return [*self.schedulers, *self.exithandlers, *self.executors]

    def plan(self, schedulers: int, exithandlers: int, executors: int) -> None:
        """Says what there shall be; starts nothing."""
        ports = iter(free_ports(2 * (schedulers + exithandlers)))
        common = {"EXEUNT_NATS_URL": self.nats.url, "EXEUNT_ALLOW_LOOPBACK": "true", "EXEUNT_METRICS": ""}
        expected = {
            "EXEUNT_EXPECTED_SCHEDULERS": str(schedulers),
            "EXEUNT_EXPECTED_EXITHANDLERS": str(exithandlers),
        }
        for kind, count, into in (
            ("scheduler", schedulers, self.schedulers),
            ("exithandler", exithandlers, self.exithandlers),
            ("executor", executors, self.executors),
        ):
            for number in range(1, count + 1):
                name = f"{kind}-{number}"
                address = "" if kind == "executor" else f"127.0.0.1:{next(ports)}"
                own = {"EXEUNT_REPLICA": name, "EXEUNT_DATA_DIR": str(self.folder / name)}
                if kind == "executor":
                    own["EXEUNT_EXECUTOR_ID"] = name
                    own["EXEUNT_SCHEDULERS"] = ",".join(s.internal for s in self.schedulers)
                else:
                    own |= {"EXEUNT_LISTEN": address, "EXEUNT_INTERNAL": f"127.0.0.1:{next(ports)}", **expected}
                environ = {**os.environ, **common, **self.environ, **own}
                log = self.folder / "logs" / f"{name}.log"
                into.append(Service(kind, name, address, Spec(name, partial(list, [*SERVE, kind]), environ, log)))

    async def stop(self) -> None:
        """Ends what still runs, executors first."""
        for stage in (self.executors, self.exithandlers, self.schedulers):
            await asyncio.gather(*(service.stop() for service in stage))


async def eventually(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    """Looks again until it holds; for what can only be looked at, as files and processes of others."""
    async with asyncio.timeout(seconds):
        while True:
            if holds():
                return
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def replicas(
    folder: Path,
    *,
    schedulers: int = 1,
    exithandlers: int = 1,
    executors: int = 1,
    environ: Mapping[str, str] | None = None,
    nats: NatsServer | None = None,
) -> AsyncIterator[Replicas]:
    """So many of each, on a nats-server of their own (`nats` if given), for as long as the block lasts."""
    nats = nats or NatsServer(folder / "nats")
    await nats.begin()
    found = Replicas(folder, nats, environ or {})
    found.plan(schedulers, exithandlers, executors)
    try:
        await asyncio.gather(*(service.start() for service in found.services))
        yield found
    finally:
        await found.stop()
        await nats.stop()


@contextlib.asynccontextmanager
async def workflows(service: Service) -> AsyncIterator[rpc.WorkflowServiceAsyncStub]:
    """The API of a scheduler."""
    async with grpc.aio.insecure_channel(service.address, options=OPTIONS) as channel:
        yield rpc.WorkflowServiceStub(channel)


@contextlib.asynccontextmanager
async def exits(service: Service) -> AsyncIterator[exits_rpc.ExitServiceAsyncStub]:
    """The API of an exit handler."""
    async with grpc.aio.insecure_channel(service.address, options=OPTIONS) as channel:
        yield exits_rpc.ExitServiceStub(channel)
