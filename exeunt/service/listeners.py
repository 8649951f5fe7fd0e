"""The two listeners of a service: one for users, and one for what the services of a cluster ask of each other.

What a user can reach and reflect is only what is meant for users. Who may reach the other listener is for the network
to say: a port of its own can be closed off.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple

from exeunt.service.grpc import GrpcServer, Register, serve_grpc
from exeunt.service.settings import ServiceSettings
from exeunt.service.tokens import TokenGuard


class Listeners(NamedTuple):
    """Both, running. `advertised` is where the other services reach the internal one."""

    users: GrpcServer
    internal: GrpcServer
    advertised: str

    async def ready(self, serving: bool = True) -> None:
        """Sets the health of the named services (`GrpcServer.ready`)."""
        for server in (self.users, self.internal):
            await server.ready(serving)

    async def leave(self) -> None:
        """The service begins to stop (`GrpcServer.leave`)."""
        for server in (self.users, self.internal):
            await server.leave()


@contextlib.asynccontextmanager
async def serve_both(
    settings: ServiceSettings, users: Mapping[str, Register], internal: Mapping[str, Register], guard: TokenGuard
) -> AsyncIterator[Listeners]:
    """Serves until the block is left. Raises ProgramError when an address cannot be taken."""
    async with (
        serve_grpc(settings.listen, users, grace=1.0, guard=guard) as outside,
        serve_grpc(settings.internal, internal, grace=1.0, guard=guard) as inside,
    ):
        yield Listeners(outside, inside, settings.advertise or inside.address)
