"""Steps of exit handlers (StepService): wanted, placed, sent when that is in the log, and their results."""

# ruff: noqa: N802 - the names of methods are the contract's

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable

import grpc

from exeunt.engine.facts.volumes import CLAIM
from exeunt.internal.v1 import step_pb2, step_service_pb2_grpc
from exeunt.internal.v1 import step_service_pb2 as pb
from exeunt.journal.subjects import partition_of
from exeunt.scheduler.attempts import Flight, FlightState
from exeunt.scheduler.dispatch import Dispatch
from exeunt.steps import FRAME_BYTES, AttemptKey, attempt_key
from exeunt.wire_work import secrets_wanted

log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[pb.RunRequest, pb.RunResponse]
OwnerOf = Callable[[int], str | None]
"""The address of a partition's scheduler: empty for this one, None when it is not known."""


class StepStream:
    """One stream with an exit handler. It owns the attempts that are wanted on it (`dispatch.Owner`)."""

    def __init__(
        self, dispatch: Dispatch, owner_of: OwnerOf, on_step: Callable[[step_pb2.Step], None], fences: dict[int, int]
    ) -> None:
        self.closed = asyncio.Event()
        self._dispatch = dispatch
        self._owner_of = owner_of
        self._on_step = on_step
        self._fences = fences  # partition → the newest fence that an exit handler has named, on any stream
        self._flights: dict[str, Flight] = {}
        self._wake = asyncio.Event()
        self._placements: list[pb.Placement] = []
        self._ready: list[step_pb2.ReadyAttempt] = []
        self._progress: list[step_pb2.AttemptProgress] = []
        self._results: list[pb.RunResult] = []
        self._lost: list[str] = []
        self._moved: dict[int, str] = {}

    # --- what the exit handler says -----------------------------------------------------------------------------------

    def take(self, request: pb.RunRequest) -> None:
        """Takes in one frame."""
        for id in request.acknowledged:
            self._dispatch.acknowledge(id)
        for id in request.released:
            if (flight := self._flights.get(id)) is not None:
                self._dispatch.drop({id: flight})
        for want in request.wants:
            self._want(want)
        for placement in request.placed:
            if placement.id in self._flights:
                self._dispatch.send(placement.id, placement.executor)
        for id in request.cancels:
            self._cancel(id)
        for placement in request.ends:
            self._end(placement)

    def _want(self, want: pb.Want) -> None:
        step = want.step
        attempt = self._ours(step.id)
        if attempt is None:
            return
        partition = partition_of(attempt.uid)
        if want.fence < self._fences.get(partition, 0):
            return  # a former owner, which has not noticed yet
        self._fences[partition] = want.fence
        self._on_step(step)
        known = self._flights.get(step.id)
        if want.executor:
            self._dispatch.expect(self._flight(step), want.executor)
        elif known is None:
            self._dispatch.wait(self._flight(step))
        elif known.state is FlightState.PLACED:
            self.placed([known])

    def _ours(self, id: str) -> AttemptKey | None:
        """The attempt, where its partition is ours; else the exit handler is told whose it is."""
        try:
            attempt = attempt_key(id)
        except ValueError:
            log.warning("an exit handler speaks of a step of no readable name: %r", id)
            return None
        partition = partition_of(attempt.uid)
        owner = self._owner_of(partition)
        if owner == "":
            return attempt
        self._moved[partition] = owner or ""
        self._wake.set()
        return None

    def _cancel(self, id: str) -> None:
        """The cancellation is durable: the attempt ends with its grace, and nobody waits for what comes of it."""
        if self._dispatch.unclaimed(id):
            self._dispatch.expect_cancelled(self._flight(step_pb2.Step(id=id, uid=attempt_key(id).uid)))
        flight = self._dispatch.flights.get(id)
        if flight is not None:
            self._dispatch.close({id: flight})
        self._lost.append(id)
        self._wake.set()

    def _end(self, placement: pb.Placement) -> None:
        """The cancellation is durable: the attempt ends where it was placed, and the exit run waits to hear how."""
        id = placement.id
        attempt = self._ours(id)
        if attempt is None:
            return
        if id in self._flights:
            self._dispatch.cancel(id)
            if id not in self._flights and id not in self._lost:  # it never went out
                self._lost.append(id)
                self._wake.set()
        else:
            self._dispatch.end(self._flight(step_pb2.Step(id=id, uid=attempt.uid)), placement.executor)

    def _flight(self, step: step_pb2.Step) -> Flight:
        return Flight(
            step.id,
            kind=step.WhichOneof("work") or "container",
            exit=True,
            namespace=step.namespace,
            uid=step.uid,
            where=lambda: f"{step.namespace}/{step.workflow}/{step.node_name or step.node}",
            owner=self,
            group=self._flights,
            key=None,
            make=lambda: step,
            secretive=bool(secrets_wanted(step)),
            claims=any(volume.kind == CLAIM for volume in step.volumes),
            home=step.claims_executor,
        )

    # --- what the dispatch tells --------------------------------------------------------------------------------------

    def placed(self, flights: list[Flight]) -> None:
        """Slots were found; nothing is sent before the exit handler has committed them."""
        self._placements += [pb.Placement(id=flight.id, executor=flight.executor) for flight in flights]
        self._wake.set()

    def ready(self, flight: Flight, address: str) -> None:
        """A daemon that is ready."""
        self._ready.append(step_pb2.ReadyAttempt(id=flight.id, address=address))
        self._wake.set()

    def progressed(self, flight: Flight, progress: str) -> None:
        """It has come so far."""
        self._progress.append(step_pb2.AttemptProgress(id=flight.id, progress=progress))
        self._wake.set()

    def ended(self, flight: Flight, result: step_pb2.StepResult) -> None:
        """A result, kept until it is acknowledged."""
        self._results.append(pb.RunResult(id=flight.id, result=result))
        self._wake.set()

    def lost(self, flight: Flight, message: str) -> None:
        """The executor is gone, or was restarted: the exit run has the step started again."""
        self._lost.append(flight.id)
        self._wake.set()

    # --- the stream ---------------------------------------------------------------------------------------------------

    async def write(self, context: Context) -> None:
        """Sends what is gathered, as fast as the stream takes it."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await context.write(self._frame())
            if self._results:
                self._wake.set()

    def _frame(self) -> pb.RunResponse:
        frame = pb.RunResponse(placements=self._placements, lost=self._lost, ready=self._ready, progress=self._progress)
        frame.moved.extend(pb.Moved(partition=p, address=address) for p, address in self._moved.items())
        self._placements, self._lost, self._ready, self._progress, self._moved = [], [], [], [], {}
        size = taken = 0
        while taken < len(self._results) and size < FRAME_BYTES:
            size += self._results[taken].ByteSize()
            taken += 1
        frame.results.extend(self._results[:taken])
        del self._results[:taken]
        return frame

    def moved(self, partitions: Iterable[int]) -> None:
        """These partitions are somebody else's now."""
        gone = set(partitions)
        for flight in list(self._flights.values()):
            partition = partition_of(flight.uid)
            if partition in gone:
                self._moved[partition] = self._owner_of(partition) or ""
                self._dispatch.drop({flight.id: flight})
        self._wake.set()

    def drop(self) -> None:
        """The stream has ended. What runs goes on; the exit handler asks for it again."""
        self._dispatch.drop(self._flights)


