"""Attempts and executors: sent after the commit, healed by hello, lost after the grace, forgotten when unwanted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence

import grpc
import pytest

from exeunt import steps
from exeunt.journal.subjects import partition_of
from exeunt.scheduler.attempts import Flight
from exeunt.scheduler.dispatch import Dispatch
from exeunt.scheduler.sessions import ExecutorService
from exeunt.scheduler.step_service import StepService
from exeunt.v1 import executor_service_pb2 as pb
from exeunt.v1 import executor_service_pb2_grpc, step_pb2, step_service_pb2, step_service_pb2_grpc


class Wanting:
    """Somebody who wants steps run, and commits at once what the dispatch tells."""

    def __init__(self, dispatch: Dispatch) -> None:
        self.dispatch = dispatch
        self.group: dict[str, Flight] = {}
        self.results: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self.lost_ones: asyncio.Queue[str] = asyncio.Queue()
        self.commits = True

    def flight(self, id: str, kind: str = "container", *, secretive: bool = False) -> Flight:
        uid = id.split("/")[0]
        return Flight(
            id,
            kind=kind,
            exit=False,
            namespace="default",
            uid=uid,
            where=lambda: id,
            owner=self,
            group=self.group,
            key=None,
            make=lambda: step_pb2.Step(id=id, uid=uid, namespace="default"),
            secretive=secretive,
        )

    def want(self, id: str, *, secretive: bool = False) -> None:
        executor = self.dispatch.place(self.flight(id, secretive=secretive))
        if executor is None:
            self.dispatch.wait(self.flight(id, secretive=secretive))
        else:
            self.dispatch.send(id, executor)

    def placed(self, flights: list[Flight]) -> None:
        for flight in flights:
            self.dispatch.send(flight.id, flight.executor)

    def ended(self, flight: Flight, result: step_pb2.StepResult) -> None:
        self.results.put_nowait((flight.id, result.phase))
        if self.commits:
            self.dispatch.acknowledge(flight.id)

    def lost(self, flight: Flight, message: str) -> None:
        self.lost_ones.put_nowait(flight.id)
        if self.commits:
            self.dispatch.acknowledge(flight.id)


class Rig:
    """A dispatch behind a real gRPC server, all partitions owned and loaded unless `loaded` says otherwise."""

    def __init__(self, grace: float = 30) -> None:
        self.loaded = True
        self.logs: list[str] = []
        self.dispatch = Dispatch(grace=grace, judges=lambda _: self.loaded, now=lambda: 0.0)
        self.wanting = Wanting(self.dispatch)
        self.secrets = asyncio.Event()  # the store of secrets answers
        self.secrets.set()
        self.reads = asyncio.Event()  # output is written fast enough
        self.reads.set()
        self.executors = ExecutorService(
            self.dispatch,
            replica="s1",
            peers=lambda: [self.address],
            on_logs=self._logs,
            room=self._room,
            give_secrets=self._give_secrets,
        )
        self.steps = StepService(self.dispatch, lambda _: "", lambda _: None)
        self.address = ""

    async def _give_secrets(self, steps: Sequence[step_pb2.Step]) -> list[step_pb2.Step]:
        await self.secrets.wait()
        for step in steps:
            step.secrets.add(name="api")
        return list(steps)

    async def _room(self) -> None:
        await self.reads.wait()

    def _logs(self, frames: Iterable[step_pb2.LogFrame]) -> None:
        self.logs += [frame.data.decode() for frame in frames]


class Stub:
    """An executor's stream, driven by hand."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.call = executor_service_pb2_grpc.ExecutorServiceStub(channel).Session()
        self.first: pb.SessionResponse | None = None  # read for its welcome, not looked at otherwise

    async def hello(self, id: str = "e1", attempts: Iterable[str] = (), **more: object) -> pb.Welcome:
        hello = pb.Hello(id=id, capabilities=["process", "http"], slots=2, exit_slots=1, attempts=attempts)
        await self.say(hello=hello, **more)
        self.first = await self.hear()
        return self.first.welcome

    async def say(self, **frame: object) -> None:
        await self.call.write(pb.SessionRequest(**frame))  # type: ignore[arg-type]  # by the frame's own field names

    async def hear(self) -> pb.SessionResponse:
        answer = await self.call.read()
        assert isinstance(answer, pb.SessionResponse), "the scheduler has ended the stream"
        return answer

    async def until(self, what: str) -> list[str]:
        """Reads on to the first frame that has any of these."""
        while True:
            frame, self.first = self.first or await self.hear(), None
            found = getattr(frame, what)
            if found:
                return [f.id if what == "dispatches" else f for f in found]


def result(id: str, phase: str = "Succeeded") -> pb.AttemptUpdate:
    return pb.AttemptUpdate(id=id, partition=partition_of(id.split("/")[0]), result=step_pb2.StepResult(phase=phase))


@pytest.fixture
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    rig = Rig(**getattr(request, "param", {}))
    server = grpc.aio.server()
    executor_service_pb2_grpc.add_ExecutorServiceServicer_to_server(rig.executors, server)
    step_service_pb2_grpc.add_StepServiceServicer_to_server(rig.steps, server)
    rig.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield rig
    await rig.executors.stop()
    await rig.steps.stop()
    await server.stop(None)


@pytest.fixture
async def channel(rig: Rig) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(rig.address) as channel:
        yield channel


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


class Exits:
    """An exit handler's stream, driven by hand."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.call = step_service_pb2_grpc.StepServiceStub(channel).Run()

    async def want(self, id: str, executor: str = "", fence: int = 1) -> None:
        step = step_pb2.Step(id=id, uid=id.split(".")[0], exit=True, container=step_pb2.ContainerWork(image="i"))
        await self.say(wants=[step_service_pb2.Want(step=step, executor=executor, fence=fence)])

    async def commit(self, id: str, executor: str = "e1") -> None:
        await self.say(placed=[step_service_pb2.Placement(id=id, executor=executor)])

    async def say(self, **frame: object) -> None:
        await self.call.write(step_service_pb2.RunRequest(**frame))  # type: ignore[arg-type]  # as above

    async def hear(self) -> step_service_pb2.RunResponse:
        answer = await self.call.read()
        assert isinstance(answer, step_service_pb2.RunResponse), "the scheduler has ended the stream"
        return answer


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
    executor, exits = Stub(channel), Exits(channel)
    await executor.hello(credits=1)
    await exits.want("u.h/n/0")
    await exits.hear()
    await exits.commit("u.h/n/0")
    await executor.until("dispatches")
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
    executor, exits = Stub(channel), Exits(channel)
    await executor.hello(credits=1)
    await exits.want("u.h/n/0")
    await exits.hear()
    await exits.commit("u.h/n/0")
    await executor.until("dispatches")
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
    executor, exits = Stub(channel), Exits(channel)
    await executor.hello(credits=1)
    await exits.want("u.h/n/0")
    await exits.hear()
    await exits.commit("u.h/n/0")
    await executor.until("dispatches")
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
