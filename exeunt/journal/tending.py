"""Housekeeping of the log: old fences renewed, snapshots asked for, marks announced, and what nobody needs cut."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from exeunt.journal.cut import Cutter
from exeunt.journal.extent import LogExtent
from exeunt.journal.marks import Marks, affordable, due_snapshots, window
from exeunt.journal.repeat import NATS_AWAY
from exeunt.journal.settings import LogSettings
from exeunt.journal.subjects import STREAM, Family, Role
from exeunt.journal.wire import Wire

log = logging.getLogger(__name__)

CROWDED = 0.7
"""A part of the log's room. When more is taken, whatever can go goes at once: it makes room for the next snapshots."""


class Housekeeping:
    """What one process and role does of it.

    `renew` renews fences that so many messages have come behind; `on_snapshot` hear of runs that should write one.
    """

    def __init__(
        self,
        wire: Wire,
        role: Role,
        settings: LogSettings,
        *,
        extent: LogExtent,
        marks: Marks,
        cutter: Cutter,
        renew: Callable[[int], Awaitable[None]],
        on_snapshot: list[Callable[[list[Family]], None]],
    ) -> None:
        self._wire = wire
        self._role: Role = role
        self._settings = settings
        self._distance = min(settings.renew_distance, settings.window)
        self._extent = extent
        self._marks = marks
        self._cutter = cutter
        self._renew = renew
        self._on_snapshot = on_snapshot

    async def run(self) -> None:
        """One turn after the other, until it is cancelled."""
        while True:
            await asyncio.sleep(self._settings.tick)
            await self._wire.connected.wait()
            try:
                await self.turn()
            except NATS_AWAY as error:
                log.warning("the log cannot be tended now: %s; trying again", str(error) or type(error).__name__)
            except Exception:  # the next turn tries again; writing goes on meanwhile
                log.warning("could not tend the log; trying again", exc_info=True)

    async def turn(self) -> None:
        """Does all of it once."""
        extent, marks = self._extent, self._marks
        extent.told(await self._wire.api(f"STREAM.INFO.{STREAM}"))
        span = window(self._settings.window, marks.open_runs, extent.room, extent.bytes, extent.messages)
        distance = max(1, min(self._distance, span // 5))  # few messages, when it is large ones that fill the log
        await self._renew(distance)
        due = due_snapshots(marks, extent.head, span)
        if extent.room > 0:
            due = due[: affordable(marks.open_runs, extent.bytes, extent.left)]
        for asked in self._on_snapshot if due else ():
            asked(due)
        await self._cutter.announce(marks)
        if self._role == "m" and 0 in marks:
            await self._cutter.cut(extent.first, 1 if extent.fullness > CROWDED else distance)
