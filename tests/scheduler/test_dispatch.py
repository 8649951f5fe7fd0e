"""Attempts and executors: sent after the commit, healed by hello, lost after the grace, forgotten when unwanted."""

from __future__ import annotations

import asyncio
import time

import grpc
import pytest

from exeunt import steps
from exeunt.internal.v1 import executor_service_pb2 as pb
from exeunt.internal.v1 import step_pb2
from tests.scheduler.streams import Rig, Stub, result


async def test_a_step_is_sent_and_its_result_acknowledged(rig: Rig, channel: grpc.aio.Channel) -> None:
    executor = Stub(channel)
    welcome = await executor.hello(credits=1)
    assert welcome.replica == "s1"
    assert welcome.peers == [rig.address]
    rig.wanting.want("u/n/0")
    assert await executor.until("dispatches") == ["u/n/0"]
    await executor.say(updates=[result("u/n/0", "Failed")], credits=1)
    assert await executor.until("acknowledged") == ["u/n/0"]
    assert await rig.wanting.results.get() == ("u/n/0", "Failed")
    assert not rig.dispatch.flights
    assert not rig.wanting.group


async def test_a_step_that_no_message_holds_is_an_error_and_others_go_out(
    rig: Rig, channel: grpc.aio.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be sent again and again."""
    monkeypatch.setattr(steps, "STEP_BYTES", 100)
    executor = Stub(channel)
    await executor.hello(credits=2)
    rig.wanting.want(f"u/{'long' * 50}/0")
    rig.wanting.want("u/short/0")
    assert await executor.until("dispatches") == ["u/short/0"]
    assert await rig.wanting.results.get() == (f"u/{'long' * 50}/0", "Error")
    assert list(rig.dispatch.flights) == ["u/short/0"]
    await executor.say(credits=1, seen=10)
    rig.wanting.want("u/next/0")
    assert await executor.until("dispatches") == ["u/next/0"]


async def test_a_stream_is_not_read_while_output_is_not_written(rig: Rig, channel: grpc.aio.Channel) -> None:
    executor = Stub(channel)
    await executor.hello()
    rig.reads.clear()
    for text in ("one", "two"):
        await executor.say(logs=[step_pb2.LogFrame(id="u/n/0", data=text.encode())])
    while not rig.logs:
        await executor.say()
        await asyncio.sleep(0)
    assert rig.logs == ["one"]
    rig.reads.set()
    while len(rig.logs) < 2:  # noqa: ASYNC110 - the stream is read in turns of the loop
        await asyncio.sleep(0)
    assert rig.logs == ["one", "two"]


async def test_steps_wait_for_credits_and_go_out_together(rig: Rig, channel: grpc.aio.Channel) -> None:
    for i in range(5):
        rig.wanting.want(f"u/n{i}/0")
    executor = Stub(channel)
    await executor.hello()
    await executor.say(credits=3)
    assert await executor.until("dispatches") == ["u/n0/0", "u/n1/0", "u/n2/0"]
    assert rig.dispatch.placement.waiting(exit=False) == 2


async def test_a_step_waits_for_its_secrets_and_holds_up_nobody(rig: Rig, channel: grpc.aio.Channel) -> None:
    rig.secrets.clear()
    executor = Stub(channel)
    await executor.hello(credits=2)
    rig.wanting.want("u/secretive/0", secretive=True)
    rig.wanting.want("u/other/0")
    assert await executor.until("dispatches") == ["u/other/0"]
    rig.secrets.set()
    while not (frame := await executor.hear()).dispatches:
        pass
    [step] = frame.dispatches
    assert (step.id, [secret.name for secret in step.secrets]) == ("u/secretive/0", ["api"])


async def test_a_step_that_is_cancelled_while_it_waits_for_secrets_never_begins(
    rig: Rig, channel: grpc.aio.Channel
) -> None:
    rig.secrets.clear()
    executor = Stub(channel)
    await executor.hello(credits=1)
    rig.wanting.want("u/secretive/0", secretive=True)
    rig.dispatch.cancel("u/secretive/0")
    rig.secrets.set()
    assert await rig.wanting.lost_ones.get() == "u/secretive/0"
    rig.wanting.want("u/next/0")
    assert await executor.until("dispatches") == ["u/next/0"]


async def test_a_step_that_waited_for_secrets_when_the_stream_broke_is_sent_on_the_next(
    rig: Rig, channel: grpc.aio.Channel
) -> None:
    rig.secrets.clear()
    first = Stub(channel)
    await first.hello(credits=1)
    rig.wanting.want("u/secretive/0", secretive=True)
    first.call.cancel()
    second = Stub(channel)
    await second.hello()
    rig.secrets.set()
    assert await second.until("dispatches") == ["u/secretive/0"]


async def test_a_result_is_kept_by_the_executor_until_it_is_durable(rig: Rig, channel: grpc.aio.Channel) -> None:
    rig.wanting.commits = False
    executor = Stub(channel)
    await executor.hello(credits=1)
    rig.wanting.want("u/n/0")
    await executor.until("dispatches")
    await executor.say(updates=[result("u/n/0")])
    await rig.wanting.results.get()
    await executor.say(updates=[result("gone/n/0")])  # of nobody: acknowledged at once
    assert await executor.until("acknowledged") == ["gone/n/0"]
    rig.dispatch.acknowledge("u/n/0")
    assert await executor.until("acknowledged") == ["u/n/0"]


async def test_what_the_executor_has_not_got_is_sent_again(rig: Rig, channel: grpc.aio.Channel) -> None:
    first = Stub(channel)
    await first.hello(credits=2)
    rig.wanting.want("u/arrived/0")
    await first.until("dispatches")
    rig.wanting.want("u/lost-on-the-way/0")
    await first.until("dispatches")
    first.call.cancel()
    second = Stub(channel)
    await second.hello(attempts=["u/arrived/0"], credits=0)
    assert await second.until("dispatches") == ["u/lost-on-the-way/0"]


async def test_a_newer_stream_of_an_executor_takes_the_place_of_the_older(rig: Rig, channel: grpc.aio.Channel) -> None:
    first, second = Stub(channel), Stub(channel)
    await first.hello(credits=1)
    await second.hello(credits=1)
    assert await first.call.code() == grpc.StatusCode.UNAVAILABLE
    rig.wanting.want("u/n/0")
    assert await second.until("dispatches") == ["u/n/0"]


@pytest.mark.parametrize("rig", [{"grace": 0.2}], indirect=True)
async def test_an_executor_that_stays_away_loses_its_steps(rig: Rig, channel: grpc.aio.Channel) -> None:
    executor = Stub(channel)
    await executor.hello(credits=1)
    rig.wanting.want("u/n/0")
    await executor.until("dispatches")
    executor.call.cancel()
    assert await rig.wanting.lost_ones.get() == "u/n/0"
    again = Stub(channel)
    await again.hello(attempts=["u/n/0"])
    assert await again.until("forgotten") == ["u/n/0"]


@pytest.mark.parametrize("rig", [{"grace": 0.2}], indirect=True)
async def test_a_lost_steps_result_is_kept_until_the_loss_is_written(rig: Rig, channel: grpc.aio.Channel) -> None:
    rig.wanting.commits = False
    executor = Stub(channel)
    await executor.hello(credits=1)
    rig.wanting.want("u/n/0")
    await executor.until("dispatches")
    executor.call.cancel()
    await rig.wanting.lost_ones.get()
    again = Stub(channel)
    await again.hello(attempts=["u/n/0"], updates=[result("u/n/0")])
    await again.say(number=2)
    frame = await again.hear()
    assert [*frame.acknowledged, *frame.forgotten] == []
    rig.dispatch.acknowledge("u/n/0")
    assert await again.until("acknowledged") == ["u/n/0"]


@pytest.mark.parametrize("rig", [{"grace": 0.2}], indirect=True)
async def test_an_executor_that_falls_silent_loses_its_steps(rig: Rig, channel: grpc.aio.Channel) -> None:
    executor = Stub(channel)
    await executor.hello(credits=1)
    rig.wanting.want("u/n/0")
    await executor.until("dispatches")
    assert await rig.wanting.lost_ones.get() == "u/n/0"
    assert await executor.call.code() == grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("rig", [{"grace": 0.2}], indirect=True)
async def test_an_executor_that_is_known_from_the_log_only_has_the_grace_to_come(rig: Rig) -> None:
    rig.dispatch.expect(rig.wanting.flight("u/n/0"), "never-came")
    rig.dispatch.loaded(range(64))
    assert await rig.wanting.lost_ones.get() == "u/n/0"


async def test_nothing_is_said_of_partitions_that_are_not_loaded(rig: Rig, channel: grpc.aio.Channel) -> None:
    rig.loaded = False
    executor = Stub(channel)
    await executor.hello(attempts=["u/runs/0", "u/ended/0", "x/gone/0"], updates=[result("u/ended/0")])
    await executor.say(number=2)
    heartbeat = await executor.hear()
    assert heartbeat == pb.SessionResponse(number=heartbeat.number)
    rig.dispatch.expect(rig.wanting.flight("u/runs/0"), "e1")
    rig.dispatch.expect(rig.wanting.flight("u/ended/0"), "e1")
    rig.loaded = True
    rig.dispatch.loaded(range(64))
    frame = await executor.hear()
    assert list(frame.acknowledged) == ["u/ended/0"]
    assert list(frame.forgotten) == ["x/gone/0"]
    assert not frame.dispatches
    assert await rig.wanting.results.get() == ("u/ended/0", "Succeeded")


async def test_what_could_not_be_judged_is_judged_when_ownership_is_confirmed(
    rig: Rig, channel: grpc.aio.Channel
) -> None:
    executor = Stub(channel)
    await executor.hello()
    rig.loaded = False
    await executor.say(updates=[result("u/late/0")])
    await executor.say(number=3)
    await executor.hear()
    assert rig.dispatch.unjudged
    rig.loaded = True
    rig.dispatch.judge(range(64))
    assert await executor.until("acknowledged") == ["u/late/0"]
    assert not rig.dispatch.unjudged


async def test_what_nobody_knows_is_given_up_only_by_who_was_found_to_be_the_owner_since(
    rig: Rig, channel: grpc.aio.Channel
) -> None:
    """A former owner that is cut off has confirmed a moment ago, and somebody else waits for these."""
    rig.verified = asyncio.get_running_loop().time()
    executor = Stub(channel)
    await executor.hello(attempts=["u/runs/0"])
    await executor.say(updates=[result("u/new/0")])
    await executor.say(number=3)
    heartbeat = await executor.hear()
    assert heartbeat == pb.SessionResponse(number=heartbeat.number)
    rig.dispatch.judge(range(64))
    assert rig.dispatch.unjudged
    rig.verified = asyncio.get_running_loop().time()
    rig.dispatch.judge(range(64))
    frame = await executor.hear()
    assert (list(frame.acknowledged), list(frame.forgotten)) == (["u/new/0"], ["u/runs/0"])
    assert not rig.dispatch.unjudged


async def test_a_cancelled_step_is_ended_where_it_runs(rig: Rig, channel: grpc.aio.Channel) -> None:
    executor = Stub(channel)
    await executor.hello(credits=1)
    rig.wanting.want("u/runs/0")
    rig.wanting.want("u/waits/0")
    await executor.until("dispatches")
    rig.dispatch.cancel("u/waits/0")
    rig.dispatch.cancel("u/runs/0")
    assert await executor.until("cancels") == ["u/runs/0"]
    assert rig.dispatch.placement.waiting(exit=False) == 0


async def test_what_runs_when_its_run_is_over_is_ended_with_its_grace(rig: Rig, channel: grpc.aio.Channel) -> None:
    executor = Stub(channel)
    await executor.hello(credits=1)
    rig.wanting.want("u/runs/0")
    rig.wanting.want("u/waits/0")
    await executor.until("dispatches")
    rig.dispatch.close(rig.wanting.group)
    assert await executor.until("cancels") == ["u/runs/0"]
    await executor.say(updates=[result("u/runs/0", "Error")])
    assert await executor.until("acknowledged") == ["u/runs/0"]
    assert not rig.dispatch.flights
    assert rig.wanting.results.empty()


async def test_a_cancelled_step_of_an_earlier_life_is_ended_where_it_is_found(
    rig: Rig, channel: grpc.aio.Channel
) -> None:
    rig.dispatch.expect_cancelled(rig.wanting.flight("u/n/0"))
    executor = Stub(channel)
    await executor.hello(attempts=["u/n/0"])
    assert await executor.until("cancels") == ["u/n/0"]
    await executor.say(updates=[result("u/n/0", "Error")])
    assert await executor.until("acknowledged") == ["u/n/0"]


async def test_who_drains_gets_nothing(rig: Rig, channel: grpc.aio.Channel) -> None:
    executor = Stub(channel)
    await executor.hello(credits=2)
    await executor.say(draining=True, credits=2)
    await executor.hear()
    rig.wanting.want("u/n/0")
    assert rig.dispatch.placement.waiting(exit=False) == 1


async def test_a_stream_begins_with_hello(channel: grpc.aio.Channel) -> None:
    executor = Stub(channel)
    await executor.say(credits=1)
    assert await executor.call.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_former_owner_sends_nothing_before_it_knows_that_it_owns(rig: Rig, channel: grpc.aio.Channel) -> None:
    rig.dispatch.expect(rig.wanting.flight("u/n/0"), "e1")
    rig.loaded = False  # it slept
    executor = Stub(channel)
    await executor.hello(credits=1)
    await executor.say(number=2)
    assert not (await executor.hear()).dispatches
    rig.loaded = True
    rig.dispatch.judge(range(64))
    assert await executor.until("dispatches") == ["u/n/0"]


@pytest.mark.parametrize("rig", [{"grace": 0.4}], indirect=True)
async def test_a_scheduler_that_was_held_up_reads_before_it_judges(rig: Rig, channel: grpc.aio.Channel) -> None:
    executor = Stub(channel)
    await executor.hello(credits=1)
    rig.wanting.want("u/n/0")
    await executor.until("dispatches")
    await executor.say(number=2)  # said, and not read yet
    time.sleep(1)  # noqa: ASYNC251 - the loop stands still, as under SIGSTOP
    await executor.say(number=3, updates=[result("u/n/0")])
    assert await rig.wanting.results.get() == ("u/n/0", "Succeeded")
    assert rig.wanting.lost_ones.empty()
