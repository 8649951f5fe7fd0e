"""Container and script steps of exit runs, run by the scheduler on its executors (StepService.Run).

Want → placement → (the exit run commits it) → placed → result → (committed) → acknowledge. What is kept here is the
state of each step, not the messages about it: the state goes to the scheduler that owns the step's partition, once on
each stream to it. So lost frames, moved partitions and restarts on either side are mended by the attempt's id. While no
scheduler answers, its steps wait and nothing else does.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Literal, Protocol

import grpc

from exeunt.internal.v1 import step_pb2, step_service_pb2_grpc
from exeunt.internal.v1 import step_service_pb2 as pb
from exeunt.service.channel import metadata, open_channel
from exeunt.steps import FRAME_BYTES, too_large

log = logging.getLogger(__name__)

SHORTEST_PAUSE = 0.1
LONGEST_PAUSE = 2.0
FRAME_WANTS = 200


class Waiting(Protocol):
    """Who wants a step, and hears what becomes of it."""

    def placed(self, executor: str) -> None:
        """The scheduler has a slot for it on this executor: commit that, then `confirm`."""

    def ready(self, address: str) -> None:
        """It is a daemon, and ready at this address. That may be told again."""

    def progressed(self, progress: str) -> None:
        """It has come so far (N/M)."""

    def ended(self, result: step_pb2.StepResult) -> None:
        """The result. It comes again until it is acknowledged."""

    def lost(self) -> None:
        """Its executor is gone."""


Said = Literal["wants", "cancels", "ends", "acknowledged", ""]
"""What a scheduler has to hear of an attempt; nothing while its result is being written to the log."""


class _Item:
    """One attempt that is not over yet. Its state goes out once on each stream."""

    __slots__ = ("executor", "partition", "said", "said_on", "step", "who")

    def __init__(self, partition: int, said: Said, step: step_pb2.Step | None, executor: str, who: Waiting | None):
        self.partition = partition
        self.said = said
        self.step = step
        self.executor = executor  # as committed; empty while it has no place
        self.who = who
        self.said_on: _Stream | None = None  # where it was said last; what is said on a stream that broke is said again


AddressOf = Callable[[int], str | None]
"""The address of the scheduler that owns a partition, where it is known."""

FenceOf = Callable[[int], int | None]
"""The position of our fence of a partition; None when it is not ours."""


class StepsClient:
    """The steps of this process's exit runs. `run()` keeps streams to the schedulers; it ends when it is cancelled."""

    def __init__(self, replica: str, address_of: AddressOf, fence_of: FenceOf) -> None:
        self._replica = replica
        self._address_of = address_of
        self._fence_of = fence_of
        self._items: dict[str, _Item] = {}
        self._streams: dict[str, _Stream] = {}  # by address: the stream that is open, or was last
        self._kept: set[str] = set()  # addresses to which streams are kept
        self._told: dict[int, str] = {}  # partition → address that a scheduler named
        self._pauses: dict[int, asyncio.TimerHandle] = {}  # partitions that nobody owns at the moment
        self._changed = asyncio.Event()

    # --- what exit runs ask -------------------------------------------------------------------------------------------

    def want(self, step: step_pb2.Step, executor: str, who: Waiting) -> None:
        """Has the step run; with an executor when its placement is in the log already."""
        self._put(step.id, _Item(step.partition, "wants", step, executor, who))

    def confirm(self, id: str, executor: str) -> None:
        """The placement is in the log: the step may be sent there."""
        item = self._items.get(id)
        if item is not None and item.said == "wants":
            item.executor = executor
            self._say(item, lambda stream: stream.placed.append(pb.Placement(id=id, executor=executor)))

    def cancel(self, id: str, partition: int) -> None:
        """The step, which has no place yet, is not wanted any more."""
        self._put(id, _Item(partition, "cancels", None, "", None))

    def end(self, id: str, partition: int, executor: str, who: Waiting) -> None:
        """The step is to end where it was placed, with its grace; how it ended is told as ever."""
        self._put(id, _Item(partition, "ends", None, executor, who))

    def acknowledge(self, id: str) -> None:
        """The result is in the log, or that the step is lost."""
        item = self._items.get(id)
        if item is not None and item.said != "cancels":
            self._put(id, _Item(item.partition, "acknowledged", None, "", None))

    def forget(self, id: str) -> None:
        """The exit run is somebody else's now; the step goes on."""
        item = self._items.pop(id, None)
        if item is not None and item.said == "wants":
            self._say(item, lambda stream: stream.released.append(id))

    def __len__(self) -> int:
        return len(self._items)

    def _put(self, id: str, item: _Item) -> None:
        self._items[id] = item
        self._offer(id, item)
        if item.said_on is None:  # to nobody yet
            self._changed.set()

    def _offer(self, id: str, item: _Item) -> None:
        """Says it on the stream of its partition's owner, once on each: owners become known, and change."""
        stream = self._stream_of(item.partition)
        if item.said and stream is not None and item.said_on is not stream:
            item.said_on = stream
            getattr(stream, item.said).append(id)
            stream.wake.set()
            if item.said == "acknowledged":
                del self._items[id]

    def _say(self, item: _Item, what: Callable[[_Stream], None]) -> None:
        """More about a step, to whom it was said."""
        if item.said_on is not None:
            what(item.said_on)
            item.said_on.wake.set()

    def _stream_of(self, partition: int) -> _Stream | None:
        address = None if partition in self._pauses else self._address(partition)
        stream = self._streams.get(address) if address else None
        return None if stream is None or stream.over else stream

    def _address(self, partition: int) -> str | None:
        return self._told.get(partition) or self._address_of(partition)

    # --- streams ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keeps one stream to each scheduler that is needed."""
        async with asyncio.TaskGroup() as group:
            while True:
                for item in self._items.values():
                    address = self._address(item.partition)
                    if address and address not in self._kept:
                        self._kept.add(address)
                        group.create_task(self._keep(address), name=f"steps at {address}")
                self._offer_all()
                self._changed.clear()
                # who owns a partition may be learned without a word to us: look again while a step has no address
                orphans = any(self._address(i.partition) is None for i in self._items.values())
                try:
                    async with asyncio.timeout(0.5 if orphans else None):
                        await self._changed.wait()
                except TimeoutError:
                    continue

    def _offer_all(self) -> None:
        for id, item in list(self._items.items()):
            self._offer(id, item)

    def owners_changed(self) -> None:
        """Members came or went: what schedulers said before may not hold any more."""
        self._told.clear()
        for pause in self._pauses.values():
            pause.cancel()
        self._pauses.clear()
        self._changed.set()

    async def _keep(self, address: str) -> None:
        pause = SHORTEST_PAUSE
        try:
            async with open_channel(address, retries=False) as channel:
                stub = step_service_pb2_grpc.StepServiceStub(channel)
                while any(self._address(item.partition) == address for item in self._items.values()):
                    stream = self._streams[address] = _Stream()
                    self._offer_all()
                    try:
                        async for response in stub.Run(self._requests(stream), metadata=metadata()):
                            pause = SHORTEST_PAUSE
                            self._take(response, stream, address)
                    except grpc.aio.AioRpcError as error:
                        log.log(
                            logging.DEBUG if error.code() is grpc.StatusCode.UNAVAILABLE else logging.WARNING,
                            "the stream of steps with %s ended: %s",
                            address,
                            error.details(),
                        )
                    finally:
                        stream.end()
                    self._told = {p: told for p, told in self._told.items() if told != address}
                    await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                    pause = min(pause * 2, LONGEST_PAUSE)
        finally:
            self._streams.pop(address, None)
            self._kept.discard(address)
            self._changed.set()

    async def _requests(self, stream: _Stream) -> AsyncIterator[pb.RunRequest]:
        yield pb.RunRequest(replica=self._replica)
        while not stream.over:
            stream.wake.clear()
            frame = self._frame(stream)
            if frame.ByteSize():
                yield frame
            else:
                await stream.wake.wait()

    def _frame(self, stream: _Stream) -> pb.RunRequest:
        frame = pb.RunRequest(
            placed=stream.placed, cancels=stream.cancels, acknowledged=stream.acknowledged, released=stream.released
        )
        for id in stream.ends:
            if (item := self._items.get(id)) is not None and item.said == "ends":
                frame.ends.append(pb.Placement(id=id, executor=item.executor))
        stream.placed, stream.cancels, stream.ends, stream.acknowledged, stream.released = [], [], [], [], []
        size = 0
        while stream.wants and size < FRAME_BYTES and len(frame.wants) < FRAME_WANTS:
            item = self._items.get(stream.wants.popleft())
            fence = self._fence_of(item.partition) if item is not None else None
            if item is None or item.step is None or item.said_on is not stream or fence is None:
                continue
            length = item.step.ByteSize()
            if (result := too_large(length)) is not None:
                _end(item, result)
                continue
            frame.wants.append(pb.Want(step=item.step, executor=item.executor, fence=fence))
            size += length
        return frame

    def _take(self, response: pb.RunResponse, stream: _Stream, address: str) -> None:
        for placement in response.placements:
            item = self._items.get(placement.id)
            if item is not None and item.who is not None and item.said_on is stream and not item.executor:
                item.who.placed(placement.executor)
        for ready in response.ready:
            item = self._items.get(ready.id)
            if item is not None and item.who is not None and item.said == "wants":
                item.who.ready(ready.address)
        for news in response.progress:
            item = self._items.get(news.id)
            if item is not None and item.who is not None and item.said == "wants":
                item.who.progressed(news.progress)
        for result in response.results:
            item = self._items.get(result.id)
            if item is not None:
                _end(item, result.result)
        for id in response.lost:
            item = self._items.get(id)
            if item is None or item.said_on is not stream:
                continue  # whose partition it is says what is lost
            if item.said == "cancels":
                del self._items[id]
            elif item.who is not None:
                item.said = ""
                item.who.lost()
        for moved in response.moved:
            self._moved(moved, stream, address)

    def _moved(self, moved: pb.Moved, stream: _Stream, address: str) -> None:
        partition = moved.partition
        for item in self._items.values():
            if item.partition == partition and item.said_on is stream:
                item.said_on = None
        sent_here = self._told.pop(partition, None)
        if moved.address and moved.address != address and sent_here is None:
            self._told[partition] = moved.address
        elif partition not in self._pauses:
            # it has no owner at the moment, or two schedulers do not agree yet: ask again a little later
            loop = asyncio.get_running_loop()
            self._pauses[partition] = loop.call_later(LONGEST_PAUSE / 4, self._ask_again, partition)
        self._changed.set()

    def _ask_again(self, partition: int) -> None:
        self._pauses.pop(partition, None)
        self._changed.set()


def _end(item: _Item, result: step_pb2.StepResult) -> None:
    if item.who is not None:
        item.said = ""
        item.who.ended(result)


class _Stream:
    """What is to be said on one stream, from its beginning to its end."""

    def __init__(self) -> None:
        self.wants: deque[str] = deque()
        self.placed: list[pb.Placement] = []
        self.cancels: list[str] = []
        self.ends: list[str] = []
        self.acknowledged: list[str] = []
        self.released: list[str] = []
        self.wake = asyncio.Event()
        self.over = False

    def end(self) -> None:
        """Nothing more is said on it."""
        self.over = True
        self.wake.set()
