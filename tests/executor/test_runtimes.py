"""A runtime is whatever can start a program, also one that takes its time for that."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exeunt.executor.runtime.base import Ended, OnOutput, ProgramSpec, RuntimeContext
from exeunt.executor.runtime.registry import RUNTIMES
from tests.executor.conftest import Scheduler, inside, step


class Pod:
    """A program somewhere else, which has no process here."""

    pids = ()

    def __init__(self, spec: ProgramSpec, on_output: OnOutput) -> None:
        self._spec = spec
        self._on_output = on_output

    async def wait(self) -> Ended:
        self._on_output(" ".join([self._spec.image, *self._spec.command, *self._spec.args]).encode(), True)
        return Ended(0)

    def end(self, grace: float) -> None: ...
    def kill(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def release(self) -> None: ...

    async def read(self, path: str, limit: int) -> bytes | None:
        return path.encode()


class Pods:
    """Starts them, slowly when the command says so."""

    own_files = True

    def __init__(self) -> None:
        self.starting = asyncio.Event()
        self.cancelled = False

    async def start(self, spec: ProgramSpec, on_output: OnOutput) -> Pod:
        if spec.command == ["never"]:
            try:
                self.starting.set()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled = True
                raise
        return Pod(spec, on_output)


async def test_a_runtime_may_take_its_time(
    scheduler: Scheduler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pods = Pods()
    opened: list[str] = []

    @contextlib.asynccontextmanager
    async def open_pods(context: RuntimeContext) -> AsyncIterator[Pods]:
        opened.append(context.mark)
        yield pods
        opened.append("closed")

    monkeypatch.setitem(RUNTIMES, "pods", open_pods)
    async with inside(scheduler, tmp_path, runtime="pods"):
        [result] = await scheduler.run(step("a", image="whale", args=["hello"], result=True))
        assert (result.phase, result.result) == ("Succeeded", "whale hello")
        never = step("b", "never")
        await scheduler.say(dispatches=[never])
        async with asyncio.timeout(10):
            await pods.starting.wait()
        await scheduler.say(cancels=[never.id])
        await scheduler.until(lambda: never.id in scheduler.results)
        assert (scheduler.results[never.id].phase, pods.cancelled) == ("Failed", True)
        assert "pods" in scheduler.hellos[0].hello.capabilities
    assert len(opened) == 2
    assert opened[1] == "closed"
