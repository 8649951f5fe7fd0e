"""Events go out each lane in its order, whatever is done to the stream, and nobody has to wait for them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from nats.js.errors import APIError

from exeunt.cloudevents import STATES, STREAM, Workflow
from exeunt.journal.lanes import Crowded, Lanes
from exeunt.journal.projections import Projections, open_projections
from exeunt.journal.public import EventToPublish
from exeunt.journal.refill import Refill, Told
from exeunt.journal.wire import connect, wire_of
from tests.journal.history import eventually
from tests.nats_server import NatsServer

pytestmark = pytest.mark.services


@contextlib.asynccontextmanager
async def opened(
    server: NatsServer, closed_ones: Sequence[Told] = (), open_ones: Sequence[Told] = ()
) -> AsyncIterator[tuple[Client, Projections]]:
    """Projections whose log tells these of closed and open runs."""
    nc = await connect(server.url, "events")
    found = await open_projections(nc)

    async def history(closed: bool) -> AsyncIterator[Told]:
        for told in closed_ones if closed else open_ones:
            yield told

    working = [asyncio.create_task(found.run()), asyncio.create_task(Refill(found.events, history).run())]
    try:
        yield nc, found
    finally:
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
        await nc.close()


@pytest.fixture
async def projections(nats_server: NatsServer) -> AsyncIterator[Projections]:
    async with opened(nats_server) as (_, found):
        yield found


@pytest.fixture
async def stranger(nats_server: NatsServer) -> AsyncIterator[Client]:
    """Somebody else who is let in."""
    nc = await connect(nats_server.url, "stranger")
    yield nc
    await nc.close()


def event(uid: str, number: int) -> EventToPublish:
    data = Workflow(workflow="w", uid=uid, namespace="default", attempt=number, phase="Running")
    return EventToPublish("default", uid, "w", str(number), "workflow.running", "w", 1.0, data)


def post(found: Projections, uid: str, number: int) -> asyncio.Future[int]:
    return found.events.post(event(uid, number))


async def stored(nc: Client) -> list[tuple[str, dict[str, str]]]:
    """The id and the headers of every event of ours, in the stream's order."""
    js = nc.jetstream()
    state = (await js.stream_info(STREAM)).state
    found = []
    for sequence in range(state.first_seq, state.last_seq + 1):
        headers = (await js.get_msg(STREAM, sequence)).headers or {}
        if "ce-id" in headers:
            found.append((headers["ce-id"], headers))
    return found


