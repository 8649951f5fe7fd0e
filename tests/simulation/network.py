"""gRPC between the services, in memory: streams deliver in order and late, break, and end with their process."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from tests.simulation.loop import Process, SimLoop, current
from tests.simulation.nats import WORLD

Method = Callable[[AsyncIterator[Any], Any], Any]
NOTICE_SECONDS = 0.01


class _Aborted(Exception):  # noqa: N818 - how a handler ends itself
    pass


def _error(code: grpc.StatusCode, details: str) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details=details)


class _Pipe:
    """One direction of a stream."""

    def __init__(self, network: Network, reader: Process) -> None:
        self._network, self._reader = network, reader
        self._items: deque[Any] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._there = 0.0
        self.end: Any = None

    def put(self, item: Any) -> None:
        """Sends; what is an exception, or EOF, ends the direction when it arrives."""
        loop, rng = self._network.loop, self._network.rng
        for _ in range(2 if rng.random() < self._network.doubled else 1):
            self._there = max(self._there, loop.time() + rng.uniform(0.0001, 0.003))
            loop.call_at(self._there, self.arrive, item, context=self._reader.context)

    def arrive(self, item: Any) -> None:
        if self.end is not None:
            return
        if item is grpc.aio.EOF or isinstance(item, Exception):
            self.end = item
        else:
            self._items.append(item)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def get(self) -> Any:
        """The next item; EOF at the end. Raises what broke the stream, also before what had arrived."""
        while True:
            if isinstance(self.end, Exception):
                raise self.end
            if self._items:
                return self._items.popleft()
            if self.end is not None:
                return self.end
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter


class Call:
    """A stream as its client sees it."""

    def __init__(self, network: Network, client: Process, address: str, path: str, requests: Any) -> None:
        self._network, self.client = network, client
        self._endpoint = network.endpoints.get(address)
        self.server: Process | None = self._endpoint.process if self._endpoint else None
        self._down = _Pipe(network, client)
        self._over = False
        self._pump: asyncio.Task[None] | None = None
        self.handler: asyncio.Task[None] | None = None
        endpoint = self._endpoint
        if endpoint is None or not endpoint.process.alive:
            self._down.put(_error(grpc.StatusCode.UNAVAILABLE, "connection refused"))
            self._up: _Pipe | None = None
            return
        self._up = _Pipe(network, endpoint.process)
        network.calls.append(self)
        delay = network.rng.uniform(0.0002, 0.003)
        network.loop.call_later(delay, self._serve, endpoint.methods[path], context=endpoint.process.context)
        if requests is not None:
            self._pump = asyncio.ensure_future(self._send_all(requests))

    # --- client -------------------------------------------------------------------------------------------------------

    async def write(self, message: Any) -> None:
        await asyncio.sleep(0)
        if isinstance(self._down.end, Exception):
            raise self._down.end
        if self._down.end is not None or self._over:
            raise asyncio.InvalidStateError("the call is over")
        if self._up is not None:
            self._up.put(message)

    async def read(self) -> Any:
        item = await self._down.get()
        if item is grpc.aio.EOF:
            self._finish()
        return item

    def cancel(self) -> bool:
        if self._over:
            return False
        self._finish()
        self._network.loop.call_later(NOTICE_SECONDS, self._cancel_handler, context=WORLD)
        return True

    async def __aiter__(self) -> AsyncIterator[Any]:
        try:
            while (item := await self.read()) is not grpc.aio.EOF:
                yield item
        finally:
            self.cancel()

    async def _send_all(self, requests: AsyncIterator[Any]) -> None:
        async for request in requests:
            await self.write(request)

    def _finish(self) -> None:
        self._over = True
        if self._pump is not None:
            self._pump.cancel()

    # --- server -------------------------------------------------------------------------------------------------------

    def _serve(self, method: Method) -> None:
        if self._over or self._down.end is not None:
            return
        self.handler = asyncio.ensure_future(self._handle(method))

    async def _handle(self, method: Method) -> None:
        end: Any = grpc.aio.EOF
        try:
            await method(self._requests(), _ServerSide(self._down))
        except _Aborted as error:
            end = error.args[0]
        except asyncio.CancelledError:
            end = _error(grpc.StatusCode.CANCELLED, "cancelled")
        finally:
            self._down.put(end)
            if self in self._network.calls:
                self._network.calls.remove(self)

    async def _requests(self) -> AsyncIterator[Any]:
        assert self._up is not None
        while (item := await self._up.get()) is not grpc.aio.EOF:
            yield item

    # --- breaking -----------------------------------------------------------------------------------------------------

    def break_(self) -> None:
        """Both ends notice, where they live."""
        if self in self._network.calls:
            self._network.calls.remove(self)
        broken = _error(grpc.StatusCode.UNAVAILABLE, "the stream broke")
        self._network.loop.call_later(NOTICE_SECONDS, self._down.arrive, broken, context=self.client.context)
        self._network.loop.call_later(NOTICE_SECONDS, self._cancel_handler, context=WORLD)

    def _cancel_handler(self) -> None:
        if self.handler is not None and self.server is not None and self.server.alive:
            self._network.loop.call_soon(self.handler.cancel, context=self.server.context)


class _ServerSide:
    """What a handler is given as context: writes go to the client."""

    def __init__(self, down: _Pipe) -> None:
        self._down = down

    async def write(self, message: Any) -> None:
        await asyncio.sleep(0)
        self._down.put(message)

    async def abort(self, code: grpc.StatusCode, details: str) -> None:
        raise _Aborted(_error(code, details))


class Endpoint:
    def __init__(self, process: Process, methods: dict[str, Method]) -> None:
        self.process, self.methods = process, methods


class Network:
    def __init__(self, loop: SimLoop, rng: random.Random) -> None:
        self.loop, self.rng = loop, rng
        self.endpoints: dict[str, Endpoint] = {}
        self.calls: list[Call] = []
        self.doubled = 0.0  # part of the frames that come twice

    def channel(self, address: str, **options: Any) -> Channel:
        """In place of `exeunt.service.channel.open_channel`."""
        process = current()
        assert process is not None
        return Channel(self, process, address)

    def gone(self, process: Process) -> None:
        """A process has died: its peers notice."""
        for call in [c for c in self.calls if process in (c.client, c.server)]:
            call.break_()


class Channel:
    def __init__(self, network: Network, process: Process, address: str) -> None:
        self._network, self._process, self._address = network, process, address

    async def __aenter__(self) -> Channel:
        return self

    async def __aexit__(self, *error: object) -> None:
        pass

    def stream_stream(self, path: str, **named: Any) -> Callable[..., Call]:
        def call(requests: Any = None, metadata: Any = None) -> Call:
            return Call(self._network, self._process, self._address, path, requests)

        return call

    def unary_unary(self, path: str, **named: Any) -> None:
        return None

    unary_stream = stream_unary = unary_unary
