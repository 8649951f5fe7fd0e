"""When an executor counts as lost: it was silent for the grace period, and this process could have heard it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from exeunt.scheduler.attempts import Executor

MOMENT_SECONDS = 1.0
"""In which the sockets are read before anybody is judged."""
HELD_UP_SECONDS = 0.2
"""A timer that fires later than this: the loop did not run freely."""


class ExecutorSilence:
    """Listens for executors. `lost` is called with one that was silent for too long, which is not listened for then."""

    def __init__(self, grace: float, lost: Callable[[Executor], None]) -> None:
        self._grace = grace
        self._lost = lost

    def begin(self, executor: Executor) -> None:
        """Counts its silence from now."""
        self.heard(executor)
        if executor.timer is None:
            self._look_at(executor, self._grace)

    def heard(self, executor: Executor) -> None:
        """It has said something."""
        executor.heard = asyncio.get_running_loop().time()

    def _look_at(self, executor: Executor, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        executor.timer = loop.call_later(seconds, self._check, executor, loop.time() + seconds)

    def _check(self, executor: Executor, due: float) -> None:
        """Loses it when it was silent for the grace, and for a moment more in which this loop ran freely.

        A scheduler that was held up, or stopped, has not read what was said to it meanwhile: it reads that first.
        """
        now = asyncio.get_running_loop().time()
        left = executor.heard + self._grace - now
        if left > 0:
            executor.doubted = False
            self._look_at(executor, left)
        elif not executor.doubted or now - due > HELD_UP_SECONDS:
            executor.doubted = True
            self._look_at(executor, min(MOMENT_SECONDS, self._grace / 4))
        else:
            executor.timer = None
            self._lost(executor)
