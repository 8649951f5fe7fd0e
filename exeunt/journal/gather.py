"""Many writers, one request: gathers publishes into pipelined messages or one atomic batch (docs/log.md §3).

A plain publish costs one fsync, an atomic batch several whatever its size: few waiting messages go out plain and
pipelined, many as one batch. On three nodes one request at a time is allowed (`plain_limit` 1), and a batch costs
no more than a message. Nothing here knows of fences: `stamp` adds the headers of the moment, `settle` says what
became of messages that got no answer, and `refused` is told of a message that the server will not have. One that is
over the server's `max_payload` is never sent: its future raises TooLarge.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Literal

from nats.errors import Error as NatsError

from exeunt.journal.errors import JetStreamError, LogClosed, LogFull, Refused
from exeunt.journal.wire import NO_RESPONDERS, Answer, Wire, batch_frames
from exeunt.natspy import WRONG_LAST_SEQUENCE

log = logging.getLogger(__name__)

BATCH_MESSAGES = 500
BATCH_BYTES = 8 * 1024 * 1024
DEADLINE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 2.0

IN_FLIGHT = 10164
FULL = frozenset({10047, 10077, 10122, 10210})
"""No room: the stream's or the server's storage limit, found by a plain message or by a batch."""
PASSING = frozenset({IN_FLIGHT, NO_RESPONDERS, 10008, 10009, 10023, 10028, 10118, 10176})
"""Nothing is wrong with the message: one before it is in flight, a batch came apart, or there is no leader just now."""


class QueuedWrite:
    """One thing to write: a message, or several that are stored together or not at all."""

    __slots__ = ("alone", "data", "done", "floor", "headers", "key", "parts", "size", "subject", "tag")

    def __init__(self, subject: str, headers: bytes, data: bytes, key: int, done: asyncio.Future[int]) -> None:
        self.subject = subject
        self.headers = headers
        self.data = data
        self.key = key
        self.done = done
        self.parts: list[tuple[bytes, bytes]] = []  # headers and data of each, when there are several
        self.size = len(data) + len(headers) + len(subject)
        self.alone = False  # after a batch was refused: to learn whose fault it was
        self.floor = 0  # when it was sent, everything up to here was known to lie before it
        self.tag: object = None  # whatever `stored` and `settle` want to know of it

    def messages(self, stamp: bytes) -> list[tuple[str, bytes, bytes]]:
        """Subject, headers and data of each message."""
        if not self.parts:
            return [(self.subject, self.headers + stamp, self.data)]
        return [(self.subject, headers + stamp, data) for headers, data in self.parts]

    @property
    def count(self) -> int:
        """How many messages it is."""
        return len(self.parts) or 1

    def fail(self, error: Exception) -> None:
        """Tells whoever waits, if somebody does."""
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()  # nobody may be listening any more


def plan(waiting: int, in_flight: int, plain_limit: int) -> Literal["nothing", "plain", "batch", "wait"]:
    """What to do with so many waiting messages while so many requests are on their way.

    One plain message each up to the limit; above it everything waits for the way to be free and goes as one batch.
    """
    if waiting == 0:
        return "nothing"
    if waiting + in_flight <= plain_limit:
        return "plain"
    if in_flight:
        return "wait"
    return "plain" if waiting <= plain_limit else "batch"


def take_batch(queue: deque[QueuedWrite]) -> list[QueuedWrite]:
    """Takes from the queue what fits into one request: at most 500 messages and 8 MB, and at least one entry."""
    taken = [queue.popleft()]
    messages, size = taken[0].count, taken[0].size
    while queue and not queue[0].alone:
        messages += queue[0].count
        size += queue[0].size
        if messages > BATCH_MESSAGES or size > BATCH_BYTES:
            break
        taken.append(queue.popleft())
    return taken


class _Flight:
    """One request that is on its way."""

    __slots__ = ("entries", "sent", "token")

    def __init__(self, entries: list[QueuedWrite], sent: float) -> None:
        self.entries = entries
        self.sent = sent
        self.token = ""


Stamp = Callable[[int], bytes | None]
Stored = Callable[[QueuedWrite, int], None]
OnRefused = Callable[[QueuedWrite, Answer], None]
Settle = Callable[[list[QueuedWrite]], Awaitable[list[QueuedWrite]]]


async def _send_again(entries: list[QueuedWrite]) -> list[QueuedWrite]:
    return entries


class Gatherer:
    """Writes what it is given to one stream. `run()` does the work; it ends when it is cancelled.

    stamp(key): headers added at the moment of sending; None when nothing of that key may be sent any more.
    stored(entry, sequence): called before the entry's future is done; the sequence is that of its last message.
    refused(entry, answer): the server will not have it; the default raises Refused from the entry's future.
    settle(entries): they got no answer. Answers those that are to be sent again and resolves the others itself.
        Without it everything is sent again: right for writes that are safe to repeat.
    """

    def __init__(
        self,
        wire: Wire,
        *,
        plain_limit: int = 12,
        deadline: float = DEADLINE_SECONDS,
        stamp: Stamp | None = None,
        stored: Stored | None = None,
        refused: OnRefused | None = None,
        settle: Settle | None = None,
    ) -> None:
        self.wire = wire
        self.plain_limit = plain_limit
        self.deadline = deadline
        self.full = False  # the last answer said that there is no room
        self.trouble = ""  # why nothing can be written just now, for people; empty when nothing is known to be wrong
        self.on_trouble: list[Callable[[], None]] = []  # called whenever that changes
        self.on_nobody: list[Callable[[], None]] = []  # called when no stream takes a message: is it still there?
        self.high = 0  # the highest position that an answer told
        self.unanswered_count = 0  # requests that ever got no answer
        self._stamp: Stamp = stamp or (lambda key: b"")
        self._stored = stored
        self._refused: OnRefused = refused or _refuse
        self._settle: Settle = settle or _send_again
        self._queue: deque[QueuedWrite] = deque()
        self._waiting = 0  # messages in the queue
        self._flights: dict[str, _Flight] = {}
        self._unanswered: list[QueuedWrite] = []
        self._exclusive: deque[tuple[Callable[[], Awaitable[None]], asyncio.Future[None]]] = deque()
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._pause = 0.0
        self._paused: asyncio.TimerHandle | None = None
        self._idle: list[asyncio.Future[None]] = []
        self._closed = False
        wire.on_lost.append(self._lost)
        wire.on_back.append(self._wake.set)

    # --- what others call ---------------------------------------------------------------------------------------------

    def put(self, subject: str, data: bytes, headers: bytes = b"", key: int = 0) -> asyncio.Future[int]:
        """Writes one message. `headers` are whole lines (`Name: value`, each with CR LF). Done when it is durable."""
        entry = QueuedWrite(subject, headers, data, key, self._loop.create_future())
        self.add(entry)
        return entry.done

    def add(self, entry: QueuedWrite) -> None:
        """Writes an entry; its future tells the rest."""
        if self._closed:
            entry.fail(LogClosed("the log is closed"))
            return
        self._queue.append(entry)
        self._waiting += entry.count
        self._wake.set()

    async def exclusively(self, work: Callable[[], Awaitable[None]]) -> None:
        """Does the work with nothing on its way, and lets nothing go before it has ended."""
        done: asyncio.Future[None] = self._loop.create_future()
        if self._closed:
            raise LogClosed("the log is closed")
        self._exclusive.append((work, done))
        self._wake.set()
        await done

    def fail(self, key: int, error: Exception) -> None:
        """Fails everything of that key that has not been sent."""
        mine = [e for e in self._queue if e.key == key]
        if mine:
            self._queue = deque(e for e in self._queue if e.key != key)
            self._waiting = sum(e.count for e in self._queue)
            for entry in mine:
                entry.fail(error)
            self._wake.set()

    async def drain(self) -> None:
        """Waits until nothing waits and nothing is on its way."""
        while self._queue or self._flights or self._unanswered:
            idle: asyncio.Future[None] = self._loop.create_future()
            self._idle.append(idle)
            await idle

    def close(self) -> None:
        """Takes nothing more and fails what is left."""
        self._closed = True
        error: Exception = LogFull("the log has no room") if self.full else LogClosed("the log is closed")
        left = [*self._queue, *self._unanswered, *(e for f in self._flights.values() for e in f.entries)]
        for entry in left:
            entry.fail(error)
        for _, done in self._exclusive:
            if not done.done():
                done.set_exception(error)
                done.exception()
        self._queue.clear()
        self._flights.clear()
        self._unanswered.clear()
        self._exclusive.clear()
        for handle in (self._timer, self._paused):
            if handle is not None:
                handle.cancel()
        if self._lost in self.wire.on_lost:
            self.wire.on_lost.remove(self._lost)
            self.wire.on_back.remove(self._wake.set)
        self._tell_idle()

    async def run(self) -> None:
        """Sends and settles until it is cancelled; then everything that is left fails with LogClosed."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                await self._turn()
        finally:
            self.close()

    # --- sending ------------------------------------------------------------------------------------------------------

    async def _turn(self) -> None:
        if self._unanswered:
            await self._settle_unanswered()
            if self._unanswered:  # not settled: nothing may be decided before that
                return
        while self._exclusive and not self._flights:
            work, done = self._exclusive.popleft()
            await self._do(work, done)
        if self._exclusive:
            return
        frames: list[bytes] = []
        while self.wire.connected.is_set() and self._paused is None:
            entries = self._next()
            if not entries:
                break
            frames += self._launch(entries)
        if frames:
            await self.wire.post(frames)
        if not (self._queue or self._flights or self._unanswered):
            self._tell("")  # nothing waits, so nothing would tell when it is over
            self._tell_idle()

    def _next(self) -> list[QueuedWrite]:
        """What goes out as one request now; nothing while the way is not free."""
        if not self._queue:
            return []
        if self._queue[0].alone:
            return [self._queue.popleft()] if len(self._flights) < self.plain_limit else []
        match plan(self._waiting, len(self._flights), self.plain_limit):
            case "plain":
                return [self._queue.popleft()]
            case "batch":
                return take_batch(self._queue)
            case _:
                return []

    def _launch(self, entries: list[QueuedWrite]) -> list[bytes]:
        """The frames of one request, which counts as on its way from here on."""
        messages = []
        sent = []
        for entry in entries:
            self._waiting -= entry.count
            stamp = self._stamp(entry.key)
            if stamp is None:
                self._refused(entry, Answer(0, 0, WRONG_LAST_SEQUENCE, "not the owner"))
                continue
            stamped = entry.messages(stamp)
            too_large = next(filter(None, (self.wire.refuses(*message) for message in stamped)), None)
            if too_large is not None:
                log.error("%s: it is not written", too_large)
                entry.fail(too_large)
                continue
            entry.floor = self.high
            sent.append(entry)
            messages += stamped
        if not messages:
            return []
        flight = _Flight(sent, self._loop.time())
        reply, flight.token = self.wire.expect(lambda answer: self._answered(flight, answer))
        self._flights[flight.token] = flight
        if self._timer is None:
            self._timer = self._loop.call_later(self.deadline, self._overdue)
        return batch_frames(messages, reply, reply[-24:])

    # --- answers ------------------------------------------------------------------------------------------------------

    def _answered(self, flight: _Flight, answer: Answer) -> None:
        if self._flights.pop(flight.token, None) is None:
            return
        if not answer.code:
            self._store(flight.entries, answer.sequence)
        else:
            self._not_stored(flight.entries, answer)
        if self._queue or self._exclusive or not self._flights:
            self._wake.set()

    def _store(self, entries: list[QueuedWrite], last: int) -> None:
        self._pause = 0.0
        self.full = False
        self._tell("")
        self.high = max(self.high, last)
        sequence = last - sum(e.count for e in entries)
        for entry in entries:
            sequence += entry.count
            if self._stored is not None:
                self._stored(entry, sequence)
            if not entry.done.done():
                entry.done.set_result(sequence)

    def _not_stored(self, entries: list[QueuedWrite], answer: Answer) -> None:
        """A refused batch was refused as a whole: its members go again one by one, so that each gets its own answer."""
        self.full = self.full or answer.code in FULL
        if answer.code in FULL or answer.code in PASSING:
            if answer.code in FULL:
                for entry in entries:
                    entry.alone = True
            self._put_back(entries)
            self._rest(answer)
        elif len(entries) > 1:
            for entry in entries:
                entry.alone = True
            self._put_back(entries)
        else:
            self._refused(entries[0], answer)

    def _put_back(self, entries: list[QueuedWrite]) -> None:
        self._queue.extendleft(reversed(entries))
        self._waiting += sum(e.count for e in entries)
        self._wake.set()

    def _rest(self, answer: Answer) -> None:
        """Holds back for a moment: longer each time, until something is stored again."""
        if self._paused is not None:
            return
        if answer.code in FULL:
            if self._pause == 0.0:
                log.error("the stream has no room (%d: %s): writes wait", answer.code, answer.description)
            self._tell(f"NATS has no room for it ({answer.description})")
        if answer.code == NO_RESPONDERS:
            for told in list(self.on_nobody):
                told()
            if self._pause == LONGEST_PAUSE_SECONDS:  # no mere change of the leader
                log.warning("no stream takes what is written; trying again")
                self._tell("NATS has no stream that takes it")
        self._pause = min(max(2 * self._pause, 0.01), LONGEST_PAUSE_SECONDS)
        self._paused = self._loop.call_later(self._pause, self._go_on)

    def _go_on(self) -> None:
        self._paused = None
        self._wake.set()

    # --- no answer ----------------------------------------------------------------------------------------------------

    def _overdue(self) -> None:
        self._timer = None
        if not self._flights:
            return
        oldest = min(f.sent for f in self._flights.values())
        left = oldest + self.deadline - self._loop.time()
        if left > 0.001:
            self._timer = self._loop.call_later(left, self._overdue)
            return
        log.warning("no answer from the stream for %.0f s: finding out what was written", self.deadline)
        self._tell(f"NATS has not answered a write for {self.deadline:.0f} s")
        self._lost()

    def _lost(self) -> None:
        """What is on its way gets no answer any more."""
        for token, flight in self._flights.items():
            self.wire.forget(token)
            self._unanswered += flight.entries
        self.unanswered_count += len(self._flights)
        self._flights.clear()
        self._wake.set()

    async def _settle_unanswered(self) -> None:
        await self.wire.connected.wait()
        entries, self._unanswered = self._unanswered, []
        try:
            again = await self._settle(entries)
        except (JetStreamError, NatsError, TimeoutError, OSError) as error:
            log.warning(
                "what became of %d writes is not known yet: %s", len(entries), str(error) or type(error).__name__
            )
            self._unanswered = entries + self._unanswered
            self._rest(Answer(0, 0, NO_RESPONDERS, str(error)))
            return
        except BaseException:
            self._unanswered = entries + self._unanswered
            raise
        self._put_back([e for e in again if not e.done.cancelled()])

    async def _do(self, work: Callable[[], Awaitable[None]], done: asyncio.Future[None]) -> None:
        try:
            await work()
        except asyncio.CancelledError:
            if not done.done():
                done.set_exception(LogClosed("the log is closed"))
                done.exception()
            raise
        except Exception as error:  # noqa: BLE001 - it belongs to whoever asked for the work
            if not done.done():
                done.set_exception(error)
        else:
            if not done.done():
                done.set_result(None)

    def _tell(self, trouble: str) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            for told in list(self.on_trouble):
                told()

    def _tell_idle(self) -> None:
        idle, self._idle = self._idle, []
        for future in idle:
            if not future.done():
                future.set_result(None)


def _refuse(entry: QueuedWrite, answer: Answer) -> None:
    entry.fail(Refused(answer.code, answer.description))
