"""What is too large for NATS is never sent, and what is large is written in parts and read whole."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from exeunt.journal.log import Log
from exeunt.journal.outbox import Outbox
from exeunt.journal.projections import open_projections
from exeunt.journal.records import ARCHIVE, ArchiveSummary
from exeunt.journal.sizes import TooLarge
from exeunt.journal.subjects import PART_BYTES, Address, MailboxMessage, commit_subject, family_of
from exeunt.journal.wire import ConnectionEndedError, connect, wire_of
from tests.journal.conftest import OpenLog
from tests.journal.history import history
from tests.journal.test_log import owner
from tests.nats_server import NatsServer

pytestmark = pytest.mark.services

ALL = range(64)


@pytest.mark.parametrize(
    ("subject", "data", "header"),
    [
        ("xa.default.2026010100.u", 1024 * 1024 + 1, 1),
        ("xa.default.2026010100.u", 1024 * 1024 - 100, 200),  # the data alone would go
        ("xa.default.2026010100.u", 1, 64 * 1024),
        ("xa.default.2026010100." + "u" * 5000, 1, 1),
    ],
)
async def test_what_the_server_would_not_take_is_never_sent(
    nats_server: NatsServer, subject: str, data: int, header: int
) -> None:
    nc = await connect(nats_server.url, "m1")
    stores = await open_projections(nc)
    running = asyncio.ensure_future(stores.run())
    try:
        with pytest.raises(TooLarge):
            await stores.outbox.put(ARCHIVE, subject, bytes(data), {"X": "h" * header})
        with pytest.raises(TooLarge):
            await nc.publish(subject, bytes(data), headers={"X": "h" * header})
        assert await stores.outbox.put(ARCHIVE, "xa.default.2026010100.u", b"small", {}) == 1
        assert nc.stats["reconnects"] == 0
    finally:
        running.cancel()
        await asyncio.wait([running])
        await nc.close()


async def test_one_that_is_too_large_does_not_hold_up_those_beside_it(nats_server: NatsServer) -> None:
    nc = await connect(nats_server.url, "m1")
    stores = await open_projections(nc)
    outbox = Outbox(await wire_of(nc), [ARCHIVE])
    sizes = [10, 2 * 1024 * 1024, 20] * 20
    answers = [outbox.put(ARCHIVE, f"xa.default.2026010100.{i}", bytes(size), {}) for i, size in enumerate(sizes)]
    running = asyncio.ensure_future(outbox.run())
    try:
        found = await asyncio.gather(*answers, return_exceptions=True)
        assert [isinstance(one, TooLarge) for one in found] == [size > 1024 * 1024 for size in sizes]
        assert len(set(await stores.archive.hours("default"))) == 1
    finally:
        running.cancel()
        await asyncio.wait([running])
        await nc.close()


async def test_a_server_that_takes_too_little_is_refused_with_what_to_do(tmp_path: Path) -> None:
    server = NatsServer(tmp_path / "nats", max_payload="64KB")
    await server.begin()
    try:
        with pytest.raises(ConnectionEndedError, match=r"65,536 bytes.*max_payload: 1MB"):
            await connect(server.url, "m1")
    finally:
        await server.stop()


async def test_a_connection_that_the_server_closes_for_good_is_told(nats_server: NatsServer) -> None:
    nc = await connect(nats_server.url, "m1")
    wire = await wire_of(nc)
    ended = asyncio.ensure_future(wire.ended())
    await wire.post([b"PUB x %d\r\n" % (2 * 1024 * 1024)])  # as if something had gone around the measure
    with pytest.raises(ConnectionEndedError, match=r"(?i)maximum payload"):
        await ended


async def test_a_commit_of_many_megabytes_goes_out_in_several_requests_and_is_read_whole(open_log: OpenLog) -> None:
    log = await owner(open_log)
    family, other = family_of("run"), family_of("other")
    content = os.urandom(30 * 1024 * 1024 + 7)
    await log.append(family, 1, "c", b"first")
    large = log.append(family, 2, "h", content)
    beside = log.append(other, 1, "c", b"beside")
    await beside
    assert not large.done(), "others' commits go out between its requests"
    await large
    snapshot = os.urandom(9 * 1024 * 1024)
    await log.append(other, 2, "c", snapshot, snapshot=True)
    heir = await open_log()
    await heir.take(ALL)
    loaded = {run.family: run.records for run in (await heir.load(ALL)).runs}
    assert [(r.number, r.kind) for r in loaded[family]] == [(1, "c"), (2, "h")]
    assert loaded[family][1].data == content
    assert [r.data for r in loaded[other]] == [snapshot]


async def test_what_an_owner_did_not_finish_to_write_was_never_there(open_log: OpenLog) -> None:
    log = await owner(open_log)
    family = family_of("run")
    await log.append(family, 1, "c", b"first")
    subject = commit_subject(family, "c")
    stamp = log._fences.stamp(family.partition)
    assert stamp is not None
    for part in (1, 2):  # of three: then it dies
        headers = b"Exeunt-Commit: 2\r\nExeunt-Part: %d/3\r\n" % part
        await log.wire.ask(subject, headers + stamp, bytes(PART_BYTES), 5.0)
    heir = await open_log()
    await heir.take(ALL)
    [run] = (await heir.load(ALL)).runs
    assert [r.data for r in run.records] == [b"first"]
    anew = os.urandom(2 * PART_BYTES)
    await heir.append(family, 2, "c", anew)
    last = await open_log()
    await last.take(ALL)
    [run] = (await last.load(ALL)).runs
    assert [r.data for r in run.records] == [b"first", anew]


async def test_a_decision_over_the_limit_is_refused_with_its_name_and_another_may_take_its_number(
    open_log: OpenLog,
) -> None:
    log = await owner(open_log, commit_bytes=1_000_000)
    family = family_of("run")
    await log.append(family, 1, "c", bytes(1_000_000))
    with pytest.raises(TooLarge, match="a decision has 1,000,001 bytes and the limit is 1,000,000"):
        await log.append(family, 2, "c", bytes(1_000_001))
    await log.append(family, 2, "z", b"small")
    assert [p.number for p in (await history(log.wire)).pieces] == [1, 1, 2]


async def test_a_message_of_megabytes_comes_whole_whether_it_is_followed_or_loaded(open_log: OpenLog) -> None:
    log = await owner(open_log)
    content = os.urandom(5 * 1024 * 1024)
    await log.send(3, Address(7, "m", "start"), "child", content)
    found = await anext(log.follow())
    assert isinstance(found, MailboxMessage)
    assert (found.id, found.data) == ("child", content)
    heir: Log = await open_log()
    await heir.take(ALL)
    [message] = (await heir.load(ALL)).messages
    assert (message.to, message.data) == ("start", content)
    with pytest.raises(TooLarge, match="a message to another workflow"):
        await heir.send(3, Address(7, "m", "start"), "larger", bytes(8 * 1024 * 1024))


async def test_long_texts_of_a_record_are_cut_in_its_summary_alone(nats_server: NatsServer) -> None:
    nc = await connect(nats_server.url, "m1")
    stores = await open_projections(nc)
    running = asyncio.ensure_future(stores.run())
    try:
        summary = ArchiveSummary("u", "wf", "default", "Error", message="é" * 500_000, labels={"a": "é" * 60})
        await stores.archive.put(
            "default", 0.0, "u", summary, {"message": summary.message, "blob": os.urandom(900_000)}
        )
        found = await stores.archive.get("u")
        assert found is not None
        kept, body = found
        assert kept.message == "é" * 480 + " [999040 bytes are left out]"
        assert kept.labels == summary.labels
        assert body["message"] == summary.message
    finally:
        running.cancel()
        await asyncio.wait([running])
        await nc.close()


async def test_a_template_of_megabytes_is_stored_and_read_again(nats_server: NatsServer) -> None:
    nc = await connect(nats_server.url, "m1")
    try:
        stores = await open_projections(nc)
        tree = {"metadata": {"name": "t"}, "text": "z" * 3_000_000}
        await stores.manifests.put("WorkflowTemplate", "default", "t", tree)
        assert await stores.manifests.get("WorkflowTemplate", "default", "t") == tree
        assert [stored.tree async for stored in stores.manifests.each("WorkflowTemplate")] == [tree]
    finally:
        await nc.close()
