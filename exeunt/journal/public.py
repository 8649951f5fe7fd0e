"""The events for subscribers: CloudEvents 1.0 in binary mode, by namespace, uid and type (docs/events.md).

A projection of the log: derived from committed events by the run's owner, and published again after a crash with the
same `ce-id`. The stream drops a repeat within ten minutes by its message's id; beyond that, a load first asks what is
out (`published`). Nothing is decided by what is in the stream, and nothing waits for it for long: all that can be lost
with it is events.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig

from exeunt import cloudevents
from exeunt.cloudevents import DAYS_KEPT, STATES, STREAM, SUBJECTS, About, Kind
from exeunt.journal import states
from exeunt.journal.errors import JetStreamError
from exeunt.journal.lanes import Lanes
from exeunt.journal.reading import read
from exeunt.journal.sizes import PAYLOAD_BYTES
from exeunt.journal.streams import NOT_FOUND, READ_SECONDS, with_room
from exeunt.journal.wire import Wire
from exeunt.natspy import whole

log = logging.getLogger(__name__)

DUPLICATE_WINDOW_SECONDS = 600
ONE_BY_ONE = 1_000  # uids: each costs 2 to 5 ms, an event that is passed over 0.1 ms
AT_ONCE = 16
MAX_BYTES = 2 * 1024**3
PAUSE_SECONDS = 1.0
STATES_PAUSE_SECONDS = 10.0
_UNSAFE = str.maketrans({"\r": " ", "\n": " "})


_AUDIT = "$JS.EVENT.ADVISORY.API"
_REMOVALS = tuple(f'"$JS.API.STREAM.{verb}.{STREAM}"'.encode() for verb in ("DELETE", "PURGE", "MSG.DELETE"))
"""Requests to JetStream that take messages out of the stream, as NATS tells of them."""
_STATES_GONE = f'"$JS.API.STREAM.DELETE.{STATES}"'.encode()
_STATES_EMPTIED = tuple(f'"$JS.API.STREAM.{verb}.{STATES}"'.encode() for verb in ("PURGE", "MSG.DELETE"))


def config(replicas: int, max_age_seconds: float = DAYS_KEPT * 86400, max_bytes: int = MAX_BYTES) -> StreamConfig:
    """How the stream is made."""
    return StreamConfig(
        name=STREAM,
        subjects=[SUBJECTS],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        num_replicas=replicas,
        max_age=max_age_seconds,
        max_bytes=max_bytes,
        discard=DiscardPolicy.OLD,
        duplicate_window=DUPLICATE_WINDOW_SECONDS,
    )


class Keeper:
    """Has the stream there and as it must be: made when it is missing, and mended where people or releases changed it.

    `run()` looks when something is refused, NATS is back, or NATS tells that somebody has removed something. What
    cannot be done is tried again; nobody waits for it. `emptied` is set when what was in the stream is gone: then the
    lanes are held until it is filled again.
    """

    def __init__(self, wire: Wire, lanes: Lanes, replicas: int) -> None:
        self._wire = wire
        self._lanes = lanes
        self._replicas = replicas
        self._look = asyncio.Event()
        self._said = ""
        self.emptied = asyncio.Event()
        self._created = ""  # when the stream was made that we know
        self._states_emptied = False
        lanes.on_refused.append(self._look.set)

    async def run(self) -> None:
        """Works until it is cancelled."""

        async def audited(message: Msg) -> None:
            if any(request in message.data for request in _REMOVALS):
                self._empty()
                self._look.set()
            elif _STATES_GONE in message.data:
                self._look.set()
            elif any(request in message.data for request in _STATES_EMPTIED):
                self._states_emptied = True
                self._look.set()

        await whole(self._wire.nc.subscribe(_AUDIT, cb=audited))
        self._wire.on_back.append(self._look.set)
        try:
            while True:
                await self._look.wait()
                self._look.clear()
                if await self.mend():
                    self._lanes.go_on()
                else:
                    self._look.set()
                    await asyncio.sleep(PAUSE_SECONDS)
        finally:
            self._wire.on_back.remove(self._look.set)

    def _empty(self) -> None:
        self._lanes.hold(emptied=True)
        self._lanes.high = 0
        self.emptied.set()

    async def mend(self) -> bool:
        """Makes the stream, or mends it. False when that cannot be done now: the reason is in the log."""
        try:
            await self._wire.connected.wait()
            await self._mended()
        except (JetStreamError, NatsError, TimeoutError, OSError) as error:
            said = str(error) or type(error).__name__
            if said != self._said:
                log.warning("the stream %s cannot be made: %s; trying again", STREAM, said)
            self._said = said
            return False
        self._said = ""
        return True

    async def there(self) -> bool:
        """Whether there is a stream; it may just have been removed. Raises JetStreamError, TimeoutError."""
        try:
            await self._wire.api(f"STREAM.INFO.{STREAM}", seconds=READ_SECONDS)
        except JetStreamError as error:
            if error.code != NOT_FOUND:
                raise
            self._look.set()
            return False
        return True

    async def _mended(self) -> None:
        try:
            found: dict[str, Any] = await self._wire.api(f"STREAM.INFO.{STREAM}", seconds=READ_SECONDS)
        except JetStreamError as error:
            if error.code != NOT_FOUND:
                raise
            log.info("making the stream %s", STREAM)
            await with_room(self._wire, "CREATE", config(self._replicas).as_dict())
            found = await self._wire.api(f"STREAM.INFO.{STREAM}", seconds=READ_SECONDS)
            if not self._created:  # we have just begun; what is open is told by whoever takes it up
                self.emptied.set()
        self._compare(found)
        is_now = found["config"]
        wanted = {**is_now, "subjects": [SUBJECTS], "discard": "old"}
        if is_now.get("max_bytes", -1) <= 0:
            wanted["max_bytes"] = MAX_BYTES
        if 0 <= is_now.get("max_msg_size", -1) < PAYLOAD_BYTES:
            wanted["max_msg_size"] = -1
        if wanted != is_now:
            log.info("mending the settings of the stream %s", STREAM)
            await with_room(self._wire, "UPDATE", wanted)
        await self._keep_states(str(found["created"]))

    async def _keep_states(self, created: str) -> None:
        """The copy of the last events: without it all else goes on, and it is tried again."""
        emptied, self._states_emptied = self._states_emptied, False
        try:
            await states.keep(self._wire, self._replicas, created, anew=emptied)
        except (JetStreamError, NatsError, TimeoutError, OSError) as error:
            log.warning("the stream %s cannot be made: %s; trying again", STATES, str(error) or type(error).__name__)
            self._states_emptied = emptied or self._states_emptied
            asyncio.get_running_loop().call_later(STATES_PAUSE_SECONDS, self._look.set)

    def _compare(self, found: dict[str, Any]) -> None:
        """Whether what was there is gone, and not by a limit, which removes the oldest bit by bit."""
        created, state, high = str(found["created"]), found["state"], self._lanes.high
        age = asyncio.get_running_loop().time() - self._lanes.high_at
        if self._created not in {"", created}:
            log.warning("the stream %s was removed: it is filled again as far as the log reaches", STREAM)
            if not self._lanes.held:  # otherwise NATS has told of it, and it is being filled
                self._empty()
        elif 0 < high < state["first_seq"] and age < found["config"].get("max_age", 0) / 2e9:
            log.warning("the stream %s was purged: it is filled again as far as the log reaches", STREAM)
            self._empty()
        self._created = created


class EventToPublish(NamedTuple):
    """One event about a workflow or a node, ready to be published.

    The events of a `run` keep their order: an exit run's, by its hook id, or the workflow's own, where it is empty.
    """

    namespace: str
    uid: str
    workflow: str
    number: str
    kind: Kind
    subject: str
    at: float
    data: About
    trace: dict[str, str] = {}
    run: str = ""

    @property
    def id(self) -> str:
        """The `ce-id`: the same whenever the event is published again."""
        return f"{self.uid}.{self.number}"

    @property
    def lane(self) -> str:
        """The lane of its run."""
        return f"{self.uid}.{self.run}"

    @property
    def anew(self) -> bool:
        """Whether its run has been begun anew: the workflow was retried, or the exit run replayed."""
        return bool(self.data.attempt or getattr(self.data, "replays", 0))


class Events:
    """Publishes, and tells what was published."""

    def __init__(self, js: JetStreamContext, lanes: Lanes, keeper: Keeper, cluster: str = "") -> None:
        self.lanes = lanes
        self._js = js
        self.keeper = keeper
        self._cluster = cluster

    async def run(self) -> None:
        """Publishes, and keeps the stream, until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.lanes.run())
            group.create_task(self.keeper.run())

    def post(self, event: EventToPublish) -> asyncio.Future[int]:
        """Hands over one event; done when it is durable.

        A repeat of an id is stored once. The future raises what `Lanes.put` says.
        """
        return self.lanes.put(event.lane, *self._message(event))

    def _message(self, event: EventToPublish) -> tuple[str, bytes, bytes, str]:
        """Subject, body, headers and id."""
        attributes = cloudevents.headers(
            uid=event.uid,
            number=event.number,
            kind=event.kind,
            namespace=event.namespace,
            workflow=event.workflow,
            subject=event.subject,
            at=event.at,
            trace=event.trace,
        )
        on = cloudevents.subject(event.namespace, event.uid, event.kind)
        return on, self._body(event.data), _lines(attributes), attributes["ce-id"]

    def _body(self, data: About) -> bytes:
        data.cluster = self._cluster
        return cloudevents.body(data)

    async def again(self, told: Sequence[EventToPublish]) -> None:
        """Publishes once more what was published of one run, in its order, as far as it is not there.

        It comes ahead of what waits of that run. Returns when it is stored.
        """
        if not told:
            return
        there = await self.published([told[0].uid], 0.0)
        missing: list[tuple[str, bytes, bytes, str]] = []
        late = False  # something of the workflow itself is missing that what is there comes behind
        again: list[tuple[str, bytes, bytes, str]] = []
        for event in told:
            message = self._message(event)
            of_workflow = event.kind.startswith("workflow.")
            if event.id not in there:
                missing.append(message)
                late, again = late or of_workflow, [] if of_workflow else again
            elif late and of_workflow:
                again = [message]  # what came last has to be the workflow's state (exeunt.journal.states)
        await asyncio.gather(*self.lanes.before(told[0].lane, [*missing, *again]), return_exceptions=True)

    def out(self) -> asyncio.Future[None]:
        """Done when all that was handed over so far is durable, or when events are not to be waited for."""
        return self.lanes.out()

    async def published(self, uids: Collection[str], since: float) -> set[str]:
        """The ids (`<uid>.<number>`) of the events of these uids, at least of those since a time.

        A few uids are looked up one by one, so that this costs nothing for others' events; many in one pass.
        """
        wanted = set(uids)
        if not await self.keeper.there():
            return set()
        if len(wanted) <= ONE_BY_ONE:
            return await self._published_each(wanted)
        return await self._published_since(wanted, since)

    async def _published_since(self, wanted: Collection[str], since: float) -> set[str]:
        found: set[str] = set()
        start = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(max(0.0, since)))
        async for message in read(self._js, STREAM, SUBJECTS, headers_only=True, start_time=start):
            if message.subject.split(".")[3] in wanted:
                found.add((message.headers or {}).get("ce-id", ""))
        return found

    async def _published_each(self, uids: Collection[str]) -> set[str]:
        found: set[str] = set()
        room = asyncio.Semaphore(AT_ONCE)

        async def look(uid: str) -> None:
            async with room:
                async for message in read(self._js, STREAM, cloudevents.subject("*", uid, ">"), headers_only=True):
                    found.add((message.headers or {}).get("ce-id", ""))

        async with asyncio.TaskGroup() as group:
            for uid in uids:
                group.create_task(look(uid))
        return found


def _lines(attributes: Mapping[str, str]) -> bytes:
    """Headers as NATS writes them."""
    return "".join([f"{name}: {value.translate(_UNSAFE)}\r\n" for name, value in attributes.items()]).encode()
