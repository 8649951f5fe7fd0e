"""What a driver needs of the world: a journal, whoever runs steps, a clock. Simulation tests give it fakes of these."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from exeunt.engine.facts import StepDue
from exeunt.journal.subjects import Family

D_contra = TypeVar("D_contra", contravariant=True)
"""The driver, which hands itself over: whoever runs its steps feeds it."""


class Journal(Protocol):
    """Where commits go; `exeunt.journal.log.Log`, or a fake of it."""

    def append(
        self, family: Family, number: int, kind: str, data: bytes, *, snapshot: bool = False
    ) -> asyncio.Future[int]:
        """Resolves to the commit's position once it is durable; raises NotOwner or LogClosed."""


class Steps(Protocol[D_contra]):
    """Who runs steps: executors behind the dispatch, or the exit handler itself."""

    def place(self, driver: D_contra, due: StepDue) -> str | None:
        """Takes a free place for the step now, or None. Called before the commit that names it."""

    def wait(self, driver: D_contra, due: StepDue) -> None:
        """There was no place: feed the driver `Placed` when there is one."""

    def dispatch(self, driver: D_contra, due: StepDue, executor: str, again: bool) -> None:
        """The placement is durable: start the attempt there. `again` after a restart: it may run or have ended."""

    def cancel(self, driver: D_contra, node: str, attempt: int) -> None:
        """The attempt is not wanted any more: take it out of the queue, or end it."""

    def recorded(self, driver: D_contra, node: str, attempt: int) -> None:
        """The attempt's result is durable, or that it was lost: it may be acknowledged and forgotten."""


class Clock:
    """The time of this process: wall clock for what is written down, the loop's clock for what is waited for."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Calls back after so many seconds, however the wall clock is moved meanwhile."""
        return asyncio.get_running_loop().call_later(seconds, callback)
