"""The exit handler as a service: its parts are connected, take what membership gives them, and end in order."""

from __future__ import annotations

from functools import partial

from exeunt.exithandler.parts import open_parts
from exeunt.exithandler.settings import Settings
from exeunt.journal.owner_service import open_nats, own_partitions, ready, serve_owner, watch_streams
from exeunt.journal.owners import MembershipOwners
from exeunt.service.channel import known_by
from exeunt.service.listeners import serve_both
from exeunt.service.program import Program
from exeunt.service.tokens import TokenGuard, read_tokens


async def serve(settings: Settings) -> None:
    """Runs until told to stop: then no new obligations, what is quick ends, partitions are handed over."""
    await serve_owner(partial(_start, settings=settings), settings)


async def _start(program: Program, settings: Settings) -> None:
    tokens = read_tokens(settings.token)
    known_by(tokens)
    nc, identity = await open_nats(program, settings, "x")
    owners = MembershipOwners()
    parts = await program.enter(open_parts(nc, settings, owners))
    watch_streams(program, identity, parts)
    server = await program.enter(serve_both(settings, parts.public(), parts.internal(), TokenGuard(tokens)))
    for name, routine in parts.routines().items():
        program.background(name, routine)
    health = await own_partitions(
        program,
        nc,
        settings,
        parts,
        owners=owners,
        server=server,
        confirm=parts.journal.confirm,
        single=settings.expected_exithandlers == 1,
    )
    program.routine("obligations", parts.follow())
    await ready(program, server, health)
