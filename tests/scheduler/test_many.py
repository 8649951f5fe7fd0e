"""WatchWorkflows: the picture that its messages make is what lists show, wherever it is taken up again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from exeunt.client import Client
from exeunt.internal.v1 import step_pb2
from exeunt.scheduler.parts import Scheduler
from exeunt.v1 import workflow_service_pb2 as pb
from exeunt.v1 import workflow_service_pb2_grpc as rpc
from exeunt.v1.phase_pb2 import Phase
from tests.nats_server import NatsServer
from tests.scheduler.rig import final, hands
from tests.scheduler.test_service import HELLO, HOLD, submit
from tests.scheduler.test_several import Loaded, scheduler

pytestmark = pytest.mark.services

Kind = pb.WatchWorkflowsResponse.Kind
MANY = HOLD.replace("name: held", "generateName: h-")


class Picture:
    """What a client knows that does as the messages say: name and phase of each workflow."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[str, int]] = {}
        self.position = ""
        self.told: list[tuple[str, str]] = []

    def take(self, one: pb.WatchWorkflowsResponse) -> None:
        """The next message."""
        self.position = one.position or self.position
        self.told.append((Kind.Name(one.kind).removeprefix("KIND_"), one.workflow.name))
        if one.kind == Kind.KIND_RESET:
            self.known.clear()
        elif one.kind == Kind.KIND_CHANGED:
            self.known[one.workflow.uid] = (one.workflow.name, one.workflow.phase)
        elif one.kind in (Kind.KIND_LEFT, Kind.KIND_DELETED):
            self.known.pop(one.workflow.uid, None)


@asynccontextmanager
async def watching(stub: rpc.WorkflowServiceAsyncStub, picture: Picture, **asked: Any) -> AsyncIterator[Any]:
    """Reads into the picture until it is as it is said to become."""
    call = stub.WatchWorkflows(pb.WatchWorkflowsRequest(position=picture.position, **asked))

    async def until(holds: Any) -> None:
        async with asyncio.timeout(20):
            while not holds():
                picture.take(await call.read())

    yield until
    call.cancel()


async def listed(client: Client, **asked: Any) -> dict[str, tuple[str, int]]:
    """The same from a list."""
    return {w.uid: (w.name, w.phase) for w in await client.list_workflows(**asked)}


def synced(picture: Picture) -> Any:
    return lambda: picture.told and picture.told[-1][0] == "SYNCED"


async def test_first_what_is_there_then_what_changes(
    parts: Scheduler, client: Client, stub: rpc.WorkflowServiceAsyncStub
) -> None:
    async with hands(parts) as executor:
        [over] = await submit(client, HELLO)
        await final(client, over)
        [runs] = await submit(client, HOLD)
        [step] = await executor.until_running()
        picture = Picture()
        async with watching(stub, picture) as until:
            await until(synced(picture))
            assert sorted(picture.told[:-1]) == sorted([("CHANGED", over), ("CHANGED", runs)])
            assert picture.known == await listed(client)
            await executor.end(step.id, step_pb2.StepResult(phase="Failed", message="no"))
            await final(client, runs)
            await until(lambda: (runs, Phase.PHASE_FAILED) in picture.known.values())
            await client.delete(over)
            await until(lambda: ("DELETED", over) in picture.told)
            assert picture.known == await listed(client)


async def test_a_filter_says_what_leaves_it(
    parts: Scheduler, client: Client, stub: rpc.WorkflowServiceAsyncStub
) -> None:
    async with hands(parts) as executor:
        [name] = await submit(client, HOLD, labels={"team": "blue"})
        [step] = await executor.until_running()
        running = {"phases": [Phase.PHASE_RUNNING], "selector": "team=blue"}
        first, second, third = Picture(), Picture(), Picture()
        async with watching(stub, first, **running) as until, watching(stub, third, selector="team=red") as none:
            await until(synced(first))
            await none(synced(third))
            assert first.told == [("CHANGED", name), ("SYNCED", "")]
            assert third.told == [("SYNCED", "")]
            second.position = first.position
            await executor.end(step.id, step_pb2.StepResult(phase="Succeeded"))
            await final(client, name)
            await until(lambda: ("LEFT", name) in first.told)
        async with watching(stub, second, **running) as until:  # the same for who was away
            await until(synced(second))
            assert second.told == [("LEFT", name), ("SYNCED", "")]
        assert not first.known


