"""What an executor tells of its health: a small gRPC server on `listen` that serves nothing else.

The service "" is SERVING for as long as the process answers; `exeunt.internal.v1.ExecutorService` while steps can come
in: a scheduler is connected and the executor is not draining.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from exeunt.executor.attempts import Attempts
from exeunt.service.grpc import GrpcServer, serve_grpc

CONNECTED = "exeunt.internal.v1.ExecutorService"


def serve_health(address: str) -> AbstractAsyncContextManager[GrpcServer]:
    """Listens there."""
    return serve_grpc(address, {}, health_of=(CONNECTED,), grace=0.0)


async def keep_health(server: GrpcServer, attempts: Attempts) -> None:
    """Follows the links of an executor, until it is cancelled."""

    def good() -> bool:
        return bool(attempts.links) and not attempts.draining

    while True:
        await attempts.until(good)
        await server.ready(True)
        await attempts.until(lambda: not good())
        await server.ready(False)
