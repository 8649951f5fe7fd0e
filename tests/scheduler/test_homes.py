"""Steps that mount volumes of their workflow: all on one executor, and an Error where that one is gone for good."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exeunt.internal.v1 import step_pb2
from exeunt.scheduler.attempts import AttemptReport, ExecutorProfile, Flight, FlightState
from exeunt.scheduler.dispatch import Dispatch
from tests.scheduler.streams import Exits, Rig, Stub, Wanting, result


async def two(rig: Rig, channel: grpc.aio.Channel, first: int = 0, second: int = 0) -> tuple[Stub, Stub]:
    """Two executors that lend so many slots."""
    one, other = Stub(channel), Stub(channel)
    await one.hello("e1", credits=first)
    await other.hello("e2", credits=second)
    return one, other


async def test_the_first_step_decides_and_the_others_follow(rig: Rig, channel: grpc.aio.Channel) -> None:
    one, other = await two(rig, channel)
    for n in range(4):
        rig.wanting.want(f"u/n{n}/0", claims=True)
    rig.wanting.want("v/else/0")
    await other.say(credits=10, seen=10)
    assert sorted(await other.until("dispatches")) == ["u/n0/0", "u/n1/0", "u/n2/0", "u/n3/0", "v/else/0"]
    await one.say(credits=10, seen=10)
    rig.wanting.want("u/later/0", claims=True)
    assert await other.until("dispatches") == ["u/later/0"]


async def test_a_step_waits_for_the_executor_though_another_one_is_free(rig: Rig, channel: grpc.aio.Channel) -> None:
    one, other = await two(rig, channel, first=1)
    rig.wanting.want("u/a/0", claims=True)
    assert await one.until("dispatches") == ["u/a/0"]
    rig.wanting.want("u/b/0", claims=True)
    await other.say(credits=5, seen=10)
    rig.wanting.want("v/c/0")
    assert await other.until("dispatches") == ["v/c/0"]
    assert rig.dispatch.flights["u/b/0"].executor == ""
    await one.say(updates=[result("u/a/0")], credits=1, seen=10)
    assert await one.until("dispatches") == ["u/b/0"]


async def test_what_the_log_knows_counts(rig: Rig, channel: grpc.aio.Channel) -> None:
    _, other = await two(rig, channel, first=5, second=5)
    rig.wanting.want("u/a/0", claims=True, home="e2")
    assert await other.until("dispatches") == ["u/a/0"]


async def test_what_an_executor_says_counts(rig: Rig, channel: grpc.aio.Channel) -> None:
    """As after a restart of the scheduler, when only a handler has used them."""
    one, other = Stub(channel), Stub(channel)
    await one.hello("e1", credits=5)
    await other.hello("e2", credits=5)
    await other.say(claims=["u"])
    while "u" not in rig.dispatch.executors["e2"].claims:  # noqa: ASYNC110 - the stream is read in turns of the loop
        await asyncio.sleep(0)
    rig.wanting.want("u/a/0", claims=True)
    assert await other.until("dispatches") == ["u/a/0"]


async def test_when_the_first_one_is_cancelled_another_decides(rig: Rig, channel: grpc.aio.Channel) -> None:
    one, _ = await two(rig, channel)
    for n in range(3):
        rig.wanting.want(f"u/n{n}/0", claims=True)
    rig.dispatch.cancel("u/n0/0")
    rig.dispatch.cancel("u/n1/0")
    await one.say(credits=5, seen=10)
    assert await one.until("dispatches") == ["u/n2/0"]


@pytest.mark.parametrize("rig", [{"grace": 0.3}], indirect=True)
async def test_when_the_executor_stays_away_the_step_is_an_error(rig: Rig, channel: grpc.aio.Channel) -> None:
    one = Stub(channel)
    await one.hello("e1", credits=5)
    rig.wanting.want("u/a/0", claims=True, home="e-gone")
    rig.wanting.want("u/b/0", claims=True, home="e-gone")
    rig.wanting.want("u/c/0")
    assert await one.until("dispatches") == ["u/c/0"]
    async with asyncio.timeout(30):
        ended = [await rig.wanting.results.get(), await rig.wanting.results.get()]
    assert sorted(ended) == [("u/a/0", "Error"), ("u/b/0", "Error")]
    assert not rig.dispatch.placement.waiting(exit=False)


@pytest.mark.parametrize("rig", [{"grace": 0.3}], indirect=True)
async def test_so_is_a_step_of_a_handler_and_it_says_what_to_do(rig: Rig, channel: grpc.aio.Channel) -> None:
    exits = Exits(channel)
    await exits.want("u.h/a/0", claims_executor="e-gone")
    async with asyncio.timeout(30):
        while not (frame := await exits.hear()).results:
            pass
    [told] = frame.results
    assert (told.id, told.result.phase) == ("u.h/a/0", "Error")
    assert told.result.message == (
        "the workflow's volumes are on executor e-gone, which was not heard of for 0.3 seconds: start it again with "
        "its data directory and retry the workflow, or resubmit it"
    )


@pytest.mark.parametrize("rig", [{"grace": 5}], indirect=True)
async def test_an_executor_that_comes_back_gets_what_waited_for_it(rig: Rig, channel: grpc.aio.Channel) -> None:
    rig.wanting.want("u/a/0", claims=True, home="e1")
    one = Stub(channel)
    await one.hello("e1", credits=1)
    assert await one.until("dispatches") == ["u/a/0"]


async def test_an_executor_hears_that_volumes_are_not_needed(rig: Rig, channel: grpc.aio.Channel) -> None:
    one = Stub(channel)
    await one.hello("e1", credits=1)
    await one.say(claims=["u", "v"])
    while not rig.dispatch.executors["e1"].claims:  # noqa: ASYNC110 - as above
        await asyncio.sleep(0)
    rig.dispatch.homes.release("u", rig.dispatch.executors.values())
    assert await one.until("released") == ["u"]
    assert list(rig.dispatch.executors["e1"].claims) == ["v"]


class Hand:
    """An executor's stream that keeps what it is told (`attempts.Link`)."""

    def __init__(self) -> None:
        self.sent: list[Flight] = []

    def send(self, flight: Flight) -> None:
        self.sent.append(flight)

    def cancel(self, id: str) -> None:
        """A step that is ended reports that: here `play` does."""

    def acknowledge(self, id: str) -> None: ...
    def forget(self, id: str) -> None: ...
    def release(self, uid: str) -> None: ...
    def close(self) -> None: ...


