"""What an executor tells of its health: a small gRPC server on `listen` that serves nothing else.

The service "" is SERVING for as long as the process answers; `exeunt.internal.v1.ExecutorService` while steps can come
in: a scheduler is connected and the executor is not draining.
"""

from __future__ import annotations

from exeunt.executor.attempts import Attempts
from exeunt.service.grpc import GrpcServer

CONNECTED = "exeunt.internal.v1.ExecutorService"


class Health:
    """Follows the links of an executor."""

    def __init__(self, server: GrpcServer, attempts: Attempts) -> None:
        self._server = server
        self._attempts = attempts

    async def keep(self) -> None:
        """Follows what changes, until it is cancelled."""
        while True:
            await self._attempts.until(self._good)
            await self._server.ready(True)
            await self._attempts.until(lambda: not self._good())
            await self._server.ready(False)

    def _good(self) -> bool:
        return bool(self._attempts.links) and not self._attempts.draining
