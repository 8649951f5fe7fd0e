"""The exit handler as a service: connects, takes what membership gives it, and lives until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from exeunt.exithandler.handler import Handler, open_handler
from exeunt.exithandler.settings import Settings
from exeunt.internal.v1.exit_run_service_pb2_grpc import add_ExitRunServiceServicer_to_server
from exeunt.journal.identity import LogLostError, lost, open_streams
from exeunt.journal.log import NotOwner
from exeunt.journal.ownership import Member, Membership
from exeunt.journal.projections import all_streams
from exeunt.journal.steady import NATS_AWAY
from exeunt.journal.wire import connect, wire_of
from exeunt.service import telemetry
from exeunt.service.channel import known_by
from exeunt.service.listeners import Listeners, serve_both
from exeunt.service.program import Program, closing, run
from exeunt.service.tokens import Guard, read_tokens
from exeunt.v1.exit_service_pb2_grpc import add_ExitServiceServicer_to_server

log = logging.getLogger(__name__)

SERVICE = "exeunt.v1.ExitService"
NODES = "exeunt.internal.v1.ExitRunService"
PAUSE_SECONDS = 0.2  # before partitions that somebody else took at the same moment are looked at again


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
    owners = Owners(settings.replica)
    handler = await program.enter(
        open_handler(nc, settings, address_of=owners.scheduler_of, owner_of=owners.exit_handler_of)
    )
    for gatherer in handler.service.standing.gatherers:
        gatherer.on_nobody.append(identity.look)
    program.background("streams", identity.keep(lambda: handler.journal.stored))
    public = {SERVICE: partial(add_ExitServiceServicer_to_server, handler.service)}
    internal = {**public, NODES: partial(add_ExitRunServiceServicer_to_server, handler.nodes)}
    server = await program.enter(serve_both(settings, public, internal, Guard(tokens)))
    membership = await Membership.open(
        nc,
        Member("x", settings.replica, server.advertised),
        confirm=handler.journal.confirm,
        single=settings.expected_exithandlers == 1,
        replicas=settings.replicas,
    )
    owners.membership = membership
    holdings = Holdings(membership, handler)
    health = Health(server, handler)
    for name, routine in handler.routines().items():
        program.background(name, routine)
    program.background("membership", membership.run())
    program.routine("partitions", holdings.keep())
    program.routine("obligations", handler.follow())
    program.routine("health", health.keep())
    program.at_stop(health.stop)
    program.finish(partial(_finish, settings, handler, holdings, membership))
    await health.serving.wait()
    program.ready(address=server.users.address, internal=server.advertised, metrics=telemetry.current.metrics_address)


async def _finish(settings: Settings, handler: Handler, holdings: Holdings, membership: Membership) -> None:
    holdings.stopping = True
    try:
        await handler.finish(settings.finish_seconds)
        handler.give(holdings.held)
    finally:
        await membership.leave()


class Owners:
    """Who owns what, as membership says; nobody, before there is one."""

    def __init__(self, replica: str) -> None:
        self.membership: Membership | None = None
        self._replica = replica

    def scheduler_of(self, partition: int) -> str | None:
        """The address of the partition's scheduler, None while there is none."""
        member = self.membership.owner_of(partition, "m") if self.membership is not None else None
        return member.address if member is not None else None

    def exit_handler_of(self, partition: int) -> str | None:
        """The address of the partition's exit handler; empty for this one, None while there is none."""
        member = self.membership.owner_of(partition, "x") if self.membership is not None else None
        if member is None:
            return None
        return "" if member.replica == self._replica else member.address


class Holdings:
    """Keeps what this process owns in step with what membership says."""

    def __init__(self, membership: Membership, handler: Handler) -> None:
        self.held: set[int] = set()
        self.stopping = False
        self._membership = membership
        self._handler = handler
        self._changed = asyncio.Event()
        self._changed.set()
        membership.on_change.append(self._look)
        handler.journal.on_lost.append(self._lost)

    async def keep(self) -> None:
        """Takes and hands over until it is cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self.stopping:
                continue
            mine = self._membership.mine()
            gone, new = self.held - mine, mine - self.held
            if gone:
                log.info("handing over %d partitions", len(gone))
                self.held -= gone
                self._handler.give(gone)
            if not new:
                continue
            try:
                await self._handler.take(new)
                # what was lost meanwhile is looked at again
                self.held |= {p for p in new if self._handler.journal.owns(p)}
            except (NotOwner, *NATS_AWAY) as error:
                log.info("%s; looking again", str(error) or type(error).__name__)
                self._handler.give(new)
                await asyncio.sleep(PAUSE_SECONDS)
                self._changed.set()

    def _look(self) -> None:
        self._handler.client.owners_changed()
        self._changed.set()

    def _lost(self, partition: int) -> None:
        self.held.discard(partition)
        asyncio.get_running_loop().call_later(PAUSE_SECONDS, self._changed.set)


class Health:
    """SERVING while what is ours is loaded, and NATS is there and takes writes."""

    def __init__(self, server: Listeners, handler: Handler) -> None:
        self.serving = asyncio.Event()
        self._server = server
        self._handler = handler
        self._stopping = False
        self._look = asyncio.Event()
        handler.service.standing.writing.changed.append(self._look.set)

    async def keep(self) -> None:
        """Follows what changes, until it is cancelled."""
        await self._handler.runs.ready.wait()
        while not self._stopping:
            trouble = self._handler.service.standing.writing.trouble
            await self._server.ready(not trouble)
            if trouble:
                log.info("not serving: %s", trouble)
            else:
                log.info("serving")
                self.serving.set()
            await self._look.wait()
            self._look.clear()

    async def stop(self) -> None:
        """Never again."""
        self._stopping = True
        await self._server.leave()
