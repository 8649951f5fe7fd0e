"""The programs of one step, run as a pod would: init containers, then the main ones with sidecars beside them.

To its attempt a pod looks like one program (`RunningProgram`). What the programs have in common is what the caller
gives to each of them (`ProgramSpec.binds`). As on Argo, the first main container that fails has the others ended, and
sidecars are ended when all main ones are over (Argo's pages on sidecars and on container sets).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from exeunt.executor.pod_end import ContainerEnded, PodEnded, judge
from exeunt.executor.readiness import until_ready
from exeunt.executor.runtime.base import NotStarted, OnOutput, ProgramSpec, RunningProgram, Runtime
from exeunt.internal.v1 import step_pb2 as pb

MAIN = "main"
NOT_BEGUN = 64
"""The exit code of a container that never began, as Argo's emissary has it."""


@dataclass(slots=True)
class PodProgram:
    """One container of a pod. `dependencies` are main containers that have to go well before it begins."""

    name: str
    spec: ProgramSpec
    work: pb.ContainerWork
    dependencies: tuple[str, ...] = ()
    readiness: pb.Probe | None = None


@dataclass(slots=True)
class PodPlan:
    """What a pod is made of. Each main container is tried so often (`tries`), with a pause between."""

    main: list[PodProgram]
    init: list[PodProgram] = field(default_factory=list)
    sidecars: list[PodProgram] = field(default_factory=list)
    grace_seconds: float = 30.0
    tries: int = 1
    pause_seconds: float = 0.0

    def programs(self) -> list[PodProgram]:
        """All of them, in the order in which they begin."""
        return [*self.init, *self.main, *self.sidecars]


