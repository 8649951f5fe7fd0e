"""The connection to NATS as the log uses it: raw publishes, one inbox for all answers, the JetStream API as JSON.

nats-py builds headers from dictionaries and makes a task for every request; at thousands of commits a second that is
most of the cost. `Wire` hands prebuilt protocol lines to nats-py's own send buffer and keeps its connection,
reconnection and subscriptions. The private names of nats-py that it uses stand in `post`, `lost` and `wire_of`.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec
import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import ConnectionReconnectingError, NoRespondersError

from exeunt.journal.errors import JetStreamError
from exeunt.journal.sizes import BATCH_HEADER_BYTES, PAYLOAD_BYTES, TooLarge, measure
from exeunt.natspy import whole
from exeunt.service.program import ProgramError

log = logging.getLogger(__name__)

NO_RESPONDERS = 503
API_SECONDS = 15.0


class _Error(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _PubAck(msgspec.Struct):
    stream: str = ""
    seq: int = 0
    count: int = 1
    duplicate: bool = False
    error: _Error | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the stream says of a publish: stored up to `sequence` (`code` 0), or refused.

    `duplicate`: nothing was stored, since the stream has had a message of that id; it may be another one.
    """

    sequence: int
    count: int = 1
    code: int = 0
    description: str = ""
    duplicate: bool = False


_decode_ack = msgspec.json.Decoder(_PubAck).decode
OnAnswer = Callable[[Answer], None]


class ConnectionEndedError(ProgramError):
    """Nothing can be read or written any more: the service has to be started again, and can hand nothing back."""

    hopeless = True


async def connect(
    servers: list[str] | str,
    name: str,
    *,
    password: str = "",
    tls: ssl.SSLContext | None = None,
    credentials: str | None = None,
    inbox: str = "",
) -> Client:
    """Connects to NATS so that a dead server is noticed within seconds and waited for as long as it takes.

    `password`, of any characters, is that of the user whom the addresses name without one; `inbox`: the subject below
    which answers come, for a user who may not listen to those of others.
    Raises ConnectionEndedError when the server takes too small messages.
    """
    loop = asyncio.get_running_loop()
    told = 0.0

    async def on_error(error: Exception) -> None:
        nonlocal told
        if loop.time() - told > 5.0:  # a server that is away says so at every attempt
            told = loop.time()
            log.warning("NATS: %s", str(error) or type(error).__name__)

    options: dict[str, Any] = {}
    if password:
        first = servers if isinstance(servers, str) else servers[0]
        options |= {"user": urlsplit(first).username or "", "password": password}
    if tls is not None:
        options["tls"] = tls
    if credentials:
        options["user_credentials"] = credentials
    if inbox:
        options["inbox_prefix"] = inbox
    nc = await whole(
        nats.connect(
            servers,
            name=name,
            error_cb=on_error,
            connect_timeout=2,
            reconnect_time_wait=0.1,
            max_reconnect_attempts=-1,
            ping_interval=1,
            max_outstanding_pings=4,
            pending_size=16 * 1024 * 1024,
            **options,
        )
    )
    if nc.max_payload < PAYLOAD_BYTES:
        await whole(nc.close())
        raise ConnectionEndedError(_too_small(nc))
    return nc


def _too_small(nc: Client) -> str:
    return (
        f"nats-server takes messages up to {nc.max_payload:,} bytes, and {PAYLOAD_BYTES:,} are needed:"
        " set `max_payload: 1MB` (or more) in its configuration"
    )


def frame(subject: str, reply: str, headers: bytes, data: bytes) -> bytes:
    """One publish as the NATS protocol writes it (HPUB). `headers` are whole lines, each with its line end."""
    head = len(headers) + 12
    return b"HPUB %b %b %d %d\r\nNATS/1.0\r\n%b\r\n%b\r\n" % (
        subject.encode(),
        reply.encode(),
        head,
        head + len(data),
        headers,
        data,
    )


