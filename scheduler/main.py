"""The scheduler as a service: connects its parts, takes what membership gives it, and ends in order."""

from __future__ import annotations

from functools import partial

from exeunt.journal.health import OwnerHealth
from exeunt.journal.holdings import Holdings
from exeunt.journal.identity import LogLostError, lost, open_streams
from exeunt.journal.log import Log
from exeunt.journal.owners import MembershipOwners
from exeunt.journal.ownership import ClusterMember, Membership
from exeunt.journal.projections import all_streams, open_projections
from exeunt.journal.wire import connect, wire_of
from exeunt.scheduler.parts import Scheduler
from exeunt.scheduler.settings import Settings
from exeunt.scheduler.submit import CHECK_MEMORY, CHECK_SECONDS, CHECKERS
from exeunt.service import telemetry
from exeunt.service.channel import known_by
from exeunt.service.listeners import serve_both
from exeunt.service.program import Program, closing, run
from exeunt.service.tokens import TokenGuard, read_tokens
from exeunt.service.worker import Workers


async def serve(settings: Settings) -> None:
    """Runs until told to stop: then no new work, what is decided is written, partitions are handed over."""
    try:
        await run(partial(_start, settings=settings), grace=settings.shutdown_seconds)
    except LogLostError:
        await lost.told()
        raise


async def _start(program: Program, settings: Settings) -> None:
    tokens = read_tokens(settings.token)
    guard = TokenGuard(tokens, read_tokens(settings.executor_token, "executor-token"))
    known_by(tokens)
    servers = [url.strip() for url in settings.nats_url.split(",")]
    nc = await connect(servers, f"scheduler {settings.replica}", password=settings.nats_password)
    await program.enter(closing(nc, nc.close))
    program.background("nats", (await wire_of(nc)).ended())
    streams = all_streams(settings.replicas, settings.log_bytes, settings.ledger_days)
    identity = await open_streams(await wire_of(nc), streams, settings.data_dir, settings.anew)
    journal = await Log.open(nc, "m", settings.replica, settings.log())
    await program.enter(closing(journal, journal.close))
    program.background("log", journal.ended())
    projections = await open_projections(
        nc, replicas=settings.replicas, ledger_days=settings.ledger_days, cluster=settings.cluster
    )
    program.background("projections", projections.run())
    checkers = Workers("exeunt.scheduler.checks", count=CHECKERS, seconds=CHECK_SECONDS, memory=CHECK_MEMORY)
    await program.enter(closing(checkers, checkers.close))
    program.routine("checks", checkers.warm())
    owners = MembershipOwners()
    parts = Scheduler(settings, journal, projections, owners, check=checkers)
    for gatherer in parts.access.gatherers:
        gatherer.on_nobody.append(identity.look)
    program.background("streams", identity.keep(lambda: journal.stored))
    await program.enter(closing(parts.peers, parts.peers.close))
    server = await program.enter(serve_both(settings, parts.public(), parts.internal(), guard))
    parts.address = server.advertised
    membership = await Membership.open(
        nc,
        ClusterMember("m", settings.replica, server.advertised),
        confirm=parts.confirm,
        single=settings.expected_schedulers == 1,
        replicas=settings.replicas,
    )
    owners.join(membership)
    holdings = Holdings(membership, journal, parts.runs)
    health = OwnerHealth(server, parts.access.writing, lambda: parts.loaded)
    parts.runs.loaded_changed.append(health.look)
    program.background("membership", membership.run())
    for name, routine in parts.routines().items():
        program.routine(name, routine)
    program.routine("partitions", holdings.keep())
    program.routine("health", health.keep())
    program.at_stop(health.stop)
    program.at_stop(parts.stop_intake)
    program.finish(partial(holdings.leave, parts.finish))
    await health.served.wait()
    program.ready(address=server.users.address, internal=server.advertised, metrics=telemetry.current.metrics_address)
