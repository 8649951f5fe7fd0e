"""Whether this process can read and write what is kept in NATS: what health says, and how calls are answered.

While NATS is away, a call that needs it is not left to its deadline but answered with UNAVAILABLE and a hint when to
come again; so is a call that changes something while the streams take no writes. A short absence, as of a restart, is
waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, Protocol

from exeunt.journal.gather import Gatherer
from exeunt.journal.repeat import NATS_AWAY
from exeunt.journal.wire import Wire
from exeunt.service.errors import RpcError, unavailable

PATIENCE_SECONDS = 2.0
RETRY_SECONDS = 1.0
AWAY = "there is no connection to NATS"


class Condition:
    """One thing that calls rest on. `trouble` says for people why it does not hold; empty while it does."""

    def __init__(self, look: Callable[[], str]) -> None:
        self.trouble = ""
        self.changed: list[Callable[[], None]] = []
        self._look = look
        self._until: float | None = None  # when calls that are under way end, since there is trouble
        self._scopes: set[asyncio.Timeout] = set()
        self.look()

    def look(self) -> None:
        """Something may have changed."""
        before, self.trouble = self.trouble, self._look()
        if bool(before) != bool(self.trouble):
            self._until = asyncio.get_running_loop().time() + PATIENCE_SECONDS if self.trouble else None
            for scope in self._scopes:
                if not scope.expired():
                    scope.reschedule(self._until)
            for told in list(self.changed):
                told()

    @contextlib.asynccontextmanager
    async def required(self) -> AsyncIterator[None]:
        """For the work of one call. Raises UNAVAILABLE, ending the work, when there is trouble that does not pass."""
        try:
            async with asyncio.timeout_at(self._until) as scope:
                self._scopes.add(scope)
                try:
                    yield
                finally:
                    self._scopes.discard(scope)
        except TimeoutError:
            if not scope.expired():
                raise
            raise _away(self.trouble or AWAY) from None


class NatsAccess:
    """`reading` holds while NATS is there, `writing` while it takes what is written, too."""

    def __init__(self, wire: Wire, gatherers: Iterable[Gatherer]) -> None:
        self._wire = wire
        self.gatherers = list(gatherers)
        self.reading = Condition(self._cannot_read)
        self.writing = Condition(self._cannot_write)
        for told in (wire.on_lost, wire.on_back, *(gatherer.on_trouble for gatherer in self.gatherers)):
            told.append(self._look)

    def _look(self) -> None:
        self.reading.look()
        self.writing.look()

    def _cannot_read(self) -> str:
        return "" if self._wire.connected.is_set() else AWAY

    def _cannot_write(self) -> str:
        return self._cannot_read() or next((g.trouble for g in self.gatherers if g.trouble), "")


class UsesNats(Protocol):
    """A servicer whose calls rest on NATS."""

    access: NatsAccess


Method = Callable[..., Awaitable[Any]]


def reads(method: Method) -> Method:
    """A unary call that needs NATS to be there."""
    return _resting(method, lambda access: access.reading)


def writes(method: Method) -> Method:
    """A unary call that changes something: it needs NATS to take writes."""
    return _resting(method, lambda access: access.writing)


def _resting(method: Method, on: Callable[[NatsAccess], Condition]) -> Method:
    @functools.wraps(method)
    async def call(self: UsesNats, request: Any, context: Any) -> Any:
        try:
            async with on(self.access).required():
                return await method(self, request, context)
        except RpcError:
            raise
        except NATS_AWAY as error:
            raise _away(f"NATS does not answer ({str(error) or type(error).__name__})") from None

    return call


def _away(why: str) -> RpcError:
    return unavailable("NATS_AWAY", f"{why}; nothing is lost, ask again in a moment", RETRY_SECONDS)
