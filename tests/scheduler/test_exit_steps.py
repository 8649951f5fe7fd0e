"""Steps of exit handlers at the scheduler: placed, sent, ended and told of, over streams with stand-ins."""

from __future__ import annotations

import grpc
import pytest

from exeunt.internal.v1 import step_service_pb2
from tests.scheduler.streams import Exits, Rig, Stub, result


async def dispatched(channel: grpc.aio.Channel) -> tuple[Stub, Exits]:
    """An executor to which the step `u.h/n/0` of an exit handler was sent, and that exit handler."""
    executor, exits = Stub(channel), Exits(channel)
    await executor.hello(credits=1)
    await exits.want("u.h/n/0")
    await exits.hear()
    await exits.commit("u.h/n/0")
    await executor.until("dispatches")
    return executor, exits


async def test_an_exit_step_is_sent_only_when_its_placement_is_confirmed(rig: Rig, channel: grpc.aio.Channel) -> None:
    executor, exits = Stub(channel), Exits(channel)
    await executor.hello(credits=0, exit_credits=1)
    await exits.want("u.h/n/0")
    placement = (await exits.hear()).placements[0]
    assert (placement.id, placement.executor) == ("u.h/n/0", "e1")
    await executor.say(number=2)
    assert not (await executor.hear()).dispatches
    await exits.commit("u.h/n/0")
    assert await executor.until("dispatches") == ["u.h/n/0"]
    await executor.say(updates=[result("u.h/n/0")])
    assert (await exits.hear()).results[0].result.phase == "Succeeded"
    await exits.say(acknowledged=["u.h/n/0"])
    assert await executor.until("acknowledged") == ["u.h/n/0"]


async def test_an_exit_steps_result_waits_for_an_exit_handler_that_restarts(
    rig: Rig, channel: grpc.aio.Channel
) -> None:
    executor, exits = await dispatched(channel)
    exits.call.cancel()
    await executor.say(updates=[result("u.h/n/0")])
    again = Exits(channel)
    await again.want("u.h/n/0", "e1")
    assert (await again.hear()).results[0].id == "u.h/n/0"


async def test_an_unconfirmed_place_is_free_again_when_the_exit_handler_goes(
    rig: Rig, channel: grpc.aio.Channel
) -> None:
    executor, exits = Stub(channel), Exits(channel)
    await executor.hello(credits=1)
    await exits.want("u.h/n/0")
    await exits.hear()
    exits.call.cancel()
    rig.wanting.want("u/n/0")
    assert await executor.until("dispatches") == ["u/n/0"]


async def test_results_of_a_closed_exit_run_are_waited_for_by_nobody(rig: Rig, channel: grpc.aio.Channel) -> None:
    executor, exits = await dispatched(channel)
    await executor.say(updates=[result("u.h/n/0")])
    await exits.hear()
    exits.call.cancel()  # it has written the result and the end of its run, and dies before it can say so
    rig.dispatch.exit_closed("u", "h", 0)
    assert await executor.until("acknowledged") == ["u.h/n/0"]


async def test_an_exit_step_goes_where_its_run_has_committed_it(rig: Rig, channel: grpc.aio.Channel) -> None:
    first, second = Stub(channel), Stub(channel)
    await first.hello("e1", credits=1)
    exits = Exits(channel)
    await exits.want("u.h/n/0")
    assert (await exits.hear()).placements[0].executor == "e1"
    exits.call.cancel()  # the stream breaks while the placement is being written
    await first.say(credits=0)
    await first.hear()
    await second.hello("e2", credits=1)
    again = Exits(channel)
    await again.want("u.h/n/0")
    assert (await again.hear()).placements[0].executor == "e2"
    await again.commit("u.h/n/0", "e1")
    assert await first.until("dispatches") == ["u.h/n/0"]
    rig.wanting.want("u/n/0")  # the slot of the other one is free again
    assert await second.until("dispatches") == ["u/n/0"]


async def test_what_a_former_exit_handler_says_late_is_passed_over(rig: Rig, channel: grpc.aio.Channel) -> None:
    executor, former, owner = Stub(channel), Exits(channel), Exits(channel)
    await executor.hello(credits=2)
    await owner.want("u.h/n/0", fence=7)
    await owner.hear()
    await owner.commit("u.h/n/0")
    assert await executor.until("dispatches") == ["u.h/n/0"]
    await former.want("u.h/n/0", "e1", fence=3)
    await former.say(cancels=["u.h/unknown/0"])  # so that it is known that it was heard
    assert list((await former.hear()).lost) == ["u.h/unknown/0"]
    await executor.say(updates=[result("u.h/n/0")])
    assert (await owner.hear()).results[0].id == "u.h/n/0"


