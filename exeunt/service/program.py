"""How a service lives and ends: routines that end together, connections that close after them.

The order of an end, whether a signal, an error or a cancellation asks for it: intake stops, work finishes or is handed
back (while background routines such as heartbeats go on), routines are cancelled, background routines are cancelled,
connections close in the reverse of the order in which they were opened. A second signal ends the process at once:
everything that matters is in the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from exeunt.service import clock, telemetry
from exeunt.service.lag import lag
from exeunt.service.settings import SettingsError

log = logging.getLogger(__name__)

T = TypeVar("T")
READY_VARIABLE = "EXEUNT_READY_FD"
"""Names an open file descriptor to which a service writes one line of JSON when it is ready: its addresses."""

CANCEL_AGAIN_SECONDS = 2.0
COLLECTING = (100_000, 20, 10)
"""When Python looks for garbage (`gc.set_threshold`). As it is by default it looks a dozen times through what a large
manifest is decoded to, all of which is in use: that takes ten times as long as decoding it, and holds the loop up."""

Step = Callable[[], Awaitable[None]]


class Program:
    """What the set-up of a service registers with. Made by `run`."""

    def __init__(self, grace: float) -> None:
        self.stopping = asyncio.Event()
        self.failure: BaseException | None = None
        self._grace = grace
        self._set_up = asyncio.Event()
        self._ended = asyncio.Event()
        self._intake: list[Step] = []
        self._finish: list[Step] = []
        self._routines = asyncio.TaskGroup()
        self._background = asyncio.TaskGroup()
        self._tasks: dict[asyncio.TaskGroup, set[asyncio.Task[None]]] = {self._routines: set(), self._background: set()}
        self._connections = contextlib.AsyncExitStack()

    async def enter(self, connection: AbstractAsyncContextManager[T]) -> T:
        """Opens what everything else needs; it is closed last, the one opened last first."""
        return await self._connections.enter_async_context(connection)

    def routine(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Starts a routine. An exception of it ends the program; it is cancelled after work has finished."""
        return self._start(self._routines, name, work)

    def background(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Starts a routine that goes on while work finishes and routines end: heartbeats, renewals, mirrors."""
        return self._start(self._background, name, work)

    def at_stop(self, step: Step) -> None:
        """Called first when the end begins: take in nothing new. Steps run one after the other, as registered."""
        self._intake.append(step)

    def finish(self, step: Step) -> None:
        """Called after intake has stopped: finish what is quick, hand back the rest. All of these share the grace."""
        self._finish.append(step)

    def stop(self) -> None:
        """Begins the end."""
        self.stopping.set()

    def fail(self, error: BaseException) -> None:
        """Begins the end because of an error, which `run` raises when everything is closed."""
        if self.failure is None:
            self.failure = error
            if isinstance(error, ProgramError) and error.hopeless:
                self._grace = 0.0
        self.stopping.set()

    def ready(self, **addresses: str | None) -> None:
        """Says that the service is at work, and where: to whoever started it, and in the log."""
        log.info("ready", extra={name: value for name, value in addresses.items() if value})
        telemetry.current.serve_metrics()
        fd = os.environ.get(READY_VARIABLE, "")
        if fd.isdigit():
            with contextlib.suppress(OSError):  # nobody listens any more
                os.write(int(fd), json.dumps({"pid": os.getpid(), **addresses}).encode() + b"\n")

    def _start(self, group: asyncio.TaskGroup, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = group.create_task(self._guard(name, work), name=name)
        self._tasks[group].add(task)
        task.add_done_callback(self._tasks[group].discard)
        return task

    async def _guard(self, name: str, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception as error:
            if self.failure is None and not isinstance(error, (ProgramError, SettingsError)):
                log.exception("%s failed", name)
            self.fail(error)

    async def _own(self, setup: Callable[[Program], Awaitable[None]]) -> None:
        """Sets up, and closes connections when all else has ended: in the task that opened them, as they may expect."""
        async with self._connections:
            try:
                await self._guard("start", setup(self))
            except asyncio.CancelledError:
                if not self.stopping.is_set():  # not the end of this program but somebody's violence
                    raise
            finally:
                self._set_up.set()
            await self._ended.wait()

    async def _run_steps(self, what: str, steps: list[Step], seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                for step in steps:
                    try:
                        await step()
                    except Exception as error:
                        log.exception("%s: a step failed", what)
                        self.fail(error)
        except TimeoutError:
            log.warning("%s took longer than %.0f s; going on", what, seconds)

    async def _end(self) -> None:
        await self._run_steps("stopping intake", self._intake, self._grace)
        await self._run_steps("finishing work", self._finish, self._grace)

    async def _cancel(self, group: asyncio.TaskGroup) -> None:
        """Cancels tasks until they have ended.

        Once may not be enough: `asyncio.wait_for`, which nats-py waits with, forgets a cancellation that comes in the
        same moment as its answer, up to Python 3.11 (https://github.com/python/cpython/issues/86296).
        """
        while tasks := [task for task in self._tasks[group] if not task.done()]:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=CANCEL_AGAIN_SECONDS)


class ProgramError(Exception):
    """An end with a message for people. Nothing is logged here: whoever called `run` shows it.

    `hopeless`: what everything rests on is gone; no work can be finished or handed back, and none is waited for.
    """

    hopeless = False


async def run(setup: Callable[[Program], Awaitable[None]], *, grace: float = 20.0, signals: bool = True) -> None:
    """Runs a program: `setup` opens connections and starts routines; then it lives until something ends it.

    Ends in order after SIGTERM, SIGINT, `Program.stop`, cancellation of the caller, or the first error of `setup` or of
    a routine, which is raised afterwards. `grace` bounds each of the two steps of the end, in seconds.
    """
    program = Program(grace)
    cancelled = False
    if signals:  # the process is this program's
        gc.freeze()  # what is there by now stays
        gc.set_threshold(*COLLECTING)
    with _signals(program) if signals else contextlib.nullcontext():
        async with asyncio.TaskGroup() as owner:
            owner_task = owner.create_task(program._own(setup), name="connections")
            async with program._background:
                program.background("clock", clock.watch())
                program.background("lag", lag.watch())
                async with program._routines:
                    try:
                        await program.stopping.wait()
                    except asyncio.CancelledError:
                        cancelled = True
                        program.stop()
                    if not program._set_up.is_set():
                        owner_task.cancel()
                        await program._set_up.wait()
                    await program._end()
                    await program._cancel(program._routines)
                await program._cancel(program._background)
            program._ended.set()
    if program.failure is not None:
        raise program.failure
    if cancelled:
        raise asyncio.CancelledError


@contextlib.contextmanager
def _signals(program: Program) -> Iterator[None]:
    """First signal: the end begins. Second: the process is gone, with the status that shells expect."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()

    def handle(number: int) -> None:
        if program.stopping.is_set():
            log.warning("second signal: leaving at once")
            sys.stderr.flush()
            os._exit(128 + number)
        log.info("%s: stopping", signal.Signals(number).name)
        program.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, handle, number)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


@contextlib.asynccontextmanager
async def closing(resource: T, close: Callable[[], Awaitable[Any]]) -> AsyncIterator[T]:
    """A context manager for a thing that has only a coroutine to close it with."""
    try:
        yield resource
    finally:
        await close()
