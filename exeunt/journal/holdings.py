"""Which partitions this process has: what membership gives it is taken, what membership takes is handed over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from collections.abc import Set as AbstractSet
from typing import Protocol

from exeunt.journal.errors import NotOwner
from exeunt.journal.log import Log
from exeunt.journal.ownership import Membership
from exeunt.journal.repeat import NATS_AWAY

log = logging.getLogger(__name__)

PAUSE_SECONDS = 0.2  # before partitions that somebody else took at the same moment are looked at again


class Holder(Protocol):
    """What acts for partitions."""

    @property
    def loaded(self) -> AbstractSet[int]:
        """Those in which it acts."""

    async def take(self, partitions: Collection[int]) -> None:
        """Makes the partitions this process's own and goes on with what is open in them.

        Raises NotOwner when somebody was quicker. What was lost meanwhile is not in `loaded` afterwards.
        """

    def release(self, partitions: Collection[int]) -> None:
        """Stops acting in the partitions: the next owner takes them by itself."""


class Holdings:
    """Keeps what `holder` has in step with what membership says."""

    def __init__(self, membership: Membership, journal: Log, holder: Holder) -> None:
        self._membership = membership
        self._holder = holder
        self._leaving = False
        self._changed = asyncio.Event()
        self._changed.set()
        membership.on_change.append(self._changed.set)
        journal.on_lost.append(self._lost)

    def _lost(self, partition: int) -> None:
        """Somebody else has taken a partition: look again whose it should be."""
        asyncio.get_running_loop().call_later(PAUSE_SECONDS, self._changed.set)

    async def keep(self) -> None:
        """Takes and hands over until it is cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._leaving:
                continue
            mine, holder = self._membership.mine(), self._holder
            gone, new = holder.loaded - mine, mine - holder.loaded
            if gone:
                log.info("handing over %d partitions", len(gone))
                holder.release(gone)
            if not new:
                continue
            try:
                await holder.take(new)
            except (NotOwner, *NATS_AWAY) as error:
                log.info("%s; looking again", str(error) or type(error).__name__)
                holder.release(new)
                await asyncio.sleep(PAUSE_SECONDS)
                self._changed.set()

    async def leave(self, finish: Callable[[], Awaitable[None]]) -> None:
        """Takes nothing more, waits for `finish`, hands everything over, and leaves membership."""
        self._leaving = True
        try:
            await finish()
            self._holder.release(set(self._holder.loaded))
        finally:
            await self._membership.leave()
