"""ExitService over gRPC: lists, pages, watches, replays, and the nodes of running handlers."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from functools import partial

import grpc
import msgspec
import pytest
from aiohttp import web
from google.protobuf.timestamp_pb2 import Timestamp

from exeunt.exithandler.parts import ExitHandler
from exeunt.exithandler.record import ExitRecord
from exeunt.internal.v1 import exit_run_service_pb2 as internal
from exeunt.internal.v1 import exit_run_service_pb2_grpc as internal_rpc
from exeunt.journal.names import ClaimedRequest, _request_subject, uids
from exeunt.service.errors import received
from exeunt.service.grpc import serve_grpc
from exeunt.v1 import exit_service_pb2 as pb
from exeunt.v1 import exit_service_pb2_grpc as rpc
from exeunt.words import phases
from tests.exithandler.conftest import Handlers, Main, World
from tests.exithandler.test_exit_runs import call, workflow

Service = tuple[ExitHandler, rpc.ExitServiceStub]


@pytest.fixture
async def service(handlers: Handlers) -> AsyncIterator[Service]:
    handler = await handlers.start()
    register = {"exeunt.v1.ExitService": partial(rpc.add_ExitServiceServicer_to_server, handler.service)}
    async with (
        serve_grpc("127.0.0.1:0", register, grace=0.1) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        yield handler, rpc.ExitServiceStub(channel)


@asynccontextmanager
async def inside(handler: ExitHandler) -> AsyncIterator[internal_rpc.ExitRunServiceAsyncStub]:
    """What schedulers ask the handler."""
    register = partial(internal_rpc.add_ExitRunServiceServicer_to_server, handler.nodes)
    async with (
        serve_grpc("127.0.0.1:0", {"exeunt.internal.v1.ExitRunService": register}, grace=0.1) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        yield internal_rpc.ExitRunServiceStub(channel)


def code(raised: pytest.ExceptionInfo[grpc.aio.AioRpcError]) -> grpc.StatusCode:
    return raised.value.code()


async def test_a_record_tells_the_whole_story(main: Main, service: Service, world: World) -> None:
    _, stub = service
    world.reply(500, "sorry")
    owed = await main.owe(workflow(call(world.url)), arguments={"parameters": [{"name": "password", "value": "x"}]})
    await main.result(owed)
    exit = await stub.GetExit(pb.GetExitRequest(id=owed.hook_id))
    assert (exit.workflow, exit.namespace, exit.node, exit.hook) == (owed.name, "ns", owed.name, "exit")
    assert exit.state == pb.Exit.STATE_FAILED
    assert exit.error == "received non-2xx response code: 500"
    assert [phases.word(a.phase) for a in exit.attempts] == ["Failed"]
    assert json.loads(exit.attempts[0].answer_json)["body"] == "sorry"
    assert exit.due_time.ToSeconds() <= exit.start_time.ToSeconds() <= exit.finish_time.ToSeconds()
    told = json.loads(exit.json)
    assert told["inputs"]["scope"]["workflow.status"] == "Failed"
    assert told["nodes"][0]["phase"] == "Failed"


async def test_lists_are_paged_newest_first_without_gaps(main: Main, service: Service, world: World) -> None:
    _, stub = service
    owed = []
    for _ in range(7):
        owed.append(await main.owe(workflow(call(world.url))))
        await main.result(owed[-1])
    found: list[str] = []
    token = ""
    while True:
        page = await stub.ListExits(pb.ListExitsRequest(page_size=3, page_token=token))
        assert len(page.exits) <= 3
        found += [e.id for e in page.exits]
        token = page.next_page_token
        if not token:
            break
    assert found == [o.hook_id for o in reversed(owed)]


async def test_pages_hold_each_record_once_while_others_come_and_change(
    main: Main, service: Service, world: World
) -> None:
    _, stub = service
    owed = []
    for _ in range(5):
        owed.append(await main.owe(workflow(call(world.url))))
        await main.result(owed[-1])
    found: list[str] = []
    token = ""
    for number in range(3):
        page = await stub.ListExits(pb.ListExitsRequest(page_size=2, page_token=token))
        found += [e.id for e in page.exits]
        token = page.next_page_token
        await stub.ReplayExit(pb.ReplayExitRequest(id=owed[-1 - number].hook_id, request_id=f"r{number}"))
        await main.result(owed[-1 - number], 2)
        await main.result(await main.owe(workflow(call(world.url))))
    assert token == ""
    assert found == [o.hook_id for o in reversed(owed)]


async def test_a_handler_that_takes_long_stands_where_it_became_due(main: Main, service: Service, world: World) -> None:
    _, stub = service
    go = asyncio.Event()

    async def late(request: web.Request) -> web.StreamResponse:
        await go.wait()
        return web.Response()

    async def newest_first() -> list[str]:
        first = await stub.ListExits(pb.ListExitsRequest(page_size=1))
        rest = await stub.ListExits(pb.ListExitsRequest(page_token=first.next_page_token))
        return [e.id for e in (*first.exits, *rest.exits)]

    world.replies.append(late)
    slow = await main.owe(workflow(call(world.url)))
    await world.arrived()
    quick = await main.owe(workflow(call(world.url)))
    await main.result(quick)
    assert await newest_first() == [quick.hook_id, slow.hook_id], "while it runs"
    go.set()
    await main.result(slow)
    assert await newest_first() == [quick.hook_id, slow.hook_id], "when it was written last"


async def test_lists_can_be_narrowed(main: Main, service: Service, world: World) -> None:
    _, stub = service
    world.reply(500)
    bad = await main.owe(workflow(call(world.url)))
    await main.result(bad)
    good = await main.owe(workflow(call(world.url)))
    await main.result(good)

    async def ids(request: pb.ListExitsRequest) -> list[str]:
        return [e.id for e in (await stub.ListExits(request)).exits]

    assert await ids(pb.ListExitsRequest(states=[pb.Exit.STATE_FAILED, pb.Exit.STATE_PARKED])) == [bad.hook_id]
    assert await ids(pb.ListExitsRequest(workflow=good.name)) == [good.hook_id]
    for all_of_them in ("", "*", "ns"):
        assert await ids(pb.ListExitsRequest(namespace=all_of_them)) == [good.hook_id, bad.hook_id]
    assert await ids(pb.ListExitsRequest(namespace="elsewhere")) == []
    assert await ids(pb.ListExitsRequest(hook="exit")) == [good.hook_id, bad.hook_id]
    assert await ids(pb.ListExitsRequest(hook="other")) == []
    between = Timestamp()
    between.FromNanoseconds(int(good.due_at * 1e9))
    assert await ids(pb.ListExitsRequest(due_after=between)) == [good.hook_id]
    assert await ids(pb.ListExitsRequest(due_before=between)) == [bad.hook_id]


async def test_running_handlers_show_their_nodes(main: Main, service: Service, world: World) -> None:
    handler, _ = service
    world.reply_never()
    owed = await main.owe(workflow(call(world.url)))
    await world.arrived()
    async with inside(handler) as stub:
        answers = [answer async for answer in stub.ReadExitNodes(internal.ReadExitNodesRequest(uid=owed.uid))]
        nodes = [node for answer in answers for node in json.loads(answer.nodes_json).values()]
        assert [(n["name"], n["phase"]) for n in nodes] == [(owed.hook_node_name, "Running")]
        assert [a async for a in stub.ReadExitNodes(internal.ReadExitNodesRequest(uid="someone-else"))] == []


async def test_a_watch_shows_what_is_there_and_what_comes(main: Main, service: Service, world: World) -> None:
    _, stub = service
    before = await main.owe(workflow(call(world.url)))
    await main.result(before)
    watch = stub.WatchExits(pb.WatchExitsRequest(namespace="ns"))
    seen = []
    after = None
    async with asyncio.timeout(10):
        while after is None or seen[-1] != (after.hook_id, "STATE_SUCCEEDED"):
            told = await watch.read()
            if told.kind == pb.WatchExitsResponse.KIND_SYNCED:
                assert seen == [(before.hook_id, "STATE_SUCCEEDED")]
                position = told.position
                after = await main.owe(workflow(call(world.url)))
            else:
                seen.append((told.exit.id, pb.Exit.State.Name(told.exit.state)))
    assert (after.hook_id, "STATE_RUNNING") in seen
    watch.cancel()
    again = stub.WatchExits(pb.WatchExitsRequest(namespace="ns", position=position))
    async with asyncio.timeout(10):
        told = [await again.read() for _ in range(2)]
    assert [(one.kind, one.exit.id) for one in told] == [
        (pb.WatchExitsResponse.KIND_CHANGED, after.hook_id),
        (pb.WatchExitsResponse.KIND_SYNCED, ""),
    ]
    again.cancel()


async def test_a_watch_says_what_fits_no_more_and_what_cannot_be_gone_on_from(
    main: Main, service: Service, world: World
) -> None:
    _, stub = service
    kinds = pb.WatchExitsResponse
    release = world.reply_when_told()
    running = stub.WatchExits(pb.WatchExitsRequest(states=[pb.Exit.STATE_RUNNING]))
    async with asyncio.timeout(10):
        assert (await running.read()).kind == kinds.KIND_SYNCED
        owed = await main.owe(workflow(call(world.url)))
        told = await running.read()
        assert (told.kind, told.exit.id) == (kinds.KIND_CHANGED, owed.hook_id)
        release.set()
        while (told := await running.read()).kind == kinds.KIND_CHANGED:
            pass
        assert (told.kind, told.exit.id, told.exit.state) == (kinds.KIND_LEFT, owed.hook_id, pb.Exit.STATE_SUCCEEDED)
        ahead = stub.WatchExits(pb.WatchExitsRequest(position="99999"))
        assert (await ahead.read()).kind == kinds.KIND_RESET
        assert (await ahead.read()).exit.id == owed.hook_id
    for watch in (running, ahead):
        watch.cancel()
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.WatchExits(pb.WatchExitsRequest(position="x")).read()
    assert code(raised) is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_watch_of_changes_has_what_fits_and_is_new(main: Main, service: Service, world: World) -> None:
    _, stub = service
    before = await main.owe(workflow(call(world.url)))
    await main.result(before)
    only = pb.WatchExitsRequest(changes_only=True, states=[pb.Exit.STATE_FAILED], hook="exit")
    watch = stub.WatchExits(only)
    await watch.initial_metadata()
    await main.result(await main.owe(workflow(call(world.url))))
    world.reply(500)
    bad = await main.owe(workflow(call(world.url)))
    async with asyncio.timeout(10):
        told = [await watch.read() for _ in range(2)]
    kinds = pb.WatchExitsResponse
    assert [one.kind for one in told] == [kinds.KIND_SYNCED, kinds.KIND_CHANGED]
    assert told[1].exit.id == bad.hook_id
    watch.cancel()


async def test_a_watch_tells_of_what_other_exit_handlers_write(main: Main, service: Service, world: World) -> None:
    handler, stub = service
    watch = stub.WatchExits(pb.WatchExitsRequest(workflow="of-another", namespace="*"))
    assert (await watch.read()).kind == pb.WatchExitsResponse.KIND_SYNCED
    record = ExitRecord("e" * 24, uid="u", workflow="of-another", namespace="ns", state="running", due_at=time.time())
    theirs = handler.ledger._store
    await theirs.put_version("ns", record.due_at, record.id, record.summary(), msgspec.to_builtins(record), version=1)
    async with asyncio.timeout(10):
        assert (await watch.read()).exit.state == pb.Exit.STATE_RUNNING
        record.state = "failed"
        body = msgspec.to_builtins(record)
        await theirs.put_version("ns", record.due_at, record.id, record.summary(), body, version=2)
        assert (await watch.read()).exit.state == pb.Exit.STATE_FAILED
    watch.cancel()


async def test_a_replay_is_done_once_for_each_request(main: Main, service: Service, world: World) -> None:
    _, stub = service
    world.reply(500)
    owed = await main.owe(workflow(call(world.url)))
    await main.result(owed)
    request = pb.ReplayExitRequest(id=owed.hook_id, request_id="r1")
    await stub.ReplayExit(request)
    await main.result(owed, 2)
    assert (await stub.ReplayExit(request)).state == pb.Exit.STATE_SUCCEEDED
    assert (await stub.GetExit(pb.GetExitRequest(id=owed.hook_id))).replays == 1
    assert len(world.requests) == 2


async def test_a_repeated_cancel_leaves_the_replay_behind_it_alone(main: Main, service: Service, world: World) -> None:
    handler, stub = service
    world.reply_never()
    owed = await main.owe(workflow(call(world.url)))
    await world.arrived()
    cancel = pb.CancelExitRequest(id=owed.hook_id, request_id="c1")
    assert (await stub.CancelExit(cancel)).id == owed.hook_id
    assert (await main.result(owed)).state == "cancelled"
    assert (await stub.CancelExit(cancel)).state == pb.Exit.STATE_CANCELLED
    world.reply_never()
    await stub.ReplayExit(pb.ReplayExitRequest(id=owed.hook_id, request_id="r1"))
    await world.arrived(2)
    assert (await stub.CancelExit(cancel)).state == pb.Exit.STATE_RUNNING
    await unmark(handler, "c1")
    assert (await stub.CancelExit(cancel)).state == pb.Exit.STATE_RUNNING
    assert (await stub.CancelExit(pb.CancelExitRequest(id=owed.hook_id, request_id="c2"))).replays == 1
    assert (await main.result(owed, 2)).state == "cancelled"


async def test_a_request_id_stands_for_one_call_about_one_exit_run(main: Main, service: Service, world: World) -> None:
    handler, stub = service
    owed = [await main.owe(workflow(call(world.url))) for _ in range(2)]
    for one in owed:
        await main.result(one)
    first, other = (one.hook_id for one in owed)
    await stub.ReplayExit(pb.ReplayExitRequest(id=first, request_id="r", again=True))
    await main.result(owed[0], 2)
    await handler.projections.names.bind(uids("ns", "submitted", 1)[0], "of a submission")
    refused: list[tuple[str, pb.ReplayExitRequest | pb.CancelExitRequest]] = [
        ("ReplayExit", pb.ReplayExitRequest(id=first, request_id="r")),
        ("ReplayExit", pb.ReplayExitRequest(id=first, request_id="r", again=True, revision=1)),
        ("ReplayExit", pb.ReplayExitRequest(id=other, request_id="r", again=True)),
        ("ReplayExit", pb.ReplayExitRequest(id=other, request_id="submitted")),
        ("CancelExit", pb.CancelExitRequest(id=first, request_id="r")),
    ]
    for method, request in refused:
        await refuses(getattr(stub, method)(request))
    world.reply_never()
    await stub.ReplayExit(pb.ReplayExitRequest(id=other, request_id="another"))
    await world.arrived(4)
    cancel = pb.CancelExitRequest(id=other, request_id="c", by="a", message="why")
    await refuses(stub.CancelExit(pb.CancelExitRequest(id=other, request_id="another")))
    await stub.CancelExit(cancel)
    await main.result(owed[1], 2)
    for changed in ({"by": "b"}, {"message": "because"}, {"revision": 7}):
        request = pb.CancelExitRequest()
        request.CopyFrom(cancel)
        request.MergeFrom(pb.CancelExitRequest(**changed))  # type: ignore[arg-type]
        await refuses(stub.CancelExit(request))
    await refuses(stub.ReplayExit(pb.ReplayExitRequest(id=other, request_id="c")))
    assert [(await stub.GetExit(pb.GetExitRequest(id=id))).replays for id in (first, other)] == [1, 1]


async def test_a_replay_that_is_asked_for_twice_at_once_is_one(main: Main, service: Service, world: World) -> None:
    _, stub = service
    owed = await main.owe(workflow(call(world.url)))
    await main.result(owed)
    request = pb.ReplayExitRequest(id=owed.hook_id, request_id="r")
    answers = await asyncio.gather(*(stub.ReplayExit(request) for _ in range(5)))
    assert {answer.replays for answer in answers} == {1}
    await main.result(owed, 2)
    assert (await stub.ReplayExit(request)).replays == 1


async def unmark(handler: ExitHandler, request_id: str) -> None:
    """As if the exit handler had gone between doing what was asked and saying so."""
    names = handler.projections.names
    found = await names.asked("ns", request_id)
    assert found is not None
    assert found.done
    await names._write(
        _request_subject("ns", request_id), msgspec.json.encode(ClaimedRequest(found.uid, found.content)), {}
    )


async def refuses(asked: Awaitable[pb.Exit]) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await asked
    told = received(refused.value)
    assert (told.code, told.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_USED")


async def test_a_page_token_is_of_one_list(main: Main, service: Service, world: World) -> None:
    _, stub = service
    for _ in range(3):
        await main.result(await main.owe(workflow(call(world.url))))
    states = [pb.Exit.STATE_SUCCEEDED, pb.Exit.STATE_FAILED]
    token = (await stub.ListExits(pb.ListExitsRequest(page_size=1, states=states))).next_page_token
    again = pb.ListExitsRequest(page_size=5, states=states[::-1], namespace="*", page_token=token)
    assert len((await stub.ListExits(again)).exits) == 2
    for other in ({"hook": "exit"}, {"uid": "u"}, {"due_before": Timestamp(seconds=2**33)}):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.ListExits(pb.ListExitsRequest(states=states, page_token=token, **other))  # type: ignore[arg-type]
        assert received(refused.value).violations[0].field == "page_token"


async def test_errors_say_what_to_do(main: Main, service: Service, world: World) -> None:
    handler, stub = service
    world.reply_never()
    owed = await main.owe(workflow(call(world.url)))
    await world.arrived()
    for request, expected in [
        (pb.ReplayExitRequest(id=owed.hook_id, request_id="r"), grpc.StatusCode.FAILED_PRECONDITION),
        (pb.ReplayExitRequest(id=owed.hook_id), grpc.StatusCode.FAILED_PRECONDITION),
        (pb.ReplayExitRequest(request_id="r"), grpc.StatusCode.INVALID_ARGUMENT),
        (pb.ReplayExitRequest(id="nothing", request_id="r"), grpc.StatusCode.NOT_FOUND),
        (pb.ReplayExitRequest(id="a.b.>", request_id="r"), grpc.StatusCode.NOT_FOUND),
    ]:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.ReplayExit(request)
        assert code(raised) is expected
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.GetExit(pb.GetExitRequest())
    assert code(raised) is grpc.StatusCode.INVALID_ARGUMENT
    for selector, phase in (("approve", ""), ("id=a", "Happy")):
        steered = internal.SteerExitNodesRequest(uid=owed.uid, node_field_selector=selector, phase=phase)
        async with inside(handler) as nodes:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await nodes.SteerExitNodes(steered)
        assert code(raised) is grpc.StatusCode.INVALID_ARGUMENT
    for listing in [pb.ListExitsRequest(page_size=-1), pb.ListExitsRequest(page_token="???")]:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.ListExits(listing)
        assert code(raised) is grpc.StatusCode.INVALID_ARGUMENT
