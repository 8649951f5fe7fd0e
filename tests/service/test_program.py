"""How a service ends: in which order, and with what result."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator

import pytest

from exeunt.service.program import Program, run


class Story:
    """A service that writes down what happens to its parts."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.started = asyncio.Event()

    @contextlib.asynccontextmanager
    async def connection(self, name: str) -> AsyncIterator[None]:
        async with asyncio.TaskGroup():  # many connections have tasks of their own
            yield
        self.told.append(f"{name} closed")

    async def forever(self, name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.told.append(f"{name} ended")

    def tell(self, what: str) -> None:
        self.told.append(what)

    async def setup(self, program: Program) -> None:
        await program.enter(self.connection("log"))
        await program.enter(self.connection("server"))
        program.routine("worker", self.forever("worker"))
        program.background("heartbeat", self.forever("heartbeat"))

        async def intake() -> None:
            self.tell("intake stopped")

        async def finish() -> None:
            self.tell("work handed back")

        program.at_stop(intake)
        program.finish(finish)
        program.routine("ready", self._ready())

    async def _ready(self) -> None:
        self.started.set()


IN_ORDER = [
    "intake stopped",
    "work handed back",
    "worker ended",
    "heartbeat ended",
    "server closed",
    "log closed",
]


async def test_a_signal_ends_everything_in_order() -> None:
    story = Story()
    running = asyncio.create_task(run(story.setup))
    await story.started.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    await running
    assert story.told == IN_ORDER


async def test_cancellation_ends_everything_in_order() -> None:
    story = Story()
    running = asyncio.create_task(run(story.setup, signals=False))
    await story.started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert story.told == IN_ORDER


async def test_an_error_of_a_routine_ends_everything_and_is_raised() -> None:
    story = Story()

    async def setup(program: Program) -> None:
        await story.setup(program)

        async def broken() -> None:
            raise RuntimeError("the disk is gone")

        program.routine("broken", broken())

    with pytest.raises(RuntimeError, match="the disk is gone"):
        await run(setup, signals=False)
    assert story.told == IN_ORDER


async def test_an_error_while_starting_closes_what_was_opened() -> None:
    story = Story()

    async def setup(program: Program) -> None:
        await program.enter(story.connection("log"))
        raise RuntimeError("no NATS")

    with pytest.raises(RuntimeError, match="no NATS"):
        await run(setup, signals=False)
    assert story.told == ["log closed"]


async def test_a_start_that_hangs_can_be_ended() -> None:
    story = Story()

    async def setup(program: Program) -> None:
        await program.enter(story.connection("log"))
        story.started.set()
        await asyncio.Event().wait()

    running = asyncio.create_task(run(setup))
    await story.started.wait()
    os.kill(os.getpid(), signal.SIGINT)
    await running
    assert story.told == ["log closed"]


async def test_work_that_does_not_finish_is_left_after_the_grace() -> None:
    story = Story()

    async def setup(program: Program) -> None:
        await program.enter(story.connection("log"))

        async def never() -> None:
            await asyncio.Event().wait()

        program.finish(never)
        program.stop()

    await run(setup, grace=0.01, signals=False)
    assert story.told == ["log closed"]


async def test_a_routine_that_loses_a_cancellation_ends_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exeunt.service.program.CANCEL_AGAIN_SECONDS", 0.01)
    story = Story()

    async def forgetful() -> None:
        with contextlib.suppress(asyncio.CancelledError):  # as wait_for does when its answer comes in the same moment
            await asyncio.Event().wait()
        await story.forever("worker")

    async def setup(program: Program) -> None:
        program.routine("worker", forgetful())
        program.stop()

    async with asyncio.timeout(5):
        await run(setup, signals=False)
    assert story.told == ["worker ended"]


async def test_one_failing_step_of_the_end_does_not_keep_the_others_from_running() -> None:
    story = Story()

    async def setup(program: Program) -> None:
        async def broken() -> None:
            raise RuntimeError("cannot hand back")

        async def fine() -> None:
            story.tell("fine")

        program.finish(broken)
        program.finish(fine)
        program.stop()

    with pytest.raises(RuntimeError, match="cannot hand back"):
        await run(setup, signals=False)
    assert story.told == ["fine"]


SECOND_SIGNAL = """
import asyncio
from exeunt.service.program import run

async def setup(program):
    async def never():
        print("ending", flush=True)
        await asyncio.Event().wait()
    program.finish(never)
    print("up", flush=True)

asyncio.run(run(setup, grace=600))
"""


async def test_a_second_signal_forces_the_end() -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", SECOND_SIGNAL, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"up\n"
    process.terminate()
    assert await process.stdout.readline() == b"ending\n"
    process.terminate()
    assert await process.wait() == 128 + signal.SIGTERM
