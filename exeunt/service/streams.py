"""Calls whose answers go on and on: watches, logs that are followed, health. They end when the service begins to stop.

A client that watches cannot know that a service stops; left alone, it would keep the process from going, and be thrown
out in the end without a word. So it is told at once, and when to come again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from exeunt.service.errors import RpcError, abort_with, unavailable

END_SECONDS = 1.0
"""How long is waited until those who are told have been told."""


def stopping() -> RpcError:
    """What they are told."""
    return unavailable("STOPPING", "this service stops; go on with another one, or with the next one here")


class Held:
    """A call that goes on. Nothing interrupts it while an answer is on its way: that would end it mutely."""

    def __init__(self, task: asyncio.Task[Any] | None) -> None:
        self.task = task
        self.sending = False


class Streams:
    """All such calls of a server."""

    def __init__(self) -> None:
        self.leaving = False
        self._held: set[Held] = set()
        self._gone = asyncio.Event()

    @contextmanager
    def held(self) -> Iterator[Held]:
        """A call, as long as it goes on. Raises UNAVAILABLE when it comes too late."""
        if self.leaving:
            raise stopping()
        held = Held(asyncio.current_task())
        self._held.add(held)
        try:
            yield held
        finally:
            self._held.discard(held)
            if not self._held:
                self._gone.set()

    async def end(self) -> None:
        """Ends all of them, and whatever comes later."""
        self.leaving = True
        if not self._held:
            return
        self._gone.clear()
        for held in self._held:
            if held.task is not None and not held.sending:
                held.task.cancel()
        try:
            async with asyncio.timeout(END_SECONDS):
                await self._gone.wait()
        except TimeoutError:
            pass  # who does not read what is sent is cut off with the server

    async def told(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Called where a call was cancelled: when that was because of the end the caller is told."""
        task = asyncio.current_task()
        if self.leaving and not context.cancelled() and task is not None:
            task.uncancel()
            await abort_with(context, stopping())
