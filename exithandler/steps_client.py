"""Container and script steps of exit runs, run by the scheduler on its executors (StepService.Run).

Want → placement → (the exit run commits it) → confirm → result → (committed) → acknowledge. What is kept here says
what is, not what was sent: a new stream begins with all of it, so lost frames and restarts of either side heal by
attempt id. While no scheduler answers, steps wait; nothing is lost and nothing else is held up.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from typing import Protocol

import grpc

from exeunt.service.channel import metadata, open_channel
from exeunt.v1 import step_pb2, step_service_pb2_grpc
from exeunt.v1 import step_service_pb2 as pb

log = logging.getLogger(__name__)

SHORTEST_PAUSE = 0.1
LONGEST_PAUSE = 2.0
FRAME_WANTS = 200


class Waiting(Protocol):
    """Who wants a step."""

    def placed(self, executor: str) -> None:
        """The scheduler has a place for it: commit that and confirm."""

    def ended(self, result: step_pb2.StepResult) -> None:
        """The result. Comes again until it is acknowledged."""

    def lost(self) -> None:
        """Its executor is gone."""


class _Item:
    """One attempt that is not over yet."""

    __slots__ = ("confirmed", "executor", "partition", "step", "who")

    def __init__(self, step: step_pb2.Step, executor: str, who: Waiting) -> None:
        self.step = step
        self.partition = step.partition
        self.executor = executor  # as committed; empty while it has no place
        self.confirmed = bool(executor)
        self.who = who


AddressOf = Callable[[int], str | None]
"""The address of the scheduler that owns a partition, where it is known."""


class StepsClient:
    """The steps of this process's exit runs. `run()` keeps streams to the schedulers; it ends when it is cancelled."""

    def __init__(self, replica: str, address_of: AddressOf) -> None:
        self._replica = replica
        self._address_of = address_of
        self._items: dict[str, _Item] = {}
        self._streams: dict[str, _Stream] = {}
        self._cancelled: dict[str, int] = {}  # attempts whose end has not been heard of, and their partitions
        self._told: dict[int, str] = {}  # partition → address that a scheduler named
        self._changed = asyncio.Event()

    # --- what exit runs ask -------------------------------------------------------------------------------------------

    def want(self, step: step_pb2.Step, executor: str, who: Waiting) -> None:
        """Has the step run; with an executor when its placement is in the log already."""
        known = self._items.get(step.id)
        if known is not None and known.executor == executor:
            known.who = who
            return
        item = self._items[step.id] = _Item(step, executor, who)
        stream = self._stream_of(item.partition)
        if stream is not None:
            stream.offered.add(step.id)
            stream.wants.add(step.id)
            stream.wake.set()
        self._changed.set()

    def confirm(self, id: str, executor: str) -> None:
        """The placement is in the log: the step may be sent."""
        item = self._items.get(id)
        if item is None:
            return
        item.executor, item.confirmed = executor, True
        self._send(item.partition, "confirmed", id)

    def cancel(self, id: str, partition: int) -> None:
        """The step is not wanted any more; its result, if it has one, is not waited for. Said on every new stream."""
        self._items.pop(id, None)
        self._cancelled[id] = partition
        self._send(partition, "cancels", id)

    def acknowledge(self, id: str) -> None:
        """The result is in the log."""
        item = self._items.pop(id, None)
        if item is not None:
            self._send(item.partition, "acknowledged", id)

    def forget(self, id: str) -> None:
        """The exit run is somebody else's now; the step goes on."""
        self._items.pop(id, None)
        self._cancelled.pop(id, None)

    def __len__(self) -> int:
        return len(self._items)

    def _send(self, partition: int, what: str, id: str) -> None:
        stream = self._stream_of(partition)
        if stream is not None:
            getattr(stream, what).append(id)
            stream.wake.set()

    def _stream_of(self, partition: int) -> _Stream | None:
        address = self._address(partition)
        return self._streams.get(address) if address else None

    def _address(self, partition: int) -> str | None:
        return self._told.get(partition) or self._address_of(partition)

    # --- streams ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keeps one stream to each scheduler that is needed."""
        async with asyncio.TaskGroup() as group:
            while True:
                for item in self._items.values():
                    address = self._address(item.partition)
                    if address and address not in self._streams:
                        self._streams[address] = stream = _Stream()
                        group.create_task(self._keep(address, stream), name=f"steps at {address}")
                self._offer()
                self._changed.clear()
                # who owns a partition may be learned without a word to us: look again while a step has no stream
                orphans = any(self._stream_of(i.partition) is None for i in self._items.values())
                try:
                    async with asyncio.timeout(0.5 if orphans else None):
                        await self._changed.wait()
                except TimeoutError:
                    continue

    def _offer(self) -> None:
        """Says each step on the stream of its partition's owner, once for each: owners become known, and change."""
        for stream in self._streams.values():
            stream.offered &= self._items.keys()
        for id, item in self._items.items():
            to = self._stream_of(item.partition)
            if to is not None and id not in to.offered:
                to.offered.add(id)
                to.wants.add(id)
                to.wake.set()

    def owners_changed(self) -> None:
        """Members came or went: what schedulers said before may not hold any more."""
        self._told.clear()
        self._changed.set()

    async def _keep(self, address: str, stream: _Stream) -> None:
        pause = SHORTEST_PAUSE
        try:
            async with open_channel(address, retries=False) as channel:
                stub = step_service_pb2_grpc.StepServiceStub(channel)
                while self._mine(address):
                    cancels = [id for id, partition in self._cancelled.items() if self._address(partition) == address]
                    stream.reset(self._mine(address), cancels)
                    try:
                        call = stub.Run(self._requests(stream), metadata=metadata())
                        async for response in call:
                            pause = SHORTEST_PAUSE
                            self._take(response, address)
                    except grpc.aio.AioRpcError as error:
                        log.log(
                            logging.DEBUG if error.code() is grpc.StatusCode.UNAVAILABLE else logging.WARNING,
                            "the stream of steps with %s ended: %s",
                            address,
                            error.details(),
                        )
                    stream.wake.set()
                    await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                    pause = min(pause * 2, LONGEST_PAUSE)
        finally:
            self._streams.pop(address, None)
            self._changed.set()

    def _mine(self, address: str) -> list[str]:
        return [id for id, item in self._items.items() if self._address(item.partition) == address]

    async def _requests(self, stream: _Stream) -> AsyncIterator[pb.RunRequest]:
        number = stream.number
        first = True
        while stream.number == number:
            frame = self._frame(stream)
            if first:
                frame.replica, first = self._replica, False
                yield frame
            elif frame.ByteSize():
                yield frame
            if not stream.anything():
                await stream.wake.wait()
            stream.wake.clear()

    def _frame(self, stream: _Stream) -> pb.RunRequest:
        wanted: list[pb.Want] = []
        while stream.wants and len(wanted) < FRAME_WANTS:
            item = self._items.get(stream.wants.pop())
            if item is not None:
                wanted.append(pb.Want(step=item.step, executor=item.executor if item.confirmed else ""))
        return pb.RunRequest(
            wants=wanted,
            confirmed=stream.take("confirmed"),
            cancels=stream.take("cancels"),
            acknowledged=stream.take("acknowledged"),
        )

    def _take(self, response: pb.RunResponse, address: str) -> None:
        for placement in response.placements:
            item = self._items.get(placement.id)
            if item is not None and not item.confirmed:
                item.who.placed(placement.executor)
        for result in response.results:
            item = self._items.get(result.id)
            if item is not None:
                item.who.ended(result.result)
            else:  # decided long ago: whoever keeps it may forget it
                self._cancelled.pop(result.id, None)
                stream = self._streams.get(address)
                if stream is not None:
                    stream.acknowledged.append(result.id)
                    stream.wake.set()
        for id in response.lost:
            self._cancelled.pop(id, None)
            item = self._items.pop(id, None)
            if item is not None:
                item.who.lost()
        for moved in response.moved:
            self._moved(moved, address)

    def _moved(self, moved: pb.Moved, address: str) -> None:
        if moved.address and moved.address != address:
            self._told[moved.partition] = moved.address
            self._changed.set()
            return
        self._told.pop(moved.partition, None)
        # it has no owner at the moment: ask again a little later
        asyncio.get_running_loop().call_later(LONGEST_PAUSE / 4, self._ask_again, moved.partition)

    def _ask_again(self, partition: int) -> None:
        stream = self._stream_of(partition)
        if stream is not None:
            stream.wants |= {id for id, item in self._items.items() if item.partition == partition}
            stream.wake.set()
        self._changed.set()


class _Stream:
    """What is to be said on one stream."""

    def __init__(self) -> None:
        self.wants: set[str] = set()
        self.offered: set[str] = set()  # all that was ever in `wants`, and is not over
        self.confirmed: list[str] = []
        self.cancels: list[str] = []
        self.acknowledged: list[str] = []
        self.wake = asyncio.Event()
        self.number = 0

    def reset(self, wants: list[str], cancels: list[str]) -> None:
        """A new stream: it begins with everything that is wanted."""
        self.number += 1
        self.wants = set(wants)
        self.offered = set(wants)
        self.cancels = cancels
        self.confirmed = []  # a want that names its executor says the same

    def take(self, what: str) -> list[str]:
        """What is waiting of that kind, which then waits no more."""
        found: list[str] = getattr(self, what)
        setattr(self, what, [])
        return found

    def anything(self) -> bool:
        """Whether something is waiting to be said."""
        return bool(self.wants or self.confirmed or self.cancels or self.acknowledged)
