"""The steps of a workflow for a message: its public events, which are there while the scheduler is down too."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import msgspec
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import Error as JetStreamError

from exeunt.cloudevents import STREAM
from exeunt.journal.reading import read

MOST = 5000  # events that are looked at


class StepLister:
    """Lists the steps that ended (the port `exeunt.actions.context.ListSteps`). One for each process."""

    def __init__(self, js: JetStreamContext) -> None:
        self._js = js

    async def __call__(self, namespace: str, uid: str, seconds: float) -> list[dict[str, Any]]:
        """The steps that events tell of. Waits at most so long for that of the main run's end, which comes last."""
        steps: dict[str, dict[str, Any]] = {}
        seen = 0
        try:
            async with asyncio.timeout(seconds):
                async for message in read(self._js, STREAM, f"exeunt.events.{namespace}.{uid}.>", follow=True):
                    seen += 1
                    kind = ".".join(message.subject.split(".")[-2:])
                    if kind.startswith("step."):
                        told = msgspec.json.decode(message.data)
                        steps.pop(told["node"], None)  # of a workflow that was retried the last end counts
                        steps[told["node"]] = {**told, "seconds": _seconds(told)}
                    if seen >= MOST or (kind == "workflow.exiting" and not message.pending):
                        break
        except TimeoutError:
            pass
        except (NatsError, JetStreamError, msgspec.DecodeError, KeyError) as error:
            raise LookupError(str(error)) from None
        return list(steps.values())


def _seconds(told: dict[str, Any]) -> float | None:
    try:
        start, end = (datetime.fromisoformat(told[name]) for name in ("startedAt", "finishedAt"))
    except (KeyError, TypeError, ValueError):
        return None
    return max(0.0, (end - start).total_seconds())
