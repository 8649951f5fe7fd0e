"""What the scheduler and the exit handler do alike as services: connect to NATS, own partitions, end in order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

from nats.aio.client import Client

from exeunt.journal.access import NatsAccess
from exeunt.journal.health import OwnerHealth
from exeunt.journal.holdings import Holder, Holdings
from exeunt.journal.identity import Identity, LogLostError, lost, open_streams
from exeunt.journal.log import Log
from exeunt.journal.owners import MembershipOwners
from exeunt.journal.ownership import ClusterMember, Confirm, Membership
from exeunt.journal.projections import all_streams
from exeunt.journal.settings import OwnerSettings
from exeunt.journal.subjects import Role
from exeunt.journal.wire import connect, wire_of
from exeunt.service import telemetry
from exeunt.service.listeners import Listeners
from exeunt.service.program import Program, closing, run

KINDS: dict[Role, str] = {"m": "scheduler", "x": "exithandler"}


class OwnerParts(Protocol):
    """What is needed here of the parts of such a service."""

    journal: Log
    access: NatsAccess
    loaded_changed: list[Callable[[], None]]
    """Called when `complete` may have changed."""

    @property
    def holder(self) -> Holder:
        """What acts for partitions."""

    @property
    def complete(self) -> bool:
        """Whether everything is loaded that has to be before users are served."""

    async def finish(self) -> None:
        """Takes nothing new, lets what is quick come to its end, and writes what has to be written."""


async def serve_owner(setup: Callable[[Program], Awaitable[None]], settings: OwnerSettings) -> None:
    """Runs a service until it is told to stop. Raises LogLostError when the log is another one than before."""
    try:
        await run(setup, grace=settings.shutdown_seconds)
    except LogLostError:
        await lost.told()
        raise


async def open_nats(program: Program, settings: OwnerSettings, role: Role) -> tuple[Client, Identity]:
    """Connects, and opens the streams. Raises LogLostError."""
    nc = await connect(settings.servers(), f"{KINDS[role]} {settings.replica}", password=settings.nats_password)
    await program.enter(closing(nc, nc.close))
    wire = await wire_of(nc)
    program.background("nats", wire.ended())
    streams = all_streams(settings.replicas, settings.log_bytes, settings.ledger_days, settings.artifact_bytes)
    return nc, await open_streams(wire, streams, settings.data_dir, settings.anew)


def watch_streams(program: Program, identity: Identity, parts: OwnerParts) -> None:
    """Ends the program when a stream is gone or is another one."""
    for gatherer in parts.access.gatherers:
        gatherer.on_nobody.append(identity.look)
    program.background("streams", identity.keep(lambda: parts.journal.stored))


async def own_partitions(
    program: Program,
    nc: Client,
    settings: OwnerSettings,
    parts: OwnerParts,
    *,
    owners: MembershipOwners,
    server: Listeners,
    confirm: Confirm,
    single: bool,
) -> OwnerHealth:
    """Joins the other services, and takes and hands over partitions until the end. `single` as for `Membership`."""
    me = ClusterMember(parts.journal.role, settings.replica, server.advertised)
    membership = await Membership.open(nc, me, confirm=confirm, single=single, replicas=settings.replicas)
    owners.join(membership)
    holdings = Holdings(membership, parts.journal, parts.holder)
    health = OwnerHealth(server, parts.access.writing, lambda: parts.complete)
    parts.loaded_changed.append(health.look)
    program.background("membership", membership.run())
    program.routine("partitions", holdings.keep())
    program.routine("health", health.keep())
    program.at_stop(health.stop)
    program.finish(partial(holdings.leave, parts.finish))
    return health


async def ready(program: Program, server: Listeners, health: OwnerHealth) -> None:
    """Says where the service is, once it has served."""
    await health.served.wait()
    program.ready(address=server.users.address, internal=server.advertised, metrics=telemetry.current.metrics_address)