OPS = st.lists(
    st.tuples(st.sampled_from(["want", "lend", "cancel", "end"]), st.integers(0, 2), st.integers(0, 5)), max_size=40
)


async def play(ops: list[tuple[str, int, int]]) -> None:
    """Steps of three workflows come, wait, are cancelled and end, in any order; then there is room for all."""
    dispatch = Dispatch(grace=1000, judges=lambda *_: True, now=lambda: 0.0)
    wanting = Wanting(dispatch)
    hands = {name: Hand() for name in ("e0", "e1", "e2")}
    executors = {
        name: dispatch.attach(hand, ExecutorProfile(name, {}, ("process",), 9, 9), (), ())
        for name, hand in hands.items()
    }
    cancelled: set[str] = set()
    ended: set[str] = set()

    async def end_all(limit: int = 1000) -> None:
        await asyncio.sleep(0)  # owners hear of placements in the next turn of the loop
        for name, hand in hands.items():
            for flight in [one for one in hand.sent if one.id not in ended][:limit]:
                ended.add(flight.id)
                dispatch.update(executors[name], AttemptReport(flight.id, step_pb2.StepResult(phase="Succeeded")))

    for number, (what, which, count) in enumerate(ops):
        if what == "want":
            for n in range(count):
                wanting.want(f"u{which}/n{number}-{n}/0", claims=True)
        elif what == "lend":
            dispatch.lend(executors[f"e{which}"], ordinary=count, kept=0, seen=0)
        elif what == "cancel":
            for id in [id for id, flight in dispatch.flights.items() if flight.state is FlightState.WAITING][:count]:
                dispatch.cancel(id)
                cancelled.add(id)
        else:
            await end_all(count)
    for _ in range(3 * len(ops) + 3):
        for executor in executors.values():
            dispatch.lend(executor, ordinary=1000, kept=0, seen=0)
        await end_all()
    assert not dispatch.flights, "some are never placed"
    assert not dispatch.placement.waiting(exit=False)
    where: dict[str, set[str]] = {}
    for name, hand in hands.items():
        for flight in hand.sent:
            where.setdefault(flight.uid, set()).add(name)
            assert flight.id not in cancelled
    assert all(len(names) == 1 for names in where.values()), where


@given(OPS)
@settings(deadline=None, max_examples=200)
def test_whatever_comes_each_workflow_has_one_executor_and_nothing_is_stuck(ops: list[tuple[str, int, int]]) -> None:
    asyncio.run(play(ops))
