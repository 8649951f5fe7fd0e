"""Keeps the processes of a local cluster alive: one that dies is started again at once, on the same port.

One that ends by itself again and again is started with growing pauses, so that a broken one does not eat the machine.
One that is killed never waits: there is nothing wrong with it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from exeunt.cli.child import ChildProcess, Spec, start, tail
from exeunt.cli.failure import UNREACHABLE, CommandError

log = logging.getLogger(__name__)

HEALTHY_SECONDS = 10.0
"""A child that lived this long was well; its death is no sign that starting it again is useless."""

FREE_RESTARTS = 5
LOOK_SECONDS = 1.0
LONGEST_PAUSE = 5.0


class Supervised:
    """One place in the cluster and the child that fills it now."""

    def __init__(self, spec: Spec, on_change: Callable[[], None]) -> None:
        self.spec = spec
        self.child: ChildProcess | None = None
        self.restarts = 0
        self._on_change = on_change
        self._ending = False
        self._keeper: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """Of the child that fills this place; 0 between two."""
        return self.child.pid if self.child is not None else 0

    async def begin(self, group: asyncio.TaskGroup) -> ChildProcess:
        """Starts the first child and returns when it is ready; from then on the place is kept filled.

        Raises CommandError with the end of its log when it ends instead.
        """
        child = start(self.spec)
        self.child = child
        if not await child.ready():
            status = await child.ended()
            said = tail(self.spec.log)
            why = f"{self.spec.name} did not start ({_told(status)})" + (f":\n{said}" if said else "")
            raise CommandError(why, code=UNREACHABLE)
        self._keeper = group.create_task(self._keep(child), name=f"keep {self.spec.name}")
        return child

    async def end(self) -> None:
        """Ends the child for good."""
        self._ending = True
        if self.child is not None:
            await self.child.end()
        if self._keeper is not None:
            self._keeper.cancel()

    async def _keep(self, child: ChildProcess) -> None:
        loop = asyncio.get_running_loop()
        quick_deaths = 0
        while True:
            started = loop.time()
            mending = asyncio.ensure_future(self._mend(child))
            try:
                status = await child.ended()
            finally:
                mending.cancel()
            if self._ending:
                return
            lived = loop.time() - started
            quick_deaths = 0 if lived > HEALTHY_SECONDS or status < 0 else quick_deaths + 1
            log.warning("%s ended (%s); starting it again", self.spec.name, _told(status))
            await asyncio.sleep(pause_after(quick_deaths))
            self.restarts += 1
            child = self.child = await self._started()
            self._on_change()

    async def _mend(self, child: ChildProcess) -> None:
        """Ends a child that is stuck, once a new one would not be; the place is then filled again as after any end."""
        why = await child.stuck()
        log.error("%s needs a new start, once that helps: %s", self.spec.name, why)
        while not self.spec.mended():  # noqa: ASYNC110 - nothing tells when a disk has room again
            await asyncio.sleep(LOOK_SECONDS)
        await child.end()

    async def _started(self) -> ChildProcess:
        """A new child. A machine without memory or processes to spare is asked again and again: it recovers."""
        while True:
            try:
                return start(self.spec)
            except OSError as error:
                log.warning("%s cannot be started now: %s", self.spec.name, error)
                await asyncio.sleep(0.5)


def pause_after(quick_deaths: int) -> float:
    """Seconds to wait before the next start, after so many ends by itself in a row."""
    return 0.0 if quick_deaths <= FREE_RESTARTS else min(LONGEST_PAUSE, 0.1 * 2.0 ** (quick_deaths - FREE_RESTARTS))


def _told(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"exit code {status}"
