"""How waiting writes become requests: few go plain and pipelined, many as one batch, never more than a server takes."""

from __future__ import annotations

import asyncio
from collections import deque

import pytest

from exeunt.journal.errors import LogClosed, Refused
from exeunt.journal.gather import BATCH_BYTES, BATCH_MESSAGES, Gatherer, QueuedWrite, plan, take_batch
from exeunt.journal.log import Log
from exeunt.journal.outbox import Outbox
from exeunt.journal.settings import LogSettings
from exeunt.journal.streams import ensure_stream
from exeunt.journal.subjects import family_of
from exeunt.journal.wire import Wire, connect, wire_of
from tests.journal.conftest import OpenLog
from tests.journal.history import history
from tests.nats_server import NatsServer


def entry(size: int = 10) -> QueuedWrite:
    return QueuedWrite("s", b"", bytes(size), 0, asyncio.get_running_loop().create_future())


@pytest.mark.parametrize(
    ("waiting", "in_flight", "limit", "what"),
    [
        (0, 0, 12, "nothing"),
        (1, 0, 12, "plain"),
        (12, 0, 12, "plain"),
        (13, 0, 12, "batch"),
        (4, 8, 12, "plain"),
        (5, 8, 12, "wait"),
        (500, 1, 12, "wait"),
        (1, 0, 1, "plain"),  # three nodes: one request in flight
        (1, 1, 1, "wait"),
        (2, 0, 1, "batch"),
    ],
)
def test_few_go_plain_and_many_as_a_batch(waiting: int, in_flight: int, limit: int, what: str) -> None:
    assert plan(waiting, in_flight, limit) == what


async def test_a_batch_holds_what_a_server_takes() -> None:
    queue = deque(entry() for _ in range(1200))
    assert [len(take_batch(queue)) for _ in range(3)] == [BATCH_MESSAGES, BATCH_MESSAGES, 200]
    queue = deque(entry(3 * 1024 * 1024) for _ in range(5))
    assert [len(take_batch(queue)) for _ in range(3)] == [2, 2, 1]
    queue = deque([entry(BATCH_BYTES + 1)])
    assert len(take_batch(queue)) == 1


class Spy:
    """Counts the requests that go out."""

    def __init__(self, wire: Wire, log: Log) -> None:
        self.most = 0
        real = log._gatherer._launch

        def launch(entries: list[QueuedWrite]) -> list[bytes]:
            frames = real(entries)
            self.most = max(self.most, len(log._gatherer._flights))
            return frames

        log._gatherer._launch = launch  # type: ignore[method-assign]  # to look on


@pytest.mark.services
async def test_on_three_nodes_one_request_at_a_time_is_on_its_way(
    open_log: OpenLog, nats_cluster: list[NatsServer]
) -> None:
    nc = await connect(nats_cluster[0].url, "m1")
    wire = await wire_of(nc)
    log = await Log.open(nc, "m", "m1", LogSettings(replicas=3))
    try:
        spy = Spy(wire, log)
        await log.take(range(64))

        async def run(i: int) -> None:
            for number in range(1, 11):
                await log.append(family_of(f"u{i}"), number, "c", b"m1")

        async with asyncio.TaskGroup() as group:
            for i in range(60):
                group.create_task(run(i))
        assert spy.most == 1
        assert len((await history(wire)).commits()) == 600
    finally:
        await log.close()
        await nc.close()


@pytest.mark.services
@pytest.mark.faults
async def test_the_loss_of_the_leader_of_three_loses_and_doubles_nothing(nats_cluster: list[NatsServer]) -> None:
    nc = await connect([s.url for s in nats_cluster], "m1")
    wire = await wire_of(nc)
    log = await Log.open(nc, "m", "m1", LogSettings(replicas=3, deadline=2.0))
    await log.take(range(64))
    confirmed: dict[str, int] = {}
    over = asyncio.Event()

    async def run(uid: str) -> None:
        number = 1
        while not over.is_set():
            await log.append(family_of(uid), number, "c", b"m1")
            confirmed[uid] = number
            number += 1

    async with asyncio.TaskGroup() as group:
        for i in range(80):
            group.create_task(run(f"u{i}"))
        await log.append(family_of("before"), 1, "c", b"m1")
        leader = (await wire.api("STREAM.INFO.EXEUNT_LOG"))["cluster"]["leader"]
        await nats_cluster[int(leader[1:])].kill()
        for number in range(1, 6):
            await log.append(family_of("after"), number, "c", b"m1")
        over.set()
    confirmed |= {"before": 1, "after": 5}
    commits = (await history(wire)).commits()
    assert all(times == 1 for times in commits.values())
    assert set(commits) == {(family_of(uid), n) for uid, last in confirmed.items() for n in range(1, last + 1)}
    await log.close()
    await nc.close()


@pytest.mark.services
async def test_one_refused_member_of_a_batch_costs_the_others_nothing(nats_server: NatsServer) -> None:
    nc = await connect(nats_server.url, "t")
    wire = await wire_of(nc)
    await ensure_stream(wire, {"name": "S", "subjects": ["s.>"], "allow_atomic": True})
    gatherer = Gatherer(wire)
    running = asyncio.create_task(gatherer.run())
    writes = [
        gatherer.put(f"s.{i}", b"", b"Nats-Expected-Last-Subject-Sequence: 99\r\n" if i == 20 else b"")
        for i in range(40)
    ]
    await asyncio.wait(writes)
    assert [i for i, w in enumerate(writes) if w.exception()] == [20]
    with pytest.raises(Refused, match="10071"):
        await writes[20]
    assert len({w.result() for i, w in enumerate(writes) if i != 20}) == 39
    running.cancel()
    await asyncio.wait([running])
    with pytest.raises(LogClosed):
        await gatherer.put("s.1", b"")
    await nc.close()


@pytest.mark.services
async def test_a_publisher_gathers_for_each_stream_and_survives_the_server(nats_server: NatsServer) -> None:
    nc = await connect(nats_server.url, "t")
    wire = await wire_of(nc)
    for name, subject in (("E", "exeunt.events.>"), ("A", "xa.>")):
        await ensure_stream(
            wire, {"name": name, "subjects": [subject], "allow_atomic": True, "max_msgs_per_subject": 1}
        )
    outbox = Outbox(wire, ["E", "A"])
    async with asyncio.TaskGroup() as group:
        running = group.create_task(outbox.run())
        writes = [
            outbox.put(stream, f"{prefix}.n.{i}", b"", {"Exeunt-Summary": "zwei\nZeilen"})
            for stream, prefix in (("E", "exeunt.events"), ("A", "xa"))
            for i in range(100)
        ]
        await nats_server.restart()
        await asyncio.wait(writes)
        running.cancel()
    for name in ("E", "A"):
        assert (await wire.api(f"STREAM.INFO.{name}"))["state"]["messages"] == 100
    await nc.close()
