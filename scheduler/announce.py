"""What subscribers hear of main runs: events of durable commits, published in their order, many at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from typing import Any, NamedTuple

from exeunt import traces
from exeunt.cloudevents import Kind
from exeunt.engine import decide
from exeunt.engine.decide import Run
from exeunt.engine.events import Event
from exeunt.journal.errors import Refused
from exeunt.journal.public import Events
from exeunt.journal.sizes import TooLarge

log = logging.getLogger(__name__)

TOGETHER = 500
PAUSE_SECONDS = 1.0
NEVER = (TooLarge, Refused)
"""Trying again would not help."""


class Announcement(NamedTuple):
    """One event, ready to be published."""

    namespace: str
    uid: str
    workflow: str
    number: str
    kind: Kind
    subject: str
    at: float
    data: Any
    trace: dict[str, str]


def announcements(run: Run, events: Sequence[Event]) -> list[Announcement]:
    """What a durable commit tells, numbered on from what the run has told before. To be called once for each commit."""
    found: list[Announcement] = []
    state = run.state
    trace = traces.of_run(state.started.trace, run.uid) if state.started.trace else {}
    for event in decide.public_events(run, events):
        state.outgoing += 1
        found.append(
            Announcement(
                namespace=run.namespace,
                uid=run.uid,
                workflow=run.name,
                number=str(state.outgoing),
                kind=event.type,
                subject=event.subject,
                at=run.now,
                data=event.data,
                trace=trace,
            )
        )
    return found


class Announcer:
    """Publishes what it is given; `run` does the work. `out` says when everything given so far is out."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._queue: asyncio.Queue[Announcement | asyncio.Future[None]] = asyncio.Queue()

    def put(self, announcements: list[Announcement]) -> None:
        """Takes events; those of one run in their order."""
        for announcement in announcements:
            self._queue.put_nowait(announcement)

    def out(self) -> asyncio.Future[None]:
        """Done when all that was given before is durable."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(done)
        return done

    async def run(self) -> None:
        """Publishes until it is cancelled. What cannot be published is tried again: a repeat is stored once.

        What is refused for what it says is given up, so that no event holds up all others.
        """
        while True:
            batch = [await self._queue.get()]
            while len(batch) < TOGETHER and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            await self._publish([item for item in batch if isinstance(item, Announcement)])
            for item in batch:
                if isinstance(item, asyncio.Future) and not item.done():
                    item.set_result(None)

    async def _publish(self, batch: list[Announcement]) -> None:
        while batch:
            answers = await asyncio.gather(*(self._post(a) for a in batch), return_exceptions=True)
            failed = [i for i, a in enumerate(answers) if isinstance(a, BaseException) and not isinstance(a, NEVER)]
            for announcement, answer in zip(batch, answers, strict=True):
                if isinstance(answer, NEVER):
                    log.error("%s of %s is given up: %s", announcement.kind, announcement.uid, answer)
            if not failed:
                return
            log.warning("%d events could not be published; trying again: %s", len(failed), answers[failed[0]])
            batch = batch[failed[0] :]  # in their order, so everything behind the first one again
            await asyncio.sleep(PAUSE_SECONDS)

    def _post(self, a: Announcement) -> Awaitable[int]:
        return self._events.post(
            namespace=a.namespace,
            uid=a.uid,
            workflow=a.workflow,
            number=a.number,
            kind=a.kind,
            subject=a.subject,
            at=a.at,
            data=a.data,
            trace=a.trace,
        )