class StepService(step_service_pb2_grpc.StepServiceServicer):
    """Serves the streams. `on_step` hears of each step that is wanted (its output needs the workflow's namespace)."""

    def __init__(self, dispatch: Dispatch, owner_of: OwnerOf, on_step: Callable[[step_pb2.Step], None]) -> None:
        self._dispatch = dispatch
        self._owner_of = owner_of
        self._on_step = on_step
        self._streams: set[StepStream] = set()
        self._fences: dict[int, int] = {}
        self._stopping = False

    async def Run(  # type: ignore[override]  # grpc.aio also takes a coroutine that writes by itself
        self, request_iterator: AsyncIterator[pb.RunRequest], context: Context
    ) -> None:
        """One exit handler, as long as its stream lives."""
        if self._stopping:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "this scheduler stops; connect again")
        stream = StepStream(self._dispatch, self._owner_of, self._on_step, self._fences)
        self._streams.add(stream)
        tasks: list[asyncio.Task[object]] = [
            asyncio.create_task(self._read(stream, request_iterator)),
            asyncio.create_task(stream.write(context)),
            asyncio.create_task(stream.closed.wait()),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._streams.discard(stream)
            stream.drop()
        if stream.closed.is_set():
            await context.abort(grpc.StatusCode.UNAVAILABLE, "this scheduler stops; connect again")

    async def stop(self) -> None:
        """Ends all streams."""
        self._stopping = True
        for stream in self._streams:
            stream.closed.set()

    def moved(self, partitions: Iterable[int]) -> None:
        """These partitions are somebody else's now."""
        gone = list(partitions)
        for stream in self._streams:
            stream.moved(gone)

    async def _read(self, stream: StepStream, requests: AsyncIterator[pb.RunRequest]) -> None:
        async for request in requests:
            stream.take(request)
