"""JetStream as the log uses it, in memory: expectations, atomic batches, consumers, purges; and a wire that may fail.

The real `Wire`, `Log`, gatherer, fences and readers stand on it: only the connection below them is made up. Answers can
be lost, writes can come late, connections break. Every stored message is told to `on_stored`, together with its writer.
"""

from __future__ import annotations

import asyncio
import base64
import contextvars
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
from nats.errors import NoRespondersError

from exeunt.journal.errors import JetStreamError
from exeunt.journal.wire import Wire, header_lines
from tests.simulation.loop import Process, SimLoop

EXPECTED = "Nats-Expected-Last-Subject-Sequence"
WRONG_LAST, NO_MESSAGE, NO_CONSUMER = 10071, 10037, 10014
HEARTBEAT_SECONDS = 2.0
WORLD = contextvars.Context()
"""Where what belongs to no process runs."""


class Stored(NamedTuple):
    sequence: int
    subject: str
    headers: dict[str, str]
    data: bytes
    writer: Process


class Stream:
    """Messages by position, and the last position of each subject."""

    def __init__(self, one_per_subject: bool = False) -> None:
        self.messages: dict[int, Stored] = {}
        self.first, self.last = 1, 0
        self.by_subject: dict[str, int] = {}
        self._one = one_per_subject

    def last_of(self, subject: str) -> int:
        found = self.by_subject.get(subject, 0)
        return found if found in self.messages else 0

    def store(self, subject: str, headers: dict[str, str], data: bytes, writer: Process) -> Stored:
        self.last += 1
        if self._one:
            self.messages.pop(self.by_subject.get(subject, 0), None)
        stored = self.messages[self.last] = Stored(self.last, subject, headers, data, writer)
        self.by_subject[subject] = self.last
        return stored

    def cut(self, upto: int) -> int:
        gone = [s for s in range(self.first, min(upto, self.last + 1)) if s in self.messages]
        for sequence in gone:
            del self.messages[sequence]
        self.first = max(self.first, upto)
        return len(gone)


class Consumer:
    """An ordered pull consumer."""

    def __init__(self, name: str, stream: Stream, config: dict[str, Any], link: Link) -> None:
        self.name, self.stream, self.link = name, stream, link
        self.filters = [f.split(".") for f in config["filter_subjects"]]
        self.position = int(config["opt_start_seq"])
        self.count = 0
        self.credit = 0
        self.inbox = ""

    def matches(self, subject: str) -> bool:
        tokens = subject.split(".")
        return any(_matches(f, tokens) for f in self.filters)


class Message(NamedTuple):
    """What a subscriber gets, as nats-py shapes it."""

    subject: str
    reply: str
    headers: dict[str, str] | None
    data: bytes


