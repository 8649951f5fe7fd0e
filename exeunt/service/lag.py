"""How long the loop of this process was held up: while it is, nobody is heard and nothing is answered."""

from __future__ import annotations

import asyncio
import logging

from exeunt.service.metrics import Gauge

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.1
WINDOW_SECONDS = 30.0
TELL_SECONDS = 1.0


class Lag:
    """The longest hold-up of the last half minute to minute, in seconds."""

    def __init__(self) -> None:
        self._worst = [0.0, 0.0]  # of the window before, and of this one
        Gauge("exeunt.loop.lag", "The longest that the loop was held up in the last minute", self.read, "s")

    def read(self) -> float:
        """The longest, now."""
        return max(self._worst)

    async def watch(self) -> None:
        """Measures until it is cancelled: how much later than asked for it wakes up."""
        loop = asyncio.get_running_loop()
        turns_at = loop.time() + WINDOW_SECONDS
        while True:
            asleep = loop.time()
            await asyncio.sleep(LOOK_SECONDS)
            now = loop.time()
            late = now - asleep - LOOK_SECONDS
            if now >= turns_at:
                turns_at = now + WINDOW_SECONDS
                self._worst = [self._worst[1], 0.0]
            self._worst[1] = max(self._worst[1], late)
            if late >= TELL_SECONDS:
                log.warning("this process was held up for %.1f s", late)


lag = Lag()
