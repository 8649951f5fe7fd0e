"""Calls between services: what a caller learns of an error, of health and of deadlines."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from exeunt.service.bounds import WORD_CHARACTERS
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

    async def WatchExits(  # noqa: N802
        self, request: pb.WatchExitsRequest, context: Any
    ) -> AsyncIterator[pb.WatchExitsResponse]:
        yield pb.WatchExitsResponse(exit=pb.Exit(id="first"))
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
    seen.append((await stream.read()).exit.id)
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


async def test_what_is_too_long_is_refused_and_what_is_invisible_is_shown(stub: Any) -> None:
    told = await failure(stub, "x" * (WORD_CHARACTERS + 1))
    assert [violation.field for violation in told.violations] == ["id"]
    assert told.text == f"id has {WORD_CHARACTERS + 1:,} characters; at most {WORD_CHARACTERS:,} may be"
    call = stub.WatchExits(pb.WatchExitsRequest(workflow="\x1b[2J" + "x" * 900))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        [_ async for _ in call]
    text = received(raised.value).text
    assert text.startswith("workflow ␛[2Jxxx")
    assert len(text) < 150


class Watched(pb_grpc.ExitServiceServicer):
    """Streams that say nothing more, and one that says more than its caller reads."""

    def __init__(self) -> None:
        self.closed: list[str] = []

    async def WatchExits(self, request: pb.WatchExitsRequest, context: Any) -> AsyncIterator[pb.Exit]:  # noqa: N802
        try:
            while True:
                yield pb.Exit(json="x" * 1_000_000 if request.workflow == "flood" else "first")
                if request.workflow != "flood":
                    await asyncio.Event().wait()
        finally:
            self.closed.append(request.workflow)


@pytest.mark.parametrize("workflows", [["a"], ["a", "b", "flood"]])
async def test_streams_end_at_once_and_say_why_when_a_service_stops(workflows: list[str]) -> None:
    watched = Watched()
    register = partial(pb_grpc.add_ExitServiceServicer_to_server, watched)
    async with serve_grpc("127.0.0.1:0", {NAME: register}) as running, open_channel(running.address) as channel:
        await running.ready()
        calls = [pb_grpc.ExitServiceStub(channel).WatchExits(pb.WatchExitsRequest(workflow=w)) for w in workflows]
        health = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=NAME))
        kinds = health_pb2.HealthCheckResponse
        assert (await health.read()).status == kinds.SERVING
        for call in calls:
            await call.read()
        began = asyncio.get_running_loop().time()
        await running.leave()
        assert (await health.read()).status == kinds.NOT_SERVING
        again = pb_grpc.ExitServiceStub(channel).WatchExits(pb.WatchExitsRequest())
        for call, workflow in zip([health, again, *calls], ["", "", *workflows], strict=True):
            if workflow != "flood":
                with pytest.raises(grpc.aio.AioRpcError) as raised:
                    await call.read()
                told = received(raised.value)
                assert (told.code, told.reason, told.retry_after) == (Code.UNAVAILABLE, "STOPPING", 0.5)
        await running.stop(0.5)
        assert asyncio.get_running_loop().time() - began < 3
    assert sorted(watched.closed) == workflows


@pytest.mark.parametrize(
    "method",
    [f"{NAME}/GetExit", "grpc.health.v1.Health/Check", "grpc.health.v1.Health/List"],
)
async def test_bytes_that_are_no_protobuf_are_refused_everywhere_without_words_of_the_inside(
    server: GrpcServer, method: str
) -> None:
    async with open_channel(server.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await channel.unary_unary(f"/{method}")(b"\xff\xff\xff")
    told = received(raised.value)
    assert (told.code, told.reason) == (Code.INVALID_ARGUMENT, "UNREADABLE_REQUEST")
    assert "Error" not in told.text
    assert "google" not in told.text


async def test_health_is_listed(server: GrpcServer) -> None:
    lists: Any = health_pb2
    async with open_channel(server.address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        found = await stub.List(lists.HealthListRequest())
    kinds = health_pb2.HealthCheckResponse
    assert {name: one.status for name, one in found.statuses.items()} == {"": kinds.SERVING, NAME: kinds.NOT_SERVING}


async def test_what_a_service_has_not_is_unimplemented(server: GrpcServer) -> None:
    async with open_channel(server.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await pb_grpc.ExitServiceStub(channel).CancelExit(pb.CancelExitRequest(id="a"))
    assert received(raised.value).code is Code.UNIMPLEMENTED


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_services_are_found_by_reflection(server: GrpcServer, version: str) -> None:
    async with open_channel(server.address) as channel:
        method = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        call = method()
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        listed = await call.read()
        assert NAME in {one.name for one in listed.list_services_response.service}
        await call.write(reflection_pb2.ServerReflectionRequest(file_containing_symbol=NAME))
        assert (await call.read()).file_descriptor_response.file_descriptor_proto
        await call.done_writing()