class Wire:
    """One for each connection: `wire_of(nc)`."""

    def __init__(self, nc: Client) -> None:
        self.nc = nc
        self.connected = asyncio.Event()
        self.connected_since = asyncio.get_running_loop().time()
        self.on_lost: list[Callable[[], None]] = []
        self.on_back: list[Callable[[], None]] = []
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        if nc.is_connected:
            self.connected.set()
        self._inbox = nc.new_inbox()
        self._prefix = len(self._inbox) + 1
        self._count = 0
        self._waiting: dict[str, OnAnswer] = {}
        self._subscription: Subscription | None = None

    async def start(self) -> None:
        """Listens for answers. Doing so twice is fine."""
        if self._subscription is None:
            self._subscription = await whole(self.nc.subscribe(f"{self._inbox}.*", cb=self._answered))

    def refuses(self, subject: str, headers: bytes, data: bytes) -> TooLarge | None:
        """Why the server would not take this message; None when it would."""
        return measure(self.nc.max_payload, subject, self._inbox, len(headers) + 12 + BATCH_HEADER_BYTES, len(data))

    def expect(self, on_answer: OnAnswer) -> tuple[str, str]:
        """A reply subject whose answer goes to `on_answer`, once; and its token for `forget`."""
        self._count += 1
        token = format(self._count, "x")
        self._waiting[token] = on_answer
        return f"{self._inbox}.{token}", token

    def forget(self, token: str) -> None:
        """The answer is not waited for any more; if it comes it is dropped."""
        self._waiting.pop(token, None)

    async def post(self, frames: list[bytes]) -> None:
        """Sends protocol frames in one write."""
        nc = self.nc
        await whole(nc._send_command(b"".join(frames)))
        await whole(nc._flush_pending())

    async def ask(self, subject: str, headers: bytes, data: bytes, seconds: float) -> Answer | None:
        """One publish with its answer; None when none came in time or the connection was lost meanwhile."""
        return await self.ask_batch([(subject, headers, data)], seconds)

    async def ask_batch(self, messages: list[tuple[str, bytes, bytes]], seconds: float) -> Answer | None:
        """Several publishes as one atomic batch (one goes alone), with the one answer; None as for `ask`.

        Raises TooLarge, and sends nothing then.
        """
        for refused in filter(None, (self.refuses(*message) for message in messages)):
            raise refused
        future: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        reply, token = self.expect(lambda a: None if future.done() else future.set_result(a))

        def lost() -> None:
            if not future.done():
                future.set_result(None)

        self.on_lost.append(lost)
        try:
            async with asyncio.timeout(seconds):
                await self.connected.wait()
                await self.post(batch_frames(messages, reply, f"{self._inbox[-8:]}{token}"))
                return await future
        except TimeoutError:
            return None
        finally:
            self.on_lost.remove(lost)
            self.forget(token)

    async def api(
        self, subject: str, body: dict[str, Any] | None = None, seconds: float = API_SECONDS
    ) -> dict[str, Any]:
        """A request to the JetStream API that is safe to repeat: it is made again when the connection was lost.

        Raises JetStreamError, or TimeoutError when nobody answers in time.
        """
        async with asyncio.timeout(seconds):
            message = None
            while message is None:
                await self.connected.wait()
                try:
                    message = await whole(
                        self.nc.request(f"$JS.API.{subject}", msgspec.json.encode(body or {}), timeout=seconds)
                    )
                except ConnectionReconnectingError:
                    continue
                except NoRespondersError:  # the server is starting or has no leader
                    await asyncio.sleep(0.05)
        answer: dict[str, Any] = msgspec.json.decode(message.data)
        if error := answer.get("error"):
            raise JetStreamError(
                subject, int(error.get("err_code", 0)), str(error.get("description", "")), int(error.get("code", 0))
            )
        return answer

    async def _answered(self, message: Msg) -> None:
        """Hands on what a stream answers.

        Whoever subscribes to the subject of a publish sees where its answer goes, and may send something there (the
        `+ACK` of a client that acknowledges what it need not). That is no answer; the stream's comes all the same.
        """
        token = message.subject[self._prefix :]
        if token not in self._waiting or (answer := _answer(message)) is None:
            return
        self._waiting.pop(token)(answer)

    def lost(self) -> None:
        """The connection is gone: answers to what was sent on it will not come."""
        self.connected.clear()
        self._waiting.clear()
        for request in list(self.nc._resp_map.values()):  # they would wait for their timeouts
            if not request.done():
                request.set_exception(ConnectionReconnectingError())
        for told in list(self.on_lost):
            told()

    def closed(self) -> None:
        """The connection is closed for good, by us or since the server said that something we sent is wrong."""
        self.lost()
        if not self._ended.done():
            said = str(self.nc.last_error or "").removeprefix("nats: ")
            self._ended.set_result(f"NATS closed the connection for good{f': {said}' if said else ''}")

    async def ended(self) -> None:
        """Waits until the connection cannot be used any more, whatever is tried. Raises ConnectionEndedError then."""
        raise ConnectionEndedError(await asyncio.shield(self._ended))

    def back(self) -> None:
        """The connection stands again."""
        if self.nc.max_payload < PAYLOAD_BYTES and not self._ended.done():
            self._ended.set_result(_too_small(self.nc))
        self.connected_since = asyncio.get_running_loop().time()
        self.connected.set()
        for told in list(self.on_back):
            told()


