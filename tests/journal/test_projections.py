"""What is kept beside the log: records by the hour, events once, names claimed once, output, blobs."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator

import pytest

from exeunt.cloudevents import Workflow
from exeunt.journal.blobs import BlobMissingError
from exeunt.journal.names import ClaimedRequest, NameTaken, RequestUsed, uids
from exeunt.journal.projections import Projections, open_projections
from exeunt.journal.public import EventToPublish
from exeunt.journal.records import ArchiveSummary, hour_of
from exeunt.journal.steplogs import OutputFrame
from exeunt.journal.wire import connect
from tests.nats_server import NatsServer

pytestmark = pytest.mark.services


@pytest.fixture
async def stores(nats_server: NatsServer) -> AsyncIterator[Projections]:
    nc = await connect(nats_server.url, "projections")
    found = await open_projections(nc)
    writing = asyncio.create_task(found.run())
    yield found
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    await nc.close()


def summary(uid: str, phase: str = "Succeeded") -> ArchiveSummary:
    return ArchiveSummary(uid=uid, name=f"nächtlich-{uid}", namespace="default", phase=phase)


async def test_a_record_is_found_by_its_key_and_replaced_in_place(stores: Projections) -> None:
    now = time.time()
    await stores.archive.put("default", now, "u1", summary("u1"), {"nodes": 3})
    await stores.archive.put("default", now, "u1", summary("u1", "Failed"), {"nodes": 4})
    found = await stores.archive.get("u1")
    assert found is not None
    assert (found[0].name, found[0].phase, found[1]) == ("nächtlich-u1", "Failed", {"nodes": 4})
    await stores.archive.remove("u1", "default")
    assert await stores.archive.get("u1") is None


async def test_a_record_is_never_put_back_to_an_earlier_version(stores: Projections, nats_server: NatsServer) -> None:
    """By an owner that was asleep while another one went on."""
    now = time.time()
    nc = await connect(nats_server.url, "the other")
    others = await open_projections(nc)
    writing = asyncio.create_task(others.run())
    try:

        async def put(owner: Projections, phase: str, version: int) -> bool:
            return await owner.archive.put_version("default", now, "u", summary("u", phase), {}, version=version)

        assert await put(stores, "first", 1)
        assert await put(stores, "second", 2)
        assert await put(others, "third", 3)
        assert await put(others, "fourth", 4)
        assert not await put(stores, "second again", 2)
        found = await stores.archive.get("u")
        assert found is not None
        assert found[0].phase == "fourth"
        assert await put(stores, "fifth", 5)
        assert await put(others, "fifth again", 5), "the same version may be written again"
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await nc.close()


async def test_records_come_newest_hour_first(stores: Projections) -> None:
    now = time.time()
    for i in range(6):
        await stores.archive.put("default", now - 3600 * (i % 3), f"u{i}", summary(f"u{i}"), {})
    walked = [(hour, s.uid) async for hour, s in stores.archive.walk()]
    assert [uid for _, uid in walked] == ["u3", "u0", "u4", "u1", "u5", "u2"]
    second = hour_of(now - 3600)
    assert [uid async for uid in _uids(stores, second)] == ["u4", "u1", "u5", "u2"]


async def _uids(stores: Projections, before: str) -> AsyncIterator[str]:
    async for _, found in stores.archive.walk(before_hour=before):
        yield found.uid


async def test_following_goes_on_when_the_server_is_back(stores: Projections, nats_server: NatsServer) -> None:
    now = time.time()
    heard: list[str] = []
    async with asyncio.timeout(15):  # nothing here may wait until it is noticed that nothing comes any more
        await stores.archive.put("default", now, "u0", summary("u0"), {})
        async for found in stores.archive.follow("default"):
            heard.append(found.uid)
            if len(heard) == 4:
                break
            await nats_server.restart()
            await stores.archive.put("default", now, f"u{len(heard)}", summary(f"u{len(heard)}"), {})
    assert heard == ["u0", "u1", "u2", "u3"]


async def test_a_record_may_be_larger_than_a_message(stores: Projections) -> None:
    body = {"x": os.urandom(2_500_000)}
    await stores.archive.put("default", time.time(), "big", summary("big"), body)
    found = await stores.archive.get("big")
    assert found is not None
    assert found[1] == body


async def test_an_event_that_is_published_again_is_stored_once(stores: Projections) -> None:
    now = time.time()

    async def publish(numbers: range) -> None:
        posted = []
        for n in numbers:
            data = Workflow(workflow="w", uid="u1", namespace="default", attempt=n, phase="Running")
            event = EventToPublish("default", "u1", "w", str(n), "workflow.running", 'w "é"', now, data)
            posted.append(stores.events.post(event))
        await asyncio.gather(*posted)

    await publish(range(30))
    await publish(range(20, 60))  # as after a crash: some are out, some are not, in one batch
    found = await stores.events.published(["u1", "u2"], now - 60)
    assert found == {f"u1.{n}" for n in range(60)}
    info = await stores.events._js.stream_info("EXEUNT_EVENTS")
    assert info.state.messages == 60


async def test_nothing_published_is_an_answer_too(stores: Projections) -> None:
    assert await stores.events.published(["u1"], time.time() + 60) == set()


async def test_a_name_has_one_owner_until_it_is_released(stores: Projections) -> None:
    await stores.names.claim("default", "w", "u1")
    await stores.names.claim("default", "w", "u1")
    with pytest.raises(NameTaken) as taken:
        await stores.names.claim("default", "w", "u2")
    assert taken.value.claim.uid == "u1"
    await stores.names.claim("other", "w", "u3")
    await stores.names.release("default", "w", "u1")
    await stores.names.release("default", "w", "u1")
    assert await stores.names.deleted("u1")
    await stores.names.claim("default", "w", "u2")
    assert await stores.names.lookup("default", "w") == "u2"


async def test_a_request_stands_for_one_content_until_it_is_let_go(stores: Projections) -> None:
    assert await stores.names.bind("u1", "one")
    assert not await stores.names.bind("u1", "one")
    with pytest.raises(RequestUsed):
        await stores.names.bind("u1", "two")
    assert not await stores.names.deleted("u1")
    await stores.names.unbind("u1")
    assert await stores.names.bind("u1", "two")
    await stores.names.release("default", "w", "u1")
    assert await stores.names.deleted("u1")
    assert not await stores.names.bind("u1", "two"), "a tombstone says that it was there"
    with pytest.raises(RequestUsed):
        await stores.names.bind("u1", "three")
    await stores.names.release("default", "w", "u2")
    assert not await stores.names.bind("u2", "one"), "nobody knows what it was"


async def test_submissions_and_commands_share_their_request_ids(stores: Projections) -> None:
    names = stores.names
    first, second = (uids("ns", id, 1)[0] for id in ("r", "s"))
    assert await names.asked("ns", "r") is None
    await names.bind(first, "submitted")
    stands = ClaimedRequest(content="submitted")
    assert await names.ask("ns", "r", ClaimedRequest("u", "stopped")) == stands
    await names.release("ns", "w", first)
    await names.release("ns", "w", first)
    assert await names.asked("ns", "r") == await names.ask("ns", "r", ClaimedRequest("u", "stopped")) == stands
    assert await names.ask("ns", "s", ClaimedRequest("u", "stopped")) == ClaimedRequest("u", "stopped")
    with pytest.raises(RequestUsed):
        await names.bind(second, "submitted")
    await names.carried_out("ns", "s", ClaimedRequest("u", "stopped"))
    assert await names.asked("ns", "s") == ClaimedRequest("u", "stopped", done=True)
    assert not await names.deleted(second)
    third = uids("ns", "t", 1)[0]
    assert await names.bind(third, "submitted")
    await names.unbind(third)
    assert await names.asked("ns", "t") is None
    assert await names.ask("ns", "t", ClaimedRequest("u", "stopped")) == ClaimedRequest("u", "stopped")


async def test_of_many_claimants_one_wins(stores: Projections) -> None:
    answers = await asyncio.gather(
        *(stores.names.claim("default", "w", f"u{i}") for i in range(20)), return_exceptions=True
    )
    assert sum(not isinstance(a, NameTaken) for a in answers) == 1
    assert all(isinstance(a, NameTaken) for a in answers if a is not True)


async def test_output_comes_back_in_order_and_without_repeats(stores: Projections) -> None:
    frames = [OutputFrame("n1", 0, i, 0.0, b"line %d\n" % i, i == 3) for i in (1, 2, 3)]
    for frame in [frames[0], frames[1], frames[1], frames[2]]:
        await stores.logs.put("default", "u1", frame)
    followed: list[OutputFrame] = []
    async for frame in stores.logs.read("default", "u1", follow=True):  # they are sent without waiting for an answer
        followed.append(frame)
        if frame.end:
            break
    assert followed == [f._replace(sequence=s) for f, s in zip(frames, (1, 2, 4), strict=True)]
    assert [f async for f in stores.logs.read("default", "u1")] == followed
    assert [f async for f in stores.logs.read("default", "nobody")] == []


async def test_a_frame_that_no_message_holds_is_kept_in_pieces_and_whole_lines(stores: Projections) -> None:
    lines = b"".join(b"line %d\n" % i for i in range(300_000))
    frames = [OutputFrame("n1", 0, 1, 0.0, lines, False), OutputFrame("n1", 0, 2, 0.0, b"x" * 1_200_000, True)]
    for frame in [*frames, frames[1]]:
        await stores.logs.put("default", "u1", frame)
    kept: dict[int, list[OutputFrame]] = {1: [], 2: []}
    async for frame in stores.logs.read("default", "u1", follow=True):
        kept[frame.number].append(frame)
        if frame.end:
            break
    assert {number: b"".join(f.data for f in pieces) for number, pieces in kept.items()} == {
        frame.number: frame.data for frame in frames
    }
    assert all(piece.data.endswith(b"\n") for piece in kept[1])
    assert [piece.end for piece in kept[2]] == [False, False, True]


async def test_a_blob_is_what_its_hash_says(stores: Projections) -> None:
    content = os.urandom(1_300_000)
    name = await stores.blobs.put(content)
    assert await stores.blobs.put(content) == name
    stores.blobs._cache.clear()
    assert await stores.blobs.get(name) == content
    assert await stores.blobs.get(await stores.blobs.put(b"")) == b""
    with pytest.raises(BlobMissingError):
        await stores.blobs.get("00" * 16)


async def test_a_stored_manifest_can_be_removed(stores: Projections) -> None:
    await stores.manifests.put("WorkflowTemplate", "default", "t", {"spec": {}})
    assert await stores.manifests.get("WorkflowTemplate", "default", "t") == {"spec": {}}
    assert await stores.manifests.get("WorkflowTemplate", "other", "t") is None
    await stores.manifests.remove("WorkflowTemplate", "default", "t")
    assert await stores.manifests.get("WorkflowTemplate", "default", "t") is None
