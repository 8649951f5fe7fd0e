"""What a walk of the table of limits needs: a case for each row, and the services that it is held against."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from exeunt.client import interceptors
from exeunt.v1 import exit_service_pb2_grpc as exits_rpc
from exeunt.v1 import workflow_service_pb2 as pb
from exeunt.v1 import workflow_service_pb2_grpc as rpc
from tests.e2e.cluster import Cluster, nodes
from tests.executor.conftest import Scheduler
from tests.sizes.calls import run
from tests.sizes.manifests import Tree

_UNITS = {"KB": 1024, "MB": 1024**2, "GB": 1024**3}


@dataclass
class Services:
    """Two clusters, a scheduler of a few lines for an executor alone, a directory, and what a test may change."""

    cluster: Cluster
    narrow: Cluster
    scheduler: Scheduler
    path: Path
    patch: pytest.MonkeyPatch

    async def refused(self, *documents: str, **fields: Any) -> str:
        """What the scheduler says against documents, which it only checks; empty when they may be submitted."""
        request = pb.SubmitWorkflowRequest(
            documents=[pb.Document(file="f", text=one) for one in documents], validate_only=True, **fields
        )
        return await self.says("SubmitWorkflow", request)

    async def says(self, method: str, request: object) -> str:
        """What the scheduler says against a request; empty when it does it."""
        return await self._answer("scheduler", rpc.WorkflowServiceStub, method, request)

    async def exits_say(self, method: str, request: object) -> str:
        """What the exit handler says against one."""
        return await self._answer("exithandler", exits_rpc.ExitServiceStub, method, request)

    async def _answer(self, service: str, stub: Callable[[grpc.aio.Channel], Any], method: str, request: object) -> str:
        facts = self.cluster.facts()
        sending = interceptors(facts["token"])
        async with grpc.aio.insecure_channel(facts[service]["address"], interceptors=sending) as channel:
            try:
                answer = getattr(stub(channel), method)(request)
                if hasattr(answer, "__aiter__"):
                    async for _ in answer:
                        pass
                else:
                    await answer
            except grpc.aio.AioRpcError as error:
                return f"{error.code().name}: {error.details()} {dict(error.trailing_metadata() or ())}"
        return ""

    async def run(self, workflow: Tree) -> tuple[str, str, dict[str, Tree]]:
        """The phase of a workflow that ran, all that its nodes say, and these by name."""
        found = await run(self.cluster, workflow)
        by_name = nodes(found)
        return found["status"]["phase"], " ".join(node.get("message", "") for node in by_name.values()), by_name


Case = Callable[[int, Services], Awaitable[None]]
CASES: dict[str, Case] = {}


def row(what: str) -> Callable[[Case], Case]:
    """Makes the function the case of this row: it is given the row's amount, and goes a hair below and above it."""

    def note(case: Case) -> Case:
        assert what not in CASES
        CASES[what] = case
        return case

    return note


def amount(written: str) -> int:
    """The number that the table says, in bytes where it is a size."""
    found = re.search(r"(\d[\d,.]*)(?: (KB|MB|GB))?", written)
    return int(float(found[1].replace(",", "")) * _UNITS.get(found[2], 1)) if found else 0
