"""The stream of steps with the scheduler: what is wanted is run once, whatever breaks in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import pytest

from exeunt.exithandler.steps_client import StepsClient
from exeunt.internal.v1 import step_pb2, step_service_pb2_grpc
from exeunt.internal.v1 import step_service_pb2 as pb


class Scheduler(step_service_pb2_grpc.StepServiceServicer):
    """A scheduler that keeps every frame it hears and says what a test tells it to."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[pb.RunRequest] = asyncio.Queue()
        self.say: asyncio.Queue[pb.RunResponse | None] = asyncio.Queue()
        self.streams = 0

    async def Run(  # noqa: N802 - the contract names it
        self, requests: AsyncIterator[pb.RunRequest], context: object
    ) -> AsyncIterator[pb.RunResponse]:
        self.streams += 1
        reading = asyncio.create_task(self._read(requests))
        try:
            while (response := await self.say.get()) is not None:
                yield response
        finally:
            reading.cancel()

    async def _read(self, requests: AsyncIterator[pb.RunRequest]) -> None:
        async for request in requests:
            self.heard.put_nowait(request)

    async def hears(self, fits: Callable[[pb.RunRequest], bool]) -> pb.RunRequest:
        """The next frame that fits."""
        while True:
            frame = await asyncio.wait_for(self.heard.get(), 10)
            if fits(frame):
                return frame


class Step:
    """Who wants a step in these tests."""

    def __init__(self, client: StepsClient, id: str, executor: str = "", partition: int = 7, *, size: int = 0) -> None:
        self.client = client
        self.id = id
        self.events: asyncio.Queue[str] = asyncio.Queue()
        work = step_pb2.ContainerWork(source="x" * size)
        client.want(step_pb2.Step(id=id, partition=partition, container=work), executor, self)

    def placed(self, executor: str) -> None:
        self.events.put_nowait(f"placed on {executor}")

    def ended(self, result: step_pb2.StepResult) -> None:
        self.events.put_nowait(f"ended {result.phase}")

    def lost(self) -> None:
        self.events.put_nowait("lost")

    async def hears(self) -> str:
        return await asyncio.wait_for(self.events.get(), 10)