@pytest.mark.parametrize("view", [pb.WORKFLOW_VIEW_BASIC, pb.WORKFLOW_VIEW_OBJECT])
async def test_who_goes_on_from_any_position_ends_with_the_same_picture(
    parts: Scheduler, client: Client, stub: rpc.WorkflowServiceAsyncStub, view: int
) -> None:
    pictures = [Picture()]
    async with hands(parts) as executor:
        names = [name for _ in range(6) for name in await submit(client, MANY)]
        steps = await executor.until_running(6)
        async with watching(stub, pictures[0], view=view) as until:
            await until(synced(pictures[0]))
            for step, phase in zip(steps[:4], ["Succeeded", "Failed"] * 2, strict=True):
                other = Picture()
                other.known, other.position = dict(pictures[0].known), pictures[0].position
                pictures.append(other)
                await executor.end(step.id, step_pb2.StepResult(phase=phase))
                [over] = [name for name in names if step.workflow == name]
                await final(client, over)
                await until(lambda over=over: any(n == over and p > 2 for n, p in pictures[0].known.values()))
                if phase == "Failed":
                    await client.delete(over)
                    await until(lambda over=over: ("DELETED", over) in pictures[0].told)
        there = await listed(client)
        assert len(there) == 4
        for picture in pictures:
            picture.told.clear()
            async with watching(stub, picture, view=view) as until:
                await until(synced(picture))
            assert picture.known == there


async def test_a_position_that_is_too_old_begins_anew(
    parts: Scheduler, client: Client, stub: rpc.WorkflowServiceAsyncStub
) -> None:
    async with hands(parts):
        [name] = await submit(client, HELLO)
        await final(client, name)
        for position in ("1.5", f"999999.{2**31}"):  # of 1970; ahead of all that is there
            picture = Picture()
            picture.position = position
            async with watching(stub, picture) as until:
                await until(synced(picture))
            assert picture.told == [("RESET", ""), ("CHANGED", name), ("SYNCED", "")]
        call = stub.WatchWorkflows(pb.WatchWorkflowsRequest(position="none"))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call.read()
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_changes_only_begins_with_what_changes(
    parts: Scheduler, client: Client, stub: rpc.WorkflowServiceAsyncStub
) -> None:
    async with hands(parts):
        [before] = await submit(client, HELLO)
        await final(client, before)
        await parts.archiver.drained()
        picture = Picture()
        async with watching(stub, picture, changes_only=True) as until:
            await until(synced(picture))
            [after] = await submit(client, HELLO)
            await final(client, after)
            await until(lambda: (after, Phase.PHASE_SUCCEEDED) in picture.known.values())
        assert before not in dict(picture.known.values())


@pytest.mark.parametrize("crash", [False, True], ids=["handing over", "crashing"])
async def test_one_stream_tells_of_all_schedulers_and_outlives_another_one(
    nats_server: NatsServer, tmp_path: Path, crash: bool
) -> None:
    picture = Picture()
    async with (
        scheduler(nats_server.url, tmp_path, "b") as b,
        Client(b.address) as at_b,
        grpc.aio.insecure_channel(b.address) as channel,
    ):
        async with scheduler(nats_server.url, tmp_path, "a", crash=crash) as a:  # nobody runs steps
            await Loaded(a, b).wait()
            names = [name for _ in range(8) for name in await submit(at_b, MANY)]
            assert a.runs.by_uid
            assert b.runs.by_uid
            stub = rpc.WorkflowServiceStub(channel)
            watch = watching(stub, picture)
            until = await watch.__aenter__()
            await until(synced(picture))
            assert sorted(name for name, _ in picture.known.values()) == sorted(names)
        await Loaded(b).wait()
        for name in names:
            await at_b.terminate(name)
        await until(lambda: all(phase == Phase.PHASE_FAILED for _, phase in picture.known.values()))
        assert picture.known == await listed(at_b)
        await watch.__aexit__(None, None, None)
