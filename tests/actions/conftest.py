"""A web server that remembers what it was asked, and toolboxes that may speak to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from exeunt.actions import ActionSettings, Context, Toolbox, open_toolbox
from tests.nats_server import nats_server

__all__ = ["nats_server"]


class World:
    """What the outside saw: requests in their order, as plain facts."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.replies: list[Callable[[web.Request], Awaitable[web.StreamResponse]]] = []
        self.url = ""
        self._arrival = asyncio.Event()

    def reply(self, status: int = 200, text: str = "", headers: dict[str, str] | None = None) -> None:
        """The next request gets this answer; without one it gets 200 and no text."""

        async def answer(request: web.Request) -> web.StreamResponse:
            return web.Response(status=status, text=text, headers=headers)

        self.replies.append(answer)

    def reply_never(self) -> None:
        """The next request is left waiting."""

        async def hang(request: web.Request) -> web.StreamResponse:
            await asyncio.Event().wait()
            raise AssertionError

        self.replies.append(hang)

    async def arrived(self, count: int = 1) -> None:
        """Waits until so many requests have come."""
        async with asyncio.timeout(20):
            while len(self.requests) < count:
                self._arrival.clear()
                await self._arrival.wait()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.text()
        self.requests.append(
            {"method": request.method, "path": request.path_qs, "headers": dict(request.headers), "body": body}
        )
        self._arrival.set()
        if self.replies:
            return await self.replies.pop(0)(request)
        return web.Response()

    def reply_when_told(self) -> asyncio.Event:
        """The next request is answered when the event is set."""
        told = asyncio.Event()

        async def answer(request: web.Request) -> web.StreamResponse:
            await told.wait()
            return web.Response()

        self.replies.append(answer)
        return told

    def json(self, index: int = -1) -> Any:
        """The body of a request."""
        return json.loads(self.requests[index]["body"])


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", world.handle)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server(shutdown_timeout=0.1)  # requests that are left waiting are not waited for
    world.url = str(server.make_url("")).rstrip("/")
    yield world
    await server.close()


@pytest.fixture
async def tools() -> AsyncIterator[Toolbox]:
    """A toolbox as on a local cluster: loopback is allowed."""
    async with open_toolbox(ActionSettings(allow_loopback=True)) as tools:
        yield tools


def context_of(tools: Toolbox, **more: Any) -> Context:
    """An attempt of an action in workflow `wf`."""
    facts = {"idempotency_key": "key-1", "namespace": "ns", "workflow": "wf", "uid": "u-1", **more}
    return Context(tools, **facts)
