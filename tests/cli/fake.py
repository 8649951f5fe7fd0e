"""A small scheduler and exit handler for tests of commands: real gRPC on loopback, workflows made up by the test."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from typing import Any

from exeunt.service.errors import Code, RpcError, invalid, not_found
from exeunt.service.grpc import serve_grpc
from exeunt.v1 import exit_service_pb2 as exits
from exeunt.v1 import exit_service_pb2_grpc as exits_rpc
from exeunt.v1 import workflow_service_pb2 as pb
from exeunt.v1 import workflow_service_pb2_grpc as rpc
from exeunt.words import phases


def workflow(name: str, phase: str = "Succeeded", **status: Any) -> dict[str, Any]:
    """A workflow in Argo's shape."""
    nodes = {name: {"id": name, "name": name, "displayName": name, "type": "Pod", "phase": phase, "templateName": "t"}}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": f"uid-{name}",
            "creationTimestamp": "2026-11-23T10:00:00Z",
        },
        "spec": {"entrypoint": "t"},
        "status": {
            "phase": phase,
            "startedAt": "2026-11-23T10:00:01Z",
            "finishedAt": "2026-11-23T10:00:05Z",
            "progress": "1/1",
            "nodes": nodes,
            **status,
        },
    }


def message(tree: dict[str, Any], version: int = 1) -> pb.Workflow:
    """It as the API has it."""
    metadata = tree["metadata"]
    return pb.Workflow(
        name=metadata["name"],
        namespace=metadata["namespace"],
        uid=metadata["uid"],
        phase=phases.number(tree["status"]["phase"]),
        revision=version,
        json=json.dumps(tree),
    )


