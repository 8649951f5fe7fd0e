"""Writes to the streams beside the log: what waits at one moment goes out as one request and shares a disk sync."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from exeunt.journal.gather import Gatherer
from exeunt.journal.wire import Wire

DEADLINE_SECONDS = 5.0
_UNSAFE = str.maketrans({"\r": " ", "\n": " "})


class Outbox:
    """A gatherer for each of the streams. All writes are safe to repeat, so one without an answer is sent again."""

    def __init__(self, wire: Wire, streams: list[str], plain_limit: int = 12) -> None:
        self._gatherers = {name: Gatherer(wire, plain_limit=plain_limit, deadline=DEADLINE_SECONDS) for name in streams}

    @property
    def gatherers(self) -> Collection[Gatherer]:
        """One for each stream."""
        return self._gatherers.values()

    def put(self, stream: str, subject: str, data: bytes, headers: dict[str, str]) -> asyncio.Future[int]:
        """Writes one message; done when it is durable."""
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        if lines.count("\r") != len(headers) or lines.count("\n") != len(headers):  # a line end inside of a value
            lines = "".join(f"{name}: {value.translate(_UNSAFE)}\r\n" for name, value in headers.items())
        return self._gatherers[stream].put(subject, data, lines.encode())

    async def drain(self) -> None:
        """Waits until everything that was put is durable."""
        for gatherer in self._gatherers.values():
            await gatherer.drain()

    async def run(self) -> None:
        """Writes until it is cancelled; then what is left fails with LogClosed."""
        async with asyncio.TaskGroup() as group:
            for gatherer in self._gatherers.values():
                group.create_task(gatherer.run())
