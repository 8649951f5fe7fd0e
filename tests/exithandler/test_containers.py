"""Container steps of exit runs: placed, committed, sent, acknowledged, and never in the way of actions."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest

from exeunt.internal.v1 import step_pb2, step_service_pb2_grpc
from exeunt.internal.v1 import step_service_pb2 as pb
from tests.exithandler.conftest import Handlers, Main, World
from tests.exithandler.test_exit_runs import call, workflow
from tests.exithandler.test_steps_client import Scheduler

CONTAINER = '{name: bye, container: {image: debian, command: [echo], args: ["{{workflow.status}}"]}}'


class Served(Scheduler):
    """A scheduler with an address."""

    address = ""


@pytest.fixture
async def scheduler() -> AsyncIterator[Served]:
    scheduler = Served()
    server = grpc.aio.server()
    step_service_pb2_grpc.add_StepServiceServicer_to_server(scheduler, server)
    scheduler.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield scheduler
    await server.stop(None)


async def test_a_container_is_run_by_the_scheduler(main: Main, handlers: Handlers, scheduler: Served) -> None:
    handler = await handlers.start(scheduler=scheduler.address)
    owed = await main.owe(workflow(CONTAINER))
    step = (await scheduler.hears(lambda f: bool(f.wants))).wants[0].step
    assert step.exit
    assert (step.workflow, step.namespace, list(step.container.args)) == (owed.name, "ns", ["Failed"])
    assert step.id.startswith(f"{owed.uid}.{owed.hook_id}/")
    scheduler.say.put_nowait(pb.RunResponse(placements=[pb.Placement(id=step.id, executor="e1")]))
    said = (await scheduler.hears(lambda f: bool(f.placed))).placed
    assert [(p.id, p.executor) for p in said] == [(step.id, "e1")]
    result = step_pb2.StepResult(phase="Succeeded", result="Failed")
    scheduler.say.put_nowait(pb.RunResponse(results=[pb.RunResult(id=step.id, result=result)]))
    assert list((await scheduler.hears(lambda f: bool(f.acknowledged))).acknowledged) == [step.id]
    assert (await main.result(owed)).state == "succeeded"
    record = await handler.ledger.get(owed.hook_id)
    assert record is not None
    assert [(a.executor, a.phase) for a in record.attempts] == [("e1", "Succeeded")]


async def test_a_placed_container_is_asked_for_where_it_is_after_a_kill(
    main: Main, handlers: Handlers, scheduler: Served
) -> None:
    first = await handlers.start(scheduler=scheduler.address)
    owed = await main.owe(workflow(CONTAINER))
    step = (await scheduler.hears(lambda f: bool(f.wants))).wants[0].step
    scheduler.say.put_nowait(pb.RunResponse(placements=[pb.Placement(id=step.id, executor="e1")]))
    await scheduler.hears(lambda f: bool(f.placed))
    await handlers.kill(first)
    await handlers.start(scheduler=scheduler.address)
    want = (await scheduler.hears(lambda f: bool(f.wants))).wants[0]
    assert (want.step.id, want.executor) == (step.id, "e1")
    result = step_pb2.StepResult(phase="Succeeded")
    scheduler.say.put_nowait(pb.RunResponse(results=[pb.RunResult(id=step.id, result=result)]))
    assert (await main.result(owed)).state == "succeeded"


async def test_a_container_that_is_lost_is_started_again(main: Main, handlers: Handlers, scheduler: Served) -> None:
    await handlers.start(scheduler=scheduler.address)
    owed = await main.owe(workflow(CONTAINER))
    ids = []
    for executor in ("e1", "e2"):
        step = (await scheduler.hears(lambda f: bool(f.wants))).wants[0].step
        ids.append(step.id)
        scheduler.say.put_nowait(pb.RunResponse(placements=[pb.Placement(id=step.id, executor=executor)]))
        await scheduler.hears(lambda f: bool(f.placed))
        if executor == "e1":
            scheduler.say.put_nowait(pb.RunResponse(lost=[step.id]))
    assert ids[0].endswith("/0")
    assert ids[1].endswith("/1")
    result = step_pb2.StepResult(phase="Succeeded")
    scheduler.say.put_nowait(pb.RunResponse(results=[pb.RunResult(id=ids[1], result=result)]))
    assert (await main.result(owed)).state == "succeeded"


async def test_actions_go_on_while_there_is_no_scheduler(main: Main, handlers: Handlers, world: World) -> None:
    await handlers.start()
    both = "{name: bye, steps: [[{name: tell, template: tell}, {name: run, template: run}]]}"
    container = CONTAINER.replace("name: bye", "name: run")
    owed = await main.owe(workflow(both, call(world.url, "tell"), container))
    await world.arrived()
    assert owed.hook_id not in main.results
    other = await main.owe(workflow(call(world.url)))
    assert (await main.result(other)).state == "succeeded"