class Server:
    """One server with two streams: the log and the members' bucket."""

    def __init__(self, loop: SimLoop, rng: random.Random) -> None:
        self.loop = loop
        self.rng = rng
        self.log = Stream()
        self.kv = Stream(one_per_subject=True)
        self.consumers: dict[str, Consumer] = {}
        self.on_stored: Callable[[Stored], None] = lambda stored: None
        self.on_cut: Callable[[int], None] = lambda upto: None
        self.heard: dict[tuple[str, str], tuple[float, Any]] = {}
        self.slow = 0.0  # seconds that the disk adds to each write
        self.loss = 0.0  # part of the writes whose answer is lost; of these a third never arrive and a third come late;
        # of what consumers are sent a third of that part

    # --- writes -------------------------------------------------------------------------------------------------------

    def publish(self, messages: list[tuple[str, dict[str, str], bytes]], writer: Process) -> dict[str, Any]:
        """Stores all of a batch or nothing."""
        stream = self.log if messages[0][0].startswith("xj.") else self.kv
        for subject, headers, _ in messages:
            expected = headers.get(EXPECTED)
            if expected is not None and stream.last_of(headers.get(EXPECTED + "-Subject", subject)) != int(expected):
                return {"error": {"code": 400, "err_code": WRONG_LAST, "description": "wrong last sequence"}}
        stored = [stream.store(*message, writer) for message in messages]
        if stream is self.log:
            for one in stored:
                self.on_stored(one)
        for consumer in list(self.consumers.values()):
            if consumer.stream is stream:
                self._deliver(consumer)
        return {"stream": "log", "seq": stored[-1].sequence, "count": len(stored)}

    # --- the API ------------------------------------------------------------------------------------------------------

    def api(self, link: Link, subject: str, body: dict[str, Any]) -> dict[str, Any]:
        """Answers as the JetStream API does. Raises JetStreamError."""
        match subject.split("."):
            case ["STREAM", "INFO", name]:
                stream = self._stream(name)
                state: dict[str, Any] = {
                    "first_seq": stream.first,
                    "last_seq": stream.last,
                    "messages": len(stream.messages),
                    "bytes": 0,
                }
                if wanted := body.get("subjects_filter"):
                    tokens = wanted.split(".")
                    state["subjects"] = {
                        m.subject: 1 for m in stream.messages.values() if _matches(tokens, m.subject.split("."))
                    }
                return {"config": {"num_replicas": 1, "max_bytes": -1}, "state": state}
            case ["STREAM", "PURGE", name]:
                upto = int(body["seq"])
                self.on_cut(upto)
                return {"purged": self._stream(name).cut(upto)}
            case ["STREAM", "MSG", "GET", name]:
                stream = self._stream(name)
                sequence = stream.last_of(body["last_by_subj"])
                if not sequence:
                    raise JetStreamError(subject, NO_MESSAGE, "no message found")
                return {"message": {"seq": sequence, "data": base64.b64encode(stream.messages[sequence].data).decode()}}
            case ["CONSUMER", "CREATE", name, consumer]:
                self.consumers[consumer] = Consumer(consumer, self._stream(name), body["config"], link)
                self._beat(consumer)
                return {}
        raise AssertionError(subject)

    def pull(self, name: str, batch: int, inbox: str, link: Link) -> None:
        consumer = self.consumers.get(name)
        if consumer is None or consumer.link is not link:
            link.deliver(Message(inbox, "", {"Status": "409"}, b""))
            return
        consumer.inbox = inbox
        consumer.credit += batch
        self._deliver(consumer)

    def forget(self, name: str) -> None:
        self.consumers.pop(name, None)

    def drop(self, link: Link) -> None:
        """A connection is gone: its consumers are kept for nobody."""
        self.consumers = {n: c for n, c in self.consumers.items() if c.link is not link}

    def _deliver(self, consumer: Consumer) -> None:
        stream = consumer.stream
        while consumer.credit and consumer.inbox and consumer.position <= stream.last:
            message = stream.messages.get(max(consumer.position, stream.first))
            consumer.position = max(consumer.position, stream.first) + 1
            if message is None or not consumer.matches(message.subject):
                continue
            consumer.credit -= 1
            consumer.count += 1
            if self.rng.random() < self.loss / 3:
                continue  # it is lost on its way
            reply = f"$JS.ACK.s.{consumer.name}.1.{message.sequence}.{consumer.count}.0.0"
            consumer.link.deliver(Message(message.subject, reply, dict(message.headers), message.data), consumer.inbox)

    def _beat(self, name: str) -> None:
        consumer = self.consumers.get(name)
        if consumer is None:
            return
        if consumer.inbox:
            headers = {"Status": "100", "Nats-Last-Consumer": str(consumer.count)}
            consumer.link.deliver(Message(consumer.inbox, "", headers, b""))
        self.loop.call_later(HEARTBEAT_SECONDS, self._beat, name)

    def _stream(self, name: str) -> Stream:
        return self.log if name == "EXEUNT_LOG" else self.kv


class Link:
    """One process's connection: what it sends arrives in order and late, or not at all when it breaks."""

    def __init__(self, server: Server, process: Process) -> None:
        self.server = server
        self.process = process
        self.up = True
        self.wire: SimWire | None = None
        self.inboxes: dict[str, Callable[[Any], Any]] = {}
        self._there = 0.0  # when the last message arrives at the server, and at the process
        self._here = 0.0
        self._generation = 0
        self._batches: dict[str, list[tuple[str, dict[str, str], bytes]]] = {}

    def to_server(self, work: Callable[[], None]) -> None:
        """Does it at the server when it arrives there. On a connection that breaks meanwhile it may arrive or not."""
        loop, rng = self.server.loop, self.server.rng
        self._there = max(self._there, loop.time() + rng.uniform(0.0001, 0.002) + self.server.slow * rng.random())
        generation = self._generation

        def arrive() -> None:
            if self.up and (self._generation == generation or rng.random() < 0.5):
                work()

        if self.up and self.process.alive:
            loop.call_at(self._there, arrive, context=WORLD)

    def to_process(self, work: Callable[[], None]) -> None:
        """Does it in the process when it arrives there."""
        loop, rng = self.server.loop, self.server.rng
        self._here = max(self._here, loop.time() + rng.uniform(0.0001, 0.002))
        generation = self._generation

        def arrive() -> None:
            if self.up and self._generation == generation:
                work()

        if self.up:
            loop.call_at(self._here, arrive, context=self.process.context)

    def deliver(self, message: Message, inbox: str = "") -> None:
        def give() -> None:
            told = self.inboxes.get(inbox or message.subject)
            if told is not None:
                _run(told(message))

        self.to_process(give)

    def cut(self) -> None:
        """The connection breaks, and the process notices."""
        if not self.up:
            return
        self.up = False
        self._generation += 1
        self.server.drop(self)
        self._batches.clear()
        if self.wire is not None:
            self.server.loop.call_soon(self.wire.lost, context=self.process.context)

    def mend(self) -> None:
        if self.up or not self.process.alive:
            return
        self.up = True
        if self.wire is not None:
            self.server.loop.call_soon(self.wire.back, context=self.process.context)

    # --- publishes ----------------------------------------------------------------------------------------------------

    def frames(self, frames: list[bytes]) -> None:
        """Publishes as they stand on the wire."""
        for frame in frames:
            line, _, rest = frame.partition(b"\r\n")
            _, subject, *reply, head, total = line.decode().split(" ")
            size, whole = int(head), int(total)
            headers = header_lines(rest[10 : size - 2])
            data = rest[size:whole]
            message = (subject, headers, data)
            batch = headers.get("Nats-Batch-Id")
            answer = reply[0] if reply else ""
            if batch is None:
                self._publish([message], answer)
                continue
            open_batch = self._batches.setdefault(batch, [])
            open_batch.append(message)
            if "Nats-Batch-Commit" in headers:
                self._publish(self._batches.pop(batch), answer)

    def _publish(self, messages: list[tuple[str, dict[str, str], bytes]], reply: str) -> None:
        server = self.server
        lost = server.rng.random() < server.loss
        fate = server.rng.choice(["stored", "gone", "late"]) if lost else ""

        def arrive() -> None:
            if fate == "gone":
                return
            if fate == "late":
                late = server.rng.uniform(0.5, 15.0)
                server.loop.call_later(late, lambda: server.publish(messages, self.process), context=WORLD)
                return
            answer = server.publish(messages, self.process)
            if not lost and reply:
                self.to_process(lambda: self._answer(reply, answer))

        self.to_server(arrive)

    def _answer(self, reply: str, answer: dict[str, Any]) -> None:
        if self.wire is not None:
            _run(self.wire._answered(Message(reply, "", None, msgspec.json.encode(answer))))  # type: ignore[arg-type]  # shaped as nats-py's


