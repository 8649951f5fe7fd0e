"""Calls to NATS that outlive the loss of the connection: made again when it is back, without waiting for a timeout."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from nats.errors import Error as NatsError

from exeunt.journal.errors import JetStreamError
from exeunt.journal.wire import Wire

T = TypeVar("T")
log = logging.getLogger(__name__)


class Repeat(Protocol):
    """Makes a call that is safe to repeat, as often as it takes (`RepeatOnReconnect`), or just once."""

    async def __call__(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T: ...


async def once(call: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Makes the call, and leaves it at that."""
    return await call()


NATS_AWAY = (NatsError, JetStreamError, OSError, TimeoutError)
"""What a call into NATS raises while the server is away."""

RETRY_SECONDS = 1.0


async def until_answered(call: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Makes a call that is safe to repeat until it is answered, however long NATS is away or says nothing."""
    while True:
        try:
            return await call()
        except NATS_AWAY as error:
            log.warning("NATS does not answer: %s; trying again", error or type(error).__name__)
            await asyncio.sleep(RETRY_SECONDS)


class RepeatOnReconnect:
    """Makes calls that are safe to repeat. An answer to what was sent on a lost connection never comes."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._under_way: set[asyncio.Task[Any]] = set()
        self._cut: set[asyncio.Task[Any]] = set()
        wire.on_lost.append(self._lost)

    async def __call__(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The call's answer; waits for NATS as long as it is away."""
        while True:
            await self._wire.connected.wait()
            task = asyncio.ensure_future(call())
            self._under_way.add(task)
            try:
                return await task
            except asyncio.CancelledError:
                if task not in self._cut or _cancelled():
                    task.cancel()
                    raise
            except NATS_AWAY:
                if self._wire.connected.is_set():
                    raise
            finally:
                self._under_way.discard(task)
                self._cut.discard(task)

    def _lost(self) -> None:
        for task in self._under_way:
            self._cut.add(task)
            task.cancel()


def _cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
