"""Mistakes to plant into the services: the simulation has to find each of them, and say what it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

from exeunt.driver.driver import Driver
from exeunt.exithandler.perform import ExitSteps
from exeunt.internal.v1 import step_service_pb2 as pb
from exeunt.journal.fences import Fences
from exeunt.journal.subjects import Record
from exeunt.scheduler.runs import Runs
from exeunt.scheduler.step_service import StepStream


class Plant(NamedTuple):
    """A mistake, and what the simulation says when it meets it."""

    sow: Callable[[], None]
    told: str


def _act_before_commit() -> None:
    write = Driver._write

    def written(self: Driver, events: list[Any], batch: Any = ()) -> None:
        write(self, events, batch)
        self._flight.act(events, self.run.now)

    Driver._write = written  # type: ignore[method-assign]  # that is the mistake


def _write_without_fence() -> None:
    Fences.stamp = lambda self, partition: b""  # type: ignore[method-assign]  # as above


def _cut_before_folded() -> None:
    take_in = Runs.hook_ended

    def hook_ended(self: Runs, record: Record) -> None:
        self._journal.finish(record)  # the mark may pass it from here on
        asyncio.get_running_loop().call_later(1.5, take_in, self, record)

    Runs.hook_ended = hook_ended  # type: ignore[method-assign]  # as above


def _lose_a_wake_up() -> None:
    def placed(self: StepStream, flights: list[Any]) -> None:
        self._placements += [pb.Placement(id=flight.id, executor=flight.executor) for flight in flights]

    StepStream.placed = placed  # type: ignore[method-assign]  # as above


def _act_unsure() -> None:
    async def act(self: ExitSteps, driver: Driver, due: Any) -> None:
        await asyncio.sleep(0)
        await self._perform(driver, due)

    ExitSteps._act = act  # type: ignore[method-assign]  # as above


PLANTED = {
    "act before commit": Plant(_act_before_commit, "which the log"),
    "write without the fence": Plant(_write_without_fence, "behind the fence of another"),
    "cut before a result is folded": Plant(_cut_before_folded, "which was not folded"),
    "a lost wake-up": Plant(_lose_a_wake_up, "has not ended"),
    "an effect without its lease check": Plant(_act_unsure, "ownership was last confirmed"),
}
