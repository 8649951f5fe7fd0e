"""Publishes for subscribers: each lane in its order, without making anybody wait who decides something.

Of a lane one message is on its way at a time. The next one goes when that is stored, so nothing that is refused, lost
or late can come behind a later one, whatever happens to the stream. Lanes go side by side. Messages go one by one: an
atomic batch would leave its headers on them for good.

Where the stream has been emptied, what was told before is told again (`exeunt.journal.refill`). Meanwhile lanes are
held, but for those whose first message is still to come.

What waits is bounded in bytes; beyond that messages are refused and counted. `out` says when everything that was given
is stored, or at once while the stream has taken nothing for a while: then others go on without it.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Callable

from nats.errors import Error as NatsError

from exeunt.journal.errors import JetStreamError, LogClosed
from exeunt.journal.lane_queues import LaneMessage, LaneQueues
from exeunt.journal.streams import NO_MESSAGE, READ_SECONDS
from exeunt.journal.wire import NO_RESPONDERS, Answer, Wire, frame
from exeunt.service.metrics import Counter, Gauge

log = logging.getLogger(__name__)

AT_ONCE = 64
MOST_BYTES = 64 * 1024 * 1024
PATIENCE_SECONDS = 2.0
DEADLINE_SECONDS = 5.0
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 2.0
SAY_SECONDS = 10.0

dropped = Counter("exeunt.events.dropped", "Events given up: too many waited for the stream to take them", "{event}")
usurped = Counter("exeunt.events.usurped", "Events whose id somebody else had used: stored under another", "{event}")


class Crowded(Exception):  # noqa: N818 - an answer
    """The stream takes nothing, and no more messages may wait for it."""


class Lanes:
    """All lanes to one stream. `run()` does the work; it ends when it is cancelled.

    `on_refused` is called when the stream does not take something, or there is none: it may be mended. `on_trouble` is
    called whenever `trouble` changes, which says for people why nothing is stored; it is empty while all is well.
    """

    def __init__(
        self,
        wire: Wire,
        stream: str,
        *,
        most: int = MOST_BYTES,
        patience: float = PATIENCE_SECONDS,
        deadline: float = DEADLINE_SECONDS,
    ) -> None:
        self.trouble = ""
        self.high = 0  # the position of the last message that was stored, and when that was
        self.high_at = 0.0
        self.stuck = False  # nothing was stored for a while, although there is a connection
        self.on_trouble: list[Callable[[], None]] = []
        self.on_refused: list[Callable[[], None]] = []
        self._wire = wire
        self._stream = stream
        self._most = most
        self._patience = patience
        self._deadline = deadline
        self._loop = asyncio.get_running_loop()
        self._queues = LaneQueues()
        self._flights: dict[str, tuple[str, LaneMessage, float]] = {}  # token → lane, message, when it was sent
        self._doubted: list[tuple[str, LaneMessage, int]] = []  # the stream has one of that id, at that position
        self._wake = asyncio.Event()
        self._pause = 0.0
        self._paused: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: asyncio.TimerHandle | None = None
        self._closed = False
        self._said = float("-inf")
        self._landed: list[asyncio.Future[None]] = []
        wire.on_lost.append(self._lost)
        wire.on_back.append(self._wake.set)
        for counter in (dropped, usurped):
            counter.add(0)  # so that the first one is seen as an increase
        Gauge("exeunt.events.waiting", "Events that are not stored yet", lambda: len(self._queues), "{event}")
        Gauge("exeunt.events.stuck", "1 while the events' stream takes nothing: the log says why", lambda: self.stuck)

    # --- what others call ---------------------------------------------------------------------------------------------

    def put(self, lane: str, subject: str, data: bytes, headers: bytes, ident: str) -> asyncio.Future[int]:
        """Publishes one message behind all others of its lane; done when it is stored.

        `headers` are whole lines. The future raises TooLarge when it can never be stored, Crowded when there is no room
        to wait, LogClosed at the end.
        """
        message = LaneMessage(subject, headers, data, ident, self._loop.create_future())
        if self._closed:
            message.fail(LogClosed("nothing is published any more"))
        elif self._queues.bytes + message.size > self._most:
            dropped.add()
            message.fail(Crowded(f"{self.trouble or 'too many wait'}; {len(self._queues):,} events wait already"))
        else:
            self._queues.put(lane, message)
            if self._queues.ready:
                self._wake.set()
        return message.done

    def hold(self, *, emptied: bool) -> None:
        """From now on only lanes go on that begin now, or whose past was told again.

        The stream was `emptied`, which people are told of; or it has just been made and never held anything.
        """
        self._queues.hold()
        if emptied:
            self._tell("the stream was emptied, and is being filled again from the log")

    async def landed(self) -> None:
        """Returns when nothing is on its way."""
        while self._flights:
            landed: asyncio.Future[None] = self._loop.create_future()
            self._landed.append(landed)
            await landed

    def before(self, lane: str, messages: list[tuple[str, bytes, bytes, str]]) -> list[asyncio.Future[int]]:
        """Puts messages (as for `put`) ahead of what waits in a lane that is held, and lets that lane go on.

        Those that wait in it already are left out. They count in no bound: whoever gives them waits for them. They come
        behind the one that is on its way, if there is one: it cannot be called back.
        """
        given = [
            LaneMessage(subject, headers, data, ident, self._loop.create_future())
            for subject, data, headers, ident in messages
        ]
        for message in given:
            message.another_id()  # it is not there, whatever the stream remembers
        added = self._queues.before(lane, given)
        self.free(lane)
        return [message.done for message in added]

    @property
    def held(self) -> bool:
        """Whether lanes are held."""
        return self._queues.held

    def waits(self, lane: str) -> bool:
        """Whether messages of the lane wait."""
        return lane in self._queues

    def free(self, lane: str) -> None:
        """Lets a lane go on that is held."""
        self._queues.free(lane)
        self._wake.set()

    def release(self) -> None:
        """All lanes go on."""
        self._queues.release()
        self._tell("")
        self._wake.set()

    def out(self) -> asyncio.Future[None]:
        """Done when all that was given so far is stored or given up; at once while the stream takes nothing."""
        done: asyncio.Future[None] = self._loop.create_future()
        if self.stuck or self._closed:
            done.set_result(None)
        else:
            self._queues.all_over(done)
        return done

    def go_on(self) -> None:
        """The stream is there again: what waits need not wait for its pause to end."""
        if self._paused is not None:
            self._paused.cancel()
            self._paused = None
        self._wake.set()

    async def run(self) -> None:
        """Publishes until it is cancelled; then everything that is left fails with LogClosed."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                await self._turn()
        finally:
            self._close()

    # --- sending ------------------------------------------------------------------------------------------------------

    async def _turn(self) -> None:
        while self._doubted and self._wire.connected.is_set():
            await self._look_at(*self._doubted.pop())
        frames: list[bytes] = []
        while self._may_send() and (found := self._queues.next()) is not None:
            frames += self._launch(*found)
        if frames:
            await self._wire.post(frames)

    def _may_send(self) -> bool:
        return self._paused is None and len(self._flights) < AT_ONCE and self._wire.connected.is_set()

    def _launch(self, lane: str, message: LaneMessage) -> list[bytes]:
        ident = message.ident.encode() + message.suffix.encode()
        headers = b"%bNats-Msg-Id: %b\r\n" % (message.headers, ident)
        refused = self._wire.refuses(message.subject, headers, message.data)
        if refused is not None:
            log.error("%s: it is not published", refused)
            message.fail(refused)
            self._end(lane, message)
            return []
        token = ""
        reply, token = self._wire.expect(lambda answer: self._answered(token, answer))
        self._flights[token] = lane, message, self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_later(self._deadline, self._overdue)
        return [frame(message.subject, reply, headers, message.data)]

    # --- answers ------------------------------------------------------------------------------------------------------

    def _answered(self, token: str, answer: Answer) -> None:
        flight = self._flights.pop(token, None)
        if flight is None:
            return
        lane, message, _ = flight
        if answer.code:  # no room, no leader, no stream, one that people have changed: nothing is wrong with this one
            self._queues.back(lane, first=True)
            self._rest(answer)
        elif answer.duplicate:
            self._doubted.append((lane, message, answer.sequence))
        else:
            self._stored(lane, message, answer.sequence)
        if self._queues.ready or self._doubted:
            self._wake.set()
        self._look_whether_landed()

    def _look_whether_landed(self) -> None:
        if not self._flights:
            while self._landed:
                landed = self._landed.pop()
                if not landed.done():
                    landed.set_result(None)

    def _stored(self, lane: str, message: LaneMessage, sequence: int) -> None:
        self._pause = 0.0
        if not self._queues.held:
            self._tell("")
        self.high, self.high_at = sequence, self._loop.time()
        if not message.done.done():
            message.done.set_result(sequence)
        self._end(lane, message)

    def _end(self, lane: str, message: LaneMessage) -> None:
        self._queues.end(lane, message)
        if self._queues.ready:
            self._wake.set()

    async def _look_at(self, lane: str, message: LaneMessage, sequence: int) -> None:
        """The stream says that it has a message of that id: ours, from before, or one that somebody put there."""
        try:
            found = await self._at(sequence)
        except (JetStreamError, NatsError, TimeoutError, OSError) as error:
            log.warning("what the stream holds cannot be read yet: %s", str(error) or type(error).__name__)
            self._queues.back(lane, first=True)
            self._rest(Answer(0, 0, NO_RESPONDERS, str(error)))
            return
        if found is None:  # it was, and has been removed: the id is remembered for longer
            message.another_id()
        elif _is(message, found):
            self._stored(lane, message, sequence)
            return
        else:
            usurped.add()
            if self._loop.time() > self._said + SAY_SECONDS:
                self._said = self._loop.time()
                log.warning("the id %s of an event was used by another message: it gets another one", message.ident)
            number = int(message.suffix[1:]) if message.suffix[1:].isdecimal() else 0
            message.suffix = f"/{number + 1}"  # the same when it is published again
        self._queues.back(lane, first=True)
        self._wake.set()

    async def _at(self, sequence: int) -> dict[str, str] | None:
        try:
            answer = await self._wire.api(f"STREAM.MSG.GET.{self._stream}", {"seq": sequence}, READ_SECONDS)
        except JetStreamError as error:
            if error.code == NO_MESSAGE:
                return None
            raise
        found: dict[str, str] = answer["message"]
        return found

    # --- trouble ------------------------------------------------------------------------------------------------------

    def _rest(self, answer: Answer) -> None:
        """Holds back for a moment: longer each time, until something is stored again."""
        nobody = answer.code == NO_RESPONDERS
        self._tell("no stream takes events" if nobody else f"the stream takes no events: {answer.description}")
        for told in list(self.on_refused):
            told()
        if self._paused is None:
            self._pause = min(max(2 * self._pause, FIRST_PAUSE), LONGEST_PAUSE)
            self._paused = self._loop.call_later(self._pause, self.go_on)

    def _overdue(self) -> None:
        self._timer = None
        if not self._flights:
            return
        left = min(sent for _, _, sent in self._flights.values()) + self._deadline - self._loop.time()
        if left > 0.001:
            self._timer = self._loop.call_later(left, self._overdue)
            return
        self._tell(f"NATS has not answered for {self._deadline:g} s")
        self._again()

    def _lost(self) -> None:
        """The connection is gone. Nothing goes on without it, so nobody needs to be told to go on without events."""
        self._again()
        if not self._queues.held:
            self._tell("")

    def _again(self) -> None:
        """What is on its way gets no answer any more. A repeat is stored once."""
        for token, (lane, _, _) in self._flights.items():
            self._wire.forget(token)
            self._queues.back(lane, first=False)
        self._flights.clear()
        self._wake.set()
        self._look_whether_landed()

    def _tell(self, trouble: str) -> None:
        if trouble == self.trouble:
            return
        began, self.trouble = not self.trouble, trouble
        if not trouble:
            self.stuck = False
            if self._waiting is not None:
                self._waiting.cancel()
                self._waiting = None
                log.info("events are stored again")
        elif began:
            log.warning("events wait: %s", trouble)
            self._waiting = self._loop.call_later(self._patience, self._stick)
        for told in list(self.on_trouble):
            told()

    def _stick(self) -> None:
        self.stuck = True
        log.error("events wait, and workflows go on without them: %s", self.trouble)
        self._queues.wait_no_more()

    def _close(self) -> None:
        self._closed = True
        self._queues.fail(LogClosed("nothing is published any more"))
        self._flights.clear()
        self._queues.wait_no_more()
        self._look_whether_landed()
        for handle in (self._timer, self._paused, self._waiting):
            if handle is not None:
                handle.cancel()
        self._wire.on_lost.remove(self._lost)
        self._wire.on_back.remove(self._wake.set)


def _is(message: LaneMessage, found: dict[str, str]) -> bool:
    """Whether what the stream has is this message."""
    lines = base64.b64decode(found.get("hdrs", "")).split(b"\r\n")
    id = next((line for line in message.headers.split(b"\r\n") if line.startswith(b"ce-id:")), b"")
    return id in lines and base64.b64decode(found.get("data", "")) == message.data
