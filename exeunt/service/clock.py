"""Says in the log that the wall clock was put forward or back. Only times that are shown go by it; waits do not."""

from __future__ import annotations

import asyncio
import logging
import time

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
JUMP_SECONDS = 1.0


async def watch() -> None:
    """Looks until it is cancelled."""
    ahead = _ahead()
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        before, ahead = ahead, _ahead()
        if abs(ahead - before) >= JUMP_SECONDS:
            log.warning("the wall clock jumped by %+.1f s; what waits goes on as before", ahead - before)


def _ahead() -> float:
    """How far the wall clock is ahead of the one that only counts."""
    return time.time() - time.monotonic()
