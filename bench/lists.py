"""Lists and reads over what is kept: what a page of ten, and one workflow, cost with few and with many of them."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import grpc

from exeunt.client import interceptors
from exeunt.exithandler.record import ExitRecord
from exeunt.journal.projections import Projections, open_projections
from exeunt.journal.records import ArchiveSummary
from exeunt.journal.wire import connect
from exeunt.v1 import exit_service_pb2 as xpb
from exeunt.v1 import exit_service_pb2_grpc as exit_rpc
from exeunt.v1 import workflow_service_pb2 as pb
from exeunt.v1 import workflow_service_pb2_grpc as rpc

FEW, MANY = 1_000, 100_000
CALLERS = 50
CALLS = 300
TOGETHER = 500
MOMENT = 1_780_000_000.0

Call = Callable[[], Awaitable[object]]


class Cost(NamedTuple):
    """Milliseconds of a call alone (p50) and beside 49 others (p50), and calls in a second of all 50."""

    alone: float
    beside: float
    rate: float


class Where(NamedTuple):
    """A running cluster."""

    scheduler: str
    exithandler: str
    token: str
    nats: str


async def measure(where: Where, say: Callable[[str], None]) -> dict[tuple[str, int], Cost]:
    """What each call costs with `FEW` and with `MANY` workflows and exit runs kept."""
    found: dict[tuple[str, int], Cost] = {}
    sending = interceptors(where.token)
    nc = await connect(where.nats, "bench")
    stores = await open_projections(nc)
    writing = asyncio.create_task(stores.run())
    async with (
        grpc.aio.insecure_channel(where.scheduler, interceptors=sending) as scheduler,
        grpc.aio.insecure_channel(where.exithandler, interceptors=sending) as exithandler,
    ):
        workflows, exits = rpc.WorkflowServiceStub(scheduler), exit_rpc.ExitServiceStub(exithandler)
        calls: dict[str, Call] = {
            "list workflows": lambda: workflows.ListWorkflows(pb.ListWorkflowsRequest(page_size=10)),
            "list exits": lambda: exits.ListExits(xpb.ListExitsRequest(page_size=10)),
            "get": lambda: workflows.GetWorkflow(pb.GetWorkflowRequest(uid="u0")),
        }
        before = 0
        for count in (FEW, MANY):
            await _fill(stores, range(before, count))
            before = count
            for name, call in calls.items():
                began = time.perf_counter()
                await call()
                first = time.perf_counter() - began
                await _settled(call)
                found[name, count] = cost = Cost(await _alone(call, CALLS), *await _beside(call))
                say(
                    f"{name:14} of {count:>7,}: {cost.alone:6.1f} ms alone, {cost.beside:6.1f} ms beside "
                    f"{CALLERS - 1} others, {cost.rate:6.0f} a second; the first {1000 * first:.0f} ms"
                )
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    await nc.close()
    return found


async def _fill(stores: Projections, numbers: range) -> None:
    for start in range(numbers.start, numbers.stop, TOGETHER):
        some = range(start, min(start + TOGETHER, numbers.stop))
        await asyncio.gather(*(_workflow(stores, n) for n in some), *(_exit(stores, n) for n in some))


async def _workflow(stores: Projections, number: int) -> None:
    at = MOMENT + number
    uid, name = f"u{number}", f"nightly-{number}"
    tree = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": name, "namespace": "default", "uid": uid, "labels": {"team": "blue"}},
        "spec": {"entrypoint": "main"},
        "status": {"phase": "Succeeded", "nodes": {name: {"id": name, "name": name, "phase": "Succeeded"}}},
    }
    shown = ArchiveSummary(
        uid=uid, name=name, namespace="default", phase="Succeeded", created_at=at, labels={"team": "blue"}
    )
    await stores.archive.put("default", at, uid, shown, {"format": 1, "workflow": tree, "commits": 3})


async def _exit(stores: Projections, number: int) -> None:
    at = MOMENT + number
    record = ExitRecord(
        f"{number:024x}", uid=f"u{number}", workflow=f"nightly-{number}", namespace="default", hook="exit", due_at=at
    )
    body = json.loads(json.dumps({"id": record.id, "uid": record.uid, "due_at": at}))
    await stores.ledger.put("default", at, record.id, record.summary(), body)


async def _settled(call: Call) -> None:
    """Waits until what is read at first has been read."""
    before = await _alone(call, 5)
    while (now := await _alone(call, 5)) < before / 1.5:
        before = now


async def _alone(call: Call, times: int) -> float:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        await call()
        taken.append(time.perf_counter() - began)
    return 1000 * statistics.median(taken)


async def _beside(call: Call) -> tuple[float, float]:
    taken: list[float] = []

    async def caller() -> None:
        for _ in range(CALLS // 10):
            began = time.perf_counter()
            await call()
            taken.append(time.perf_counter() - began)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(CALLERS):
            group.create_task(caller())
    return 1000 * statistics.median(taken), len(taken) / (time.perf_counter() - began)
