"""Streams with a scheduler's dispatch: who wants steps, executors and exit handlers, as tests play them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence

import grpc
import pytest

from exeunt.internal.v1 import executor_service_pb2 as pb
from exeunt.internal.v1 import executor_service_pb2_grpc, step_pb2, step_service_pb2, step_service_pb2_grpc
from exeunt.journal.subjects import partition_of
from exeunt.scheduler.attempts import Flight
from exeunt.scheduler.dispatch import Dispatch
from exeunt.scheduler.sessions import ExecutorService
from exeunt.scheduler.step_service import StepService


class Wanting:
    """Somebody who wants steps run, and commits at once what the dispatch tells."""

    def __init__(self, dispatch: Dispatch) -> None:
        self.dispatch = dispatch
        self.group: dict[str, Flight] = {}
        self.results: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self.lost_ones: asyncio.Queue[str] = asyncio.Queue()
        self.commits = True

    def flight(
        self, id: str, kind: str = "container", *, secretive: bool = False, claims: bool = False, home: str = ""
    ) -> Flight:
        uid = id.split("/")[0]
        return Flight(
            id,
            kind=kind,
            exit=False,
            namespace="default",
            uid=uid,
            where=lambda: id,
            owner=self,
            group=self.group,
            key=None,
            make=lambda: step_pb2.Step(id=id, uid=uid, namespace="default"),
            secretive=secretive,
            claims=claims,
            home=home,
        )

    def want(self, id: str, *, secretive: bool = False, claims: bool = False, home: str = "") -> None:
        executor = self.dispatch.place(self.flight(id, secretive=secretive, claims=claims, home=home))
        if executor is None:
            self.dispatch.wait(self.flight(id, secretive=secretive, claims=claims, home=home))
        else:
            self.dispatch.send(id, executor)

    def placed(self, flights: list[Flight]) -> None:
        for flight in flights:
            self.dispatch.send(flight.id, flight.executor)

    def ended(self, flight: Flight, result: step_pb2.StepResult) -> None:
        self.results.put_nowait((flight.id, result.phase))
        if self.commits:
            self.dispatch.acknowledge(flight.id)

    def lost(self, flight: Flight, message: str) -> None:
        self.lost_ones.put_nowait(flight.id)
        if self.commits:
            self.dispatch.acknowledge(flight.id)


class Rig:
    """A dispatch behind a real gRPC server, all partitions owned and loaded unless `loaded` says otherwise."""

    def __init__(self, grace: float = 30) -> None:
        self.loaded = True
        self.verified = float("inf")  # when the fences were read last
        self.logs: list[str] = []
        self.dispatch = Dispatch(grace=grace, judges=self._judges, now=lambda: 0.0)
        self.wanting = Wanting(self.dispatch)
        self.secrets = asyncio.Event()  # the store of secrets answers
        self.secrets.set()
        self.reads = asyncio.Event()  # output is written fast enough
        self.reads.set()
        self.executors = ExecutorService(
            self.dispatch,
            replica="s1",
            peers=lambda: [self.address],
            on_logs=self._logs,
            room=self._room,
            give_secrets=self._give_secrets,
        )
        self.steps = StepService(self.dispatch, lambda _: "", lambda _: None)
        self.address = ""

    def _judges(self, partition: int, since: float | None) -> bool:
        return self.loaded and (since is None or since <= self.verified)

    async def _give_secrets(self, steps: Sequence[step_pb2.Step]) -> list[step_pb2.Step]:
        await self.secrets.wait()
        for step in steps:
            step.secrets.add(name="api")
        return list(steps)

    async def _room(self) -> None:
        await self.reads.wait()

    def _logs(self, frames: Iterable[step_pb2.LogFrame]) -> None:
        self.logs += [frame.data.decode() for frame in frames]


class Stub:
    """An executor's stream, driven by hand."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.call = executor_service_pb2_grpc.ExecutorServiceStub(channel).Session()
        self.first: pb.SessionResponse | None = None  # read for its welcome, not looked at otherwise

    async def hello(self, id: str = "e1", attempts: Iterable[str] = (), **more: object) -> pb.Welcome:
        hello = pb.Hello(id=id, capabilities=["process", "http"], slots=2, exit_slots=1, attempts=attempts)
        await self.say(hello=hello, **more)
        self.first = await self.hear()
        return self.first.welcome

    async def say(self, **frame: object) -> None:
        await self.call.write(pb.SessionRequest(**frame))  # type: ignore[arg-type]  # by the frame's own field names

    async def hear(self) -> pb.SessionResponse:
        answer = await self.call.read()
        assert isinstance(answer, pb.SessionResponse), "the scheduler has ended the stream"
        return answer

    async def until(self, what: str) -> list[str]:
        """Reads on to the first frame that has any of these."""
        while True:
            frame, self.first = self.first or await self.hear(), None
            found = getattr(frame, what)
            if found:
                return [f.id if what == "dispatches" else f for f in found]


def result(id: str, phase: str = "Succeeded") -> pb.AttemptUpdate:
    return pb.AttemptUpdate(id=id, partition=partition_of(id.split("/")[0]), result=step_pb2.StepResult(phase=phase))


@pytest.fixture
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    rig = Rig(**getattr(request, "param", {}))
    server = grpc.aio.server()
    executor_service_pb2_grpc.add_ExecutorServiceServicer_to_server(rig.executors, server)
    step_service_pb2_grpc.add_StepServiceServicer_to_server(rig.steps, server)
    rig.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield rig
    await rig.executors.stop()
    await rig.steps.stop()
    await server.stop(None)


@pytest.fixture
async def channel(rig: Rig) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(rig.address) as channel:
        yield channel


class Exits:
    """An exit handler's stream, driven by hand."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.call = step_service_pb2_grpc.StepServiceStub(channel).Run()

    async def want(self, id: str, executor: str = "", fence: int = 1, *, claims_executor: str = "") -> None:
        step = step_pb2.Step(id=id, uid=id.split(".")[0], exit=True, container=step_pb2.ContainerWork(image="i"))
        if claims_executor:
            step.volumes.add(name="work", kind="claim", path="work")
            step.claims_executor = claims_executor
        await self.say(wants=[step_service_pb2.Want(step=step, executor=executor, fence=fence)])

    async def commit(self, id: str, executor: str = "e1") -> None:
        await self.say(placed=[step_service_pb2.Placement(id=id, executor=executor)])

    async def say(self, **frame: object) -> None:
        await self.call.write(step_service_pb2.RunRequest(**frame))  # type: ignore[arg-type]  # as above

    async def hear(self) -> step_service_pb2.RunResponse:
        answer = await self.call.read()
        assert isinstance(answer, step_service_pb2.RunResponse), "the scheduler has ended the stream"
        return answer