class Subscription:
    def __init__(self, link: Link, subject: str) -> None:
        self._link, self._subject = link, subject

    async def unsubscribe(self) -> None:
        self._link.inboxes.pop(self._subject, None)


class SimClient:
    """The part of nats-py's client that the journal uses."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self._inboxes = 0
        self._resp_map: dict[str, asyncio.Future[Any]] = {}  # requests go through `ask` here
        self.max_payload = 1024 * 1024

    @property
    def is_connected(self) -> bool:
        return self.link.up

    def new_inbox(self) -> str:
        self._inboxes += 1
        return f"_INBOX.{self.link.process.name}-{self._inboxes:08d}"

    async def subscribe(self, subject: str, cb: Callable[[Any], Any]) -> Subscription:
        self.link.inboxes[subject] = cb
        return Subscription(self.link, subject)

    async def publish(self, subject: str, data: bytes = b"", reply: str = "") -> None:
        name = subject.rsplit(".", 1)[1]
        if ".MSG.NEXT." in subject:
            batch = int(msgspec.json.decode(data)["batch"])
            self.link.to_server(lambda: self.link.server.pull(name, batch, reply, self.link))
        elif ".CONSUMER.DELETE." in subject:
            self.link.to_server(lambda: self.link.server.forget(name))


class SimWire(Wire):
    """The real wire on a made-up connection."""

    def __init__(self, link: Link) -> None:
        super().__init__(SimClient(link))  # type: ignore[arg-type]  # the part of the client that is used
        self.link = link
        link.wire = self

    async def start(self) -> None:
        pass

    async def post(self, frames: list[bytes]) -> None:
        self.link.frames([one for whole in frames for one in _split(whole)])

    async def api(self, subject: str, body: dict[str, Any] | None = None, seconds: float = 15.0) -> dict[str, Any]:
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

        def arrive() -> None:
            try:
                answer: dict[str, Any] | JetStreamError = self.link.server.api(self.link, subject, body or {})
            except JetStreamError as error:
                answer = error
            self.link.to_process(lambda: _settle(future, answer))

        async with asyncio.timeout(seconds):
            await self.connected.wait()
            self.link.to_server(arrive)
            return await future


async def ask(link: Link, work: Callable[[], Any], seconds: float) -> Any:
    """A request to the server and its answer. Raises TimeoutError, or NoRespondersError when there is no connection."""
    if not link.up:
        await asyncio.sleep(0.05)
        raise NoRespondersError
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def arrive() -> None:
        answer = work()
        link.to_process(lambda: _settle(future, answer))

    link.to_server(arrive)
    async with asyncio.timeout(seconds):
        return await future


def _settle(future: asyncio.Future[Any], answer: Any) -> None:
    if future.done():
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)


def _split(frame: bytes) -> list[bytes]:
    """Frames that were joined into one piece."""
    found = []
    while frame:
        line = frame.index(b"\r\n") + 2
        end = line + int(frame[: line - 2].rsplit(b" ", 1)[1]) + 2
        found.append(frame[:end])
        frame = frame[end:]
    return found


def _run(call: Any) -> None:
    """Runs a coroutine that does not wait."""
    try:
        call.send(None)
    except StopIteration:
        return
    raise AssertionError("it waits")


def _matches(wanted: list[str], tokens: list[str]) -> bool:
    for i, token in enumerate(wanted):
        if token == ">":
            return len(tokens) > i
        if i >= len(tokens) or token not in ("*", tokens[i]):
            return False
    return len(wanted) == len(tokens)
