"""The stream to one scheduler: steps come in, results and output go out. It is opened anew when it breaks."""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from collections.abc import Coroutine, Iterable, Mapping
from functools import partial
from typing import Any, Protocol

import grpc

from exeunt.executor.attempt import LocalAttempt
from exeunt.executor.attempts import Attempts
from exeunt.internal.v1 import executor_service_pb2 as pb
from exeunt.internal.v1 import executor_service_pb2_grpc
from exeunt.service.channel import metadata, open_channel

log = logging.getLogger(__name__)

FORMAT = 1
FRAME_BYTES = 2 * 1024 * 1024
"""The most bytes of results and output in one frame, unless a single result is larger."""

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds before a broken stream is opened again, doubled each time; half of it to all of it is waited, at random."""

GOOD_SECONDS = 5.0
"""When a stream has lived so long, the next one is opened after the first pause again."""

REFUSED = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)

SILENT_BEATS = 5
"""Heartbeats without an answer after which a stream counts as broken."""

LONGEST_PATIENCE = 30.0
"""Seconds to wait at most for an acknowledgement before a result is told to every scheduler again."""

WELCOME_SECONDS = 15.0
"""Seconds in which a scheduler that took the stream has to send its first frame."""

_Call = grpc.aio.StreamStreamCall[pb.SessionRequest, pb.SessionResponse]


class HeldClaims(Protocol):
    """The volumes that workflows have made for themselves here. `version` changes when another workflow has some."""

    version: int

    def uids(self) -> list[str]:
        """The workflows that have any, in the order in which they made them."""

    def release(self, uids: Iterable[str]) -> None:
        """These need them no more."""


class ExecutorIdentity:
    """What an executor says of itself to schedulers; `beat` is the time between its heartbeats, in seconds.

    `claims` None: it has no volumes.
    """

    def __init__(
        self,
        id: str,
        labels: Mapping[str, str],
        capabilities: tuple[str, ...],
        beat: float,
        claims: HeldClaims | None = None,
    ) -> None:
        self.id = id
        self.claims = claims
        self.labels = labels
        self.capabilities = capabilities
        self.beat = beat


class SessionKeeper(Protocol):
    """Who keeps the sessions to all schedulers."""

    def wanted(self, session: Session) -> bool:
        """Whether the session is to be kept open."""

    def streams(self) -> list[str]:
        """The names of the streams of all sessions."""

    def connected(self, session: Session) -> None:
        """The session leads to a scheduler now."""

    def disconnected(self, session: Session) -> None:
        """It does not any more."""

    def changed(self) -> None:
        """The session's scheduler told of others."""


