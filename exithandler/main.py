"""The exit handler as a service: connects its parts, takes what membership gives it, and ends in order."""

from __future__ import annotations

from functools import partial

from exeunt.exithandler.parts import open_parts
from exeunt.exithandler.settings import Settings
from exeunt.journal.health import OwnerHealth
from exeunt.journal.holdings import Holdings
from exeunt.journal.identity import LogLostError, lost, open_streams
from exeunt.journal.owners import MembershipOwners
from exeunt.journal.ownership import ClusterMember, Membership
from exeunt.journal.projections import all_streams
from exeunt.journal.wire import connect, wire_of
from exeunt.service import telemetry
from exeunt.service.channel import known_by
from exeunt.service.listeners import serve_both
from exeunt.service.program import Program, closing, run
from exeunt.service.tokens import TokenGuard, read_tokens


async def serve(settings: Settings) -> None:
    """Runs until told to stop: then no new obligations, what is quick ends, partitions are handed over."""
    try:
        await run(partial(_start, settings=settings), grace=settings.shutdown_seconds)
    except LogLostError:
        await lost.told()
        raise


async def _start(program: Program, settings: Settings) -> None:
    tokens = read_tokens(settings.token)
    known_by(tokens)
    servers = [url.strip() for url in settings.nats_url.split(",")]
    nc = await connect(servers, f"exithandler {settings.replica}", password=settings.nats_password)
    await program.enter(closing(nc, nc.close))
    program.background("nats", (await wire_of(nc)).ended())
    streams = all_streams(settings.replicas, settings.log_bytes, settings.ledger_days)
    identity = await open_streams(await wire_of(nc), streams, settings.data_dir, settings.anew)
    owners = MembershipOwners()
    parts = await program.enter(open_parts(nc, settings, owners))
    for gatherer in parts.access.gatherers:
        gatherer.on_nobody.append(identity.look)
    program.background("streams", identity.keep(lambda: parts.journal.stored))
    server = await program.enter(serve_both(settings, parts.public(), parts.internal(), TokenGuard(tokens)))
    membership = await Membership.open(
        nc,
        ClusterMember("x", settings.replica, server.advertised),
        confirm=parts.journal.confirm,
        single=settings.expected_exithandlers == 1,
        replicas=settings.replicas,
    )
    owners.join(membership)
    holdings = Holdings(membership, parts.journal, parts)
    health = OwnerHealth(server, parts.access.writing, lambda: parts.ready)
    parts.loaded_changed.append(health.look)
    for name, routine in parts.routines().items():
        program.background(name, routine)
    program.background("membership", membership.run())
    program.routine("partitions", holdings.keep())
    program.routine("obligations", parts.follow())
    program.routine("health", health.keep())
    program.at_stop(health.stop)
    program.finish(partial(holdings.leave, parts.finish))
    await health.served.wait()
    program.ready(address=server.users.address, internal=server.advertised, metrics=telemetry.current.metrics_address)
