"""The scheduler as a service: its parts are connected, take what membership gives them, and end in order."""

from __future__ import annotations

from functools import partial

from exeunt.artifacts.embedded import EmbeddedStore
from exeunt.artifacts.embedded_stream import ArtifactStream
from exeunt.journal.log import Log
from exeunt.journal.owner_service import open_nats, own_partitions, ready, serve_owner, watch_streams
from exeunt.journal.owners import MembershipOwners
from exeunt.journal.projections import open_projections
from exeunt.journal.wire import connect
from exeunt.scheduler.artifacts import WINDOW
from exeunt.scheduler.parts import Scheduler
from exeunt.scheduler.settings import Settings
from exeunt.scheduler.submit import CHECK_MEMORY, CHECK_SECONDS, CHECKERS
from exeunt.service.channel import known_by
from exeunt.service.listeners import serve_both
from exeunt.service.program import Program, closing
from exeunt.service.tokens import TokenGuard, read_tokens
from exeunt.service.worker import Workers


async def serve(settings: Settings) -> None:
    """Runs until told to stop: then no new work, what is decided is written, partitions are handed over."""
    await serve_owner(partial(_start, settings=settings), settings)


async def _artifacts(program: Program, settings: Settings) -> EmbeddedStore:
    """The embedded store, by a connection of its own: what is large does not delay commits."""
    nc = await connect(settings.servers(), f"scheduler {settings.replica} artifacts", password=settings.nats_password)
    await program.enter(closing(nc, nc.close))
    return EmbeddedStore(ArtifactStream(nc), window=WINDOW)


async def _start(program: Program, settings: Settings) -> None:
    tokens = read_tokens(settings.token)
    guard = TokenGuard(tokens, read_tokens(settings.executor_token, "executor-token"))
    known_by(tokens)
    nc, identity = await open_nats(program, settings, "m")
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
    parts = Scheduler(
        settings, journal, projections, owners, check=checkers, artifacts=await _artifacts(program, settings)
    )
    watch_streams(program, identity, parts)
    await program.enter(closing(parts.peers, parts.peers.close))
    server = await program.enter(serve_both(settings, parts.public(), parts.internal(), guard))
    parts.address = server.advertised
    for name, routine in parts.routines().items():
        program.routine(name, routine)
    health = await own_partitions(
        program,
        nc,
        settings,
        parts,
        owners=owners,
        server=server,
        confirm=parts.confirm,
        single=settings.expected_schedulers == 1,
    )
    program.at_stop(parts.stop_intake)
    await ready(program, server, health)
