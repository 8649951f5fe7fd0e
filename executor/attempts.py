"""Everything that this executor runs or has run: attempts get slots, and results are kept until acknowledged."""

from __future__ import annotations

import asyncio
import logging
import posixpath
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from exeunt.executor.attempt import Attempt
from exeunt.executor.book import Book
from exeunt.executor.images import Image, NoCommand, command_line
from exeunt.executor.logs import Output
from exeunt.executor.outputs import conclude
from exeunt.executor.runtime.base import Ended, Job, NotStarted, Runtime
from exeunt.executor.runtime.environment import expand
from exeunt.executor.scrub import Scrubber
from exeunt.executor.secrets import StepSecrets
from exeunt.executor.slots import Slots
from exeunt.language.secret import SecretMissing, SecretUnreadable
from exeunt.service.metrics import Counter, Gauge, Histogram
from exeunt.v1 import executor_service_pb2 as session_pb
from exeunt.v1 import step_pb2 as pb

if TYPE_CHECKING:
    from exeunt.executor.session import Session

log = logging.getLogger(__name__)

KILLED = "lost: the executor was killed while the step ran, and the step with it"
STOPPED = "lost: the executor was stopped while the step ran"
DRAINING = "lost: the executor is being stopped and takes no new steps"

steps = Counter("exeunt.executor.steps", "Steps that have ended, by phase", "{step}")
durations = Histogram("exeunt.executor.step.duration", "How long steps ran")


class Actions(Protocol):
    """Does the work that needs no process: http, plugin, resource."""

    async def __call__(self, step: pb.Step, secrets: StepSecrets) -> pb.StepResult:
        """Does it; never raises but for cancellation."""


