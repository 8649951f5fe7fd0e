"""Health of a service that owns partitions: SERVING while what it has is loaded, and NATS is there and takes writes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from exeunt.journal.access import Condition
from exeunt.service.listeners import Listeners

log = logging.getLogger(__name__)


class OwnerHealth:
    """Follows what health rests on. `served` is set once the service was SERVING."""

    def __init__(self, server: Listeners, writing: Condition, loaded: Callable[[], bool]) -> None:
        """`loaded` says whether everything is loaded that should be; call `look` when that may have changed."""
        self.served = asyncio.Event()
        self._server = server
        self._writing = writing
        self._loaded = loaded
        self._stopping = False
        self._look = asyncio.Event()
        self._look.set()
        writing.changed.append(self.look)

    def look(self) -> None:
        """Something may have changed."""
        self._look.set()

    async def keep(self) -> None:
        """Follows what changes, until it is cancelled."""
        serving = False
        while True:
            await self._look.wait()
            self._look.clear()
            trouble = self._writing.trouble
            good = self._loaded() and not trouble and not self._stopping
            if good != serving:
                serving = good
                await self._server.ready(good)
                log.info("serving" if good else f"not serving: {trouble}" if trouble else "not serving")
            if good:
                self.served.set()

    async def stop(self) -> None:
        """From now on the service is not SERVING any more, and its streams end."""
        self._stopping = True
        await self._server.leave()
