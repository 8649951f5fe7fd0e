"""The last event of each workflow, which NATS itself copies out of the events' stream: one message a workflow.

Nobody publishes here, and nothing is decided by it. What is lost here NATS copies again; of a stream of events that was
made anew it would wait for the old positions, so then this one is made anew too (docs/decisions/0019).
"""

from __future__ import annotations

import logging
from typing import Any

from exeunt.cloudevents import STATES, STREAM, state_subject, subject
from exeunt.journal.errors import JetStreamError
from exeunt.journal.streams import NOT_FOUND, READ_SECONDS, with_room
from exeunt.journal.wire import Wire

log = logging.getLogger(__name__)

MAX_BYTES = 512 * 1024**2


def config(replicas: int) -> dict[str, Any]:
    """How the stream is made. One copy need not be synced for each message: what a crash takes is copied again."""
    made: dict[str, Any] = {
        "name": STATES,
        "sources": [
            {
                "name": STREAM,
                "subject_transforms": [
                    {
                        "src": subject("*", "*", "workflow.*"),
                        "dest": state_subject("{{wildcard(1)}}", "{{wildcard(2)}}"),
                    }
                ],
            }
        ],
        "retention": "limits",
        "storage": "file",
        "discard": "old",
        "max_msgs_per_subject": 1,
        "max_bytes": MAX_BYTES,
        "allow_direct": True,
        "num_replicas": replicas,
    }
    return made if replicas > 1 else {**made, "persist_mode": "async"}


async def keep(wire: Wire, replicas: int, events_created: str, *, anew: bool = False) -> None:
    """Makes the stream when it is missing, older than what it copies, or to be made `anew`: what it has copied once it
    does not copy again. Raises JetStreamError, TimeoutError."""
    try:
        found: dict[str, Any] = await wire.api(f"STREAM.INFO.{STATES}", seconds=READ_SECONDS)
    except JetStreamError as error:
        if error.code != NOT_FOUND:
            raise
    else:
        older = _time(str(found["created"])) < _time(events_created)
        if not (older or anew):
            return
        log.info("the stream %s %s and is made again", STATES, f"is older than {STREAM}" if older else "was emptied")
        try:
            await wire.api(f"STREAM.DELETE.{STATES}")
        except JetStreamError as error:
            if error.code != NOT_FOUND:  # otherwise another service has just done it
                raise
    await with_room(wire, "CREATE", config(replicas))


def _time(text: str) -> tuple[str, str]:
    """NATS leaves out zeros at the end of a second's parts."""
    second, _, parts = text.removesuffix("Z").partition(".")
    return second, parts.ljust(9, "0")
