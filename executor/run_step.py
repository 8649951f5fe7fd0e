"""The life of one attempt: prepared, started, waited for, read. Whatever goes wrong in it is the attempt's Error."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import traceback
from functools import partial
from typing import Protocol

from exeunt.executor import progress
from exeunt.executor.attempt import LocalAttempt
from exeunt.executor.container_output import ContainerOutput
from exeunt.executor.data_step import listed
from exeunt.executor.limits import OutputLimits, failure
from exeunt.executor.logs import Output
from exeunt.executor.outputs import conclude
from exeunt.executor.own_address import own_address
from exeunt.executor.own_facts import put_facts
from exeunt.executor.pod import MAIN, Pod, PodPlan
from exeunt.executor.programs import is_pod, plan_of, works_of
from exeunt.executor.runtime.base import NotEnded, NotStarted, RunningProgram, Runtime
from exeunt.executor.secrets import StepSecrets
from exeunt.executor.staging import Staging, StepFiles
from exeunt.executor.turns import FileTurns, shared_paths
from exeunt.executor.volumes import StepVolumes, Volumes
from exeunt.internal.v1 import step_pb2 as pb
from exeunt.language.secret import SecretMissing, SecretUnreadable

log = logging.getLogger(__name__)

NEED_EXECUTOR = frozenset({"container", "container_set", "data"})
"""The kinds of work that only an executor does, with programs or files; actions do the others."""

READ_SECONDS = 60.0
"""How long reading the output files of a step may take."""


class Actions(Protocol):
    """Does the work that needs no process: http, plugin, resource."""

    async def __call__(self, step: pb.Step, secrets: StepSecrets) -> pb.StepResult:
        """Does it."""


class StepWork:
    """Does what steps want done, by processes or by actions."""

    def __init__(
        self,
        runtime: Runtime,
        actions: Actions,
        executor_id: str,
        limits: OutputLimits,
        *,
        volumes: Volumes | None = None,
        staging: Staging | None = None,
        address: str = "",
    ) -> None:
        """Without `volumes` or `staging` steps have no volumes or artifacts here. `address`: see `Settings.address`."""
        self._staging = staging
        self._runtime = runtime
        self._volumes = volumes
        self._address = address
        self._telling: set[asyncio.Task[None]] = set()
        self._actions = actions
        self._id = executor_id
        self._limits = limits
        self._turns = FileTurns()

    async def do(self, attempt: LocalAttempt, step: pb.Step) -> pb.StepResult:
        """Does the attempt's work and says how it ended, with secrets masked.

        Raises nothing but a cancellation that nobody asked for with `attempt.cancelled`: the program ends.
        """
        try:
            return await self._do(attempt, step)
        except asyncio.CancelledError:
            if not attempt.cancelled:
                raise
            return failure("Failed", "cancelled" if attempt.started else "cancelled before it started")
        except Exception as error:  # noqa: BLE001 - one step must not end the others
            mask = attempt.secrets.masker.text if attempt.secrets is not None else str
            trace = "".join(traceback.format_exception(error))
            log.error("a step could not be run: %s", mask(trace), extra={"attempt": attempt.id})  # noqa: TRY400 - masked
            why = f"the executor could not run the step: {type(error).__name__}: {error}"
            return failure("Error", mask(why))

    async def _do(self, attempt: LocalAttempt, step: pb.Step) -> pb.StepResult:
        secrets = attempt.secrets = StepSecrets(step)
        await secrets.prepare()
        try:
            if step.WhichOneof("work") == "data":
                attempt.started = time.time()
                result = await self._listed(step, secrets)
            elif step.WhichOneof("work") not in NEED_EXECUTOR:
                attempt.started = time.time()
                result = await self._actions(step, secrets)
            elif not self._runtime.own_files and (paths := self._paths(step)):
                async with self._turns.taken(paths):
                    result = await self._with_files(attempt, step, secrets)
            else:
                result = await self._with_files(attempt, step, secrets)
        except (SecretMissing, SecretUnreadable) as error:
            result = failure("Error", f"env: {error.args[0]}")
        except NotStarted as error:
            result = failure(error.phase, str(error), error.exit_code)
        except NotEnded as error:
            result = failure("Error", str(error))
        await secrets.mask(result)
        return result

    async def _listed(self, step: pb.Step, secrets: StepSecrets) -> pb.StepResult:
        """Does a data template: its result is the list as JSON."""
        if self._staging is None:
            raise NotStarted("this executor has no artifacts")
        return await listed(self._staging, step, secrets, self._limits)

    def _paths(self, step: pb.Step) -> tuple[str, ...]:
        """The paths of this machine that the step has for itself."""
        links = self._volumes.turns(*works_of(step)) if self._volumes is not None else ()
        files = self._staging.turns(step) if self._staging is not None else ()
        return tuple(dict.fromkeys((*shared_paths(step), *links, *files)))

    async def _with_files(self, attempt: LocalAttempt, step: pb.Step, secrets: StepSecrets) -> pb.StepResult:
        """Runs the program with its volumes and its artifacts."""
        await put_facts(step, self._id, partial(self._reached_at, attempt))
        plan = plan_of(step, secrets, self._id)
        async with contextlib.AsyncExitStack() as stack:
            volumes = files = None
            exceeded: list[str] = []
            if step.volumes:
                if self._volumes is None:
                    raise NotStarted("this executor has no volumes")
                volumes = await stack.enter_async_context(self._volumes.made(step, secrets))
                for one in plan.programs():
                    one.spec.binds = await volumes.binds(one.spec.id, one.work, one.spec.environment)
            if step.input_artifacts or step.output_artifacts or step.archive_logs:
                if self._staging is None:
                    raise NotStarted("this executor has no artifacts")
                files = await stack.enter_async_context(self._staging.of(step, secrets))
                binds = await files.fetched(partial(_place_of, volumes, step.id))
                for one in plan.main:  # all of a set find them, as on Argo
                    one.spec.binds += binds
                    one.spec.kept = one.name == MAIN and bool(step.output_artifacts)

            def too_much(why: str) -> None:
                exceeded.append(why)
                if attempt.running is not None:
                    attempt.running.kill()

            if volumes is not None:
                watch = asyncio.create_task(volumes.watch(too_much))
                stack.callback(watch.cancel)
            result = await self._run(attempt, step, plan, secrets, files)
        if exceeded:
            result.phase, result.message = "Failed", exceeded[0]
        return result

    async def _run(
        self,
        attempt: LocalAttempt,
        step: pb.Step,
        plan: PodPlan,
        secrets: StepSecrets,
        files: StepFiles | None,
    ) -> pb.StepResult:
        limits = self._limits
        output = attempt.output = Output(
            attempt.id, limits.log_bytes, limits.output_bytes, step.result, lambda: attempt.heard
        )
        logs = files.logs if files is not None else {}
        several = is_pod(step)
        takers: dict[str, ContainerOutput] = {}

        def taker(name: str) -> ContainerOutput:
            return takers.setdefault(
                name, ContainerOutput(name, attempt, output, secrets.masker, several=several, log_file=logs.get(name))
            )

        attempt.started = time.time()
        running: RunningProgram
        if several:
            ready = partial(self._is_ready, attempt) if step.daemon else None
            running = Pod(self._runtime, plan, taker, ready)
        else:
            running = await self._runtime.start(plan.main[0].spec, taker(MAIN))
        attempt.running = running
        output.on_room = running.resume
        if output.full:  # it wrote so much while it was being started
            running.pause()
        try:
            if step.timeout_seconds > 0:
                attempt.timer = asyncio.get_running_loop().call_later(step.timeout_seconds, attempt.time_out)
            looking = asyncio.create_task(progress.keep_looking(attempt, running))
            try:
                result = await self._ended(attempt, step, running)
            finally:
                looking.cancel()
            result.progress = attempt.progress
            for each in takers.values():
                each.end()
            if files is not None:
                await _keep(files, running, result)
        except asyncio.CancelledError:
            running.kill()
            raise
        finally:
            running.release()
            progress.remove(step.id)
        return result

    async def _ended(self, attempt: LocalAttempt, step: pb.Step, running: RunningProgram) -> pb.StepResult:
        ended = await running.wait()
        try:
            async with asyncio.timeout(READ_SECONDS):
                await progress.look(attempt, running, tell=False)
                return await conclude(
                    step, ended, running, self._limits, timed_out=attempt.timed_out, hungry=attempt.hungry
                )
        except TimeoutError:
            why = f"the output files could not be read in {READ_SECONDS:g} s; does a file system not answer?"
            return failure("Error", why, ended.exit_code)

    def _is_ready(self, attempt: LocalAttempt) -> None:
        """A daemon is: its scheduler hears where it is reached."""
        task = asyncio.create_task(self._tell(attempt))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _tell(self, attempt: LocalAttempt) -> None:
        attempt.ready = await self._reached_at(attempt)
        if attempt.link is not None:
            attempt.link.has_news(attempt)

    async def _reached_at(self, attempt: LocalAttempt) -> str:
        return self._address or await own_address(attempt.link.address if attempt.link is not None else "")


def _place_of(volumes: StepVolumes | None, id: str, path: str) -> tuple[str, str] | None:
    return None if volumes is None else volumes.place_of(id, path)


async def _keep(files: StepFiles, running: RunningProgram, result: pb.StepResult) -> None:
    """Keeps what the step left, however it ended. A step that failed keeps its failure."""
    kept, wrong = await files.kept(running)
    result.artifacts.extend(kept)
    if wrong and result.phase == "Succeeded":
        result.phase, result.message = "Error", f"wait: Error (exit code 1): {wrong}"
    elif wrong:
        log.warning("not all artifacts of a step that failed could be kept: %s", wrong)
