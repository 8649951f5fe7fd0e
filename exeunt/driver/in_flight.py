"""What of a run is under way in the world: attempts that wait for a place or run, and timers that are set.

It is brought there by committed events, or after a restart by what should be in flight. Nothing is decided here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from typing import Generic, TypeVar

from exeunt.driver.ports import Clock, Steps
from exeunt.engine.commands import Placed
from exeunt.engine.decide import Pending
from exeunt.engine.facts import (
    Event,
    RunClosed,
    StepCancelled,
    StepDue,
    StepFinished,
    StepPlaced,
    TimerCleared,
    TimerSet,
)

D = TypeVar("D")


class InFlight(Generic[D]):
    """What is under way for one driver. `fired(timer)` is called when a timer is over."""

    __slots__ = ("_clock", "_driver", "_due", "_fired", "_steps", "_timers")

    def __init__(self, driver: D, steps: Steps[D], clock: Clock, fired: Callable[[str], None]) -> None:
        self._driver = driver
        self._steps = steps
        self._clock = clock
        self._fired = fired
        self._due: dict[tuple[str, int], StepDue] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    @property
    def attempts(self) -> Collection[tuple[str, int]]:
        """Nodes and attempts that wait for a place, or are under way."""
        return self._due.keys()

    def bring_back(self, pending: Pending, now: float) -> list[Placed]:
        """Has everything in flight again that should be. Returns the placements of steps that got a place at once."""
        self._set_timers(pending, now)
        for step, executor in pending.placed:
            self._due[step.node, step.attempt] = step
            self._steps.dispatch(self._driver, step, executor, again=True)
        for node, attempt in pending.cancelled:
            self._steps.cancel(self._driver, node, attempt)
        placed: list[Placed] = []
        for step in pending.due:
            self._due[step.node, step.attempt] = step
            free = self._steps.place(self._driver, step)
            if free is None:
                self._steps.wait(self._driver, step)
            else:
                placed.append(Placed(step.node, step.attempt, free))
        return placed

    def know(self, pending: Pending, now: float) -> None:
        """What is in flight of a run that is taken up again as the log has it: nothing is started anew."""
        self._due = {(step.node, step.attempt): step for step in (*pending.due, *(s for s, _ in pending.placed))}
        self._set_timers(pending, now)

    def act(self, events: Iterable[Event], now: float) -> None:
        """Does what committed events ask for. `now` is the time of the commit."""
        waiting: list[StepDue] = []
        placed: list[StepPlaced] = []
        for event in events:
            match event:
                case StepDue():
                    waiting.append(event)
                    self._due[event.node, event.attempt] = event
                    if self._due.pop((event.node, event.attempt - 1), None) is not None:  # that one was lost
                        self._steps.recorded(self._driver, event.node, event.attempt - 1)
                case StepPlaced():
                    placed.append(event)
                case StepFinished():
                    self._due.pop((event.node, event.attempt), None)
                    self._steps.recorded(self._driver, event.node, event.attempt)
                case StepCancelled():
                    self._due.pop((event.node, event.attempt), None)
                    self._steps.cancel(self._driver, event.node, event.attempt)
                case TimerSet():
                    self._set_timer(event.timer, event.due - now)
                case TimerCleared():
                    self._clear_timer(event.timer)
                case RunClosed():
                    self.stop_timers()
        executors = {(event.node, event.attempt): event.executor for event in placed}
        for step in waiting:
            key = (step.node, step.attempt)
            if key in self._due and key not in executors:
                self._steps.wait(self._driver, step)
        for key, executor in executors.items():
            due = self._due.get(key)
            if due is not None:
                self._steps.dispatch(self._driver, due, executor, again=False)

    def stop_timers(self) -> None:
        """No timer fires any more."""
        for handle in self._timers.values():
            handle.cancel()
        self._timers.clear()

    def _set_timers(self, pending: Pending, now: float) -> None:
        for timer, due in pending.timers.items():
            self._set_timer(timer, due - now)

    def _set_timer(self, timer: str, seconds: float) -> None:
        self._clear_timer(timer)
        self._timers[timer] = self._clock.call_later(max(0.0, seconds), lambda: self._fire(timer))

    def _clear_timer(self, timer: str) -> None:
        handle = self._timers.pop(timer, None)
        if handle is not None:
            handle.cancel()

    def _fire(self, timer: str) -> None:
        self._timers.pop(timer, None)
        self._fired(timer)
