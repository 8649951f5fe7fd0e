"""The life of one attempt: prepared, started, waited for, read. Whatever goes wrong in it is the attempt's Error."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import traceback
from functools import partial
from typing import Protocol

from exeunt.executor.attempt import LocalAttempt
from exeunt.executor.limits import OutputLimits, failure
from exeunt.executor.logs import Output
from exeunt.executor.outputs import conclude
from exeunt.executor.runtime.base import NotEnded, NotStarted, ProgramSpec, RunningProgram, Runtime
from exeunt.executor.runtime.environment import expand
from exeunt.executor.scrub import Scrubber
from exeunt.executor.secrets import StepSecrets
from exeunt.executor.staging import Staging, StepFiles
from exeunt.executor.turns import FileTurns, shared_paths
from exeunt.executor.volumes import StepVolumes, Volumes
from exeunt.internal.v1 import step_pb2 as pb
from exeunt.language.secret import SecretMissing, SecretUnreadable

log = logging.getLogger(__name__)

NEED_RUNTIME = frozenset({"container"})
"""The kinds of work that a runtime does; actions do the others."""

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
    ) -> None:
        """Without `volumes` or `staging` steps have no volumes or artifacts here."""
        self._staging = staging
        self._runtime = runtime
        self._volumes = volumes
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
            if step.WhichOneof("work") not in NEED_RUNTIME:
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

    def _paths(self, step: pb.Step) -> tuple[str, ...]:
        """The paths of this machine that the step has for itself."""
        links = self._volumes.turns(step.container) if self._volumes is not None else ()
        files = self._staging.turns(step) if self._staging is not None else ()
        return tuple(dict.fromkeys((*shared_paths(step), *links, *files)))

    async def _with_files(self, attempt: LocalAttempt, step: pb.Step, secrets: StepSecrets) -> pb.StepResult:
        """Runs the program with its volumes and its artifacts."""
        program = self._program(step, step.container, secrets)
        async with contextlib.AsyncExitStack() as stack:
            volumes = files = None
            exceeded: list[str] = []
            if step.volumes:
                if self._volumes is None:
                    raise NotStarted("this executor has no volumes")
                volumes = await stack.enter_async_context(self._volumes.made(step, secrets))
                program.binds = await volumes.binds(step.id, step.container, program.environment)
            if step.input_artifacts or step.output_artifacts or step.archive_logs:
                if self._staging is None:
                    raise NotStarted("this executor has no artifacts")
                files = await stack.enter_async_context(self._staging.of(step, secrets))
                program.binds += await files.fetched(partial(_place_of, volumes, step.id))
                program.kept = bool(step.output_artifacts)

            def too_much(why: str) -> None:
                exceeded.append(why)
                if attempt.running is not None:
                    attempt.running.kill()

            if volumes is not None:
                watch = asyncio.create_task(volumes.watch(too_much))
                stack.callback(watch.cancel)
            result = await self._run(attempt, step, program, secrets, files)
        if exceeded:
            result.phase, result.message = "Failed", exceeded[0]
        return result

    async def _run(
        self,
        attempt: LocalAttempt,
        step: pb.Step,
        program: ProgramSpec,
        secrets: StepSecrets,
        files: StepFiles | None,
    ) -> pb.StepResult:
        limits = self._limits
        output = attempt.output = Output(
            attempt.id, limits.log_bytes, limits.output_bytes, step.result, lambda: attempt.heard
        )
        scrubber = Scrubber(secrets.masker)
        log_file = files.log if files is not None else None

        def written(data: bytes, stdout: bool) -> bool:
            if log_file is not None:
                log_file.write(data)
            return output.write(data, stdout)

        def on_output(data: bytes, stdout: bool) -> None:
            if written(scrubber.take(data, stdout), stdout) and attempt.link is not None:
                attempt.link.has_output(attempt)
            if output.full and attempt.running is not None:
                attempt.running.pause()

        attempt.started = time.time()
        running = attempt.running = await self._runtime.start(program, on_output)
        output.on_room = running.resume
        if output.full:  # it wrote so much while it was being started
            running.pause()
        try:
            if step.timeout_seconds > 0:
                attempt.timer = asyncio.get_running_loop().call_later(step.timeout_seconds, attempt.time_out)
            result = await self._ended(attempt, step, running)
            for stdout in (True, False):
                written(scrubber.rest(stdout), stdout)
            if files is not None:
                await _keep(files, running, result)
        except asyncio.CancelledError:
            running.kill()
            raise
        finally:
            running.release()
        return result

    async def _ended(self, attempt: LocalAttempt, step: pb.Step, running: RunningProgram) -> pb.StepResult:
        ended = await running.wait()
        try:
            async with asyncio.timeout(READ_SECONDS):
                return await conclude(
                    step, ended, running, self._limits, timed_out=attempt.timed_out, hungry=attempt.hungry
                )
        except TimeoutError:
            why = f"the output files could not be read in {READ_SECONDS:g} s; does a file system not answer?"
            return failure("Error", why, ended.exit_code)

    def _program(self, step: pb.Step, work: pb.ContainerWork, secrets: StepSecrets) -> ProgramSpec:
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
        return ProgramSpec(
            id=step.id,
            image=work.image,
            command=command,
            args=args,
            environment=environment,
            working_dir=work.working_dir,
            source=work.source if work.script else None,
        )


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