class Cluster(rpc.WorkflowServiceServicer, exits_rpc.ExitServiceServicer):
    """What a test tells it to be; `calls` has every mutating request."""

    def __init__(self) -> None:
        self.address = ""
        self.workflows: dict[str, dict[str, Any]] = {}
        self.submitted: list[str] = []  # names that a submission answers with
        self.problems: list[tuple[str, str]] = []
        self.records: list[exits.Exit] = []
        self.lines: list[pb.LogLine] = []
        self.artifacts: dict[str, list[pb.GetArtifactResponse]] = {}
        self.calls: list[Any] = []
        self.endless: set[str] = set()
        self.outages = 0

    def add(self, *trees: dict[str, Any], submitted: bool = True) -> None:
        """Workflows that there are, and that the next submission answers with."""
        for tree in trees:
            self.workflows[tree["metadata"]["name"]] = tree
            if submitted:
                self.submitted.append(tree["metadata"]["name"])

    def find(self, request: Any) -> dict[str, Any]:
        """By name or uid."""
        for tree in self.workflows.values():
            if tree["metadata"]["name"] == request.name or tree["metadata"]["uid"] == getattr(request, "uid", None):
                return tree
        raise not_found("workflow", f"default/{request.name}")

    async def SubmitWorkflow(self, request: Any, context: Any) -> pb.SubmitWorkflowResponse:  # noqa: N802
        self.calls.append(request)
        if self.problems:
            raise invalid("the manifest is wrong", self.problems)
        return pb.SubmitWorkflowResponse(workflows=[message(self.workflows[name]) for name in self.submitted])

    async def GetWorkflow(self, request: Any, context: Any) -> pb.Workflow:  # noqa: N802
        return message(self.find(request))

    async def ReadWorkflow(self, request: Any, context: Any) -> AsyncIterator[pb.ReadWorkflowResponse]:  # noqa: N802
        """A node in each part, and the texts in halves."""
        tree = self.find(request)
        status = dict(tree["status"])
        nodes = status.pop("nodes", {})
        whole = message({**tree, "status": status})
        half = len(whole.json) // 2
        rest = pb.Workflow(json=whole.json[half:])
        whole.json = whole.json[:half]
        yield pb.ReadWorkflowResponse(part=pb.WorkflowPart(workflow=whole, unfinished=True))
        yield pb.ReadWorkflowResponse(part=pb.WorkflowPart(workflow=rest))
        for id, node in nodes.items():
            text = json.dumps({id: node})
            yield pb.ReadWorkflowResponse(part=pb.WorkflowPart(nodes_json=text[:5], unfinished=True))
            yield pb.ReadWorkflowResponse(part=pb.WorkflowPart(nodes_json=text[5:]))

    async def ListWorkflows(self, request: Any, context: Any) -> pb.ListWorkflowsResponse:  # noqa: N802
        """Two to a page, so that every list needs several."""
        wanted = phases.words(request.phases)
        found = [t for t in self.workflows.values() if not wanted or t["status"]["phase"] in wanted]
        start, size = int(request.page_token or 0), min(2, request.page_size)
        more = str(start + size) if start + size < len(found) else ""
        page = [message(tree) for tree in found[start : start + size]]
        return pb.ListWorkflowsResponse(workflows=page, next_page_token=more)

    async def WatchWorkflow(self, request: Any, context: Any) -> AsyncIterator[pb.WatchWorkflowResponse]:  # noqa: N802
        """First as it stands without its nodes, then one node at a time, as a running workflow changes."""
        tree = self.find(request)
        nodes = tree["status"]["nodes"]
        bare = {**tree, "status": {**tree["status"], "phase": "Running", "nodes": {}}}
        if not request.position:
            yield pb.WatchWorkflowResponse(workflow=message(bare, 1), reset=True, position="1")
        if self.outages:
            self.outages -= 1
            raise RpcError(Code.UNAVAILABLE, "MOVED", "the owner has changed", retry_after=0.01)
        if tree["metadata"]["name"] in self.endless:
            await asyncio.Event().wait()
        for version, (key, node) in enumerate(nodes.items(), 2):
            last = version == len(nodes) + 1
            shown = {**(tree if last else bare), "status": {**tree["status"], "nodes": {key: node}}}
            yield pb.WatchWorkflowResponse(workflow=message(shown, version), final=last, position=str(version))

    async def ListArtifacts(self, request: Any, context: Any) -> pb.ListArtifactsResponse:  # noqa: N802
        self.find(request)
        return pb.ListArtifactsResponse(artifacts=[first.artifact for first, *_ in self.artifacts.values()])

    async def GetArtifact(self, request: Any, context: Any) -> AsyncIterator[pb.GetArtifactResponse]:  # noqa: N802
        self.find(request)
        for piece in self.artifacts[request.artifact]:
            yield piece

    async def GetLogs(self, request: Any, context: Any) -> AsyncIterator[pb.GetLogsResponse]:  # noqa: N802
        self.find(request)
        for number, line in enumerate(self.lines, 1):
            yield pb.GetLogsResponse(lines=[line], position=str(number))

    async def ListExecutors(self, request: Any, context: Any) -> pb.ListExecutorsResponse:  # noqa: N802
        one = pb.ExecutorInfo(
            id="executor-1", slots=16, exit_slots=2, capabilities=["process"], running=["default/a/a"]
        )
        return pb.ListExecutorsResponse(executors=[one])

    async def DeleteWorkflow(self, request: Any, context: Any) -> pb.DeleteWorkflowResponse:  # noqa: N802
        self.calls.append(request)
        self.find(request)
        return pb.DeleteWorkflowResponse(gone=True)

    async def _steer(self, request: Any, context: Any) -> pb.Workflow:
        self.calls.append(request)
        return message(self.find(request))

    StopWorkflow = TerminateWorkflow = SuspendWorkflow = ResumeWorkflow = SetNodes = _steer

    async def GetExit(self, request: Any, context: Any) -> exits.Exit:  # noqa: N802
        for one in self.records:
            if one.id == request.id:
                return one
        raise not_found("exit", request.id)

    async def ReadExit(self, request: Any, context: Any) -> AsyncIterator[exits.ReadExitResponse]:  # noqa: N802
        """The attempts, one in each part, and the text in halves."""
        found = exits.Exit()
        found.CopyFrom(await self.GetExit(request, context))
        attempts, text = list(found.attempts), found.json
        found.ClearField("attempts")
        found.json = text[:5]
        yield exits.ReadExitResponse(exit=found)
        for one in attempts:
            yield exits.ReadExitResponse(exit=exits.Exit(attempts=[one]))
        yield exits.ReadExitResponse(exit=exits.Exit(json=text[5:]))

    async def ListExits(self, request: Any, context: Any) -> exits.ListExitsResponse:  # noqa: N802
        found = [one for one in self.records if not request.states or one.state in request.states]
        return exits.ListExitsResponse(exits=found)

    async def ReplayExit(self, request: Any, context: Any) -> exits.Exit:  # noqa: N802
        self.calls.append(request)
        return await self.GetExit(request, context)


@contextmanager
def serving(cluster: Cluster) -> Iterator[None]:
    """Serves in a thread of its own, since commands have an event loop of theirs."""
    address: Future[str] = Future()
    stop: list[Callable[[], None]] = []

    async def main() -> None:
        services = {
            "exeunt.v1.WorkflowService": partial(rpc.add_WorkflowServiceServicer_to_server, cluster),
            "exeunt.v1.ExitService": partial(exits_rpc.add_ExitServiceServicer_to_server, cluster),
        }
        done = asyncio.Event()
        loop = asyncio.get_running_loop()
        stop.append(lambda: loop.call_soon_threadsafe(done.set))
        async with serve_grpc("127.0.0.1:0", services, grace=0) as server:
            address.set_result(server.address)
            await done.wait()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    cluster.address = address.result(timeout=30)
    try:
        yield
    finally:
        stop[0]()
        thread.join()
