"""The events for subscribers: CloudEvents 1.0 in binary mode, by namespace, uid and type (docs/events.md).

A projection of the log: derived from committed events by the run's owner, and published again after a crash with the
same `ce-id`. The stream drops a repeat within ten minutes by `Nats-Msg-Id`; beyond that, a load first asks what is out
(`published`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Collection
from typing import Any

from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig

from exeunt import cloudevents
from exeunt.cloudevents import DAYS_KEPT, STREAM, SUBJECTS, Kind
from exeunt.journal.reading import read
from exeunt.journal.records import Publish

DUPLICATE_WINDOW_SECONDS = 600
ONE_BY_ONE = 1_000  # uids: each costs 2 to 5 ms, an event that is passed over 0.1 ms
AT_ONCE = 16


def config(replicas: int, max_age_seconds: float = DAYS_KEPT * 86400) -> StreamConfig:
    """How the stream is made."""
    return StreamConfig(
        name=STREAM,
        subjects=[SUBJECTS],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        num_replicas=replicas,
        max_age=max_age_seconds,
        discard=DiscardPolicy.OLD,
        duplicate_window=DUPLICATE_WINDOW_SECONDS,
        allow_atomic=True,
    )


class Events:
    """Publishes, and tells what was published."""

    def __init__(self, js: JetStreamContext, publish: Publish) -> None:
        self._js = js
        self._publish = publish

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
    ) -> Awaitable[int]:
        """Hands over one event about a workflow or node; done when it is durable. Calls keep their order.

        A repeat of a number is stored once.
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
        return self._publish(cloudevents.subject(namespace, uid, kind), cloudevents.body(data), attributes)

    async def put(self, **event: Any) -> int:
        """As `post`, and waits."""
        return await self.post(**event)

    async def published(self, uids: Collection[str], since: float) -> set[str]:
        """The ids (`<uid>.<number>`) of the events of these uids, at least of those since a time.

        A few uids are looked up one by one, so that this costs nothing for others' events; many in one pass.
        """
        wanted = set(uids)
        if len(wanted) <= ONE_BY_ONE:
            return await self._published_each(wanted)
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
