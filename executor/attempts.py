"""Everything that this executor runs or has run: attempts get slots, and results are kept until acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Iterable
from functools import partial
from typing import Any

from google.protobuf.message import DecodeError

from exeunt.executor.attempt import LocalAttempt, SchedulerLink
from exeunt.executor.book import Book
from exeunt.executor.limits import OutputLimits, bound, failure
from exeunt.executor.numbers import durations, register, steps
from exeunt.executor.run_step import StepWork
from exeunt.executor.slots import Slots, only_waits
from exeunt.internal.v1 import executor_service_pb2 as session_pb
from exeunt.internal.v1 import step_pb2 as pb

log = logging.getLogger(__name__)

KILLED = "lost: the executor was killed while the step ran, and the step with it"
STOPPED = "lost: the executor was stopped while the step ran"
DRAINING = "lost: the executor is being stopped and takes no new steps"

MOST_KNOWN = 10_000
"""The most attempts that are known besides those in slots; then no further ones are taken. Each hello names all."""
MOST_WAITING = 1_000
"""The most steps that wait for a workflow without a slot; each of them has a connection."""


class Attempts:
    """The attempts of an executor. All methods are called in the event loop's thread and do not wait."""

    def __init__(
        self,
        *,
        work: StepWork,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        book: Book,
        slots: Slots[SchedulerLink],
        limits: OutputLimits,
    ) -> None:
        self.slots = slots
        self.draining = False
        self.links: list[SchedulerLink] = []
        self._loop = asyncio.get_running_loop()
        self._work = work
        self._spawn = spawn
        self._book = book
        self._limits = limits
        self._known: dict[str, LocalAttempt] = {}
        self._waiting: dict[bool, deque[LocalAttempt]] = {False: deque(), True: deque()}
        self._running: dict[str, LocalAttempt] = {}
        self._without_slot: set[str] = set()
        self._changed: set[asyncio.Future[None]] = set()
        self._remember()
        register(
            running=lambda: len(self._running),
            links=lambda: len(self.links),
            pools={"ordinary": slots.ordinary, "exit": slots.kept},
        )

    # --- what sessions ask --------------------------------------------------------------------------------------------

    def ids(self) -> Collection[str]:
        """All attempts that are known: running, waiting, or ended and not acknowledged."""
        return self._known.keys()

    def get(self, id: str) -> LocalAttempt | None:
        """The attempt of this id, if it is known."""
        return self._known.get(id)

    def ended(self) -> list[LocalAttempt]:
        """Those whose result was not acknowledged yet."""
        return [a for a in self._known.values() if a.update is not None]

    def unfinished(self) -> list[LocalAttempt]:
        """Those that run or wait."""
        return [a for a in self._known.values() if a.update is None]

    def dispatch(self, step: pb.Step, link: SchedulerLink) -> None:
        """Takes a step. One that is known is not started again: it is told of on the link that asked for it last."""
        known = self._known.get(step.id)
        if known is not None:
            self._adopt(known, link)
            return
        attempt = self._known[step.id] = LocalAttempt(step.id, step.partition, link, step)
        if self.draining:
            attempt.lost = DRAINING
            self._conclude(attempt, pb.StepResult())
            return
        attempt.pool = self.slots.take(exit=attempt.exit)
        if attempt.pool is None:
            pool = self.slots.kept if attempt.exit else self.slots.ordinary
            pool.waiting += 1
            self._waiting[attempt.exit].append(attempt)
        else:
            self._start(attempt)

    def cancel(self, id: str, grace: float | None = None) -> None:
        """Ends an attempt: SIGTERM, after its grace SIGKILL. Its result is still reported."""
        attempt = self._known.get(id)
        if attempt is None or attempt.update is not None or attempt.step is None:
            return
        attempt.cancelled = True
        if attempt.running is not None:
            attempt.running.end(attempt.step.grace_seconds if grace is None else grace)
        elif attempt.begun and attempt.task is not None:
            attempt.task.cancel()
        elif attempt.task is None:  # otherwise its first turn ends it
            self._leave_queues(attempt)
            self._conclude(attempt, failure("Failed", "cancelled before it started"))

    def fail(self, attempt: LocalAttempt, why: str) -> None:
        """Ends an attempt at once; it is reported as lost, for this reason."""
        attempt.lost = attempt.lost or why
        if attempt.running is not None:
            attempt.running.kill()
        else:
            self.cancel(attempt.id)

    def forget(self, ids: Iterable[str]) -> None:
        """Nobody wants these any more: those that run are killed, and nothing is reported."""
        for id in ids:
            attempt = self._known.get(id)
            if attempt is None:
                continue
            attempt.forgotten = True
            if attempt.update is not None:
                self.acknowledge([id])
            elif attempt.running is not None:
                attempt.running.kill()
            else:
                self.cancel(id)

    @property
    def crowded(self) -> bool:
        """Whether so many attempts are known that no further ones are taken."""
        return len(self._known) >= MOST_KNOWN + self.slots.ordinary.size + self.slots.kept.size

    def acknowledge(self, ids: Iterable[str]) -> None:
        """The results of these are durable."""
        crowded = self.crowded
        gone = []
        for id in ids:
            attempt = self._known.get(id)
            if attempt is not None and attempt.update is not None:
                del self._known[id]
                gone.append(id)
        if gone:
            self._book.forget(gone)
            if crowded and not self.crowded:
                for link in self.links:
                    link.wake()  # it lends again
            self.poke()

    # --- the end ------------------------------------------------------------------------------------------------------

    async def drain(self) -> None:
        """No new steps from here on."""
        self.draining = True
        self.wake_links()
        self.poke()

    def wake_links(self) -> None:
        """There is something to say to every scheduler."""
        for link in self.links:
            link.wake()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits until the condition holds; it is asked again whenever an attempt ends or is acknowledged."""
        while not condition():
            future: asyncio.Future[None] = self._loop.create_future()
            self._changed.add(future)
            try:
                await future
            finally:
                self._changed.discard(future)

    async def finish(self, drain_seconds: float, end_seconds: float) -> None:
        """Lets steps end, ends what still runs, and waits until the results are delivered to whoever is connected.

        Steps have `drain_seconds` to end by themselves, and their grace within `end_seconds` from now on.
        """
        ends = self._loop.time() + end_seconds
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain_seconds):
                await self.until(self.idle)
        if not self.idle():
            self.stop_running(max(0.0, ends - self._loop.time()))
            await self.until(self.idle)
        await self.until(lambda: self.delivered() or not self.links)

    def idle(self) -> bool:
        """True when nothing runs or waits."""
        return all(attempt.update is not None for attempt in self._known.values())

    def delivered(self) -> bool:
        """True when every result was acknowledged."""
        return not self._known

    def stop_running(self, seconds: float) -> None:
        """Ends what still runs, with its grace but at most so many seconds; it is reported as lost."""
        for attempt in self.unfinished():
            attempt.lost = STOPPED
            self.cancel(attempt.id, min(seconds, attempt.step.grace_seconds if attempt.step is not None else 0.0))

    # --- the life of an attempt ---------------------------------------------------------------------------------------

    def _remember(self) -> None:
        """Takes up what an earlier life left in the book. What ran then has ended with that life."""
        for id, entry in list(self._book.entries.items()):
            attempt = self._known[id] = LocalAttempt(id, entry.partition)
            attempt.update = _noted(entry.update, self._limits)
            if attempt.update is None:
                attempt.lost = KILLED
                self._note(attempt, attempt.conclude(pb.StepResult(), self._limits).SerializeToString())
            attempt.announced = self._loop.time()

    def follow(self, link: SchedulerLink) -> None:
        """The scheduler of this link is there (again): its attempts are told of on this link."""
        for attempt in self._known.values():
            if attempt.scheduler == link.replica:
                self._adopt(attempt, link)

    def unheard(self, link: SchedulerLink) -> None:
        """The link is gone: its steps need not wait any longer until somebody takes their output."""
        for attempt in self.unfinished():
            if attempt.link is link and attempt.output is not None and attempt.output.on_room is not None:
                attempt.output.on_room()

    def _adopt(self, attempt: LocalAttempt, link: SchedulerLink) -> None:
        attempt.scheduler = link.replica
        if attempt.link is not link:
            attempt.link = link
            if attempt.output is not None:
                attempt.output.again()
                link.has_output(attempt)
        if attempt.update is not None:
            link.has_ended(attempt)
        elif attempt.ready or attempt.progress:
            link.has_news(attempt)
        link.wake()

    def _start(self, attempt: LocalAttempt) -> None:
        if attempt.step is None:
            return  # cancelled just before
        try:
            self._book.begun(attempt.id, attempt.partition)
        except OSError as error:
            log.exception("an attempt cannot be noted", extra={"attempt": attempt.id})
            self._conclude(attempt, failure("Error", f"the executor cannot write: {error}"))
            return
        self._running[attempt.id] = attempt
        attempt.task = self._spawn(self._live(attempt, attempt.step))
        attempt.task.add_done_callback(partial(self._gone, attempt))

    async def _live(self, attempt: LocalAttempt, step: pb.Step) -> None:
        attempt.begun = True
        only_waits.set(partial(self._give_back, attempt))
        if attempt.cancelled:
            result = failure("Failed", "cancelled before it started")
        else:
            result = await self._work.do(attempt, step)
        self._conclude(attempt, result)

    def _gone(self, attempt: LocalAttempt, task: asyncio.Task[None]) -> None:
        """Makes sure that an attempt whose work is over has a result, unless the program ends."""
        if attempt.update is None and not task.cancelled():
            self._conclude(attempt, failure("Error", "the executor failed while it ran the step; its log says more"))

    def _conclude(self, attempt: LocalAttempt, result: pb.StepResult) -> None:
        try:
            update = attempt.conclude(result, self._limits)
        except Exception:
            log.exception("a result cannot be passed on", extra={"attempt": attempt.id})
            attempt.output = None
            wrong = failure("Error", "the executor cannot pass the step's result on; its log says more")
            update = attempt.conclude(wrong, self._limits)
        attempt.announced = self._loop.time()
        if attempt.timer is not None:
            attempt.timer.cancel()
        attempt.running = attempt.task = attempt.step = None
        self._running.pop(attempt.id, None)
        self._without_slot.discard(attempt.id)
        self._note(attempt, update.SerializeToString())
        steps.add(labels=(("phase", update.result.phase),))
        if attempt.started:
            durations.record(time.time() - attempt.started)
        if attempt.forgotten:
            self.acknowledge([attempt.id])
        elif attempt.link is not None:
            if attempt.output is not None:
                attempt.link.has_output(attempt)
            attempt.link.has_ended(attempt)
        self._free(attempt)
        self.poke()

    def _note(self, attempt: LocalAttempt, update: bytes) -> None:
        try:
            self._book.ended(attempt.id, attempt.partition, update)
        except OSError:
            log.exception("a result cannot be noted; it is reported all the same", extra={"attempt": attempt.id})

    def _give_back(self, attempt: LocalAttempt) -> None:
        """The attempt only waits for other work, which may need its slot."""
        if attempt.id in self._running and len(self._without_slot) < MOST_WAITING:
            self._without_slot.add(attempt.id)
            self._free(attempt)

    def _free(self, attempt: LocalAttempt) -> None:
        """Gives back the slot of an attempt; attempts that wait for one get it first."""
        if attempt.pool is not None:
            self.slots.give(attempt.pool)
            attempt.pool = None
            for exit in (True, False):
                waiting = self._waiting[exit]
                while waiting:
                    pool = self.slots.take(exit=exit)
                    if pool is None:
                        break
                    following = waiting.popleft()
                    following.pool = pool
                    (self.slots.kept if exit else self.slots.ordinary).waiting -= 1
                    self._loop.call_soon(self._start, following)
        for link in self.links:
            link.wake()

    def _leave_queues(self, attempt: LocalAttempt) -> None:
        if attempt in self._waiting[attempt.exit]:
            self._waiting[attempt.exit].remove(attempt)
            (self.slots.kept if attempt.exit else self.slots.ordinary).waiting -= 1

    def poke(self) -> None:
        """Has the conditions of `until` looked at again."""
        for future in self._changed:
            if not future.done():
                future.set_result(None)


def _noted(data: bytes | None, limits: OutputLimits) -> session_pb.AttemptUpdate | None:
    """The update that the book holds, within the limits of today; None when there is none that can be read."""
    if data is None:
        return None
    try:
        update = session_pb.AttemptUpdate.FromString(data)
    except DecodeError:
        log.exception("a result in the book cannot be read; its step counts as lost")
        return None
    bound(update.result, limits)
    return update
