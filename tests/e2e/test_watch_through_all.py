"""A watch of one workflow, and one of many, whatever happens to reader and services: the picture is what Get shows."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from exeunt.client import interceptors
from exeunt.v1 import workflow_service_pb2 as pb
from exeunt.v1 import workflow_service_pb2_grpc as rpc
from exeunt.v1.phase_pb2 import Phase
from tests.e2e.cluster import Cluster
from tests.e2e.test_operators import manifest, sh
from tests.faults.kills import patient

pytestmark = [pytest.mark.services, pytest.mark.faults, pytest.mark.timeout(180)]

STEPS = 6
KILLS = {2: "scheduler", 4: "exithandler", 6: "scheduler", 8: "exithandler", 10: "nats"}

AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A cluster of which services are killed."""
    cluster = Cluster(tmp_path_factory.mktemp("watched") / "data", arguments=["--slots", "8"])
    cluster.up()
    yield cluster
    cluster.down()


def work() -> str:
    steps = [[{"name": f"s{number}", "template": "t"}] for number in range(STEPS)]
    bye = [[{"name": f"b{number}", "template": "t"}] for number in range(3)]
    main, after = {"name": "main", "steps": steps}, {"name": "bye", "steps": bye}
    return manifest(main, after, sh("t", "sleep 0.4"), onExit="bye", prefix="watched-")


@asynccontextmanager
async def stub_of(cluster: Cluster) -> AsyncIterator[rpc.WorkflowServiceAsyncStub]:
    facts = cluster.facts()
    sending = interceptors(facts["token"])
    options = [("grpc.max_reconnect_backoff_ms", 500), ("grpc.enable_retries", 0)]
    address = facts["scheduler"]["address"]
    async with grpc.aio.insecure_channel(address, options=options, interceptors=sending) as channel:
        yield rpc.WorkflowServiceStub(channel)


class Merged:
    """What a client makes of the messages, as docs/grpc.md says."""

    def __init__(self) -> None:
        self.nodes: dict[str, Any] = {}
        self.head: dict[str, Any] = {}
        self.position = ""
        self.final = False
        self.count = 0

    def take(self, change: pb.WatchWorkflowResponse) -> None:
        """The next one."""
        tree = json.loads(change.workflow.json)
        if change.reset:
            self.nodes.clear()
        self.nodes.update(tree["status"].pop("nodes", None) or {})
        self.head, self.position, self.final = tree, change.position, change.final
        self.count += 1


async def one_message(stub: rpc.WorkflowServiceAsyncStub, merged: Merged, uid: str) -> bool:
    """Connects, takes one change and leaves; False when there was none."""
    call: Any = stub.WatchWorkflow(pb.WatchWorkflowRequest(uid=uid, position=merged.position), timeout=5)
    try:
        change = await call.read()
    except grpc.aio.AioRpcError as error:
        if error.code() not in AWAY:
            raise
        await asyncio.sleep(0.1)
        return False
    finally:
        call.cancel()
    merged.take(change)
    return True


@pytest.mark.parametrize("kills", [False, True], ids=["services live", "services die"])
@pytest.mark.parametrize("pause", [0.0, 3.0])
async def test_the_merged_picture_is_what_get_shows(own: Cluster, pause: float, kills: bool) -> None:
    [name] = own.submit(work())
    uid = own.get(name)["metadata"]["uid"]
    merged = Merged()
    async with stub_of(own) as stub, asyncio.timeout(150):
        while not merged.final:
            if not await one_message(stub, merged, uid):
                continue
            if kills and merged.count in KILLS:
                own.signal(KILLS[merged.count])
            if merged.count % 4 == 1:
                await asyncio.sleep(pause)
        whole = await patient(lambda: stub.GetWorkflow(pb.GetWorkflowRequest(uid=uid), timeout=20))
    tree = json.loads(whole.json)
    assert merged.nodes == tree["status"].pop("nodes")
    assert merged.head == tree
    assert tree["status"]["phase"] == "Succeeded"


async def test_the_end_is_told_within_a_second_of_reading_on(own: Cluster) -> None:
    [name] = own.submit(work())
    async with stub_of(own) as stub, asyncio.timeout(60):
        call: Any = stub.WatchWorkflow(pb.WatchWorkflowRequest(name=name))
        await call.read()
        await asyncio.to_thread(own.wait, name)
        await asyncio.sleep(3)
        began = time.monotonic()
        while not (await call.read()).final:
            pass
        assert time.monotonic() - began < 1


async def test_the_picture_of_many_is_what_the_list_shows(own: Cluster) -> None:
    names = [name for _ in range(4) for name in own.submit(work())]
    known: dict[str, tuple[str, int]] = {}
    position, count, synced = "", 0, False
    async with stub_of(own) as stub, asyncio.timeout(150):
        while not (synced and all((name, Phase.PHASE_SUCCEEDED) in known.values() for name in names)):
            call: Any = stub.WatchWorkflows(pb.WatchWorkflowsRequest(position=position), timeout=10)
            try:
                for _ in range(3):  # and leaves
                    told = await call.read()
                    position = told.position or position
                    if told.kind == pb.WatchWorkflowsResponse.KIND_CHANGED:
                        known[told.workflow.uid] = (told.workflow.name, told.workflow.phase)
                    elif told.kind == pb.WatchWorkflowsResponse.KIND_SYNCED:
                        synced = True  # what was there at the beginning has been told
                    else:
                        known.pop(told.workflow.uid, None)
                    count += 1
                    if count in (10, 30):
                        own.signal("scheduler")
            except grpc.aio.AioRpcError as error:
                if error.code() not in AWAY:
                    raise
                await asyncio.sleep(0.1)
            finally:
                call.cancel()
        page = await patient(lambda: stub.ListWorkflows(pb.ListWorkflowsRequest(page_size=1000), timeout=20))
    assert known == {w.uid: (w.name, w.phase) for w in page.workflows}