async def api(nc: Client, verb: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    answer = await nc.request(f"$JS.API.STREAM.{verb}.{STREAM}", json.dumps(body or {}).encode(), timeout=5)
    found: dict[str, Any] = json.loads(answer.data)
    assert "error" not in found, found
    return found


async def test_each_lane_keeps_its_order_and_no_header_of_a_batch_stays(
    projections: Projections, stranger: Client
) -> None:
    posted = [post(projections, f"u{n % 7}", n // 7 + 1) for n in range(7 * 40)]
    await projections.events.out()
    assert all(one.done() for one in posted)
    found = await stored(stranger)
    for uid in range(7):
        assert [id for id, _ in found if id.startswith(f"u{uid}.")] == [f"u{uid}.{n}" for n in range(1, 41)]
    assert not [name for _, headers in found for name in headers if name.startswith("Nats-") and name != "Nats-Msg-Id"]


async def test_a_subscriber_that_acknowledges_stalls_nothing(projections: Projections, stranger: Client) -> None:
    async def acknowledge(message: Msg) -> None:
        for said in (b"+ACK", b"", b"{}", b'{"seq": 4}'):
            await stranger.publish(message.reply, said)

    await stranger.subscribe("exeunt.events.>", cb=acknowledge)
    await stranger.flush()
    async with asyncio.timeout(3):
        for number in range(1, 31):
            assert await post(projections, "u", number) > 0
    assert [id for id, _ in await stored(stranger)] == [f"u.{n}" for n in range(1, 31)]


async def test_an_id_that_somebody_has_used_hides_no_event(projections: Projections, stranger: Client) -> None:
    js = stranger.jetstream()
    for number in (2, 3):
        await js.publish("exeunt.events.x.y.z", b"mine", headers={"Nats-Msg-Id": f"u.{number}", "ce-id": f"x.{number}"})
    for number in (1, 2, 3):
        await post(projections, "u", number)
    assert [id for id, _ in await stored(stranger) if id[0] == "u"] == ["u.1", "u.2", "u.3"]
    await post(projections, "u", 3)  # of ours a repeat is stored once
    assert len([id for id, _ in await stored(stranger) if id[0] == "u"]) == 3


async def test_a_stream_that_is_removed_is_made_again(projections: Projections, stranger: Client) -> None:
    for round in range(3):
        await post(projections, "u", round + 1)
        await api(stranger, "DELETE")
        async with asyncio.timeout(5):
            await post(projections, "v", round + 1)
    assert [id for id, _ in await stored(stranger)][-1] == "v.3"


_numbers = itertools.count(1)


async def _taken(projections: Projections) -> int:
    async with asyncio.timeout(5):
        return await post(projections, "u", next(_numbers))


async def test_settings_that_people_broke_are_mended(projections: Projections, stranger: Client) -> None:
    config = (await api(stranger, "INFO"))["config"]
    await api(stranger, "UPDATE", {**config, "subjects": ["something.else"], "max_bytes": -1, "description": "ours"})
    assert await _taken(projections)
    await api(stranger, "UPDATE", {**config, "max_msg_size": 10, "description": "ours"})
    assert await _taken(projections)
    await api(stranger, "UPDATE", {**config, "discard": "new", "max_msgs": 1, "description": "ours"})
    assert await _taken(projections)
    assert await _taken(projections)
    config = (await api(stranger, "INFO"))["config"]
    assert config["subjects"] == ["exeunt.events.>"]
    assert config["max_bytes"] > 0
    assert config["description"] == "ours"


async def test_the_stream_has_a_limit_where_the_store_is_small(tmp_path: Any) -> None:
    server = NatsServer(tmp_path / "small", store_limit="64MB")
    await server.begin()
    try:
        async with opened(server) as (nc, found):
            await post(found, "u", 1)
            assert 1 << 20 <= (await api(nc, "INFO"))["config"]["max_bytes"] <= 64 << 20
    finally:
        await server.kill()


async def test_nobody_waits_while_the_stream_takes_nothing(nats_server: NatsServer, stranger: Client) -> None:
    """And what waited comes in its order when it does again."""
    nc = await connect(nats_server.url, "events")
    lanes = Lanes(await wire_of(nc), "SMALL", patience=0.2, most=20_000)
    working = asyncio.create_task(lanes.run())
    js = stranger.jetstream()
    make = {"name": "SMALL", "subjects": ["small.>"], "discard": "new", "max_msgs": 2}
    await stranger.request("$JS.API.STREAM.CREATE.SMALL", json.dumps(make).encode(), timeout=5)

    def put(lane: str, n: int) -> asyncio.Future[int]:
        id = f"{lane}.{n}"
        return lanes.put(lane, f"small.{lane}", b"x" * 100, f"ce-id: {id}\r\n".encode(), id)

    try:
        posted = [put(lane, n) for n in range(4) for lane in "ab"]
        async with asyncio.timeout(3):
            await lanes.out()
        assert lanes.stuck
        assert lanes.trouble
        assert sum(one.done() for one in posted) == 2
        assert lanes.out().done(), "while it is stuck nobody waits at all"
        with pytest.raises(Crowded):
            await asyncio.gather(*(put("c", n) for n in range(100)))
        await stranger.request("$JS.API.STREAM.UPDATE.SMALL", json.dumps({**make, "max_msgs": -1}).encode(), timeout=5)
        await eventually(lambda: not lanes.trouble)
        async with asyncio.timeout(5):
            await asyncio.gather(*posted)
        await lanes.out()
        last = (await js.stream_info("SMALL")).state.last_seq
        ids = [((await js.get_msg("SMALL", n)).headers or {})["ce-id"] for n in range(1, last + 1)]
        for lane in "ab":
            assert [id for id in ids if id[0] == lane] == [f"{lane}.{n}" for n in range(4)]
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        await nc.close()


async def test_a_server_that_dies_repeats_and_loses_nothing(nats_server: NatsServer) -> None:
    async with opened(nats_server) as (nc, found):
        posted = []
        for number in range(1, 201):
            posted.append(post(found, f"u{number % 3}", number))
            if number in (50, 120):
                await nats_server.kill()
                await nats_server.begin()
            await asyncio.sleep(0.001)
        async with asyncio.timeout(30):
            await asyncio.gather(*posted)
        ids = [id for id, _ in await stored(nc)]
        for lane in range(3):
            assert [id for id in ids if id.startswith(f"u{lane}.")] == [
                f"u{lane}.{n}" for n in range(1, 201) if n % 3 == lane
            ]


async def state(nc: Client, uid: str) -> str:
    """The id of the last event that is kept of a workflow; empty where there is none."""
    answer = await nc.request(f"$JS.API.DIRECT.GET.{STATES}.exeunt.state.default.{uid}", b"", timeout=5)
    return (answer.headers or {}).get("ce-id", "")


async def until_state(nc: Client, uid: str, id: str) -> None:
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(NoRespondersError):  # it is being made
                if await state(nc, uid) == id:
                    return
            await asyncio.sleep(0.05)


async def test_the_last_state_of_each_workflow_is_one_get(projections: Projections, stranger: Client) -> None:
    for number in (1, 2, 3):
        await post(projections, "u", number)
    await post(projections, "v", 1)
    await until_state(stranger, "u", "u.3")
    await until_state(stranger, "v", "v.1")
    assert (await stranger.jetstream().stream_info(STATES)).state.messages == 2


async def test_states_that_are_removed_are_copied_again(projections: Projections, stranger: Client) -> None:
    js = stranger.jetstream()
    await post(projections, "u", 1)
    await until_state(stranger, "u", "u.1")
    await js.delete_stream(STATES)
    await until_state(stranger, "u", "u.1")
    await js.delete_stream(STREAM)  # its positions begin anew
    await post(projections, "u", 2)
    await until_state(stranger, "u", "u.2")


async def test_what_is_told_again_late_is_not_taken_for_the_state(projections: Projections, stranger: Client) -> None:
    events = projections.events
    told = [event("u", number) for number in (1, 2)]
    await events.post(told[1])
    await until_state(stranger, "u", "u.2")
    events.lanes.hold(emptied=True)
    await events.again(told)
    events.lanes.release()
    await events.out()
    assert [ident for ident, _ in await stored(stranger)] == ["u.2", "u.1", "u.2"]
    await until_state(stranger, "u", "u.2")


async def test_parts_of_a_run_that_are_told_at_once_are_all_stored(projections: Projections, stranger: Client) -> None:
    """None of them stands in the way of the one that is on its way."""
    events = projections.events
    events.lanes.hold(emptied=True)
    await asyncio.gather(*(events.again([event("u", n), event("u", n + 1)]) for n in (1, 3, 5, 7)))
    events.lanes.release()
    async with asyncio.timeout(10):
        await events.out()
    assert sorted(id for id, _ in await stored(stranger)) == [f"u.{n}" for n in range(1, 9)]


async def test_attempts_are_told_again_in_their_order(nats_server: NatsServer, stranger: Client) -> None:
    """Those that are closed before the one that is open, and those of a closed run one after the other."""
    attempts = [[event(uid, n) for n in range(first, first + 3)] for uid in ("u", "v") for first in (1, 4, 7)]
    for told in attempts:
        for one in told:
            one.data.attempt = (int(one.number) - 1) // 3
    async with opened(nats_server, [*attempts[:2], *attempts[3:]], [attempts[2]]) as (_, found):

        async def all_of_them() -> list[str]:
            ids: list[str] = []
            for _ in range(300):
                with contextlib.suppress(APIError):  # it is being made, or emptied
                    ids = [id for id, _ in await stored(stranger)]
                if len(ids) >= 18:
                    return ids
                await asyncio.sleep(0.1)
            raise AssertionError(ids)

        await all_of_them()  # of a stream that was not there
        await post(found, "w", 1)
        await stranger.jetstream().purge_stream(STREAM)
        ids = await all_of_them()
        for uid in ("u", "v"):
            assert [id for id in ids if id.startswith(uid)] == [f"{uid}.{n}" for n in range(1, 10)]
        await until_state(stranger, "u", "u.9")


async def test_states_that_are_emptied_are_copied_again(projections: Projections, stranger: Client) -> None:
    await post(projections, "u", 1)
    await until_state(stranger, "u", "u.1")
    await stranger.jetstream().purge_stream(STATES)
    await until_state(stranger, "u", "u.1")
