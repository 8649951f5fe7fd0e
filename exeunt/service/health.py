"""grpc.health.v1.Health: how services are, by their names."""

# ruff: noqa: N802 - the names of methods are the contract's

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from exeunt.service.errors import not_found
from exeunt.service.streams import stopping

Context = grpc.aio.ServicerContext[Any, Any]
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class HealthServicer(health_pb2_grpc.HealthServicer):
    """Who watches is told the last state, and then that the service stops."""

    def __init__(self) -> None:
        self._statuses: dict[str, Any] = {}
        self._watching: set[asyncio.Event] = set()
        self._over = False

    def set(self, name: str, *, serving: bool) -> None:
        """How a service is from now on."""
        if not self._over or not serving:
            self._statuses[name] = SERVING if serving else NOT_SERVING
            self._tell()

    def end(self) -> None:
        """Ends watches, and whichever come later."""
        self._over = True
        self._tell()

    def _tell(self) -> None:
        for changed in self._watching:
            changed.set()

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Context) -> health_pb2.HealthCheckResponse:
        """How it is now."""
        status = self._statuses.get(request.service)
        if status is None:
            raise not_found("service", request.service)
        return health_pb2.HealthCheckResponse(status=status)

    async def List(self, request: Any, context: Context) -> Any:
        """How all of them are."""
        kinds: Any = health_pb2  # the types know no lists yet
        told = {name: health_pb2.HealthCheckResponse(status=status) for name, status in self._statuses.items()}
        return kinds.HealthListResponse(statuses=told)

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """How it is now, and each change."""
        last: int | None = None
        changed = asyncio.Event()
        self._watching.add(changed)
        try:
            while True:
                changed.clear()
                status = self._statuses.get(request.service, health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
                if status != last:
                    yield health_pb2.HealthCheckResponse(status=status)
                    last = status
                    continue  # it may be another one by now
                if self._over:
                    raise stopping()
                await changed.wait()
        finally:
            self._watching.discard(changed)
