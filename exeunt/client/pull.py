"""Reads a JetStream stream by pull consumers: in order, and taken up again where it stopped.

Pulling bounds what lies here unread, however slow the reader is. A consumer that is silent for longer than its
heartbeats allow, or that skips a message, is made anew behind the last message read.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
from collections.abc import AsyncGenerator
from dataclasses import replace

from nats.aio.client import Client as Nats
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeout
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo, DeliverPolicy
from nats.js.errors import NotFoundError

from exeunt.natspy import whole

log = logging.getLogger(__name__)

BATCH = 100
EXPIRES_SECONDS = 60
HEARTBEAT_SECONDS = 1.0
SILENCE_SECONDS = 2.5
AGAIN_SECONDS = 0.5
API_SECONDS = 5.0
IDLE_SECONDS = 300.0  # after which NATS forgets a consumer whose reader is gone
CONFIRM_SECONDS = 3.0  # after which a message that was not confirmed comes again, also to one who still works on it
CANNOT_GO_ON = (NatsError, OSError, TimeoutError)
GAVE_NOTHING = ("404", "408")  # no messages; the request has expired


class GoneError(NatsError):
    """The consumer cannot go on: it has to be made or bound again."""


async def messages(
    nats: Nats, stream: str, start: ConsumerConfig, *, durable: str = "", follow: bool = True
) -> AsyncGenerator[Msg, None]:
    """The messages that `start` chooses (filter subject, deliver policy). Without `follow`, those that are there now.

    With `durable`, NATS keeps the position under that name; a message is confirmed when the next one is asked for.
    What goes wrong at the first start is raised as nats-py has it; later it is tried again for as long as it takes.
    """
    js = nats.jetstream(timeout=API_SECONDS)
    reader = _Kept(js, stream, start, durable) if durable else _Passing(js, stream, start)
    info = await reader.begin()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(reader.end)
        while follow or info.num_pending or info.num_ack_pending:
            try:
                async with _Pull(nats, stream, info.name) as pull:
                    while True:
                        message = await pull.next()
                        reader.check(message)
                        yield message
                        await reader.read(message)
                        if not follow and not message.metadata.num_pending:
                            return
            except CANNOT_GO_ON as error:
                log.info("%s is read on as soon as NATS lets us: %s", stream, error or type(error).__name__)
                info = await _again(nats, reader)


async def _again(nats: Nats, reader: _Passing | _Kept) -> ConsumerInfo:
    while True:
        await asyncio.sleep(AGAIN_SECONDS)  # nothing tells when the stream is back
        with contextlib.suppress(*CANNOT_GO_ON):
            return await reader.begin()
        if nats.is_closed:
            raise GoneError("the connection to NATS was closed")


class _Passing:
    """A consumer of this process alone, which remembers how far it came."""

    def __init__(self, js: JetStreamContext, stream: str, start: ConsumerConfig) -> None:
        self._js, self._stream, self._start = js, stream, start
        self._name = ""
        self._last: int | None = None
        self._count = 0

    async def begin(self) -> ConsumerInfo:
        """Makes a consumer behind the last message that was read."""
        config = self._start
        if self._last is not None:
            config = replace(
                config,
                deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=self._last + 1,
                opt_start_time=None,
            )
        self._name = f"reader-{secrets.token_hex(8)}"
        info = await whole(
            self._js.add_consumer(
                self._stream,
                replace(
                    config,
                    name=self._name,
                    ack_policy=AckPolicy.NONE,
                    inactive_threshold=IDLE_SECONDS,
                    mem_storage=True,
                    num_replicas=1,
                ),
            )
        )
        self._count = 0
        if self._last is None and info.delivered is not None:
            self._last = info.delivered.stream_seq
        return info

    def check(self, message: Msg) -> None:
        """Raises GoneError when messages before this one did not arrive."""
        if message.metadata.sequence.consumer != self._count + 1:
            raise GoneError("messages were lost on the way")

    async def read(self, message: Msg) -> None:
        """Goes on behind this message."""
        self._last = message.metadata.sequence.stream
        self._count += 1

    async def end(self) -> None:
        """Removes the consumer. NATS would do so by itself after a while."""
        if self._js._nc.is_connected:
            with contextlib.suppress(*CANNOT_GO_ON):
                await whole(self._js.delete_consumer(self._stream, self._name))


class _Kept:
    """A consumer whose position NATS keeps: one message at a time, so that the order holds over a crash, too."""

    def __init__(self, js: JetStreamContext, stream: str, start: ConsumerConfig, name: str) -> None:
        self._js, self._stream, self._start, self._name = js, stream, start, name
        self._unread: Msg | None = None

    async def begin(self) -> ConsumerInfo:
        """Finds the consumer, or makes it where there is none. Another filter than before takes the old one's place."""
        try:
            info: ConsumerInfo = await whole(self._js.consumer_info(self._stream, self._name))
        except NotFoundError:
            return await whole(
                self._js.add_consumer(
                    self._stream,
                    replace(
                        self._start,
                        name=self._name,
                        durable_name=self._name,
                        ack_policy=AckPolicy.EXPLICIT,
                        ack_wait=CONFIRM_SECONDS,
                        max_ack_pending=1,
                    ),
                )
            )
        if info.config.filter_subject == self._start.filter_subject:
            return info
        changed = replace(info.config, name=self._name, filter_subject=self._start.filter_subject)
        return await whole(self._js.add_consumer(self._stream, changed))

    def check(self, message: Msg) -> None:
        """Notes that it is handed out."""
        self._unread = message

    async def read(self, message: Msg) -> None:
        """Confirms a message."""
        self._unread = None
        await whole(message.ack_sync(timeout=API_SECONDS))

    async def end(self) -> None:
        """Gives back what was handed out and not confirmed, so that the next process need not wait for it."""
        if self._unread is not None and self._js._nc.is_connected:
            with contextlib.suppress(*CANNOT_GO_ON):
                await whole(self._unread.nak())


class _Pull:
    """Standing requests to one consumer."""

    def __init__(self, nats: Nats, stream: str, consumer: str) -> None:
        self._nats = nats
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._inbox = nats.new_inbox()
        self._subscription: Subscription | None = None
        self._coming = 0

    async def __aenter__(self) -> _Pull:
        self._subscription = await whole(self._nats.subscribe(self._inbox))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._subscription is not None and self._nats.is_connected:
            with contextlib.suppress(*CANNOT_GO_ON):
                await whole(self._subscription.unsubscribe())

    async def next(self) -> Msg:
        """The next message, however long it takes. Raises GoneError when the consumer does not answer any more."""
        assert self._subscription is not None
        while True:
            if not self._coming:
                await self._ask()
            try:
                message = await whole(self._subscription.next_msg(timeout=SILENCE_SECONDS))
            except (NatsTimeout, TimeoutError):
                raise GoneError("the consumer is silent") from None
            status = (message.headers or {}).get("Status", "")
            if not status:
                self._coming -= 1
                return message
            if status == "100":  # a heartbeat
                continue
            self._coming = 0
            if status not in GAVE_NOTHING:
                raise GoneError((message.headers or {}).get("Description", status))

    async def _ask(self) -> None:
        request = {
            "batch": BATCH,
            "expires": EXPIRES_SECONDS * 1_000_000_000,
            "idle_heartbeat": int(HEARTBEAT_SECONDS * 1_000_000_000),
        }
        await whole(self._nats.publish(self._subject, json.dumps(request).encode(), self._inbox))
        self._coming = BATCH