class Attempts:
    """The attempts of an executor. All methods are called in the event loop's thread and do not wait.

    `output_bytes` bounds one parameter or result, `log_bytes` the output of one step that is kept.
    """

    def __init__(
        self,
        *,
        runtime: Runtime,
        actions: Actions,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        book: Book,
        slots: Slots[Session],
        images: Mapping[str, Image],
        executor_id: str,
        output_bytes: int,
        log_bytes: int,
    ) -> None:
        self.slots = slots
        self.draining = False
        self.links: list[Session] = []
        self._loop = asyncio.get_running_loop()
        self._runtime = runtime
        self._actions = actions
        self._spawn = spawn
        self._book = book
        self._images = images
        self._id = executor_id
        self._output_bytes = output_bytes
        self._log_bytes = log_bytes
        self._known: dict[str, Attempt] = {}
        self._waiting: dict[bool, deque[Attempt]] = {False: deque(), True: deque()}
        self._running: dict[str, Attempt] = {}
        self._paths: dict[str, deque[Attempt]] = {}
        self._changed: set[asyncio.Future[None]] = set()
        self._remember()
        Gauge("exeunt.executor.running", "Steps that run now", lambda: len(self._running), "{step}")
        Gauge("exeunt.executor.slots", "Slots, by kind and state", self._slot_counts, "{slot}")
        Gauge("exeunt.executor.links", "Schedulers that are connected", lambda: len(self.links), "{scheduler}")

    # --- what sessions ask --------------------------------------------------------------------------------------------

    def ids(self) -> Iterable[str]:
        """All attempts that are known: running, waiting, or ended and not acknowledged."""
        return self._known

    def get(self, id: str) -> Attempt | None:
        """The attempt of this id, if it is known."""
        return self._known.get(id)

    def ended(self) -> list[Attempt]:
        """Those whose result was not acknowledged yet."""
        return [a for a in self._known.values() if a.update is not None]

    def unfinished(self) -> list[Attempt]:
        """Those that run or wait."""
        return [a for a in self._known.values() if a.update is None]

    def dispatch(self, step: pb.Step, link: Session) -> None:
        """Takes a step. One that is known already is not started again; who asks for it hears of it from now on."""
        known = self._known.get(step.id)
        if known is not None:
            self._adopt(known, link)
            return
        attempt = self._known[step.id] = Attempt(step.id, step.partition, link, step)
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
        elif attempt.task is not None:
            attempt.task.cancel()
        else:
            self._leave_queues(attempt)
            self._conclude(attempt, pb.StepResult(phase="Failed", message="cancelled before it started"))

    def fail(self, attempt: Attempt, why: str) -> None:
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

    def acknowledge(self, ids: Iterable[str]) -> None:
        """The results of these are durable."""
        gone = []
        for id in ids:
            attempt = self._known.get(id)
            if attempt is not None and attempt.update is not None:
                del self._known[id]
                gone.append(id)
        if gone:
            self._book.forget(gone)
            self.poke()

    # --- the end ------------------------------------------------------------------------------------------------------

    async def drain(self) -> None:
        """No new steps from here on."""
        self.draining = True
        for link in self.links:
            link.wake()
        self.poke()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits until the condition holds; it is asked again whenever an attempt ends or is acknowledged."""
        while not condition():
            future: asyncio.Future[None] = self._loop.create_future()
            self._changed.add(future)
            try:
                await future
            finally:
                self._changed.discard(future)

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
        """Takes up what an earlier life left in the book; what ran then ended with it."""
        for id, entry in list(self._book.entries.items()):
            attempt = self._known[id] = Attempt(id, entry.partition)
            if entry.update is not None:
                attempt.update = session_pb.AttemptUpdate.FromString(entry.update)
                attempt.announced = self._loop.time()
            else:
                attempt.lost = KILLED
                self._book.ended(id, entry.partition, attempt.conclude(pb.StepResult()).SerializeToString())

    def follow(self, link: Session) -> None:
        """The scheduler of this link is there (again): its attempts speak to it through this one."""
        for attempt in self._known.values():
            if attempt.scheduler == link.replica:
                self._adopt(attempt, link)

    def _adopt(self, attempt: Attempt, link: Session) -> None:
        attempt.scheduler = link.replica
        if attempt.link is not link:
            attempt.link = link
            if attempt.output is not None:
                attempt.output.again()
                link.noisy[attempt.id] = attempt
        if attempt.update is not None:
            link.ended[attempt.id] = attempt
        link.wake()

    def _start(self, attempt: Attempt) -> None:
        step = attempt.step
        if step is None:
            return  # cancelled just before
        try:
            self._book.begun(attempt.id, attempt.partition)
        except OSError as error:
            log.exception("an attempt cannot be noted", extra={"attempt": attempt.id})
            self._conclude(attempt, pb.StepResult(phase="Error", message=f"the executor cannot write: {error}"))
            return
        self._running[attempt.id] = attempt
        attempt.secrets = StepSecrets(step)
        if step.WhichOneof("work") != "container":
            attempt.started = time.time()
            attempt.task = self._spawn(self._act(attempt, step))
            return
        attempt.paths = shared_paths(step)
        if self._must_wait(attempt):
            return
        self._launch(attempt, step)

    def _must_wait(self, attempt: Attempt) -> bool:
        """Attempts that write the same file of this machine take turns, or one would read what another wrote."""
        if any(path in self._paths for path in attempt.paths):
            for path in attempt.paths:
                self._paths.setdefault(path, deque()).append(attempt)
            return True
        for path in attempt.paths:
            self._paths[path] = deque([attempt])
        return False

    def _launch(self, attempt: Attempt, step: pb.Step) -> None:
        work = step.container
        output = attempt.output = Output(attempt.id, self._log_bytes, self._output_bytes, step.result)

        secrets = attempt.secrets or StepSecrets(step)
        scrubber = Scrubber(secrets.masker)

        def on_output(data: bytes, stdout: bool) -> None:
            if output.write(scrubber.take(data, stdout), stdout) and attempt.link is not None:
                attempt.link.noisy[attempt.id] = attempt
                attempt.link.wake()

        def on_end(ended: Ended) -> None:
            running = attempt.running
            assert running is not None
            for stdout in (True, False):
                output.write(scrubber.rest(stdout), stdout)
            result = conclude(step, ended, running, self._output_bytes, timed_out=attempt.timed_out)
            running.release()
            self._conclude(attempt, result)

        attempt.started = time.time()
        try:
            attempt.running = self._runtime.start(self._job(step, work, secrets), on_output, on_end)
        except (SecretMissing, SecretUnreadable) as error:
            self._conclude(attempt, pb.StepResult(phase="Error", message=f"env: {error.args[0]}"))
        except NoCommand as error:
            self._conclude(attempt, pb.StepResult(phase="Error", message=str(error)))
        except NotStarted as error:
            self._conclude(attempt, pb.StepResult(phase=error.phase, message=str(error), exit_code=error.exit_code))
        else:
            if step.timeout_seconds > 0:
                attempt.timer = self._loop.call_later(step.timeout_seconds, self._time_out, attempt)

    def _job(self, step: pb.Step, work: pb.ContainerWork, secrets: StepSecrets) -> Job:
        variables = secrets.environment(work)
        command = [expand(word, variables) for word in work.command] if variables else list(work.command)
        args = [expand(word, variables) for word in work.args] if variables else list(work.args)
        environment = {
            "EXEUNT_WORKFLOW": step.workflow,
            "EXEUNT_NAMESPACE": step.namespace,
            "EXEUNT_UID": step.uid,
            "EXEUNT_NODE_ID": step.node,
            "EXEUNT_NODE_NAME": step.node_name,
            "EXEUNT_ATTEMPT": str(step.attempt),
            "EXEUNT_ATTEMPT_ID": step.id,
            "EXEUNT_EXECUTOR": self._id,
            "EXEUNT_IDEMPOTENCY_KEY": step.idempotency_key,
        }
        for name in ("traceparent", "tracestate"):
            if name in step.trace_context:
                environment[name.upper()] = step.trace_context[name]
        environment.update(variables)
        return Job(
            id=step.id,
            command=command_line(work.image, command, args, self._images),
            environment=environment,
            working_dir=work.working_dir,
            source=work.source if work.script else None,
            separate=step.result,
            paths=tuple(o.path for o in step.outputs),
        )

    def _time_out(self, attempt: Attempt) -> None:
        attempt.timed_out = True
        self.cancel(attempt.id)

    async def _act(self, attempt: Attempt, step: pb.Step) -> None:
        try:
            result = await self._actions(step, attempt.secrets or StepSecrets(step))
        except asyncio.CancelledError:
            if not attempt.cancelled:
                raise  # the program ends
            result = pb.StepResult(phase="Failed", message="cancelled")
        self._conclude(attempt, result)

    def _conclude(self, attempt: Attempt, result: pb.StepResult) -> None:
        update = attempt.conclude(result)
        attempt.announced = self._loop.time()
        if attempt.timer is not None:
            attempt.timer.cancel()
        attempt.running = attempt.task = attempt.step = None
        self._running.pop(attempt.id, None)
        try:
            self._book.ended(attempt.id, attempt.partition, update.SerializeToString())
        except OSError:
            log.exception("a result cannot be noted; it is reported all the same", extra={"attempt": attempt.id})
        steps.add(labels=(("phase", result.phase),))
        if attempt.started:
            durations.record(time.time() - attempt.started)
        if attempt.forgotten:
            self.acknowledge([attempt.id])
        elif attempt.link is not None:
            if attempt.output is not None:
                attempt.link.noisy[attempt.id] = attempt
            attempt.link.ended[attempt.id] = attempt
        self._free(attempt)
        self.poke()

    def _free(self, attempt: Attempt) -> None:
        """Gives back the slot and the paths of an attempt, to those that wait for them first."""
        if attempt.paths:
            self._leave_paths(attempt)
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

    def _leave_paths(self, attempt: Attempt) -> None:
        heads: list[Attempt] = []
        for path in attempt.paths:
            queue = self._paths.get(path)
            if queue is None or attempt not in queue:
                continue
            queue.remove(attempt)
            if not queue:
                del self._paths[path]
            elif queue[0] not in heads:
                heads.append(queue[0])
        attempt.paths = ()
        for head in heads:
            ready = all(self._paths[path][0] is head for path in head.paths)
            if ready and head.running is None and head.step is not None:
                self._loop.call_soon(self._launch_now, head)

    def _launch_now(self, attempt: Attempt) -> None:
        if attempt.running is None and attempt.step is not None:
            self._launch(attempt, attempt.step)

    def _leave_queues(self, attempt: Attempt) -> None:
        if attempt in self._waiting[attempt.exit]:
            self._waiting[attempt.exit].remove(attempt)
            (self.slots.kept if attempt.exit else self.slots.ordinary).waiting -= 1

    def _slot_counts(self) -> dict[tuple[tuple[str, str], ...], float]:
        kinds = {"ordinary": self.slots.ordinary, "exit": self.slots.kept}
        return {
            (("kind", kind), ("state", state)): count
            for kind, pool in kinds.items()
            for state, count in (("used", pool.used), ("free", pool.size - pool.used), ("waiting", pool.waiting))
        }

    def poke(self) -> None:
        """Has conditions of `until` looked at again."""
        for future in self._changed:
            if not future.done():
                future.set_result(None)


def shared_paths(step: pb.Step) -> tuple[str, ...]:
    """The files that the step shall leave where other attempts see them; relative ones are in its own directory."""
    here = step.container.working_dir
    paths = (posixpath.normpath(posixpath.join(here, o.path)) for o in step.outputs)
    return tuple(dict.fromkeys(path for path in paths if path.startswith("/")))
