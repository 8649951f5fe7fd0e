"""Any call, with anything in it: the answer says what is wrong with the call, never that a service is broken."""

from __future__ import annotations

import json
import random
import string
from collections.abc import Iterator
from typing import Any

import grpc
import nats
import pytest
from google.protobuf.descriptor import FieldDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from exeunt.client import interceptors
from exeunt.internal.v1 import executor_service_pb2, exit_run_service_pb2, step_service_pb2
from exeunt.v1 import exit_service_pb2, workflow_service_pb2, workflow_service_pb2_grpc
from exeunt.v1 import exit_service_pb2_grpc as exit_rpc
from tests.e2e.cluster import Cluster
from tests.e2e.test_operators import manifest, sh

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

CALLS = 40  # of each method
OURS = {getattr(grpc.StatusCode, n) for n in ("INTERNAL", "UNKNOWN", "DATA_LOSS", "RESOURCE_EXHAUSTED")}
TEXTS = ["", "*", ">", ".", "default", "../../etc/passwd", "\0", "\x7f", "🦊" * 50, "x" * 5000, "{{workflow.name}}"]
TEXTS += [
    "' or 1=1",
    "a.b.>",
    "$JS.API.>",
    "[" * 2000,
    "-1",
    "9" * 40,
    "displayName=",
    "=",
    "a in (",
    "b64:////",
    "%00",
]
NUMBERS = [0, 1, -1, 2**31 - 1, -(2**31)]


def services() -> Iterator[tuple[str, ServiceDescriptor]]:
    for where, module in (
        ("scheduler", workflow_service_pb2),
        ("scheduler", step_service_pb2),
        ("scheduler", executor_service_pb2),
        ("exithandler", exit_service_pb2),
        ("exithandler", exit_run_service_pb2),
    ):
        for service in module.DESCRIPTOR.services_by_name.values():
            yield where, service


METHODS = [
    pytest.param(where, service.full_name, method, id=f"{service.name}.{method.name}")
    for where, service in services()
    for method in service.methods
]


def fill(message: Message, chance: random.Random, depth: int = 0) -> Message:
    """Puts anything into the fields of a message."""
    for field in message.DESCRIPTOR.fields:
        if chance.random() < 0.3 or depth > 3:
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            continue
        if field.is_repeated:
            values = [value(field, chance) for _ in range(chance.randrange(3))]
            if field.message_type is None:
                getattr(message, field.name).extend(values)
            else:
                for _ in values:
                    fill(getattr(message, field.name).add(), chance, depth + 1)
        elif field.message_type is not None:
            fill(getattr(message, field.name), chance, depth + 1)
        else:
            setattr(message, field.name, value(field, chance))
    return message


def value(field: Any, chance: random.Random) -> Any:
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_STRING:
        if field.type == FieldDescriptor.TYPE_BYTES:
            return chance.randbytes(chance.randrange(200))
        return chance.choice([*TEXTS, "".join(chance.choices(string.printable, k=20))])
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return chance.random() < 0.5
    if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return chance.choice([0.0, -1.0, 1e308, float("nan"), float("inf")])
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return chance.choice([0, 1, 99])
    return abs(chance.choice(NUMBERS)) if "UINT" in str(field.type) else chance.choice(NUMBERS)


@pytest.mark.parametrize(("where", "service", "method"), METHODS)
async def test_an_absurd_call_is_the_callers_fault(cluster: Cluster, where: str, service: str, method: Any) -> None:
    before = cluster.facts()
    chance = random.Random(method.full_name)
    request_type, answer_type = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
    known = json.loads((cluster.data_dir / "credentials.json").read_text())
    sending = interceptors(known["executor" if service.endswith("ExecutorService") else "token"])
    listener = "internal" if ".internal." in service else "address"
    async with grpc.aio.insecure_channel(before[where][listener], interceptors=sending) as channel:
        for _ in range(CALLS):
            request = fill(request_type(), chance)
            code = await answered(channel, f"/{service}/{method.name}", method, request, answer_type)
            assert code not in OURS, request
    assert cluster.facts() == before, "a service died of it"
    [workflow] = cluster.run(manifest(sh("main", "true")))
    assert workflow["status"]["phase"] == "Succeeded"


async def answered(
    channel: grpc.aio.Channel, path: str, method: Any, request: Message, answer_type: type[Message]
) -> grpc.StatusCode:
    """The code of the answer; OK also for a stream that has nothing to say."""
    serializers: dict[str, Any] = {
        "request_serializer": type(request).SerializeToString,
        "response_deserializer": answer_type.FromString,
    }
    ways: dict[tuple[bool, bool], Any] = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
        (True, True): channel.stream_stream,
    }
    call: Any = ways[method.client_streaming, method.server_streaming](path, **serializers)
    try:
        made = call(iter([request]) if method.client_streaming else request, timeout=0.5)
        if method.server_streaming:
            async for _ in made:
                break
            made.cancel()
        else:
            await made
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


