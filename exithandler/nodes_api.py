"""ExitRunService: what schedulers ask about the nodes of running handlers."""

# ruff: noqa: N802 - the names of methods are the contract's

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any

import grpc

from exeunt import cloudevents
from exeunt.engine.commands import Rejected, ResumeRun, SetNodes, selection
from exeunt.engine.decide import Run
from exeunt.engine.shown import each_node
from exeunt.exithandler import steer
from exeunt.exithandler.exit_runs import ExitRuns
from exeunt.internal.v1 import exit_run_service_pb2 as pb
from exeunt.internal.v1 import exit_run_service_pb2_grpc
from exeunt.journal.access import NatsAccess, writes
from exeunt.journal.errors import NotOwner
from exeunt.journal.owners import Owners
from exeunt.journal.subjects import partition_of
from exeunt.service.bounds import ANSWER_BYTES, PART_BYTES, PART_NODES
from exeunt.service.errors import invalid, unavailable, wrong_state

_FIELDS = {"INVALID_SELECTOR": "node_field_selector", "INVALID_PHASE": "phase"}
"""Refusals that are about the request, whatever state its nodes are in, and the field that each is about."""

Context = grpc.aio.ServicerContext[Any, Any]


class ExitRunService(exit_run_service_pb2_grpc.ExitRunServiceServicer):
    """The service, over this process's runs."""

    def __init__(self, runs: ExitRuns, owners: Owners, access: NatsAccess, ready: Callable[[], bool]) -> None:
        """`ready` says whether what this process owns has been loaded."""
        self.access = access
        self._runs = runs
        self._owners = owners
        self._ready = ready

    @writes
    async def SteerExitNodes(self, request: pb.SteerExitNodesRequest, context: Context) -> pb.SteerExitNodesResponse:
        """Resumes or sets nodes that wait in a workflow's running exit handlers."""
        self._require(request.uid)
        command: ResumeRun | SetNodes = SetNodes(
            selector=request.node_field_selector,
            parameters=dict(request.output_parameters),
            phase=request.phase,
            message=request.message,
            request_id=request.request_id,
            by=request.by,
        )
        if request.resume:
            command = ResumeRun(request.request_id, request.node_field_selector, message=request.message, by=request.by)
        try:
            selection.check(request.node_field_selector)
            selection.check_phase(request.phase)
            return pb.SteerExitNodesResponse(runs=await steer.steer(self._runs, request.uid, command))
        except Rejected as error:
            field = _FIELDS.get(error.reason)
            if field is not None:
                raise invalid(str(error), [(field, str(error))], reason=error.reason) from None
            raise wrong_state(error.reason, str(error), ("workflow", request.uid)) from None
        except NotOwner:
            raise unavailable("MOVED", "the exit runs of this workflow are changing hands; ask again") from None

    async def ReadExitNodes(
        self, request: pb.ReadExitNodesRequest, context: Context
    ) -> AsyncIterator[pb.ReadExitNodesResponse]:
        """The nodes of a workflow's running exit handlers, as they are now. Each run stands still while it is read."""
        self._require(request.uid)
        for run in self._runs.of_uid(request.uid):
            if run.driver is None:
                continue
            run.driver.hold()
            try:
                encoded = await run.driver.turns.through(_encoded(run.driver.run))
            finally:
                run.driver.let_go()
            some: list[str] = []
            size = 0
            for text in encoded:
                if some and (size + len(text) > PART_BYTES or len(some) == PART_NODES):
                    yield _answer(some)
                    some, size = [], 0
                some.append(text)
                size += len(text)
            if some:
                yield _answer(some)

    def _require(self, uid: str) -> None:
        """Raises UNAVAILABLE unless the exit runs of the workflow are here."""
        if not uid:
            raise invalid("uid is missing", [("uid", "the workflow's uid is expected")])
        owner = self._owners.exit_handler_of(partition_of(uid))
        if owner is None or (not owner and not self._ready()):
            raise unavailable("LOADING", "the exit runs of this workflow are being loaded")
        if owner:
            raise unavailable("MOVED", f"the exit handler at {owner} owns the exit runs of this workflow")


def _answer(nodes: list[str]) -> pb.ReadExitNodesResponse:
    return pb.ReadExitNodesResponse(nodes_json="{" + ",".join(nodes) + "}")


def _encoded(run: Run) -> Generator[None, None, list[str]]:
    """Id and node, as JSON, of each node."""
    found: list[str] = []
    for id, tree in each_node(run):
        text = cloudevents.body(tree, ANSWER_BYTES).decode()
        found.append(f"{json.dumps(id)}:{text}")
        yield
    return found
