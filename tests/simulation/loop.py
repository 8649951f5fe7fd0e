"""An event loop on a virtual clock, and processes in it that can be killed or held at any callback.

Nothing waits: when no callback is ready the clock jumps to the next timer. Everything that runs belongs to a process,
which it inherits like any context variable; what belongs to a dead process never runs again, as after SIGKILL.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
_PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class Process:
    """A process that lives in the loop. `fuse`: it is killed after so many more callbacks; -1: it is not."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.paused = False
        self.fuse = -1
        self.on_fuse: Callable[[Process], None] = lambda process: None
        self.wall_offset = 0.0  # how far its wall clock is wrong, in seconds
        self.held: list[_Handle] = []
        self.context = contextvars.copy_context()
        self.context.run(_PROCESS.set, self)

    def __repr__(self) -> str:
        return self.name


def current() -> Process | None:
    """The process that the running callback belongs to; None for the world around them."""
    return _PROCESS.get()


class _Handle:
    """A callback that is due, now or at `at`: as asyncio's handles, and with the process that it belongs to."""

    __slots__ = ("_args", "_at", "_callback", "_context", "process")

    def __init__(self, callback: Callable[..., Any], args: Any, context: contextvars.Context | None, at: float) -> None:
        self._callback: Callable[..., Any] | None = callback
        self._args = args
        self._context = contextvars.copy_context() if context is None else context
        self._at = at
        self.process = self._context.get(_PROCESS)

    def when(self) -> float:
        return self._at

    def cancel(self) -> None:
        self._callback = self._args = None

    def cancelled(self) -> bool:
        return self._callback is None


class _Numbered:
    """Hashes by order of first asking, so that sets of tasks and futures are the same in every run of a seed."""

    _numbers = itertools.count()

    def __hash__(self) -> int:
        try:
            return self._number
        except AttributeError:
            self._number: int = next(_Numbered._numbers)
            return self._number


class _Task(_Numbered, asyncio.Task):  # type: ignore[type-arg]  # a subclass of a generic that is used bare
    pass


class _Future(_Numbered, asyncio.Future):  # type: ignore[type-arg]  # as above
    pass


_Loop: Any = asyncio.AbstractEventLoop
"""Untyped: only what coroutines need of a loop is made here, in simpler types."""


class SimLoop(_Loop):  # type: ignore[misc]  # as said above
    """The loop. `run(until)` turns it."""

    def __init__(self) -> None:
        self.callbacks = 0
        self.most = 1_000_000
        """More callbacks than that are a loop without end."""
        self._now = 0.0
        self._ready: deque[_Handle] = deque()
        self._timers: list[tuple[float, int, _Handle]] = []
        self._timed = 0
        self._tasks: list[asyncio.Task[Any]] = []  # kept: collecting one would run its `finally`
        self._closed = False
        self.problems: list[str] = []

    # --- what asyncio asks of a loop ----------------------------------------------------------------------------------

    def time(self) -> float:
        return self._now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return not self._closed

    def is_closed(self) -> bool:
        return self._closed

    def call_soon(
        self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> _Handle:
        handle = _Handle(callback, args, context, self._now)
        if not self._closed:
            self._ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> _Handle:
        return self.call_at(self._now + max(0.0, delay), callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> _Handle:
        handle = _Handle(callback, args, context, when)
        if not self._closed:
            self._timed += 1
            heapq.heappush(self._timers, (when, self._timed, handle))
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return _Future(loop=self)

    def create_task(
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[T]:
        task = _Task(coro, loop=self, name=name, context=context)
        self._tasks.append(task)
        return task

    def get_task_factory(self) -> None:
        return None

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.call_exception_handler(context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self._closed:
            self.problems.append(f"{context.get('message')}: {context.get('exception')!r}")

    # --- turning ------------------------------------------------------------------------------------------------------

    def run(self, until: Callable[[], bool], limit: float) -> bool:
        """Turns until the condition holds, asked whenever the clock moves on. False when the clock reads `limit`."""
        asyncio.events._set_running_loop(self)
        try:
            self._turn()
            while not until():
                if self.callbacks > self.most:
                    self.problems.append(f"Error(): {self.most} callbacks, and no end")
                    return False
                if not self._timers or self._timers[0][0] > limit:
                    return False
                self._now = max(self._now, self._timers[0][0])
                self._turn()
            return True
        finally:
            asyncio.events._set_running_loop(None)

    def _turn(self) -> None:
        """All that is due now, and what follows from it at once."""
        ready, timers, now = self._ready, self._timers, self._now
        while True:
            while timers and timers[0][0] <= now:
                ready.append(heapq.heappop(timers)[2])
            if not ready:
                return
            handle = ready.popleft()
            callback = handle._callback
            if callback is None:  # cancelled
                continue
            process = handle.process
            if process is not None:
                if not process.alive:
                    continue
                if process.paused:
                    process.held.append(handle)
                    continue
                if process.fuse >= 0:
                    process.fuse -= 1
                    if process.fuse < 0:
                        process.on_fuse(process)
                        continue
            self.callbacks += 1
            if self.callbacks > self.most:
                return
            try:
                handle._context.run(callback, *handle._args)
            except Exception as error:  # noqa: BLE001 - told as asyncio does
                self.problems.append(f"{callback!r}: {error!r}")

    def go_on(self, process: Process) -> None:
        """A held process runs again, with all that has become due meanwhile."""
        process.paused = False
        self._ready.extend(process.held)
        process.held.clear()

    def close(self) -> None:
        """Nothing runs any more."""
        self._closed = True
        self._ready.clear()
        self._timers.clear()
        for task in self._tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # a killed task is no mistake here
        self._tasks.clear()