@pytest.mark.parametrize("absurd", ["*", ">", "*.>", "x" * 7000, "🦊" * 2000, "\0", "a b", "default\n"])
async def test_nothing_is_found_under_a_name_that_only_looks_like_one(cluster: Cluster, absurd: str) -> None:
    [found] = cluster.run(manifest(sh("main", "true"), sh("bye", "true"), onExit="bye"))
    name, facts = found["metadata"]["name"], cluster.facts()
    sending = interceptors(facts["token"])
    async with (
        grpc.aio.insecure_channel(facts["scheduler"]["address"], interceptors=sending) as scheduler,
        grpc.aio.insecure_channel(facts["exithandler"]["address"], interceptors=sending) as exithandler,
    ):
        stub, exits = workflow_service_pb2_grpc.WorkflowServiceStub(scheduler), exit_rpc.ExitServiceStub(exithandler)
        pb, xpb = workflow_service_pb2, exit_service_pb2
        for call in (
            stub.GetWorkflow(pb.GetWorkflowRequest(uid=absurd)),
            stub.GetWorkflow(pb.GetWorkflowRequest(namespace=absurd, name=name)),
            stub.StopWorkflow(pb.StopWorkflowRequest(request_id="r", namespace=absurd, name=name)),
            stub.DeleteWorkflow(pb.DeleteWorkflowRequest(request_id="r", namespace=absurd, name=name)),
            exits.GetExit(xpb.GetExitRequest(id=absurd)),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND), caught.value
        if absurd != "*":  # which means every namespace, in lists
            for listing in (
                stub.ListWorkflows(pb.ListWorkflowsRequest(namespace=absurd)),
                exits.ListExits(xpb.ListExitsRequest(namespace=absurd)),
            ):
                with pytest.raises(grpc.aio.AioRpcError, match="INVALID_ARGUMENT"):
                    await listing
    assert cluster.get(name)["status"]["phase"] == "Succeeded"


async def test_rubbish_in_the_log_holds_up_nobody(cluster: Cluster) -> None:
    before = cluster.facts()
    nc = await nats.connect(before["nats"]["url"])
    try:
        js = nc.jetstream()
        for subject in (
            "xj.00.u.m.h",
            "xj.00.u.x.h.r",
            "xj.00.u.m.z",
            "xj.zz.u.m.c",
            "xj.00.q.m.start.i",
            "xj.00.q.x.a.b",
        ):
            for headers in (
                {},
                {"Exeunt-Commit": "1"},
                {"Exeunt-Commit": "one"},
                {"Exeunt-Commit": "2", "Exeunt-Part": "7/3"},
            ):
                await js.publish(subject, b"\xc1 rubbish", headers=headers)
    finally:
        await nc.close()
    [workflow] = cluster.run(manifest(sh("main", "true"), sh("bye", "true"), onExit="bye"))
    assert (workflow["status"]["phase"], workflow["status"]["finalization"]) == ("Succeeded", "Succeeded")
    assert cluster.facts() == before, "a service died of it"


async def test_users_reach_and_see_only_what_is_theirs(cluster: Cluster) -> None:
    facts = cluster.facts()
    known = json.loads((cluster.data_dir / "credentials.json").read_text())
    theirs = {"scheduler": "exeunt.v1.WorkflowService", "exithandler": "exeunt.v1.ExitService"}
    for where, service, method in ((p.values[0], p.values[1], p.values[2]) for p in METHODS):
        if ".internal." not in str(service):
            continue
        sending = interceptors(known["executor" if str(service).endswith("ExecutorService") else "token"])
        async with grpc.aio.insecure_channel(facts[where]["address"], interceptors=sending) as channel:
            request_type, answer_type = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
            code = await answered(channel, f"/{service}/{method.name}", method, request_type(), answer_type)
            assert code is grpc.StatusCode.UNIMPLEMENTED, method.full_name
    for where, name in theirs.items():
        async with grpc.aio.insecure_channel(
            facts[where]["address"], interceptors=interceptors(known["token"])
        ) as channel:
            stub = reflection_pb2_grpc.ServerReflectionStub(channel)
            answers = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
            async for answer in answers:
                found = {one.name for one in answer.list_services_response.service}
                assert {one for one in found if one.startswith("exeunt.")} == {name}
                break