Serve = Callable[[], Awaitable[tuple[Scheduler, str]]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    servers = []

    async def start() -> tuple[Scheduler, str]:
        scheduler = Scheduler()
        server = grpc.aio.server()
        step_service_pb2_grpc.add_StepServiceServicer_to_server(scheduler, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        servers.append(server)
        return scheduler, f"127.0.0.1:{port}"

    yield start
    for server in servers:
        await server.stop(None)


@pytest.fixture
async def scheduler(serve: Serve) -> AsyncIterator[tuple[Scheduler, StepsClient]]:
    scheduler, address = await serve()
    client = StepsClient("x1", lambda partition: address, lambda partition: 1)
    running = asyncio.create_task(client.run())
    yield scheduler, client
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


Pair = tuple[Scheduler, StepsClient]


async def test_a_step_from_wanting_to_acknowledging(scheduler: Pair) -> None:
    server, client = scheduler
    step = Step(client, "u.h/n/0")
    want = await server.hears(lambda f: bool(f.wants))
    assert (want.wants[0].step.id, want.wants[0].executor) == ("u.h/n/0", "")
    server.say.put_nowait(pb.RunResponse(placements=[pb.Placement(id="u.h/n/0", executor="e1")]))
    assert await step.hears() == "placed on e1"
    client.confirm("u.h/n/0", "e1")
    said = await server.hears(lambda f: bool(f.placed))
    assert [(p.id, p.executor) for p in said.placed] == [("u.h/n/0", "e1")]
    result = pb.RunResult(id="u.h/n/0", result=step_pb2.StepResult(phase="Succeeded"))
    server.say.put_nowait(pb.RunResponse(results=[result]))
    assert await step.hears() == "ended Succeeded"
    client.acknowledge("u.h/n/0")
    await server.hears(lambda f: list(f.acknowledged) == ["u.h/n/0"])
    assert len(client) == 0


async def test_the_first_frame_says_who_it_is(scheduler: Pair) -> None:
    server, client = scheduler
    Step(client, "u.h/n/0")
    assert (await server.hears(lambda f: True)).replica == "x1"


async def test_a_broken_stream_is_opened_again_with_everything_that_is_wanted(scheduler: Pair) -> None:
    server, client = scheduler
    Step(client, "u.h/waits/0")
    placed = Step(client, "u.h/placed/0")
    await server.hears(lambda f: bool(f.wants))
    server.say.put_nowait(pb.RunResponse(placements=[pb.Placement(id="u.h/placed/0", executor="e1")]))
    await placed.hears()
    client.confirm("u.h/placed/0", "e1")
    await server.hears(lambda f: bool(f.placed))
    server.say.put_nowait(None)
    seen: dict[str, str] = {}
    while len(seen) < 2:
        frame = await server.hears(lambda f: bool(f.wants))
        seen |= {w.step.id: w.executor for w in frame.wants}
    assert seen == {"u.h/waits/0": "", "u.h/placed/0": "e1"}
    assert server.streams == 2


async def test_a_result_that_somebody_else_waits_for_is_left_alone(scheduler: Pair) -> None:
    server, client = scheduler
    Step(client, "u.h/moved/0")
    await server.hears(lambda f: bool(f.wants))
    client.forget("u.h/moved/0")
    assert list((await server.hears(lambda f: bool(f.released))).released) == ["u.h/moved/0"]
    server.say.put_nowait(pb.RunResponse(results=[pb.RunResult(id="u.h/moved/0")]))
    Step(client, "u.h/next/0")
    frames = [await server.hears(lambda f: True)]
    while not frames[-1].wants:
        frames.append(await server.hears(lambda f: True))
    assert not any(frame.acknowledged for frame in frames)


async def test_a_lost_step_is_acknowledged_when_that_is_in_the_log(scheduler: Pair) -> None:
    server, client = scheduler
    step = Step(client, "u.h/n/0", executor="e1")
    want = await server.hears(lambda f: bool(f.wants))
    assert want.wants[0].executor == "e1"
    server.say.put_nowait(pb.RunResponse(lost=["u.h/n/0"]))
    assert await step.hears() == "lost"
    assert len(client) == 1
    client.acknowledge("u.h/n/0")
    await server.hears(lambda f: list(f.acknowledged) == ["u.h/n/0"])
    assert len(client) == 0


async def test_a_cancelled_step_is_told_until_its_end_is_heard_of(scheduler: Pair) -> None:
    server, client = scheduler
    step, other = Step(client, "u.h/n/0"), Step(client, "u.h/other/0", executor="e1")
    await server.hears(lambda f: bool(f.wants))
    client.cancel("u.h/n/0", 7)
    await server.hears(lambda f: list(f.cancels) == ["u.h/n/0"])
    server.say.put_nowait(None)  # the stream breaks before it could answer
    await server.hears(lambda f: list(f.cancels) == ["u.h/n/0"])
    results = [pb.RunResult(id=id) for id in ("u.h/n/0", "u.h/other/0")]
    server.say.put_nowait(pb.RunResponse(results=results, lost=["u.h/n/0"]))
    assert await other.hears() == "ended "
    assert len(client) == 1
    assert step.events.empty()


async def test_a_placed_step_that_is_to_end_is_told_of_on_each_stream_and_says_how_it_ended(scheduler: Pair) -> None:
    server, client = scheduler
    step = Step(client, "u.h/n/0", executor="e1")
    await server.hears(lambda f: bool(f.wants))
    client.end("u.h/n/0", 7, "e1", step)
    wanted = [pb.Placement(id="u.h/n/0", executor="e1")]
    await server.hears(lambda f: list(f.ends) == wanted)
    server.say.put_nowait(None)  # the stream breaks before it could answer
    await server.hears(lambda f: list(f.ends) == wanted)
    ended = pb.RunResult(id="u.h/n/0", result=step_pb2.StepResult(phase="Failed"))
    server.say.put_nowait(pb.RunResponse(results=[ended]))
    assert await step.hears() == "ended Failed"
    client.acknowledge("u.h/n/0")
    await server.hears(lambda f: list(f.acknowledged) == ["u.h/n/0"])
    assert len(client) == 0


async def test_a_step_that_was_to_end_and_is_gone_is_lost(scheduler: Pair) -> None:
    server, client = scheduler
    step = Step(client, "u.h/n/0", executor="e1")
    client.end("u.h/n/0", 7, "e1", step)
    await server.hears(lambda f: bool(f.ends))
    server.say.put_nowait(pb.RunResponse(lost=["u.h/n/0"]))
    assert await step.hears() == "lost"


async def test_steps_of_a_partition_that_moved_go_to_its_new_owner(serve: Serve) -> None:
    old, old_address = await serve()
    new, new_address = await serve()
    client = StepsClient("x1", lambda partition: old_address, lambda partition: 1)
    running = asyncio.create_task(client.run())
    Step(client, "u.h/moves/0", partition=1)
    Step(client, "u.h/stays/0", partition=2)
    await old.hears(lambda f: bool(f.wants))
    old.say.put_nowait(pb.RunResponse(moved=[pb.Moved(partition=1, address=new_address)]))
    want = await new.hears(lambda f: bool(f.wants))
    assert [w.step.id for w in want.wants] == ["u.h/moves/0"]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_partition_that_moves_away_and_back_is_asked_for_again(serve: Serve) -> None:
    one, one_address = await serve()
    two, two_address = await serve()
    owner = [one_address]
    client = StepsClient("x1", lambda partition: owner[0], lambda partition: 1)
    running = asyncio.create_task(client.run())
    Step(client, "u.h/n/0", partition=1)
    await one.hears(lambda f: bool(f.wants))
    one.say.put_nowait(pb.RunResponse(moved=[pb.Moved(partition=1)]))  # it has begun anew and owns nothing yet
    owner[0] = two_address
    client.owners_changed()
    await two.hears(lambda f: bool(f.wants))
    two.say.put_nowait(pb.RunResponse(moved=[pb.Moved(partition=1, address=one_address)]))
    assert (await one.hears(lambda f: bool(f.wants))).wants[0].step.id == "u.h/n/0"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_steps_wait_while_nobody_is_there(serve: Serve) -> None:
    address: list[str] = []
    client = StepsClient("x1", lambda partition: address[0] if address else None, lambda partition: 1)
    running = asyncio.create_task(client.run())
    Step(client, "u.h/n/0")
    scheduler, where = await serve()
    address.append(where)
    client.owners_changed()
    assert (await scheduler.hears(lambda f: bool(f.wants))).wants[0].step.id == "u.h/n/0"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_many_large_steps_go_in_several_frames_and_one_that_no_frame_holds_ends(scheduler: Pair) -> None:
    server, client = scheduler
    large = [Step(client, f"u.h/n{n}/0", size=1_000_000) for n in range(10)]
    too_large = Step(client, "u.h/huge/0", size=40_000_000)
    beside = Step(client, "u.h/beside/0")
    assert await too_large.hears() == "ended Error"
    heard: set[str] = set()
    while not heard >= {beside.id, *(step.id for step in large)}:
        heard |= {want.step.id for want in (await server.hears(lambda f: bool(f.wants))).wants}
    assert too_large.id not in heard
    assert server.streams == 1
