"""All that is kept beside the log, opened together: events, archive, ledger, names, logs, blobs, stored manifests."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from nats.aio.client import Client
from nats.js.api import StreamConfig

from exeunt import cloudevents
from exeunt.artifacts import embedded_stream
from exeunt.journal import blobs, manifests, names, public, records, steplogs
from exeunt.journal.gather import Gatherer
from exeunt.journal.lanes import Lanes
from exeunt.journal.outbox import Outbox
from exeunt.journal.records import ArchiveSummary, LedgerSummary, Records
from exeunt.journal.streams import ensure_stream, log_stream
from exeunt.journal.wire import wire_of


@dataclass(frozen=True, slots=True)
class Projections:
    """The stores of one process. `run()` writes events, archive, ledger and claims of names; it ends when cancelled.

    All but the events are relied on: what has been written is there later.
    """

    events: public.Events
    archive: Records[ArchiveSummary]
    ledger: Records[LedgerSummary]
    names: names.WorkflowNames
    logs: steplogs.StepLogs
    blobs: blobs.Blobs
    manifests: manifests.Manifests
    outbox: Outbox

    @property
    def gatherers(self) -> Collection[Gatherer]:
        """What writes archive, ledger and names, for whoever wants to know how that goes."""
        return self.outbox.gatherers

    async def run(self) -> None:
        """Writes until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.outbox.run())
            group.create_task(self.events.run())

    async def drain(self) -> None:
        """Waits until everything that was put is durable; events, as far as the stream takes them."""
        await self.events.out()
        await self.outbox.drain()


def all_streams(replicas: int, log_bytes: int, ledger_days: float, artifact_bytes: int) -> list[dict[str, Any]]:
    """The settings of every stream whose content has to last: those beside the log, and the log. Events are not."""
    beside = [*_configs(replicas, ledger_days), embedded_stream.config(replicas, artifact_bytes)]
    return [*(config.as_dict() for config in beside), log_stream(replicas, log_bytes)]


def _configs(replicas: int, ledger_days: float) -> list[StreamConfig]:
    return [
        blobs.config(replicas),
        names.config(replicas),
        manifests.config(replicas),
        steplogs.config(replicas),
        records.archive_config(replicas),
        records.ledger_config(replicas, ledger_days * 86400),
    ]


async def open_projections(nc: Client, *, replicas: int = 1, ledger_days: float = 30, cluster: str = "") -> Projections:
    """Makes the streams where they are missing."""
    js = nc.jetstream(timeout=15)
    wire = await wire_of(nc)
    for config in _configs(replicas, ledger_days):
        await ensure_stream(wire, config.as_dict())
    streams = [records.ARCHIVE, records.LEDGER, names.STREAM]
    lanes = Lanes(wire, cloudevents.STREAM)
    keeper = public.Keeper(wire, lanes, replicas)
    await keeper.mend()
    outbox = Outbox(wire, streams, plain_limit=12 if replicas == 1 else 1)
    store = blobs.Blobs(js)
    return Projections(
        events=public.Events(js, lanes, keeper, cluster),
        archive=Records(
            js,
            stream=records.ARCHIVE,
            prefix="xa",
            summary=ArchiveSummary,
            blobs=store,
            publish=functools.partial(outbox.put, records.ARCHIVE),
        ),
        ledger=Records(
            js,
            stream=records.LEDGER,
            prefix="xl",
            summary=LedgerSummary,
            blobs=store,
            publish=functools.partial(outbox.put, records.LEDGER),
        ),
        names=names.WorkflowNames(js, functools.partial(outbox.put, names.STREAM)),
        logs=steplogs.StepLogs(nc, js),
        blobs=store,
        manifests=manifests.Manifests(js, store),
        outbox=outbox,
    )
