"""An executor has one stream to each scheduler, whatever addresses lead there, and hears of schedulers that come."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from exeunt.client import Client
from exeunt.executor.main import serve
from exeunt.executor.settings import Settings
from exeunt.internal.v1 import executor_service_pb2 as pb
from exeunt.internal.v1 import executor_service_pb2_grpc
from exeunt.scheduler.parts import Scheduler
from tests.balancer import Balancer
from tests.nats_server import NatsServer, nats_server
from tests.scheduler.rig import final
from tests.scheduler.test_service import HELLO, submit
from tests.scheduler.test_several import Loaded, scheduler

__all__ = ["nats_server"]

pytestmark = pytest.mark.services

NAME = "e1"


@contextlib.asynccontextmanager
async def executor(folder: Path, *seeds: str) -> AsyncIterator[None]:
    settings = Settings(
        schedulers=seeds, data_dir=folder, executor_id=NAME, heartbeat_seconds=0.2, drain_seconds=0, log_level="warning"
    )
    task = asyncio.create_task(serve(settings))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Streams:
    """The streams that schedulers took from the executor, in the order of their beginning."""

    def __init__(self, *schedulers: Scheduler) -> None:
        self.taken: list[tuple[Scheduler, object]] = []
        self._changed = asyncio.Event()
        for parts in schedulers:
            self.look_at(parts)

    def look_at(self, parts: Scheduler) -> None:
        attach = parts.dispatch.attach

        def counted(link, *rest):  # type: ignore[no-untyped-def]
            self.taken.append((parts, link))
            self._changed.set()
            return attach(link, *rest)

        parts.dispatch.attach = counted  # type: ignore[method-assign]

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    def of(self, parts: Scheduler) -> int:
        return sum(taken is parts for taken, _ in self.taken)

    def live(self, *schedulers: Scheduler) -> bool:
        """Whether the first stream of each of them is still the one."""
        first = {id(parts): link for parts, link in reversed(self.taken)}
        now = {id(parts): parts.dispatch.executors[NAME].link for parts in schedulers}
        return all(first[parts] is link for parts, link in now.items())


async def test_a_seed_that_stands_before_all_schedulers_breaks_no_stream(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with (
        scheduler(nats_server.url, tmp_path, "a") as a,
        scheduler(nats_server.url, tmp_path, "b") as b,
        Balancer(a.address, b.address) as seed,
        Client(a.address) as client,
    ):
        await Loaded(a, b).wait()
        streams = Streams(a, b)
        async with executor(tmp_path / "e", seed.address, a.address.replace("127.0.0.1", "localhost")):
            await streams.until(lambda: streams.of(a) > 0 and streams.of(b) > 0)
            for _ in range(8):
                [name] = await submit(client, HELLO)
                assert (await final(client, name))["status"]["phase"] == "Succeeded"
            async with scheduler(nats_server.url, tmp_path, "c") as c:
                streams.look_at(c)
                await streams.until(lambda: streams.of(c) > 0)  # heard of from the others
                await Loaded(a, b, c).wait()
                for _ in range(8):
                    [name] = await submit(client, HELLO)
                    assert (await final(client, name))["status"]["phase"] == "Succeeded"
                assert streams.live(a, b, c)
            assert streams.live(a, b)
            assert len(streams.taken) == 3, "one for each scheduler, and no other"


async def test_the_other_address_is_used_when_the_first_one_leads_nowhere(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with scheduler(nats_server.url, tmp_path, "a") as a, Client(a.address) as client:
        streams = Streams(a)
        async with Balancer(a.address) as seed, contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(executor(tmp_path / "e", seed.address))
            [name] = await submit(client, HELLO)
            assert (await final(client, name))["status"]["phase"] == "Succeeded"
            assert streams.of(a) == 1
            await seed.close()
            await streams.until(lambda: streams.of(a) == 2)


async def test_a_second_hello_is_refused_while_the_first_stream_lives_by_the_executors_word(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with scheduler(nats_server.url, tmp_path, "a") as a, Client(a.address) as client:
        stub = executor_service_pb2_grpc.ExecutorServiceStub(client._channel)

        async def hello(stream: str, *streams: str) -> tuple[object, pb.Welcome]:
            call = stub.Session()
            await call.write(pb.SessionRequest(hello=pb.Hello(id=NAME, stream=stream, streams=streams)))
            return call, (await call.read()).welcome

        first, welcome = await hello("1", "1", "2")
        assert (welcome.refused, welcome.replica, welcome.address) == (False, "a", a.address)
        _, welcome = await hello("2", "1", "2")
        assert (welcome.refused, welcome.replica) == (True, "a")
        await first.write(pb.SessionRequest(number=2))  # type: ignore[attr-defined]
        assert (await first.read()).number > 1, "the first one goes on"  # type: ignore[attr-defined]
        _, welcome = await hello("3", "3")
        assert not welcome.refused, "the executor has given the first one up"
