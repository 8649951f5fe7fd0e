"""Calls between services: what a caller learns of an error, of health and of deadlines."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from exeunt.service.channel import open_channel
from exeunt.service.errors import Code, RpcError, invalid, not_found, received, wrong_state
from exeunt.service.grpc import GrpcServer, deadline, serve_grpc
from exeunt.service.program import ProgramError
from exeunt.v1 import exit_service_pb2 as pb
from exeunt.v1 import exit_service_pb2_grpc as pb_grpc

NAME = "exeunt.v1.ExitService"


class Ledger(pb_grpc.ExitServiceServicer):
    """Answers as its table says; an exception is raised."""

    def __init__(self) -> None:
        self.seen_deadlines: list[float | None] = []
        self.failures = 0

    async def GetExit(self, request: pb.GetExitRequest, context: Any) -> pb.Exit:  # noqa: N802
        self.seen_deadlines.append(deadline.get())
        if request.id == "bug":
            raise ValueError("secret detail")
        if request.id == "gone":
            raise not_found("exit", "gone")
        if request.id == "flaky" and self.failures < 2:
            self.failures += 1
            raise RpcError(Code.UNAVAILABLE, "LOADING", "loading", retry_after=0.25)
        if request.id == "away":
            raise RpcError(Code.UNAVAILABLE, "LOADING", "loading", retry_after=0.25)
        if request.id == "wrong":
            raise invalid("two problems", [("spec.entrypoint", "missing"), ("spec.templates", "empty")])
        if request.id == "busy":
            raise wrong_state("STILL_RUNNING", "it still runs", ("exit", "busy"))
        return pb.Exit(id=request.id)

    async def WatchExits(self, request: pb.WatchExitsRequest, context: Any) -> AsyncIterator[pb.Exit]:  # noqa: N802
        yield pb.Exit(id="first")
        raise not_found("workflow", request.workflow)


@pytest.fixture
async def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
async def server(ledger: Ledger) -> AsyncIterator[GrpcServer]:
    register = partial(pb_grpc.add_ExitServiceServicer_to_server, ledger)
    async with serve_grpc("127.0.0.1:0", {NAME: register}) as running:
        yield running


@pytest.fixture
async def stub(server: GrpcServer) -> AsyncIterator[Any]:
    async with open_channel(server.address) as channel:
        yield pb_grpc.ExitServiceStub(channel)


async def failure(stub: Any, name: str) -> RpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetExit(pb.GetExitRequest(id=name))
    return received(caught.value)


async def test_what_does_not_exist_is_named(stub: Any) -> None:
    error = await failure(stub, "gone")
    assert (error.code, error.reason, error.resource) == (Code.NOT_FOUND, "EXIT_NOT_FOUND", ("exit", "gone"))


async def test_each_wrong_field_is_told(stub: Any) -> None:
    error = await failure(stub, "wrong")
    assert error.code is Code.INVALID_ARGUMENT
    assert [tuple(v) for v in error.violations] == [("spec.entrypoint", "missing"), ("spec.templates", "empty")]


async def test_a_wrong_state_is_a_failed_precondition(stub: Any) -> None:
    error = await failure(stub, "busy")
    assert (error.code, error.reason) == (Code.FAILED_PRECONDITION, "STILL_RUNNING")
    assert error.violations[0].field == "exit/busy"


async def test_a_caller_is_told_when_to_come_back(stub: Any) -> None:
    error = await failure(stub, "away")
    assert (error.code, error.retry_after) == (Code.UNAVAILABLE, 0.25)


async def test_a_moment_of_unavailability_is_bridged(stub: Any, ledger: Ledger) -> None:
    assert (await stub.GetExit(pb.GetExitRequest(id="flaky"))).id == "flaky"
    assert ledger.failures == 2


async def test_a_bug_is_answered_without_its_details(stub: Any, caplog: pytest.LogCaptureFixture) -> None:
    error = await failure(stub, "bug")
    assert error.code is Code.INTERNAL
    assert "secret" not in error.text
    assert error.metadata["mark"] in caplog.text
    assert "secret detail" in caplog.text


async def test_a_stream_ends_with_its_error(stub: Any) -> None:
    seen = []
    stream = stub.WatchExits(pb.WatchExitsRequest(workflow="w"))
    seen.append((await stream.read()).id)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream.read()
    assert seen == ["first"]
    assert received(caught.value).resource == ("workflow", "w")


async def test_every_unary_call_has_a_deadline(stub: Any, ledger: Ledger) -> None:
    await stub.GetExit(pb.GetExitRequest(id="a"))
    assert ledger.seen_deadlines[0] is not None


async def test_health_is_not_serving_before_ready_and_at_the_end(server: GrpcServer) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(service=NAME))
        statuses = [(await watch.read()).status]
        await server.ready()
        statuses.append((await watch.read()).status)
        await server.ready(False)
        statuses.append((await watch.read()).status)
        watch.cancel()
    kinds = health_pb2.HealthCheckResponse
    assert statuses == [kinds.NOT_SERVING, kinds.SERVING, kinds.NOT_SERVING]


async def test_who_is_not_ready_is_alive_all_the_same(server: GrpcServer) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_port_that_is_taken_is_said(server: GrpcServer) -> None:
    with pytest.raises(ProgramError, match=f"cannot listen on {server.address}"):
        async with serve_grpc(server.address, {}):
            pass


async def test_bytes_that_are_no_request_are_an_invalid_argument(server: GrpcServer) -> None:
    async with open_channel(server.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await channel.unary_unary(f"/{NAME}/GetExit")(b"\xff\xff\xff")
    told = received(raised.value)
    assert (told.code, told.reason) == (Code.INVALID_ARGUMENT, "UNREADABLE_REQUEST")


async def test_bytes_that_are_no_request_of_a_stream_are_an_invalid_argument(server: GrpcServer) -> None:
    async with open_channel(server.address) as channel:
        call = channel.unary_stream(f"/{NAME}/WatchExits")(b"\xff\xff\xff")
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call.read()
    assert received(raised.value).code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize("namespace", ["a.b", "**", ">", "a b", "A", "-a", "a" * 64, "a\n"])
async def test_what_is_no_namespace_is_refused_whatever_is_asked(stub: Any, namespace: str) -> None:
    call = stub.WatchExits(pb.WatchExitsRequest(namespace=namespace))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call.read()
    told = received(raised.value)
    assert told.code is Code.INVALID_ARGUMENT
    assert [violation.field for violation in told.violations] == ["namespace"]
