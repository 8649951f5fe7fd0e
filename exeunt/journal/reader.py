"""Reads a stream in order from a position on, through reconnections and restarts of the server, without gap or repeat.

An ordered pull consumer in memory, without acknowledgements. It asks for a few hundred messages ahead, no more: answers
to commits come on the same connection and must not wait behind a whole log. A gap in the consumer's own count, a missed
heartbeat or a new connection makes a new consumer behind the last message that was given out (as NATS' ADR-17 has it).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from exeunt.journal.errors import JetStreamError
from exeunt.journal.wire import Wire
from exeunt.natspy import whole

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 1.0
SILENCE_SECONDS = 3.5
RETRY_SECONDS = 0.1
FORGET_SECONDS = 60
PULL_SECONDS = 30
AHEAD = 256

_HEARTBEAT, _EXPIRED = "100", "408"
_SENT = "Nats-Last-Consumer"  # in heartbeats: the number of the last message that was sent


class StoredMessage(NamedTuple):
    """One message of the stream."""

    sequence: int
    subject: str
    headers: dict[str, str] | None
    data: bytes
    pending: int
    """How many more match at the time of sending."""


class Reader:
    """Gives the messages of a stream that match one of the filters, from position `start` on. For one iteration.

    `start_time` (RFC 3339) leaves out older ones; `to_end` ends behind the last one that is there.
    """

    def __init__(
        self,
        wire: Wire,
        stream: str,
        filters: list[str],
        start: int = 1,
        *,
        headers_only: bool = False,
        start_time: str = "",
        to_end: bool = False,
    ) -> None:
        self._wire = wire
        self._stream = stream
        self._filters = filters
        self._headers_only = headers_only
        self._start_time = start_time
        self._to_end = to_end
        self._pending = 0  # that a new consumer has before it
        self._next = max(start, 1)
        self._queue: asyncio.Queue[Msg | None] = asyncio.Queue()
        self._inbox = ""
        self._name = ""
        self._expected = 1
        self._subscription: Subscription | None = None

    async def __aiter__(self) -> AsyncGenerator[StoredMessage, None]:
        self._wire.on_back.append(self._again)
        try:
            while True:
                await self._make()
                if self._to_end and not self._pending:
                    return
                async for item in self._items():
                    self._next = item.sequence + 1
                    self._start_time = ""
                    yield item
                    if self._to_end and not item.pending:
                        return
        finally:
            self._wire.on_back.remove(self._again)
            await self._drop()

    async def _items(self) -> AsyncGenerator[StoredMessage, None]:
        """The messages of one consumer, until it has to be made anew."""
        asked = 0  # messages that were asked for and have not come
        while True:
            if asked <= AHEAD // 2:
                asked += AHEAD
                await self._pull()
            try:
                message = self._queue.get_nowait()
            except asyncio.QueueEmpty:
                try:
                    async with asyncio.timeout(SILENCE_SECONDS):
                        message = await self._queue.get()
                except TimeoutError:
                    return
            if message is None:
                return
            if message.subject == self._inbox:  # it is about the request, not of the stream
                status = (message.headers or {}).get("Status")
                if status == _EXPIRED:
                    asked = 0
                elif status != _HEARTBEAT or int((message.headers or {}).get(_SENT, 0)) >= self._expected:
                    return  # the consumer is gone, or what it sent last has not come
                continue
            tokens = message.reply.split(".")
            sequence, count, pending = int(tokens[5]), int(tokens[6]), int(tokens[8])
            if count != self._expected:
                return
            asked -= 1
            self._expected += 1
            yield StoredMessage(sequence, message.subject, message.headers, message.data, pending)

    async def _pull(self) -> None:
        request = {"batch": AHEAD, "expires": PULL_SECONDS * 10**9, "idle_heartbeat": int(HEARTBEAT_SECONDS * 1e9)}
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._name}"
        await whole(self._wire.nc.publish(subject, msgspec.json.encode(request), reply=self._inbox))

    def _again(self) -> None:
        self._queue.put_nowait(None)

    async def _make(self) -> None:
        """A new consumer from the next position on, however long it takes."""
        nc = self._wire.nc
        while True:
            await self._drop()
            queue = self._queue = asyncio.Queue()
            self._inbox = (
                nc.new_inbox()
            )  # not a wildcard: the server sends only to a subject that is listened to as it is
            self._name, self._expected = f"r{self._inbox.rsplit('.', 1)[1]}", 1

            async def arrived(message: Msg, queue: asyncio.Queue[Msg | None] = queue) -> None:
                queue.put_nowait(message)

            try:
                self._subscription = await whole(nc.subscribe(self._inbox, cb=arrived))
                made = await self._wire.api(
                    f"CONSUMER.CREATE.{self._stream}.{self._name}",
                    {"stream_name": self._stream, "config": self._config()},
                    SILENCE_SECONDS,
                )
            except (JetStreamError, NatsError, TimeoutError, OSError) as error:
                _tell(self._wire, self._stream, error)
                await self._wire.connected.wait()
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._pending = int(made.get("num_pending", 0))
                return

    def _config(self) -> dict[str, Any]:
        config: dict[str, Any] = {
            "name": self._name,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": self._next,
            "ack_policy": "none",
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": FORGET_SECONDS * 10**9,
            "filter_subjects": self._filters,
        }
        if self._headers_only:
            config["headers_only"] = True
        if self._start_time:
            del config["opt_start_seq"]
            config |= {"deliver_policy": "by_start_time", "opt_start_time": self._start_time}
        return config

    async def _drop(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is None:
            return
        with suppress(NatsError):  # the server forgets the consumer after half a minute anyway
            await whole(subscription.unsubscribe())
            if self._wire.nc.is_connected:
                await whole(self._wire.nc.publish(f"$JS.API.CONSUMER.DELETE.{self._stream}.{self._name}"))


async def first_of(wire: Wire, stream: str) -> int:
    """The position of the stream's first message now, however long it takes to learn it."""
    while True:
        try:
            found = await wire.api(f"STREAM.INFO.{stream}", seconds=SILENCE_SECONDS)
        except (JetStreamError, NatsError, TimeoutError, OSError) as error:
            _tell(wire, stream, error)
            await wire.connected.wait()
            await asyncio.sleep(RETRY_SECONDS)
        else:
            return int(found["state"]["first_seq"])


def _tell(wire: Wire, stream: str, error: Exception) -> None:
    if wire.connected.is_set():
        log.warning("cannot read %s: %s; trying again", stream, str(error) or type(error).__name__)
