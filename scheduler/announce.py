"""What subscribers hear of main runs: events of durable commits, published in their order, many at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial

from exeunt import traces
from exeunt.cloudevents import AskedFor, Ending, Workflow
from exeunt.engine import decide
from exeunt.engine.decide import Run
from exeunt.engine.facts import Event
from exeunt.journal.errors import Refused
from exeunt.journal.public import Events, EventToPublish
from exeunt.journal.sizes import TooLarge

log = logging.getLogger(__name__)

TOGETHER = 100
"""Events that are made ready before others get a turn."""
NEVER = (TooLarge, Refused)
"""What is wrong with the event itself."""


def events_to_publish(run: Run, events: Sequence[Event]) -> list[EventToPublish]:
    """What a durable commit tells, numbered on from what the run has told before. To be called once for each commit."""
    found: list[EventToPublish] = []
    state = run.state
    trace = traces.of_run(state.started.trace, run.uid) if state.started.trace else {}
    for event in decide.public_events(run, events):
        state.outgoing += not event.hook
        found.append(
            EventToPublish(
                namespace=run.namespace,
                uid=run.uid,
                workflow=run.name,
                number=f"{event.hook}.1" if event.hook else str(state.outgoing),
                kind=event.type,
                subject=event.subject,
                at=run.now,
                data=event.data,
                trace=trace,
            )
        )
    return found


def deleted(ending: Ending, number: int, by: str, why: str, at: float) -> EventToPublish:
    """What is told of a workflow that was over and is deleted: its own event of this number."""
    known = {name: getattr(ending, name) for name in Workflow.__struct_fields__}
    return EventToPublish(
        namespace=ending.namespace,
        uid=ending.uid,
        workflow=ending.workflow,
        number=str(number),
        kind="workflow.deleted",
        subject=ending.workflow,
        at=at,
        data=AskedFor(**known, by=by, message=why),
    )


class RunAnnouncer:
    """Publishes the events that it is given. `run` does the work; only `out` waits for it."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._queue: asyncio.Queue[EventToPublish | asyncio.Future[None]] = asyncio.Queue()

    def put(self, events_to_publish: list[EventToPublish]) -> None:
        """Queues events. Those of one run have to come in their order."""
        for announcement in events_to_publish:
            self._queue.put_nowait(announcement)

    def out(self) -> asyncio.Future[None]:
        """Done when all that was given before is durable, or is not to be waited for (`Events.out`)."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(done)
        return done

    async def run(self) -> None:
        """Publishes until it is cancelled. An event that is refused for its content is given up; the others go out."""
        while True:
            item = await self._queue.get()
            for _ in range(TOGETHER):
                self._take(item)
                if self._queue.empty():
                    break
                item = self._queue.get_nowait()
            else:
                self._take(item)
            await asyncio.sleep(0)

    def _take(self, item: EventToPublish | asyncio.Future[None]) -> None:
        if isinstance(item, asyncio.Future):
            self._events.out().add_done_callback(partial(_tell, item))
        else:
            self._events.post(item).add_done_callback(partial(_given_up, item))


def _tell(asked: asyncio.Future[None], out: asyncio.Future[None]) -> None:
    if not asked.done():
        asked.set_result(None)


def _given_up(announcement: EventToPublish, posted: asyncio.Future[int]) -> None:
    error = None if posted.cancelled() else posted.exception()
    if isinstance(error, NEVER):
        log.error("%s of %s is given up: %s", announcement.kind, announcement.uid, error)
