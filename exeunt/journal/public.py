"""The events for subscribers: CloudEvents 1.0 in binary mode, by namespace, uid and type (docs/events.md).

A projection of the log: derived from committed events by the run's owner, and published again after a crash with the
same `ce-id`. The stream drops a repeat within ten minutes by its message's id; beyond that, a load first asks what is
out (`published`). Nothing is decided by what is in the stream, and nothing waits for it for long: whatever happens to
it costs events at most.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection
from typing import Any

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig

from exeunt import cloudevents
from exeunt.cloudevents import DAYS_KEPT, STREAM, SUBJECTS, Kind
from exeunt.journal.errors import JetStreamError
from exeunt.journal.lanes import Lanes
from exeunt.journal.reading import read
from exeunt.journal.sizes import PAYLOAD
from exeunt.journal.streams import DELETED, NOT_FOUND, READ_SECONDS, with_room
from exeunt.journal.wire import Wire
from exeunt.natspy import whole

log = logging.getLogger(__name__)

DUPLICATE_WINDOW_SECONDS = 600
ONE_BY_ONE = 1_000  # uids: each costs 2 to 5 ms, an event that is passed over 0.1 ms
AT_ONCE = 16
MAX_BYTES = 2 * 1024**3
PAUSE_SECONDS = 1.0
_UNSAFE = str.maketrans({"\r": " ", "\n": " "})


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

    `run()` looks when it begins, whenever `look` is called, NATS is back, or NATS tells of the stream's deletion. What
    cannot be done is tried again; nobody waits for it.
    """

    def __init__(self, wire: Wire, lanes: Lanes, replicas: int) -> None:
        self._wire = wire
        self._lanes = lanes
        self._replicas = replicas
        self._look = asyncio.Event()
        self._said = ""
        lanes.on_refused.append(self._look.set)

    async def run(self) -> None:
        """Works until it is cancelled."""

        async def deleted(message: Msg) -> None:
            self._look.set()

        await whole(self._wire.nc.subscribe(f"{DELETED}.{STREAM}", cb=deleted))
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
            found: dict[str, Any] = (await self._wire.api(f"STREAM.INFO.{STREAM}", seconds=READ_SECONDS))["config"]
        except JetStreamError as error:
            if error.code != NOT_FOUND:
                raise
            await self._made()
            return
        wanted = {**found, "subjects": [SUBJECTS], "discard": "old"}
        if found.get("max_bytes", -1) <= 0:
            wanted["max_bytes"] = MAX_BYTES
        if 0 <= found.get("max_msg_size", -1) < PAYLOAD:
            wanted["max_msg_size"] = -1
        if wanted != found:
            log.info("mending the settings of the stream %s", STREAM)
            await with_room(self._wire, "UPDATE", wanted)

    async def _made(self) -> None:
        log.info("making the stream %s", STREAM)
        await with_room(self._wire, "CREATE", config(self._replicas).as_dict())


class Events:
    """Publishes, and tells what was published."""

    def __init__(self, js: JetStreamContext, lanes: Lanes, keeper: Keeper) -> None:
        self.lanes = lanes
        self._js = js
        self._keeper = keeper

    async def run(self) -> None:
        """Publishes, and keeps the stream, until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.lanes.run())
            group.create_task(self._keeper.run())

    def post(
        self,
        *,
        namespace: str,
        uid: str,
        workflow: str,
        number: str,
        kind: Kind,
        subject: str,
        at: float,
        data: Any,
        trace: dict[str, str] | None = None,
    ) -> asyncio.Future[int]:
        """Hands over one event about a workflow or node; done when it is durable.

        Those of a run (the workflow's own, or one exit run's) keep their order. A repeat of a number is stored once.
        The future raises what `Lanes.put` says.
        """
        attributes = cloudevents.headers(
            uid=uid,
            number=number,
            kind=kind,
            namespace=namespace,
            workflow=workflow,
            subject=subject,
            at=at,
            trace=trace or {},
        )
        lines = "".join([f"{name}: {value.translate(_UNSAFE)}\r\n" for name, value in attributes.items()])
        lane = f"{uid}.{number.rpartition('.')[0]}"
        on = cloudevents.subject(namespace, uid, kind)
        return self.lanes.put(lane, on, cloudevents.body(data), lines.encode(), attributes["ce-id"])

    async def put(self, **event: Any) -> int:
        """As `post`, and waits."""
        return await self.post(**event)

    def out(self) -> asyncio.Future[None]:
        """Done when all that was handed over so far is durable, or when events are not to be waited for."""
        return self.lanes.out()

    async def published(self, uids: Collection[str], since: float) -> set[str]:
        """The ids (`<uid>.<number>`) of the events of these uids, at least of those since a time.

        A few uids are looked up one by one, so that this costs nothing for others' events; many in one pass.
        """
        wanted = set(uids)
        if not await self._keeper.there():
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
