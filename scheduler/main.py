"""The scheduler as a service: puts its parts together, and takes them apart in order."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from exeunt.journal.identity import LogLostError, lost, open_streams
from exeunt.journal.log import Log
from exeunt.journal.ownership import Member, Membership
from exeunt.journal.projections import all_streams, open_projections
from exeunt.journal.wire import connect, wire_of
from exeunt.scheduler.core import Core, log_settings
from exeunt.scheduler.holdings import Holdings
from exeunt.scheduler.settings import Settings
from exeunt.scheduler.submit import CHECK_MEMORY, CHECK_SECONDS, CHECKERS
from exeunt.service import telemetry
from exeunt.service.channel import known_by
from exeunt.service.listeners import Listeners, serve_both
from exeunt.service.program import Program, closing, run
from exeunt.service.tokens import Guard, read_tokens
from exeunt.service.worker import Workers

log = logging.getLogger(__name__)


async def serve(settings: Settings) -> None:
    """Runs until told to stop: then no new work, what is decided is written, partitions are handed over."""

    async def setup(program: Program) -> None:
        await _start(program, settings)

    try:
        await run(setup, grace=settings.shutdown_seconds)
    except LogLostError:
        await lost.told()
        raise


async def _start(program: Program, settings: Settings) -> None:
    tokens = read_tokens(settings.token)
    guard = Guard(tokens, read_tokens(settings.executor_token, "executor-token"))
    known_by(tokens)
    servers = [url.strip() for url in settings.nats_url.split(",")]
    nc = await connect(servers, f"scheduler {settings.replica}", password=settings.nats_password)
    await program.enter(closing(nc, nc.close))
    program.background("nats", (await wire_of(nc)).ended())
    streams = all_streams(settings.replicas, settings.log_bytes, settings.ledger_days)
    identity = await open_streams(await wire_of(nc), streams, settings.data_dir, settings.anew)
    journal = await Log.open(nc, "m", settings.replica, log_settings(settings))
    await program.enter(closing(journal, journal.close))
    program.background("log", journal.ended())
    projections = await open_projections(
        nc, replicas=settings.replicas, ledger_days=settings.ledger_days, cluster=settings.cluster
    )
    program.background("projections", projections.run())
    holdings = Holdings(journal)
    journal.on_lost.append(holdings.lost)
    checkers = Workers("exeunt.scheduler.checks", count=CHECKERS, seconds=CHECK_SECONDS, memory=CHECK_MEMORY)
    await program.enter(closing(checkers, checkers.close))
    program.routine("checks", checkers.warm())
    core = Core(settings, journal, projections, holdings, check=checkers)
    for gatherer in core.standing.gatherers:
        gatherer.on_nobody.append(identity.look)
    program.background("streams", identity.keep(lambda: journal.stored))
    await program.enter(closing(core.peers, core.peers.close))
    server = await program.enter(serve_both(settings, core.public(), core.internal(), guard))
    core.address = server.advertised
    health = _Health(server, core)

    async def confirm(sent: float) -> None:
        await journal.confirm(sent, verify=core.dispatch.unjudged)
        core.confirmed()

    membership = await Membership.open(
        nc,
        Member("m", settings.replica, core.address),
        confirm=confirm,
        single=settings.expected_schedulers == 1,
        replicas=settings.replicas,
    )
    holdings.join(membership)
    program.background("membership", membership.run())
    for name, routine in core.routines().items():
        program.routine(name, routine)
    program.routine("partitions", holdings.keep(core.runs))
    program.routine("health", health.keep())
    program.at_stop(partial(_stop_intake, health, core))
    program.finish(partial(_finish, holdings, core, membership))
    await health.loaded.wait()
    program.ready(address=server.users.address, internal=core.address, metrics=telemetry.current.metrics_address)


async def _stop_intake(health: _Health, core: Core) -> None:
    await health.stop()
    await core.stop_intake()


async def _finish(holdings: Holdings, core: Core, membership: Membership) -> None:
    holdings.stopping = True
    try:
        await core.finish()
    finally:
        await membership.leave()


class _Health:
    """SERVING while everything that is ours is loaded, and NATS is there and takes writes."""

    def __init__(self, server: Listeners, core: Core) -> None:
        self.loaded = asyncio.Event()
        self._server = server
        self._core = core
        self._stopping = False
        self._look = asyncio.Event()
        self._look.set()
        core.standing.writing.changed.append(self._look.set)
        core.runs.holding_changed.append(self._look.set)

    async def keep(self) -> None:
        """Follows what changes, until it is cancelled."""
        serving = False
        while True:
            await self._look.wait()
            self._look.clear()
            trouble = self._core.standing.writing.trouble
            good = self._core.loaded and not trouble and not self._stopping
            if good != serving:
                serving = good
                await self._server.ready(good)
                log.info("serving" if good else f"not serving: {trouble}" if trouble else "not serving")
            if good:
                self.loaded.set()

    async def stop(self) -> None:
        """Never again."""
        self._stopping = True
        await self._server.leave()
