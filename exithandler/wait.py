"""Waiting for a started workflow: its public events from the first one on, or its archive record if it has ended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
from nats.js import JetStreamContext

from exeunt import cloudevents
from exeunt.actions import Child
from exeunt.cloudevents import STREAM
from exeunt.journal.projections import Projections
from exeunt.journal.reading import read
from exeunt.journal.steady import Repeat

FINAL: dict[str, str] = {kind: phase for phase, kind in cloudevents.WORKFLOW_ENDED.items()}


class Waiter:
    """Follows children. One for each process."""

    def __init__(self, js: JetStreamContext, projections: Projections, steady: Repeat) -> None:
        self._js = js
        self._projections = projections
        self._steady = steady

    async def follow(self, child: Child) -> AsyncIterator[Mapping[str, Any]]:
        """The child whenever its phase changes, in Argo's shape; ends with its final state (the port WaitWorkflow)."""
        found = await self._steady(lambda: self._projections.archive.get(child.uid))
        if found is not None:
            yield found[1]["workflow"]
            return
        told = cloudevents.subject(child.namespace, child.uid, "workflow.*")
        async for message in read(self._js, STREAM, told, follow=True):
            kind = cloudevents.kind_of(message.subject)
            if kind in FINAL:
                tree = msgspec.json.decode(message.data)
                yield tree if isinstance(tree, dict) and "status" in tree else {"status": {"phase": FINAL[kind]}}
                return
            yield {"metadata": child._asdict(), "status": {"phase": "Running"}}
