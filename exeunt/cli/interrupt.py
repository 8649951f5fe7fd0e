"""What a signal or a timeout means to `exeunt run`, whose cluster goes with it: nothing due is lost by accident.

First the workflows are stopped and their exit handlers run. A second signal says what would be lost; a third gives it
up. `--abandon` gives it up at the first.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Sequence

from exeunt.cli.failure import TIMED_OUT, CommandError
from exeunt.cli.follow import FollowedWorkflows
from exeunt.cli.output import note
from exeunt.cli.word import whoami
from exeunt.client import Client, ClientError
from exeunt.launch import STARTED_BY
from exeunt.v1 import exit_service_pb2 as exits
from exeunt.v1 import workflow_service_pb2 as pb

NAMED = 10
OWED = (exits.Exit.STATE_DUE, exits.Exit.STATE_RUNNING)
AGAIN = "Ctrl-C again says what would be lost"


class Interrupts:
    """SIGTERM and SIGINT of this process. Before there is work they cancel it; later they are counted."""

    def __init__(self) -> None:
        self.count = 0
        self.number = 0  # of the first
        self.working = False
        self._came = asyncio.Condition()
        self._telling: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def heard(self) -> AsyncIterator[None]:
        """While the block lasts. Raises CommandError when it was cancelled before there was work."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def come(number: int) -> None:
            self.count += 1
            self.number = self.number or number
            if self.working:
                telling = loop.create_task(self._tell())
                self._telling.add(telling)
                telling.add_done_callback(self._telling.discard)
            else:
                task.cancel()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, come, number)
        try:
            yield
        except asyncio.CancelledError:
            if self.number:
                raise CommandError("interrupted; the cluster is stopped", code=128 + self.number) from None
            raise
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    async def come(self, count: int) -> None:
        """Waits until so many have come."""
        async with self._came:
            await self._came.wait_for(lambda: self.count >= count)

    async def _tell(self) -> None:
        async with self._came:
            self._came.notify_all()


class RunWaiter:
    """Waits for the workflows of one `run`, and ends them in good order when it is told to."""

    def __init__(self, interrupts: Interrupts, seconds: float | None, *, abandon: bool, kept: str) -> None:
        """`seconds`: the timeout; `kept`: a data directory that stays, or empty."""
        self.code = 0
        self.ends: float | None = None
        self._seconds = seconds
        self._interrupts = interrupts
        self._seen = 0  # signals that were acted on
        self._abandon = abandon
        self._kept = kept

    def begin(self) -> None:
        """The timeout counts from here on."""
        if self._seconds is not None:
            self.ends = asyncio.get_running_loop().time() + self._seconds

    async def wait(self, client: Client, followed: FollowedWorkflows, submitted: Sequence[pb.Workflow]) -> None:
        """Returns when all have ended. Raises CommandError when they were given up. `code` is not 0 if it was early."""
        self._interrupts.working = True
        waiting = asyncio.ensure_future(followed.wait(submitted))
        stopping: asyncio.Future[None] | None = None
        try:
            if await self._over(waiting, self.ends):
                return
            seen = self._seen
            self.code = 128 + self._interrupts.number if seen else TIMED_OUT
            why = f"interrupted by {signal.Signals(self._interrupts.number).name}" if seen else "not done in time"
            if self._abandon:
                await self._give_up(client, followed, why)
            note(f"{why}: stopping the workflows; their exit handlers run. {AGAIN}")
            stopping = asyncio.ensure_future(_stop(client, followed, why))
            if not await self._over(waiting):
                note(f"{await _owed(client, followed)}. {self._lost()}; once more gives that up")
                if not await self._over(waiting):
                    await self._give_up(client, followed, why)
            note(f"{why}: the workflows were stopped, and their exit handlers have run")
        finally:
            left = [task for task in (waiting, stopping) if task is not None]
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def _over(self, waiting: asyncio.Task[None], ends: float | None = None) -> bool:
        """True when all have ended; False when another signal has come, or the time is over."""
        signals = asyncio.ensure_future(self._interrupts.come(self._seen + 1))
        left = None if ends is None else max(0.0, ends - asyncio.get_running_loop().time())
        try:
            await asyncio.wait([waiting, signals], timeout=left, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._seen += signals.done()
            signals.cancel()
        if waiting.done():
            await waiting
            return True
        return False

    async def _give_up(self, client: Client, followed: FollowedWorkflows, why: str) -> None:
        raise CommandError(f"{why}; {await _owed(client, followed)}. {self._lost()}", code=self.code)

    def _lost(self) -> str:
        if self._kept:
            return f"All of it is kept in {self._kept}: `exeunt up --data-dir {self._kept}` goes on"
        return "The cluster is temporary: what has not run by its end is lost"


async def _stop(client: Client, followed: FollowedWorkflows, why: str) -> None:
    """Stops what has not ended. What exit handlers started is owed, as they are, and goes on."""

    async def one(name: str, namespace: str) -> None:
        try:
            await client.stop(name, namespace, message=f"exeunt run: {why}", by=whoami())
        except ClientError as error:
            if error.code not in ("FAILED_PRECONDITION", "NOT_FOUND"):  # it has ended meanwhile
                note(f"{name} could not be stopped: {error}")

    metadata = [followed.states[uid].get("metadata", {}) for uid in followed.order if uid not in followed.final]
    running = [found for found in metadata if found and STARTED_BY not in (found.get("annotations") or {})]
    await asyncio.gather(*(one(found["name"], found["namespace"]) for found in running))


async def _owed(client: Client, followed: FollowedWorkflows) -> str:
    """What has not run yet, for people."""
    open_ = [state["metadata"]["name"] for uid, state in followed.states.items() if state and uid not in followed.final]
    said = f"{_count(open_, 'workflow')} not ended"
    try:
        found = await _soon(client.list_exits(states=OWED))
    except (ClientError, TimeoutError):
        return f"{said}; which exit handlers are due could not be asked"
    due = [f"{one.workflow}: {one.node or one.hook}" for one in found]
    return f"{said}; {_count(due, 'exit handler')} due" if due else f"{said}; no exit handler is due yet"


async def _soon(call: Awaitable[list[exits.Exit]]) -> list[exits.Exit]:
    async with asyncio.timeout(5):
        return await call


def _count(names: Sequence[str], what: str) -> str:
    listed = ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")
    one = len(names) == 1
    return f"{len(names)} {what if one else what + 's'}{f' ({listed})' if names else ''} {'is' if one else 'are'}"