class Session:
    """The link to the scheduler at one address (see `SchedulerLink`).

    `stream` is the name of the stream that lives or is being opened, empty while there is none.
    """

    def __init__(self, address: str, identity: ExecutorIdentity, attempts: Attempts, keeper: SessionKeeper) -> None:
        self.address = address
        self.stream = ""
        self.replica = ""
        self.advertised = ""
        self.peers: tuple[str, ...] = ()
        self.grace = 30.0
        self.connected = False
        self._identity = identity
        self._attempts = attempts
        self._keeper = keeper
        self._with_output: dict[str, LocalAttempt] = {}
        self._with_news: dict[str, LocalAttempt] = {}  # daemons that have become ready
        self._with_result: dict[str, LocalAttempt] = {}
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._number = 0
        self._seen = 0
        self._said = (-1, -1, -1)  # credits, exit credits and draining, as the last frame had them
        self._refused = self._away = False
        self._claims_version = -1
        self._claims: dict[str, None] = {}  # workflows that the scheduler knows to have volumes here

    def wake(self) -> None:
        """See `SchedulerLink`."""
        self._wake.set()

    def has_output(self, attempt: LocalAttempt) -> None:
        """See `SchedulerLink`."""
        self._with_output[attempt.id] = attempt
        self._wake.set()

    def has_news(self, attempt: LocalAttempt) -> None:
        """See `SchedulerLink`."""
        self._with_news[attempt.id] = attempt
        self._wake.set()

    def has_ended(self, attempt: LocalAttempt) -> None:
        """See `SchedulerLink`."""
        self._with_result[attempt.id] = attempt
        self._wake.set()

    async def run(self) -> None:
        """Keeps a stream open until cancelled, or until nobody names this address any more."""
        pause = FIRST_PAUSE
        task = asyncio.current_task()
        async with open_channel(self.address, retries=False) as channel:
            stub = executor_service_pb2_grpc.ExecutorServiceStub(channel)
            while self._keeper.wanted(self):
                began = self._loop.time()
                linked = ""
                self.stream = uuid.uuid4().hex
                call: _Call = stub.Session(metadata=metadata())
                try:
                    await self._talk(call)
                except (grpc.aio.AioRpcError, _Silent, TimeoutError, asyncio.InvalidStateError) as error:
                    self._ended(error)
                except _Same as error:
                    linked = error.args[0]
                    log.debug("%s leads to scheduler %s, to which there is a stream", self.address, linked)
                except Exception:
                    log.exception("the stream to %s failed; another is opened", self.address)
                finally:
                    call.cancel()
                    self.stream = ""
                    self._disconnected()
                if task is not None and task.cancelling():
                    raise asyncio.CancelledError  # a call that fails while it is cancelled hides that
                if self._loop.time() - began > GOOD_SECONDS:
                    pause = FIRST_PAUSE
                if linked:
                    await self._attempts.until(partial(self._needed, linked))
                await asyncio.sleep(pause * random.uniform(0.5, 1))
                pause = min(LONGEST_PAUSE, 2 * pause)

    def _needed(self, replica: str) -> bool:
        """Whether waiting is over: no link leads to that scheduler now, or this session is not wanted any more."""
        return not self._keeper.wanted(self) or all(link.replica != replica for link in self._attempts.links)

    def _ended(self, error: BaseException) -> None:
        if not self._refused and isinstance(error, grpc.aio.AioRpcError) and error.code() in REFUSED:
            self._refused = True  # said once: nothing changes before somebody has read it
            log.error("the scheduler at %s takes no steps to this executor: %s", self.address, error.details())
        elif not self._away and not self.connected:
            self._away = True
            log.warning("the scheduler at %s cannot be reached: %s; trying again", self.address, _reason(error))
        else:
            log.debug("the stream to %s ended: %s", self.address, error)

    # --- one stream ---------------------------------------------------------------------------------------------------

    async def _talk(self, call: _Call) -> None:
        self._number = self._seen = 0
        async with asyncio.timeout(WELCOME_SECONDS):
            await call.write(self._hello())
            first = await call.read()
        if not isinstance(first, pb.SessionResponse):
            return
        self._connected(first.welcome)
        self._take(first)
        both: list[asyncio.Task[None]] = []
        async with asyncio.TaskGroup() as group:
            both += [
                group.create_task(self._half(self._write(call), both)),
                group.create_task(self._half(self._read(call), both)),
            ]

    async def _half(self, work: Coroutine[Any, Any, None], both: list[asyncio.Task[None]]) -> None:
        """One direction of the stream. When it ends, the other one is ended too."""
        try:
            await work
        except (grpc.aio.AioRpcError, _Silent, asyncio.InvalidStateError) as error:
            log.info("the stream to scheduler %s broke: %s", self.address, _reason(error))
        finally:
            for task in both:
                if task is not asyncio.current_task():
                    task.cancel()

    async def _read(self, call: _Call) -> None:
        limit = SILENT_BEATS * self._identity.beat
        try:
            async with asyncio.timeout(limit) as silence:
                while True:
                    frame = await call.read()
                    if not isinstance(frame, pb.SessionResponse):
                        raise _Silent("the scheduler closed it")
                    silence.reschedule(self._loop.time() + limit)
                    self._take(frame)
        except TimeoutError:
            raise _Silent(f"nothing was heard for {limit:g} s") from None

    async def _write(self, call: _Call) -> None:
        beat = self._loop.call_later(self._identity.beat, self._wake.set)
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                if self._loop.time() >= beat.when():
                    beat = self._loop.call_later(self._identity.beat, self._wake.set)
                    self._announce()
                    await call.write(self._seal(pb.SessionRequest()))
                frame = self._news()
                if frame is not None:
                    await call.write(frame)
        finally:
            beat.cancel()

    def _connected(self, welcome: pb.Welcome) -> None:
        if welcome.refused or any(link.replica == welcome.replica for link in self._attempts.links):
            raise _Same(welcome.replica)
        self.replica = welcome.replica
        self._told(welcome)
        self.connected = True
        self._refused = self._away = False
        self._keeper.connected(self)
        log.info("connected to scheduler %s at %s", self.replica, self.address)

    def _told(self, welcome: pb.Welcome) -> None:
        self.advertised = welcome.address
        self.peers = tuple(welcome.peers)
        self.grace = welcome.grace_seconds or self.grace

    def _disconnected(self) -> None:
        if not self.connected:
            return
        self.connected = False
        self._with_output.clear()
        self._with_result.clear()
        self._keeper.disconnected(self)

    # --- frames -------------------------------------------------------------------------------------------------------

    def _hello(self) -> pb.SessionRequest:
        self._claims, self._claims_version = {}, -1
        identity, slots = self._identity, self._attempts.slots
        hello = pb.Hello(
            id=identity.id,
            labels=identity.labels,
            capabilities=identity.capabilities,
            slots=slots.ordinary.size,
            exit_slots=slots.kept.size,
            attempts=self._attempts.ids(),
            format=FORMAT,
            stream=self.stream,
            streams=self._keeper.streams(),
            claims=self._new_claims(),
        )
        self._said = (-1, -1, -1)
        self._with_output.clear()
        self._with_news = {a.id: a for a in self._attempts.unfinished() if a.ready or a.progress}
        self._with_result = {a.id: a for a in self._attempts.ended()}
        for attempt in [*self._attempts.unfinished(), *self._with_result.values()]:
            if attempt.link in {self, None} and attempt.output is not None:
                attempt.link = self
                attempt.output.again()
                self._with_output[attempt.id] = attempt
        frame = self._news() or self._seal(pb.SessionRequest())
        frame.hello.CopyFrom(hello)
        return frame

    def _news(self) -> pb.SessionRequest | None:
        """The frame with all that is new; None when there is nothing."""
        frame = pb.SessionRequest()
        room = FRAME_BYTES
        for id, attempt in list(self._with_output.items()):
            if attempt.output is not None:
                for piece in attempt.output.frames(room):
                    room -= piece.ByteSize()
                    frame.logs.append(piece)
            if room <= 0:
                break
            del self._with_output[id]
        for attempt in self._with_news.values():
            if attempt.update is None and attempt.ready:
                frame.ready.add(id=attempt.id, address=attempt.ready)
            if attempt.update is None and attempt.progress:
                frame.progress.add(id=attempt.id, progress=attempt.progress)
        self._with_news.clear()
        now = self._loop.time()
        for id, attempt in list(self._with_result.items()):
            if id in self._with_output:
                continue  # a result never ahead of its output
            update = attempt.update
            if update is not None and self._attempts.get(id) is attempt:
                room -= update.ByteSize()
                if room < 0 and (frame.logs or frame.updates):
                    self._wake.set()  # the rest comes with the next frame
                    break
                frame.updates.append(update)
                attempt.announced = now
            del self._with_result[id]
        if self._with_output:
            self._wake.set()
        frame.claims.extend(self._new_claims())
        said = frame.updates or frame.logs or frame.ready or frame.progress or frame.claims
        if not said and self._lent() == self._said:
            return None
        return self._seal(frame)

    def _new_claims(self) -> list[str]:
        """The workflows that have volumes here of which this scheduler does not know."""
        claims = self._identity.claims
        if claims is None or claims.version == self._claims_version:
            return []
        self._claims_version = claims.version
        held = claims.uids()
        new = [uid for uid in held if uid not in self._claims]
        self._claims = dict.fromkeys(held)
        return new

    def _seal(self, frame: pb.SessionRequest) -> pb.SessionRequest:
        """Adds what every frame has: its number, and the slots that are lent."""
        lent = self._said = self._lent()
        self._number += 1
        frame.number, frame.seen = self._number, self._seen
        frame.credits, frame.exit_credits = lent[:2]
        frame.draining = bool(lent[2])
        return frame

    def _lent(self) -> tuple[int, int, int]:
        if self._attempts.draining:
            return 0, 0, 1
        if self._attempts.crowded:
            return 0, 0, 0
        links = self._attempts.links
        ordinary, kept = self._attempts.slots.shares(self, links if self in links else [*links, self])
        return ordinary, kept, 0

    def _announce(self) -> None:
        """Tells every scheduler of results that nobody acknowledged: their partitions may have other owners by now."""
        now = self._loop.time()
        for attempt in self._attempts.ended():
            if now - attempt.announced >= attempt.patience:
                attempt.patience = min(LONGEST_PATIENCE, 2 * attempt.patience)
                for link in self._attempts.links:
                    link.has_ended(attempt)

    def _take(self, frame: pb.SessionResponse) -> None:
        """Takes in what the scheduler says."""
        self._seen = frame.number
        if frame.HasField("welcome") and tuple(frame.welcome.peers) != self.peers:
            self._told(frame.welcome)
            self._keeper.changed()
        for step in frame.dispatches:
            self._attempts.dispatch(step, self)
        for id in frame.cancels:
            self._attempts.cancel(id)
        if frame.acknowledged:
            self._attempts.acknowledge(frame.acknowledged)
        if frame.forgotten:
            self._attempts.forget(frame.forgotten)
        for uid in frame.released:
            self._claims.pop(uid, None)
        if frame.released and self._identity.claims is not None:
            self._identity.claims.release(frame.released)
        if frame.dispatches:
            for link in self._attempts.links:
                if link is not self:
                    link.wake()


class _Silent(Exception):  # noqa: N818 - a way to end the stream
    """The stream says nothing any more."""


class _Same(Exception):  # noqa: N818 - a way to end the stream
    """There is a stream to this scheduler already; its name is the argument."""


def _reason(error: BaseException) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name} {error.details()}"
    return str(error) or type(error).__name__