async def test_the_end_of_an_exit_run_leaves_its_replay_alone(rig: Rig, channel: grpc.aio.Channel) -> None:
    executor = Stub(channel)
    ended = [result("u.h/n/0"), result("u.h/n/1")]
    await executor.hello(attempts=["u.h/n/0", "u.h/n/1"], updates=ended)
    rig.dispatch.exit_closed("u", "h", 0)
    assert await executor.until("acknowledged") == ["u.h/n/0"]
    exits = Exits(channel)
    await exits.want("u.h/n/1", "e1")
    assert (await exits.hear()).results[0].id == "u.h/n/1"


async def test_a_cancelled_exit_step_is_waited_for_by_nobody(rig: Rig, channel: grpc.aio.Channel) -> None:
    executor, exits = await dispatched(channel)
    await exits.say(cancels=["u.h/n/0", "u.h/unknown/0"])
    assert list((await exits.hear()).lost) == ["u.h/n/0", "u.h/unknown/0"]
    assert await executor.until("cancels") == ["u.h/n/0"]
    exits.call.cancel()
    await executor.say(updates=[result("u.h/n/0", "Error")])
    assert await executor.until("acknowledged") == ["u.h/n/0"]


async def test_what_is_left_of_an_exit_run_that_is_over_is_swept_unless_somebody_asks_for_it(
    rig: Rig, channel: grpc.aio.Channel
) -> None:
    executor, exits = Stub(channel), Exits(channel)
    await executor.hello(attempts=["u.over/n/0", "u.open/n/0", "u.replayed/n/0"], credits=1)
    over = {"over", "replayed"}
    rig.dispatch.sweep(lambda uid, hook_id: hook_id in over)
    await exits.want("u.replayed/n/0", "e1")
    await executor.say(updates=[result("u.replayed/n/0")])
    assert (await exits.hear()).results[0].id == "u.replayed/n/0"
    rig.dispatch.sweep(lambda uid, hook_id: hook_id in over)
    assert await executor.until("forgotten") == ["u.over/n/0"]
    assert rig.dispatch.executors["e1"].listed == {"u.open/n/0", "u.replayed/n/0"}


async def test_a_placed_exit_step_is_ended_where_it_runs_and_its_end_is_told(
    rig: Rig, channel: grpc.aio.Channel
) -> None:
    executor, exits = await dispatched(channel)
    await exits.say(ends=[step_service_pb2.Placement(id="u.h/n/0", executor="e1")])
    assert await executor.until("cancels") == ["u.h/n/0"]
    await executor.say(updates=[result("u.h/n/0", "Failed")])
    told = (await exits.hear()).results[0]
    assert (told.id, told.result.phase) == ("u.h/n/0", "Failed")
    await exits.say(acknowledged=["u.h/n/0"])
    assert await executor.until("acknowledged") == ["u.h/n/0"]
    assert not rig.dispatch.flights


async def test_an_exit_step_that_was_cancelled_in_an_earlier_life_is_ended_where_it_was_placed(
    rig: Rig, channel: grpc.aio.Channel
) -> None:
    executor, exits = Stub(channel), Exits(channel)
    await exits.say(ends=[step_service_pb2.Placement(id=f"u.h/{node}/0", executor="e1") for node in ("runs", "never")])
    await executor.hello(attempts=["u.h/runs/0"])
    assert await executor.until("cancels") == ["u.h/runs/0"]
    assert list((await exits.hear()).lost) == ["u.h/never/0"]
    await executor.say(updates=[result("u.h/runs/0", "Failed")])
    assert (await exits.hear()).results[0].id == "u.h/runs/0"


@pytest.mark.parametrize("rig", [{"grace": 0.2}], indirect=True)
async def test_an_exit_step_that_was_cancelled_on_an_executor_that_is_gone_is_lost(
    rig: Rig, channel: grpc.aio.Channel
) -> None:
    exits = Exits(channel)
    await exits.say(ends=[step_service_pb2.Placement(id="u.h/n/0", executor="gone")])
    assert list((await exits.hear()).lost) == ["u.h/n/0"]
