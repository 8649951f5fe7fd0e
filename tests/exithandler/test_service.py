"""The exit handler as a process: it says when it is ready, is told to stop, and is killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from exeunt.service.errors import received
from exeunt.v1 import exit_service_pb2 as pb
from exeunt.v1 import exit_service_pb2_grpc as rpc
from tests.exithandler.conftest import Main, World
from tests.exithandler.test_exit_runs import call, workflow
from tests.nats_server import NatsServer

pytestmark = pytest.mark.services

Launch = Callable[[], Awaitable[tuple[subprocess.Popen[bytes], str]]]


@pytest.fixture
async def launch(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Launch]:
    started: list[subprocess.Popen[bytes]] = []

    async def start() -> tuple[subprocess.Popen[bytes], str]:
        reading, writing = os.pipe()
        environ = {
            **os.environ,
            "EXEUNT_NATS_URL": nats_server.url,
            "EXEUNT_REPLICA": f"x{len(started)}",
            "EXEUNT_ALLOW_LOOPBACK": "true",
            "EXEUNT_READY_FD": str(writing),
            "EXEUNT_LISTEN": "127.0.0.1:0",
            "EXEUNT_DATA_DIR": str(tmp_path / "data"),
        }
        command = [sys.executable, "-m", "exeunt.cli.main", "serve", "exithandler"]
        process = _spawn(command, environ, writing, tmp_path / f"log{len(started)}")
        started.append(process)
        os.close(writing)
        line = await asyncio.to_thread(_line, reading)
        assert line, (tmp_path / f"log{len(started) - 1}").read_text()
        return process, str(json.loads(line)["address"])

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


def _spawn(command: list[str], environ: dict[str, str], fd: int, log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as out:
        return subprocess.Popen(command, env=environ, pass_fds=[fd], stderr=out, stdout=out)


def _line(fd: int) -> bytes:
    with os.fdopen(fd, "rb") as pipe:
        return pipe.readline()


async def health(address: str) -> int:
    async with grpc.aio.insecure_channel(address) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(service="exeunt.v1.ExitService")
        )
        return int(answer.status)


async def test_it_serves_works_and_ends_in_order(main: Main, launch: Launch, world: World) -> None:
    process, address = await launch()
    assert await health(address) == health_pb2.HealthCheckResponse.SERVING
    owed = await main.owe(workflow(call(world.url)))
    assert (await main.result(owed)).state == "succeeded"
    async with grpc.aio.insecure_channel(address) as channel:
        found = await rpc.ExitServiceStub(channel).ListExits(pb.ListExitsRequest())
    assert [e.id for e in found.exits] == [owed.hook_id]
    process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(process.wait, 20) == 0


@pytest.mark.faults
async def test_killed_in_the_middle_the_next_one_goes_on(main: Main, launch: Launch, world: World) -> None:
    process, _ = await launch()
    world.reply_never()
    owed = await main.owe(workflow(call(world.url)))
    await world.arrived()
    process.kill()
    await asyncio.to_thread(process.wait)
    meanwhile = await main.owe(workflow(call(world.url)))
    await launch()
    assert (await main.result(owed)).state == "succeeded"
    assert (await main.result(meanwhile)).state == "succeeded"
    keys = [r["headers"]["Idempotency-Key"] for r in world.requests]
    assert keys.count(keys[0]) == 2


async def test_what_is_under_way_at_the_end_comes_to_its_end(main: Main, launch: Launch, world: World) -> None:
    process, _ = await launch()
    release = world.reply_when_told()
    owed = await main.owe(workflow(call(world.url)))
    await world.arrived()
    process.send_signal(signal.SIGTERM)
    release.set()
    assert await asyncio.to_thread(process.wait, 20) == 0
    assert (await main.result(owed)).state == "succeeded"
    assert len(world.requests) == 1


async def test_who_watches_is_told_of_the_end_at_once_and_keeps_nobody(launch: Launch) -> None:
    process, address = await launch()
    async with grpc.aio.insecure_channel(address) as channel:
        exits = rpc.ExitServiceStub(channel).WatchExits(pb.WatchExitsRequest())
        await exits.initial_metadata()
        health = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(service="exeunt.v1.ExitService")
        )
        kinds = health_pb2.HealthCheckResponse
        assert (await health.read()).status == kinds.SERVING
        process.send_signal(signal.SIGTERM)
        assert (await health.read()).status == kinds.NOT_SERVING
        assert (await exits.read()).kind == pb.WatchExitsResponse.KIND_SYNCED
        for watch in (health, exits):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await watch.read()
            told = received(raised.value)
            assert (told.code, told.reason, told.retry_after) == (grpc.StatusCode.UNAVAILABLE, "STOPPING", 0.5)
        assert await asyncio.to_thread(process.wait, 4) == 0
