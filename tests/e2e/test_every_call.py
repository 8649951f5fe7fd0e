"""Every call, asked in every way: the code, the reason and the field that a caller is told. A new call needs a row."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from exeunt.client import Client, interceptors
from exeunt.service.errors import received
from exeunt.v1 import exit_service_pb2 as xpb
from exeunt.v1 import exit_service_pb2_grpc as exit_rpc
from exeunt.v1 import workflow_service_pb2 as pb
from exeunt.v1 import workflow_service_pb2_grpc as rpc
from exeunt.v1.phase_pb2 import Phase
from tests.e2e.cluster import Cluster
from tests.e2e.test_operators import manifest, sh

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

WAY = ("empty", "minimal", "wrong", "contradictory", "unknown fields", "repeated", "repeated when gone", "wrong state")
UNKNOWN = b"\xfa\x3f\x05hello"  # field 1023, as a newer client may send it
OK = "OK"
NO_NAME = "INVALID_ARGUMENT INVALID_REQUEST name"
NONE = "NOT_FOUND WORKFLOW_NOT_FOUND"
TWO_OF_THEM = "NOT_FOUND WORKFLOW_NOT_FOUND"
DELETED = "NOT_FOUND WORKFLOW_DELETED"
FINISHED = "FAILED_PRECONDITION WORKFLOW_FINISHED"
CHANGED = "ABORTED REVISION_CHANGED"
APART = None
"""There is no such way to ask."""


@dataclass
class World:
    """What calls are about."""

    waits: pb.Workflow  # suspended at a node
    over: pb.Workflow  # succeeded, with its handler
    failed: pb.Workflow
    exit: xpb.Exit  # of `over`

    def named(self, **more: Any) -> dict[str, Any]:
        """The workflow that waits."""
        return {"name": self.waits.name, **more}


Make = Callable[[World], Message]
Row = Mapping[str, tuple[Make, str] | None]


def verb(kind: Any, minimal: Callable[[World], dict[str, Any]], wrong: tuple[dict[str, Any], str], state: str) -> Row:
    """What verbs have in common. `wrong` is beside the minimal request, `state` what is told of one that is over."""

    def request(world: World, **more: Any) -> Message:
        made: Message = kind(**{**minimal(world), **more})
        return made

    nameless = {"name": "", "uid": ""}
    return {
        "empty": (lambda w: kind(), NO_NAME),
        "minimal": (request, OK),
        "wrong": (lambda w: request(w, **wrong[0]), wrong[1]),
        "contradictory": (
            lambda w: request(w, uid=(w.waits if minimal in (failed, over) else w.over).uid),
            TWO_OF_THEM,
        ),
        "unknown fields": (request, OK),
        "repeated": (lambda w: request(w, request_id=str(uuid.uuid4())), OK),
        "repeated when gone": (lambda w: request(w, request_id=str(uuid.uuid4())), DELETED),
        "wrong state": (lambda w: request(w, **{**nameless, "uid": w.over.uid}), state),
        "changed since": (lambda w: request(w, revision=99_999), CHANGED),
    }


LONG = ({"by": "x" * 201}, "INVALID_ARGUMENT INVALID_REQUEST by")
SELECTOR = ({"node_field_selector": "colour=red"}, "INVALID_ARGUMENT INVALID_SELECTOR node_field_selector")
APPROVE = {"node_field_selector": "displayName=wait"}
NO_SELECTOR = "INVALID_ARGUMENT INVALID_REQUEST node_field_selector"


def set_nodes(world: World) -> dict[str, Any]:
    return world.named(phase=Phase.PHASE_SUCCEEDED, **APPROVE)


def failed(world: World) -> dict[str, Any]:
    return {"name": world.failed.name}


def over(world: World) -> dict[str, Any]:
    return {"name": world.over.name}


def text() -> pb.Document:
    return pb.Document(file="a", text=manifest(sh("main", "true"), prefix="call-"))


SUBMIT: Row = {
    "empty": (lambda w: pb.SubmitWorkflowRequest(), "INVALID_ARGUMENT INVALID_REQUEST documents"),
    "minimal": (lambda w: pb.SubmitWorkflowRequest(documents=[text()]), OK),
    "wrong": (
        lambda w: pb.SubmitWorkflowRequest(documents=[text()], entrypoint="nowhere"),
        "INVALID_ARGUMENT INVALID_MANIFEST entrypoint",
    ),
    "contradictory": (
        lambda w: pb.SubmitWorkflowRequest(documents=[text()], name="a", generate_name="b"),
        "INVALID_ARGUMENT INVALID_REQUEST generate_name",
    ),
    "unknown fields": (lambda w: pb.SubmitWorkflowRequest(documents=[text()]), OK),
    "repeated": (lambda w: pb.SubmitWorkflowRequest(documents=[text()], request_id=str(uuid.uuid4())), OK),
    "repeated when gone": (
        lambda w: pb.SubmitWorkflowRequest(documents=[text()], request_id=str(uuid.uuid4())),
        DELETED,
    ),
    "wrong state": (
        lambda w: pb.SubmitWorkflowRequest(documents=[text()], name=w.over.name),
        "ALREADY_EXISTS WORKFLOW_EXISTS",
    ),
}


def reading(kind: Any, wrong: tuple[dict[str, Any], str]) -> Row:
    """What calls have in common that show one workflow."""
    return {
        "empty": (lambda w: kind(), NO_NAME),
        "minimal": (lambda w: kind(name=w.over.name), OK),
        "wrong": (lambda w: kind(name=w.over.name, **wrong[0]), wrong[1]),
        "contradictory": (lambda w: kind(name=w.over.name, uid=w.waits.uid), TWO_OF_THEM),
        "unknown fields": (lambda w: kind(name=w.over.name), OK),
        "repeated": (lambda w: kind(name=w.over.name), OK),
        "repeated when gone": (lambda w: kind(name=w.over.name), NONE),
        "wrong state": APART,
    }


def artifact_of(**fields: Any) -> pb.GetArtifactRequest:
    """A request for an artifact."""
    return pb.GetArtifactRequest(**{"artifact": "report", **fields})


def listing(kind: Any, wrong: tuple[dict[str, Any], str], contradictory: tuple[dict[str, Any], str] | None) -> Row:
    """What lists and watches of many have in common: nothing that is asked for is no error."""
    return {
        "empty": (lambda w: kind(), OK),
        "minimal": (lambda w: kind(), OK),
        "wrong": (lambda w: kind(**wrong[0]), wrong[1]),
        "contradictory": contradictory and (lambda w: kind(**contradictory[0]), contradictory[1]),
        "unknown fields": (lambda w: kind(), OK),
        "repeated": (lambda w: kind(), OK),
        "repeated when gone": (lambda w: kind(), OK),
        "wrong state": APART,
    }


def of_exit(kind: Any, minimal: str, state: str | None, *, changes: bool = False) -> Row:
    """What calls have in common that are about one exit run, which outlives its workflow."""

    def request(world: World) -> Message:
        id = {"request_id": str(uuid.uuid4())} if changes else {}
        made: Message = kind(id=world.exit.id, **id)
        return made

    return {
        "empty": (lambda w: kind(), "INVALID_ARGUMENT INVALID_REQUEST id"),
        "minimal": (lambda w: kind(id=w.exit.id), minimal),
        "wrong": (lambda w: kind(id="nothing"), "NOT_FOUND EXIT_NOT_FOUND"),
        "contradictory": ((lambda w: kind(id=w.exit.id, revision=99_999), CHANGED) if changes else APART),
        "unknown fields": (lambda w: kind(id=w.exit.id), minimal),
        "repeated": (request, minimal),
        "repeated when gone": (request, minimal),
        "wrong state": state and (request, state),
    }


PAGE = ({"page_size": -1}, "INVALID_ARGUMENT INVALID_REQUEST page_size")
POSITION = ({"position": "?"}, "INVALID_ARGUMENT INVALID_REQUEST position")
TABLE: dict[str, Row] = {
    "SubmitWorkflow": SUBMIT,
    "LintWorkflow": {
        way: (lambda w: pb.LintWorkflowRequest(documents=[text()]), OK) for way in WAY if way != "wrong state"
    }
    | {"wrong": (lambda w: pb.LintWorkflowRequest(documents=[pb.Document(text="a: [")]), OK)},
    "GetWorkflow": reading(pb.GetWorkflowRequest, ({"namespace": "A B"}, "INVALID_ARGUMENT INVALID_REQUEST namespace")),
    "ReadWorkflow": reading(
        pb.ReadWorkflowRequest, ({"namespace": "A B"}, "INVALID_ARGUMENT INVALID_REQUEST namespace")
    ),
    "WatchWorkflow": reading(pb.WatchWorkflowRequest, POSITION),
    "GetLogs": {
        **reading(pb.GetLogsRequest, ({"tail": -1}, "INVALID_ARGUMENT INVALID_REQUEST tail")),
        "contradictory": (
            lambda w: pb.GetLogsRequest(name=w.over.name, tail=1, position="1"),
            "INVALID_ARGUMENT INVALID_REQUEST tail",
        ),
        "wrong state": (lambda w: pb.GetLogsRequest(name=w.over.name, node="nobody"), "NOT_FOUND NODE_NOT_FOUND"),
    },
    "ListArtifacts": {
        **reading(pb.ListArtifactsRequest, PAGE),
        "wrong state": (lambda w: pb.ListArtifactsRequest(name=w.over.name, node="nobody"), "NOT_FOUND NODE_NOT_FOUND"),
    },
    "GetArtifact": {
        **reading(artifact_of, ({"artifact": ""}, "INVALID_ARGUMENT INVALID_REQUEST artifact")),
        **dict.fromkeys(
            ("minimal", "unknown fields", "repeated"),
            (lambda w: artifact_of(name=w.over.name), "NOT_FOUND ARTIFACT_NOT_FOUND"),
        ),
    },
    "ListWorkflows": listing(
        pb.ListWorkflowsRequest, PAGE, ({"view": pb.WORKFLOW_VIEW_FULL}, "INVALID_ARGUMENT INVALID_REQUEST view")
    ),
    "WatchWorkflows": listing(
        pb.WatchWorkflowsRequest,
        POSITION,
        ({"view": pb.WORKFLOW_VIEW_FULL}, "INVALID_ARGUMENT INVALID_REQUEST view"),
    ),
    "ListExecutors": listing(pb.ListExecutorsRequest, PAGE, APART),
    "StopWorkflow": verb(pb.StopWorkflowRequest, World.named, SELECTOR, FINISHED),
    "TerminateWorkflow": verb(pb.TerminateWorkflowRequest, World.named, LONG, FINISHED),
    "SuspendWorkflow": verb(pb.SuspendWorkflowRequest, World.named, LONG, FINISHED),
    "ResumeWorkflow": verb(pb.ResumeWorkflowRequest, World.named, SELECTOR, FINISHED),
    "SetNodes": {
        **verb(pb.SetNodesRequest, set_nodes, SELECTOR, FINISHED),
        "empty": (lambda w: pb.SetNodesRequest(), NO_SELECTOR),
    },
    "DeleteWorkflow": {
        **verb(pb.DeleteWorkflowRequest, World.named, LONG, OK),
        "repeated when gone": (lambda w: pb.DeleteWorkflowRequest(**over(w), request_id=str(uuid.uuid4())), OK),
    },
    "RetryWorkflow": verb(pb.RetryWorkflowRequest, failed, LONG, "FAILED_PRECONDITION WORKFLOW_SUCCEEDED"),
    "ResubmitWorkflow": verb(pb.ResubmitWorkflowRequest, over, LONG, OK),
    "GetExit": of_exit(xpb.GetExitRequest, OK, None),
    "ReadExit": of_exit(xpb.ReadExitRequest, OK, None),
    "ListExits": listing(xpb.ListExitsRequest, PAGE, APART),
    "WatchExits": listing(xpb.WatchExitsRequest, POSITION, APART),
    "ReplayExit": of_exit(xpb.ReplayExitRequest, OK, None, changes=True),
    "CancelExit": of_exit(
        xpb.CancelExitRequest, "FAILED_PRECONDITION EXIT_ENDED", "FAILED_PRECONDITION EXIT_ENDED", changes=True
    ),
}

METHODS = {
    method.name: method
    for module in (pb, xpb)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
CASES = [(method, way) for method in TABLE for way, row in TABLE[method].items() if row is not None]


def test_every_call_is_asked_in_every_way() -> None:
    assert TABLE.keys() == METHODS.keys()
    for method, row in TABLE.items():
        assert set(WAY) - row.keys() <= {"wrong state"}, method


async def made(cluster: Cluster) -> World:
    """A world of its own for each case."""
    facts = cluster.facts()
    server, exits = facts["scheduler"]["address"], facts["exithandler"]["address"]
    async with Client(server, exit_server=exits, token=facts["token"]) as client:
        documents = [
            (
                "waits",
                manifest(
                    {"name": "main", "steps": [[{"name": "wait", "template": "s"}]]}, {"name": "s", "suspend": {}}
                ),
            ),
            ("over", manifest(sh("main", "echo hello"), sh("bye", "true"), onExit="bye")),
            ("failed", manifest(sh("main", "exit 3"))),
        ]
        found = [(await client.submit([one])).workflows[0] for one in documents]
        for workflow in found[1:]:
            async for _ in client.follow(uid=workflow.uid):
                pass
        async for state in client.follow(uid=found[0].uid):
            if state.object["status"]["nodes"]:
                break
        [exit] = await client.list_exits(uid=found[1].uid)
    return World(found[0], found[1], found[2], exit)


async def answered(stubs: tuple[Any, Any], name: str, request: Message) -> tuple[str, Any]:
    """What a caller is told, and the first answer."""
    stub = stubs[0] if hasattr(stubs[0], name) else stubs[1]
    call = getattr(stub, name)(request, timeout=20)
    try:
        if not METHODS[name].server_streaming:
            return OK, await call
        first = await call.read()
        call.cancel()
    except grpc.aio.AioRpcError as error:
        told = received(error)
        if told.code is grpc.StatusCode.INVALID_ARGUMENT:
            return f"{told.code.name} {told.reason} {told.violations[0].field}", None
        return f"{told.code.name} {told.reason}", None
    return OK, None if first is grpc.aio.EOF else first


@pytest.mark.parametrize(("method", "way"), CASES, ids=[f"{method}-{way}" for method, way in CASES])
async def test_a_caller_is_told_what_the_table_says(cluster: Cluster, method: str, way: str) -> None:
    row = TABLE[method][way]
    assert row is not None
    make, expected = row
    world = await made(cluster)
    request = make(world)
    if way == "unknown fields":
        request.MergeFromString(UNKNOWN)
    facts = cluster.facts()
    sending = interceptors(facts["token"])
    async with (
        grpc.aio.insecure_channel(facts["scheduler"]["address"], interceptors=sending) as scheduler,
        grpc.aio.insecure_channel(facts["exithandler"]["address"], interceptors=sending) as exithandler,
    ):
        stubs = (rpc.WorkflowServiceStub(scheduler), exit_rpc.ExitServiceStub(exithandler))
        if way not in ("repeated", "repeated when gone"):
            assert (await answered(stubs, method, request))[0] == expected
            return
        first, answer = await answered(stubs, method, request)
        if way == "repeated":
            again, repeat = await answered(stubs, method, request)
            assert (first, again) == (expected, expected)
            for field in ("uid", "gone"):
                assert getattr(answer, field, None) == getattr(repeat, field, None)
            return
        uids = [world.waits.uid, world.over.uid, world.failed.uid]
        uids += [one.uid for one in getattr(answer, "workflows", []) if one.uid not in uids]
        uids += [answer.uid] if method == "ResubmitWorkflow" else []
        await gone(stubs[0], uids)
        assert (await answered(stubs, method, request))[0] == expected


NEVER = Timestamp(seconds=-5)
TWICE = [pb.ParameterValue(name="a", value=value) for value in "bc"]


def wrong_in_any_state(w: World) -> list[tuple[str, Message, str]]:
    """Calls with one field that is wrong whatever state the workflow is in, and that field."""
    kinds: list[Any] = [
        pb.StopWorkflowRequest,
        pb.TerminateWorkflowRequest,
        pb.SuspendWorkflowRequest,
        pb.ResumeWorkflowRequest,
        pb.DeleteWorkflowRequest,
        pb.RetryWorkflowRequest,
        pb.ResubmitWorkflowRequest,
    ]
    waits = [(kind.DESCRIPTOR.name.removesuffix("Request"), kind(**w.named(revision=-1)), "revision") for kind in kinds]
    none: Any = 99
    return [
        *waits,
        ("SetNodes", pb.SetNodesRequest(**set_nodes(w), revision=-1), "revision"),
        ("ReplayExit", xpb.ReplayExitRequest(id=w.exit.id, revision=-1), "revision"),
        ("CancelExit", xpb.CancelExitRequest(id=w.exit.id, revision=-1), "revision"),
        ("GetWorkflow", pb.GetWorkflowRequest(**over(w), view=none), "view"),
        ("ListWorkflows", pb.ListWorkflowsRequest(view=none), "view"),
        ("ListExits", xpb.ListExitsRequest(view=none), "view"),
        ("WatchExits", xpb.WatchExitsRequest(view=none), "view"),
        ("GetLogs", pb.GetLogsRequest(**over(w), since=NEVER), "since"),
        ("ListExits", xpb.ListExitsRequest(due_after=NEVER), "due_after"),
        ("SubmitWorkflow", pb.SubmitWorkflowRequest(documents=[text()], parameters=TWICE), "parameters[1].name"),
        ("RetryWorkflow", pb.RetryWorkflowRequest(**failed(w), parameters=TWICE), "parameters[1].name"),
        ("ResubmitWorkflow", pb.ResubmitWorkflowRequest(**over(w), parameters=TWICE), "parameters[1].name"),
        ("SetNodes", pb.SetNodesRequest(**set_nodes(w), output_parameters=TWICE), "output_parameters[1].name"),
    ]


async def test_what_is_wrong_in_any_state_is_refused_by_its_field(cluster: Cluster) -> None:
    world = await made(cluster)
    facts = cluster.facts()
    sending = interceptors(facts["token"])
    async with (
        grpc.aio.insecure_channel(facts["scheduler"]["address"], interceptors=sending) as scheduler,
        grpc.aio.insecure_channel(facts["exithandler"]["address"], interceptors=sending) as exithandler,
    ):
        stubs = (rpc.WorkflowServiceStub(scheduler), exit_rpc.ExitServiceStub(exithandler))
        for method, request, field in wrong_in_any_state(world):
            said, _ = await answered(stubs, method, request)
            assert said == f"INVALID_ARGUMENT INVALID_REQUEST {field}", method
        for label, value in (("depth", "-3"), ("depth", "deep"), ("depth", "100000"), ("root", "me")):
            labelled = pb.SubmitWorkflowRequest(documents=[text()], labels={f"exeunt.dev/{label}": value})
            said, _ = await answered(stubs, "SubmitWorkflow", labelled)
            assert said == "INVALID_ARGUMENT INVALID_MANIFEST labels", value
        tree = json.loads(text().text)
        tree["metadata"]["labels"] = {"exeunt.dev/depth": "-1"}
        inside = pb.SubmitWorkflowRequest(documents=[pb.Document(text=json.dumps(tree))])
        said, _ = await answered(stubs, "SubmitWorkflow", inside)
        assert said == 'INVALID_ARGUMENT INVALID_MANIFEST documents[0].metadata.labels["exeunt.dev/depth"]'


async def gone(stub: rpc.WorkflowServiceAsyncStub, uids: list[str]) -> None:
    """Deletes them, and waits until they are."""
    for uid in uids:
        while True:
            try:
                await stub.DeleteWorkflow(pb.DeleteWorkflowRequest(uid=uid), timeout=20)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.NOT_FOUND:
                    break
                raise
            await asyncio.sleep(0.02)
