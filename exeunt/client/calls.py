"""How calls are made: repeated while a service is away, streams taken up again, pages read to the end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from exeunt.client.errors import ClientError, error_of, unanswered
from exeunt.client.token import HEADER, find_token
from exeunt.v1.exit_service_pb2_grpc import ExitServiceStub
from exeunt.v1.workflow_service_pb2_grpc import WorkflowServiceStub

T = TypeVar("T")
Answer = TypeVar("Answer")
MESSAGE_BYTES = 32 * 1024 * 1024
OPTIONS = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.enable_retries", 0),  # retried here, where the pause that a service asks for is known
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)

CONNECTING = 30.0
"""A stream that broke after more seconds than these was there: gRPC gives up connecting after 20."""


class Calls:
    """Calls a cluster. Use it as an async context manager, in one event loop."""

    def __init__(
        self,
        server: str,
        *,
        exit_server: str | None = None,
        timeout: float = 30.0,
        patience: float = 15.0,
        token: str | None = None,
        trace: Mapping[str, str] | None = None,
    ) -> None:
        """`server` is the scheduler's HOST:PORT, `exit_server` the exit handler's (behind one gateway: the same).

        `timeout`: seconds for one call. `patience`: seconds for which a call is repeated while a service is away.
        `token`: what the services want to be sent; None looks for it (the cluster.json of a local cluster of yours that
        listens at `server`, else EXEUNT_TOKEN).
        `trace`: W3C trace context (`traceparent`, `tracestate`): what is submitted becomes part of that trace.
        """
        if token is None:
            token = find_token(server)
        self.server = server
        self.exit_server = exit_server or server
        self._timeout = timeout
        self._patience = patience
        bearer = [(HEADER, f"Bearer {token}")] if token else []
        self._metadata = (*bearer, *(trace or {}).items())
        self._channel = grpc.aio.insecure_channel(server, options=OPTIONS)
        self._exit_channel = (
            self._channel
            if self.exit_server == server
            else grpc.aio.insecure_channel(self.exit_server, options=OPTIONS)
        )
        self._workflows: Any = WorkflowServiceStub(self._channel)
        self._exits: Any = ExitServiceStub(self._exit_channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        await self._channel.close()
        if self._exit_channel is not self._channel:
            await self._exit_channel.close()

    async def _call(self, method: Callable[..., Awaitable[Answer]], request: object) -> Answer:
        """One call, repeated while the service is away and patience lasts; each has a request id or changes nothing."""
        loop = asyncio.get_running_loop()
        ends, pause = loop.time() + self._patience, 0.1
        while True:
            try:
                return await method(request, timeout=self._timeout, metadata=self._metadata)
            except grpc.aio.AioRpcError as error:
                failure = error_of(error)
                wait = max(failure.pause, pause * random.uniform(0.5, 1.0))
                if failure.code != "UNAVAILABLE" or loop.time() + wait > ends:
                    raise unanswered(failure, *self._asked(request)) from error
                await asyncio.sleep(wait)
                pause = min(pause * 2, 1.0)

    def _asked(self, request: Any) -> tuple[str, float, Any]:
        """Where a request goes, how long it may take, and the request."""
        exits = request.DESCRIPTOR.file.name.endswith("exit_service.proto")
        return (self.exit_server if exits else self.server), self._timeout, request

    async def _parts(self, method: Callable[..., Any], request: object) -> list[Any]:
        """All of a stream that ends, read anew while the service is away; `timeout` is that of each message."""

        async def read(request: object, *, timeout: float, metadata: Any) -> list[Any]:
            found: list[Any] = []
            stream = method(request, metadata=metadata)
            try:
                async with asyncio.timeout(timeout) as waiting:
                    async for part in stream:
                        found.append(part)
                        waiting.reschedule(asyncio.get_running_loop().time() + timeout)
            except TimeoutError:
                text = f"nothing has come for {timeout:g} s"
                raise ClientError("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", text) from None
            finally:
                stream.cancel()
            return found

        return await self._call(read, request)

    async def _stream(self, start: Callable[[], Any], server: str) -> AsyncIterator[Any]:
        """A stream that is opened again while the service is away; `start` must go on from where the last one was.

        Patience is counted from the break: a stream may have had nothing to say for hours before.
        """
        loop = asyncio.get_running_loop()
        ends, pause = 0.0, 0.1
        while True:
            stream, began = start(), loop.time()
            try:
                async for item in stream:
                    ends, pause = 0.0, 0.1
                    yield item
            except grpc.aio.AioRpcError as error:
                failure, now = error_of(error), loop.time()
                if not ends or now - began > CONNECTING:
                    ends, pause = now + self._patience, 0.1
                if failure.code != "UNAVAILABLE" or now + pause > ends:
                    raise unanswered(failure, server) from error
                await asyncio.sleep(max(failure.pause, pause * random.uniform(0.5, 1.0)))
                pause = min(pause * 2, 1.0)
            else:
                return
            finally:
                stream.cancel()

    async def _pages(
        self,
        method: Callable[..., Awaitable[Any]],
        request: Callable[[str, int], object],
        items: Callable[[Any], Iterable[T]],
        limit: int,
    ) -> list[T]:
        found: list[T] = []
        token = ""
        while True:
            size = min(limit - len(found), 1000) if limit else 1000
            answer = await self._call(method, request(token, size))
            found += items(answer)
            token = answer.next_page_token
            if not token or (limit and len(found) >= limit):
                return found[:limit] if limit else found