class Pod:
    """A pod. `output` gives what takes a container's output; `on_ready` is called once, for a daemon."""

    def __init__(
        self,
        runtime: Runtime,
        plan: PodPlan,
        output: Callable[[str], OnOutput],
        on_ready: Callable[[], None] | None = None,
    ) -> None:
        self._runtime = runtime
        self._plan = plan
        self._output = output
        self._on_ready = on_ready
        self._started: dict[str, RunningProgram] = {}  # by name, the last one of each
        self._running: dict[str, RunningProgram] = {}
        self._ends: dict[str, asyncio.Future[ContainerEnded]] = {}  # of main containers
        self._begun: dict[str, asyncio.Event] = {}
        self._stop = asyncio.Event()
        self._ending = self._killed = self._paused = False

    @property
    def pids(self) -> tuple[int, ...]:
        """See `RunningProgram.pids`."""
        return tuple(pid for program in self._running.values() for pid in program.pids)

    # --- as one program -----------------------------------------------------------------------------------------------

    async def wait(self) -> PodEnded:
        """Runs all of it to its end; NotEnded. NotStarted where the only main container could not be."""
        init: list[ContainerEnded] = []
        for one in self._plan.init:
            init.append(await self._run(one))
            if init[-1].exit_code or self._ending:
                return judge(init, [], [], began=False)
        loop = asyncio.get_running_loop()
        self._ends = {one.name: loop.create_future() for one in self._plan.main}
        self._begun = {one.name: asyncio.Event() for one in (*self._plan.main, *self._plan.sidecars)}
        try:
            async with asyncio.TaskGroup() as group:
                beside = [group.create_task(self._run(one)) for one in self._plan.sidecars]
                main = [group.create_task(self._main(one)) for one in self._plan.main]
                watch = group.create_task(self._ready()) if self._on_ready is not None else None
                await asyncio.wait(main, return_when=asyncio.FIRST_EXCEPTION)
                if watch is not None:
                    watch.cancel()
                self.end(self._plan.grace_seconds)
        except asyncio.CancelledError:
            self.kill()
            raise
        except BaseExceptionGroup as errors:
            self.kill()
            raise _first(errors) from errors
        return judge(init, [task.result() for task in main], [task.result() for task in beside])

    def end(self, grace: float) -> None:
        """See `RunningProgram.end`. Nothing of it begins any more."""
        self._ending = True
        self._stop.set()
        for program in self._running.values():
            program.end(grace)

    def kill(self) -> None:
        """See `RunningProgram.kill`."""
        self._ending = self._killed = True
        self._stop.set()
        for program in self._running.values():
            program.kill()

    def pause(self) -> None:
        """See `RunningProgram.pause`."""
        self._paused = True
        for program in self._running.values():
            program.pause()

    def resume(self) -> None:
        """See `RunningProgram.resume`."""
        self._paused = False
        for program in self._running.values():
            program.resume()

    async def open(self, path: str) -> int | None:
        """See `RunningProgram.open`: a file of the container `main`."""
        program = self._started.get(MAIN)
        return None if program is None else await program.open(path)

    async def read(self, path: str, limit: int) -> bytes | None:
        """See `RunningProgram.read`: a file of the container `main`."""
        program = self._started.get(MAIN)
        return None if program is None else await program.read(path, limit)

    def release(self) -> None:
        """See `RunningProgram.release`."""
        for program in self._started.values():
            program.release()

    # --- one container ------------------------------------------------------------------------------------------------

    async def _main(self, one: PodProgram) -> ContainerEnded:
        """A main container, when what it depends on has gone well; its end is known to those that depend on it."""
        ended = ContainerEnded(one.name, NOT_BEGUN, "it was ended before it began")
        try:
            bad = await self._dependency(one)
            if bad is not None:
                ended = ContainerEnded(one.name, NOT_BEGUN, bad)
            for number in range(self._plan.tries):
                if bad is not None or self._ending or (number and await self._pause()):
                    break
                ended = await self._run(one)
                if not ended.exit_code:
                    break
        finally:
            if not self._ends[one.name].done():
                self._ends[one.name].set_result(ended)
        if ended.exit_code:
            self.end(self._plan.grace_seconds)
        return ended

    async def _dependency(self, one: PodProgram) -> str | None:
        """Waits for what a container depends on; why it cannot begin, if so."""
        for name in one.dependencies:
            code = (await self._ends[name]).exit_code
            if code:
                return f'dependency "{name}" exited with non-zero code: {code}'
        return None

    async def _pause(self) -> bool:
        """Waits between two tries. Says whether the pod is ended meanwhile."""
        try:
            async with asyncio.timeout(self._plan.pause_seconds):
                await self._stop.wait()
        except TimeoutError:
            return False
        return True

    async def _run(self, one: PodProgram) -> ContainerEnded:
        """A container, once. One that cannot be started has ended with 64, unless it is the only main one."""
        if (old := self._started.pop(one.name, None)) is not None:
            old.release()
        try:
            program = await self._runtime.start(one.spec, self._output(one.name))
        except NotStarted as error:
            if one.name == MAIN and len(self._plan.main) == 1:
                raise
            words = str(error).removeprefix(f"main: Error (exit code {NOT_BEGUN}): ")
            return ContainerEnded(one.name, error.exit_code or NOT_BEGUN, words)
        self._started[one.name] = self._running[one.name] = program
        if self._paused:
            program.pause()
        if self._killed:
            program.kill()
        elif self._ending:
            program.end(self._plan.grace_seconds)
        if one.name in self._begun:
            self._begun[one.name].set()
        try:
            ended = await program.wait()
        except asyncio.CancelledError:
            program.kill()
            raise
        finally:
            self._running.pop(one.name, None)
        return ContainerEnded(one.name, ended.exit_code, reason=ended.reason)

    # --- daemons ------------------------------------------------------------------------------------------------------

    async def _ready(self) -> None:
        """A pod is ready when all of its containers are; one that waits for others is none yet."""
        for one in (*self._plan.main, *self._plan.sidecars):
            if not one.dependencies:
                await self._begun[one.name].wait()
        for one in (*self._plan.main, *self._plan.sidecars):
            if one.readiness is not None:
                await self._begun[one.name].wait()
                await until_ready(one.readiness, self._runtime, one.spec)
        if self._on_ready is not None and not self._ending:
            self._on_ready()


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first of several errors, for a step has one result."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