def _answer(message: Msg) -> Answer | None:
    """What a stream says of a publish; None when no stream has said this."""
    if not message.data:
        if (message.headers or {}).get("Status") != str(NO_RESPONDERS):
            return None
        return Answer(0, 0, NO_RESPONDERS, "no stream takes this subject at the moment")
    try:
        ack = _decode_ack(message.data)
    except msgspec.DecodeError:  # ValidationError included
        return None
    if ack.error is not None:
        return Answer(0, 0, ack.error.err_code or ack.error.code, ack.error.description)
    return Answer(ack.seq, ack.count, duplicate=ack.duplicate) if ack.stream else None


def header_lines(raw: bytes) -> dict[str, str]:
    """The headers of a message: as nats-py does, but not character by character, which was half the time of a load."""
    found = {}
    for line in raw.decode("utf-8", "replace").split("\r\n"):
        name, colon, value = line.partition(":")
        if colon:
            found[name.strip()] = value.strip()
    return found


def batch_frames(messages: list[tuple[str, bytes, bytes]], reply: str, ident: str) -> list[bytes]:
    """The frames of an atomic batch (ADR-50); one message goes without the batch's headers."""
    if len(messages) == 1:
        subject, headers, data = messages[0]
        return [frame(subject, reply, headers, data)]
    last = len(messages)
    frames = []
    for i, (subject, headers, data) in enumerate(messages, 1):
        end = b"Nats-Batch-Commit: 1\r\n" if i == last else b""
        batch = b"Nats-Batch-Id: %b\r\nNats-Batch-Sequence: %d\r\n%b" % (ident.encode(), i, end)
        frames.append(frame(subject, reply if i == last else "", headers + batch, data))
    return frames


_wires: weakref.WeakKeyDictionary[Client, Wire] = weakref.WeakKeyDictionary()


async def wire_of(nc: Client) -> Wire:
    """The wire of a connection: one, however often it is asked for. Callbacks that `nc` has already are kept."""
    wire = _wires.get(nc)
    if wire is None:
        wire = _wires[nc] = Wire(nc)
        nc._disconnected_cb = _then(wire.lost, nc._disconnected_cb)
        nc._closed_cb = _then(wire.closed, nc._closed_cb)
        setattr(nc, "publish", _measured(nc))  # noqa: B010 - as below
        setattr(nc, "_process_op_err", _aborting(nc))  # noqa: B010 - as below
        setattr(nc, "_parse_header_lines", header_lines)  # noqa: B010 - a method that nats-py lets nobody choose
        nc._reconnected_cb = _then(wire.back, nc._reconnected_cb)
    await wire.start()
    return wire


def _measured(nc: Client) -> Callable[..., Awaitable[None]]:
    """nc's way to publish, which looks at the size of the data only, and not at that of headers and subject."""
    publish = nc.publish

    async def measure_and_publish(
        subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        lines = sum(len(name.encode()) + len(value.encode()) + 4 for name, value in (headers or {}).items())
        refused = measure(nc.max_payload, subject, reply, lines + 12 if lines else 0, len(payload))
        if refused is not None:
            raise refused
        await publish(subject, payload, reply, headers)

    return measure_and_publish


def _aborting(nc: Client) -> Callable[[Exception], Awaitable[None]]:
    """nc's way to leave a connection, which waits until everything is sent: on one that is dead that is for ever."""
    leave = nc._process_op_err

    async def abort_and_leave(error: Exception) -> None:
        writer = getattr(nc._transport, "_io_writer", None)  # TCP's; a WebSocket has none
        if nc.is_connected and writer is not None:
            writer.transport.abort()
        await leave(error)

    return abort_and_leave


def _then(first: Callable[[], None], second: Callable[[], Awaitable[None]] | None) -> Callable[[], Awaitable[None]]:
    async def both() -> None:
        first()
        if second is not None:
            await second()

    return both
