"""The streams to executors (ExecutorService): frames in and out, gathered; what they mean is `dispatch`'s business."""

# ruff: noqa: N802 - the names of methods are the contract's

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

import grpc

from exeunt.internal.v1 import executor_service_pb2 as pb
from exeunt.internal.v1 import executor_service_pb2_grpc, step_pb2
from exeunt.scheduler.attempts import AttemptReport, Executor, ExecutorProfile, Flight
from exeunt.scheduler.dispatch import Dispatch
from exeunt.steps import FRAME_BYTES, too_large

log = logging.getLogger(__name__)

FORMAT = 1
FRAME_NAMES = 10_000  # attempts that are cancelled, acknowledged or forgotten in one frame

Context = grpc.aio.ServicerContext[pb.SessionRequest, pb.SessionResponse]
OnLogs = Callable[[Iterable[step_pb2.LogFrame]], None]
GiveSecrets = Callable[[Sequence[step_pb2.Step]], Awaitable[list[step_pb2.Step]]]
"""Steps with the secrets that they name. See `exeunt.scheduler.secrets`."""


class ExecutorStream:
    """One stream. What is to be said is gathered until the stream takes the next frame."""

    def __init__(self, dispatch: Dispatch, welcome: pb.Welcome, give_secrets: GiveSecrets) -> None:
        self.closed = asyncio.Event()
        self.hello = pb.Hello()
        self.executor: Executor | None = None
        self._dispatch = dispatch
        self._welcome: pb.Welcome | None = welcome
        self._wake = asyncio.Event()
        self._number = 0
        self._steps: deque[Flight] = deque()
        self._secretive: dict[str, Flight] = {}  # these wait for their secrets
        self._ready: deque[tuple[Flight, step_pb2.Step]] = deque()  # these have them
        self._give_secrets = give_secrets
        self._giving = False
        self._cancels: list[str] = []
        self._acknowledged: list[str] = []
        self._forgotten: list[str] = []
        self._released: list[str] = []

    # --- what dispatch says -------------------------------------------------------------------------------------------

    def send(self, flight: Flight) -> None:
        """Starts an attempt."""
        if flight.secretive:
            self._secretive[flight.id] = flight
        else:
            self._steps.append(flight)
        self._wake.set()

    def cancel(self, id: str) -> None:
        """Ends an attempt."""
        self._cancels.append(id)
        self._wake.set()

    def acknowledge(self, id: str) -> None:
        """Its result is durable."""
        self._acknowledged.append(id)
        self._wake.set()

    def forget(self, id: str) -> None:
        """Nobody wants it any more."""
        self._forgotten.append(id)
        self._wake.set()

    def release(self, uid: str) -> None:
        """The workflow needs its volumes no more."""
        self._released.append(uid)
        self._wake.set()

    def close(self) -> None:
        """Ends the stream; the executor opens another one if it is alive."""
        self.closed.set()

    # --- frames -------------------------------------------------------------------------------------------------------

    def tell(self, welcome: pb.Welcome) -> None:
        """The executor shall hear of other schedulers than when the stream began."""
        self._welcome = welcome
        self._wake.set()

    def answer(self) -> None:
        """Has a frame sent even when there is nothing to say: a heartbeat."""
        self._wake.set()

    async def write(self, context: Context) -> None:
        """Sends what is gathered, as fast as the stream takes it; steps with secrets when these are there."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self._wake.wait()
                self._wake.clear()
                if self._secretive and not self._giving:
                    self._giving = True
                    group.create_task(self._give())
                await context.write(self._frame())
                said = (self._cancels, self._acknowledged, self._forgotten, self._released)
                if self._steps or self._ready or any(said):
                    self._wake.set()

    def _frame(self) -> pb.SessionResponse:
        self._number += 1
        frame = pb.SessionResponse(number=self._number, released=_some(self._released))
        if self._welcome is not None:
            frame.welcome.CopyFrom(self._welcome)
            self._welcome = None
        size = ordinary = kept = 0
        refused: list[tuple[str, step_pb2.StepResult]] = []
        while (self._steps or self._ready) and size < FRAME_BYTES:
            flight, step = self._ready.popleft() if self._ready else (self._steps.popleft(), None)
            if self.executor is None or not self._dispatch.goes(flight, self.executor):
                continue
            step = flight.make() if step is None else step
            length = step.ByteSize()
            size += length
            if (result := too_large(length)) is not None:
                refused.append((step.id, result))
            else:
                frame.dispatches.append(step)
            if flight.slot is not None:
                kept += flight.slot.kept
                ordinary += not flight.slot.kept
                flight.slot = None
        if self.executor is not None and (ordinary or kept):
            self._dispatch.placement.sent(self.executor.profile.id, self._number, ordinary=ordinary, kept=kept)
        for id, result in refused:
            if self.executor is not None:
                self._dispatch.update(self.executor, AttemptReport(id, result))
        frame.acknowledged.extend(_some(self._acknowledged))
        frame.forgotten.extend(_some(self._forgotten))
        if not (self._steps or self._ready):  # never ahead of the step that is to be ended
            frame.cancels.extend(_some(self._cancels))
        return frame

    async def _give(self) -> None:
        """Gets the secrets of the steps that wait for them; the stream goes on meanwhile."""
        waiting = list(self._secretive.values())
        steps = await self._give_secrets([flight.make() for flight in waiting])
        self._giving = False
        for flight, step in zip(waiting, steps, strict=True):
            del self._secretive[flight.id]
            self._ready.append((flight, step))
        self._wake.set()

    def take(self, request: pb.SessionRequest, on_logs: OnLogs) -> None:
        """Takes in a frame of an executor that has said hello."""
        executor = self.executor
        if executor is None:
            return
        self._dispatch.heard(executor)
        self._dispatch.homes.holds(executor, request.claims)
        executor.draining = request.draining
        if request.logs:
            on_logs(request.logs)
        for one in request.ready:
            executor.is_ready(one.id, one.address, self._dispatch.flights.get(one.id))
        for news in request.progress:
            executor.has_come(news.progress, self._dispatch.flights.get(news.id))
        for update in request.updates:
            self._dispatch.update(executor, AttemptReport(update.id, update.result, update.lost))
        self.lend(request)
        if not (request.updates or request.logs):
            self.answer()

    def lend(self, request: pb.SessionRequest) -> None:
        """Takes in what a frame says of free slots. An executor that drains has none."""
        ordinary = request.credits if request.HasField("credits") else None
        kept = request.exit_credits if request.HasField("exit_credits") else None
        if request.draining:
            ordinary = kept = 0
        if self.executor is not None and (ordinary is not None or kept is not None):
            self._dispatch.lend(self.executor, ordinary=ordinary, kept=kept, seen=request.seen)


class ExecutorService(executor_service_pb2_grpc.ExecutorServiceServicer):
    """Serves the streams. `peers` are the addresses of all schedulers, as they are known now, this one's first."""

    def __init__(
        self,
        dispatch: Dispatch,
        *,
        replica: str,
        peers: Callable[[], list[str]],
        on_logs: OnLogs,
        room: Callable[[], Awaitable[None]],
        give_secrets: GiveSecrets,
    ) -> None:
        self._dispatch = dispatch
        self._room = room
        self._give_secrets = give_secrets
        self._replica = replica
        self._peers = peers
        self._on_logs = on_logs
        self._sessions: set[ExecutorStream] = set()
        self._stopping = False

    async def Session(  # type: ignore[override]  # grpc.aio also takes a coroutine that writes by itself
        self, request_iterator: AsyncIterator[pb.SessionRequest], context: Context
    ) -> None:
        """One executor, as long as its stream lives."""
        if self._stopping:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "this scheduler stops; connect to another one, or again")
        first = await anext(aiter(request_iterator), None)
        if first is None:
            return
        if not first.HasField("hello") or not first.hello.id:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, "the first frame must hold a hello with the executor's id"
            )
        if self._has_another(first.hello):
            await context.write(pb.SessionResponse(number=1, welcome=pb.Welcome(replica=self._replica, refused=True)))
            return
        session = ExecutorStream(self._dispatch, self._welcome(), self._give_secrets)
        self._sessions.add(session)
        tasks: list[asyncio.Task[object]] = []
        try:
            self._hello(session, first)
            tasks = [
                asyncio.create_task(self._read(session, request_iterator)),
                asyncio.create_task(session.write(context)),
                asyncio.create_task(session.closed.wait()),
            ]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._sessions.discard(session)
            if session.executor is not None:
                self._dispatch.detach(session, session.executor)
        if session.closed.is_set():
            await context.abort(
                grpc.StatusCode.UNAVAILABLE, "this stream was closed by the scheduler; open another one"
            )

    def peers_changed(self) -> None:
        """Schedulers came or went: executors shall hear of it."""
        for session in self._sessions:
            session.tell(self._welcome())

    def _welcome(self) -> pb.Welcome:
        own, *others = self._peers()
        return pb.Welcome(
            replica=self._replica,
            peers=[own, *others],
            grace_seconds=self._dispatch.grace,
            format=FORMAT,
            address=own,
        )

    def _has_another(self, hello: pb.Hello) -> bool:
        """Whether the executor has a stream to here that it has not given up."""
        known = self._dispatch.executors.get(hello.id)
        live = next((s for s in self._sessions if known is not None and known.link is s), None)
        # Of two that were opened at once, each hello may be the later one here, and the other was not begun for it yet.
        return live is not None and (live.hello.stream in hello.streams or hello.stream in live.hello.streams)

    async def stop(self) -> None:
        """Ends all streams: executors connect to another scheduler, or again."""
        self._stopping = True
        for session in self._sessions:
            session.close()

    def _hello(self, session: ExecutorStream, first: pb.SessionRequest) -> None:
        hello = session.hello = first.hello
        profile = ExecutorProfile(
            hello.id,
            dict(hello.labels),
            tuple(hello.capabilities),
            max(0, hello.slots),
            max(0, hello.exit_slots),
            tuple(hello.claims),
        )
        session.executor = self._dispatch.attach(
            session,
            profile,
            hello.attempts,
            [AttemptReport(u.id, u.result, u.lost) for u in first.updates],
        )
        session.executor.draining = first.draining
        for one in first.ready:
            session.executor.is_ready(one.id, one.address, self._dispatch.flights.get(one.id))
        for news in first.progress:
            session.executor.has_come(news.progress, self._dispatch.flights.get(news.id))
        session.answer()
        if first.logs:
            self._on_logs(first.logs)
        session.lend(first)
        log.info("executor %s is here: %d slots, %d attempts", hello.id, hello.slots, len(hello.attempts))

    async def _read(self, session: ExecutorStream, requests: AsyncIterator[pb.SessionRequest]) -> None:
        async for request in requests:
            session.take(request, self._on_logs)
            if request.logs:
                await self._room()


def _some(names: list[str]) -> list[str]:
    """Takes as many names out of the list as go into a frame."""
    taken = names[:FRAME_NAMES]
    del names[:FRAME_NAMES]
    return taken
