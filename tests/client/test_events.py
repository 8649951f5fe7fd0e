"""What a subscriber gets from `exeunt.client.events`, on a real nats-server that is killed and restarted under it."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client as Nats

from exeunt import cloudevents
from exeunt.client import ClientError, events, pull
from exeunt.journal import public
from exeunt.journal.streams import ensure_stream
from exeunt.journal.wire import wire_of
from tests.nats_server import NatsServer, nats_server

__all__ = ["nats_server"]

pytestmark = [pytest.mark.services, pytest.mark.timeout(60)]


class Publisher:
    """Publishes as the services do. `again` leaves out what NATS knows a repeat by, as after ten minutes."""

    def __init__(self, nc: Nats) -> None:
        self.nc = nc
        self.js = nc.jetstream()
        self.count = 0

    async def tell(
        self, kind: Any, number: int = 0, *, namespace: str = "default", workflow: str = "w", again: bool = False
    ) -> str:
        """One event of a workflow; its id."""
        self.count = number or self.count + 1
        uid = f"uid-{namespace}-{workflow}"
        headers = cloudevents.headers(
            uid=uid,
            number=str(self.count),
            kind=kind,
            namespace=namespace,
            workflow=workflow,
            subject=f'{workflow} "é"',
            at=datetime.now(UTC).timestamp(),
            trace={},
        )
        if not again:
            headers["Nats-Msg-Id"] = headers["ce-id"]
        await self.js.publish(cloudevents.subject(namespace, uid, kind), b'{"phase": "Failed"}', headers=headers)
        return headers["ce-id"]


@contextlib.asynccontextmanager
async def publishing(server: NatsServer) -> AsyncIterator[Publisher]:
    """A publisher, and the stream."""
    nc = await nats.connect(server.url, max_reconnect_attempts=-1, reconnect_time_wait=0.1)  # type: ignore[arg-type]
    try:
        await ensure_stream(await wire_of(nc), public.config(1).as_dict())
        yield Publisher(nc)
    finally:
        await nc.close()


@pytest.fixture
async def publisher(nats_server: NatsServer) -> AsyncIterator[Publisher]:
    async with publishing(nats_server) as found:
        yield found


async def kept(server: NatsServer, **chosen: Any) -> list[events.Event]:
    """What is there now."""
    chosen = {"since": events.ALL_KEPT, **chosen}
    return [event async for event in events.subscribe(server.url, follow=False, **chosen)]


async def test_an_event_says_what_it_is(nats_server: NatsServer, publisher: Publisher) -> None:
    id = await publisher.tell("step.failed", namespace="team-a", workflow="nightly")
    [event] = await kept(nats_server)
    assert (event.type, event.id, event.namespace, event.workflow) == ("step.failed", id, "team-a", "nightly")
    assert event.workflow_uid == "uid-team-a-nightly"
    assert event.subject == 'nightly "é"'
    assert event.data == {"phase": "Failed"}
    assert abs(datetime.now(UTC) - event.time) < timedelta(seconds=60)
    assert event.attributes["type"] == "dev.exeunt.step.failed.v1"


@pytest.mark.parametrize(
    ("chosen", "numbers"),
    [
        ({}, [1, 2, 3, 4, 5]),
        ({"namespace": "team-a"}, [1, 2, 3, 4]),
        ({"types": ["workflow.failed"]}, [3, 5]),
        ({"types": ["workflow.*"]}, [1, 3, 4, 5]),
        ({"types": ["*.failed"], "namespace": "team-a"}, [2, 3]),
        ({"types": ["step.failed", "workflow.submitted"]}, [1, 2]),
        ({"workflow": "b"}, [4]),
        ({"uid": "uid-team-b-a"}, [5]),
    ],
)
async def test_one_gets_what_one_chooses(
    nats_server: NatsServer, publisher: Publisher, chosen: dict[str, Any], numbers: list[int]
) -> None:
    await publisher.tell("workflow.submitted", namespace="team-a", workflow="a")
    await publisher.tell("step.failed", namespace="team-a", workflow="a")
    await publisher.tell("workflow.failed", namespace="team-a", workflow="a")
    await publisher.tell("workflow.error", namespace="team-a", workflow="b")
    await publisher.tell("workflow.failed", namespace="team-b", workflow="a")
    assert [int(event.id.split(".")[-1]) for event in await kept(nats_server, **chosen)] == numbers


async def test_replay_begins_at_a_point_in_time(nats_server: NatsServer, publisher: Publisher) -> None:
    await publisher.tell("workflow.submitted")
    await asyncio.sleep(0.01)  # the clock goes on
    then = datetime.now(UTC)
    await publisher.tell("workflow.running")
    await publisher.tell("workflow.failed")
    assert [event.type for event in await kept(nats_server, since=then)] == ["workflow.running", "workflow.failed"]
    naive = then.replace(tzinfo=None)
    assert len(await kept(nats_server, since=naive)) == 2, "without a zone it is UTC"


async def test_nothing_there_is_an_end_too(nats_server: NatsServer, publisher: Publisher) -> None:
    assert publisher
    assert await kept(nats_server) == []
    assert await kept(nats_server, durable="d") == []


async def test_a_repeat_is_dropped(nats_server: NatsServer, publisher: Publisher) -> None:
    for number in (1, 2, 2, 1, 3):
        await publisher.tell("step.failed", number, again=True)
    assert [event.id[-1] for event in await kept(nats_server)] == ["1", "2", "3"]


async def test_live_means_from_now_on(nats_server: NatsServer, publisher: Publisher) -> None:
    await publisher.tell("workflow.submitted")
    stream = events.subscribe(nats_server.url, types=["workflow.*"])
    first = asyncio.ensure_future(anext(stream))
    await consumers(publisher, 1)
    id = await publisher.tell("workflow.running")
    assert (await first).id == id
    await stream.aclose()
    await consumers(publisher, 0)


async def test_leaving_the_loop_closes_it(nats_server: NatsServer, publisher: Publisher) -> None:
    await publisher.tell("workflow.submitted")
    async for _ in events.subscribe(nats_server.url, since=events.ALL_KEPT):
        await consumers(publisher, 1)
        break
    await consumers(publisher, 0)


async def consumers(publisher: Publisher, count: int) -> None:
    """Waits until the stream has so many."""
    async with asyncio.timeout(10):
        while (await publisher.js.stream_info(cloudevents.STREAM)).state.consumer_count != count:
            pass


async def waiting(publisher: Publisher) -> None:
    """Waits until a subscriber waits for messages: one that has no answer yet to how it began may give up."""
    async with asyncio.timeout(10):
        while not any(one.num_waiting for one in await publisher.js.consumers_info(cloudevents.STREAM)):
            pass


@pytest.mark.parametrize("durable", ["", "keeper"])
@pytest.mark.parametrize("slow", [False, True])
async def test_a_restart_of_nats_loses_and_repeats_nothing(
    nats_server: NatsServer, publisher: Publisher, durable: str, slow: bool
) -> None:
    """`slow`: the subscriber is busy while NATS is away, and half of the events lie unread."""
    sent = [await publisher.tell("step.failed") for _ in range(300)]
    got = []
    async with (
        contextlib.aclosing(events.subscribe(nats_server.url, since=events.ALL_KEPT, durable=durable)) as stream,
        asyncio.timeout(40),
    ):
        async for event in stream:
            got.append(event.id)
            if len(got) == (150 if slow else 300):
                await nats_server.restart()
                sent += [await until_told(publisher, number) for number in range(301, 311)]
            if len(got) == 310:
                break
    assert got == sent


async def until_told(publisher: Publisher, number: int) -> str:
    """Tells it as soon as NATS takes it."""
    while True:
        with contextlib.suppress(nats.errors.Error, nats.js.errors.Error, TimeoutError):
            return await publisher.tell("step.failed", number)
        await asyncio.sleep(0.05)


async def test_before_its_first_event_a_restart_loses_nothing_either(
    nats_server: NatsServer, publisher: Publisher
) -> None:
    await publisher.tell("step.failed")
    stream = events.subscribe(nats_server.url)
    first = asyncio.ensure_future(anext(stream))
    await waiting(publisher)
    await nats_server.restart()
    id = await until_told(publisher, 2)
    async with asyncio.timeout(20):
        assert (await first).id == id
    await stream.aclose()


async def test_a_durable_one_goes_on_where_it_was(nats_server: NatsServer, publisher: Publisher) -> None:
    ids = [await publisher.tell("step.failed") for _ in range(5)]

    async def some(count: int) -> list[str]:
        got: list[str] = []
        stream = events.subscribe(nats_server.url, since=events.ALL_KEPT, durable="mine")
        async with contextlib.aclosing(stream), asyncio.timeout(20):
            async for event in stream:
                got.append(event.id)
                if len(got) == count:
                    break
        return got

    assert await some(3) == ids[:3]
    assert await some(3) == ids[2:5], "the last one was not confirmed: the loop was left"
    assert [event.id for event in await kept(nats_server, durable="mine")] == ids[4:]
    assert await kept(nats_server, durable="mine") == [], "an exhausted loop confirms all"


async def test_slow_work_on_a_durable_one_gets_each_event_once(nats_server: NatsServer, publisher: Publisher) -> None:
    """Slower than NATS waits for a confirmation: it sends the event again meanwhile."""
    ids = [await publisher.tell("step.failed") for _ in range(3)]
    got = []
    stream = events.subscribe(nats_server.url, since=events.ALL_KEPT, durable="slow", follow=False)
    async for event in stream:
        got.append(event.id)
        if len(got) == 1:
            await asyncio.sleep(pull.CONFIRM_SECONDS * 1.5)
    assert got == ids
    info = await publisher.js.consumer_info(cloudevents.STREAM, "slow")
    assert info.num_ack_pending == 0


async def test_a_durable_one_may_choose_anew(nats_server: NatsServer, publisher: Publisher) -> None:
    await publisher.tell("step.failed")
    assert len(await kept(nats_server, durable="mine", types=["step.*"])) == 1
    await publisher.tell("workflow.failed")
    assert [e.type for e in await kept(nats_server, durable="mine", types=["workflow.*"])] == ["workflow.failed"]


async def test_a_connection_of_ones_own_stays_open(nats_server: NatsServer, publisher: Publisher) -> None:
    id = await publisher.tell("step.failed")
    stream = events.subscribe(publisher.nc, since=events.ALL_KEPT)
    assert (await anext(stream)).id == id
    await stream.aclose()
    assert publisher.nc.is_connected
    await consumers(publisher, 0)


async def test_what_is_no_json_is_handed_on(nats_server: NatsServer, publisher: Publisher) -> None:
    """Whoever may write there may write anything: one odd message stops no subscriber."""
    for _ in range(2):
        await publisher.js.publish("exeunt.events.default.u.step.failed", b"\xff{")
    event, _ = await kept(nats_server)
    assert (event.type, event.workflow_uid, event.id) == ("step.failed", "u", "")
    assert isinstance(event.data, str)


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"types": ["workflow.ended"]}, "there is no 'workflow.ended'"),
        ({"types": ["failed"]}, "there is no 'failed'"),
        ({"namespace": "a.b"}, "namespace='a.b'"),
        ({"durable": "a b"}, "durable='a b'"),
    ],
)
async def test_a_wrong_choice_is_refused(chosen: dict[str, Any], said: str) -> None:
    with pytest.raises(ClientError, match=re.escape(said)) as refused:
        await anext(events.subscribe("nats://127.0.0.1:1", **chosen))
    assert refused.value.code == "INVALID_ARGUMENT"


async def test_no_nats_and_no_stream_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "CONNECT_SECONDS", 0.5)
    server = NatsServer(tmp_path / "nats")
    url = server.url.replace("//", "//user:secret@")
    with pytest.raises(ClientError) as refused:
        await anext(events.subscribe(url))
    assert refused.value.unreachable
    assert "secret" not in refused.value.text
    await server.begin()
    try:
        with pytest.raises(ClientError, match="no events are kept there") as refused:
            await anext(events.subscribe(server.url))
        assert refused.value.code == "NOT_FOUND"
    finally:
        await server.stop()
