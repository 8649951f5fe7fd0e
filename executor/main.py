"""The executor as a service: puts its parts together, and takes them apart in order."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from exeunt.actions.context import open_toolbox
from exeunt.actions.done_here import WORK_DONE_HERE
from exeunt.executor.actions import ActionRunner, WorkflowFollower, WorkflowStarter
from exeunt.executor.artifact_roads import open_road
from exeunt.executor.attempt import SchedulerLink
from exeunt.executor.attempts import Attempts
from exeunt.executor.book import Book
from exeunt.executor.claims import Claims
from exeunt.executor.data_dir import data_directory, kept_names
from exeunt.executor.health import keep_health, serve_health
from exeunt.executor.limits import OutputLimits
from exeunt.executor.links import Links
from exeunt.executor.memory import MemoryWatch, own_groups
from exeunt.executor.run_step import StepWork
from exeunt.executor.runtime.base import RuntimeContext
from exeunt.executor.runtime.registry import RUNTIMES
from exeunt.executor.session import ExecutorIdentity
from exeunt.executor.settings import Settings
from exeunt.executor.slots import Slots
from exeunt.executor.staging import Staging, StagingContext
from exeunt.executor.volumes import open_volumes
from exeunt.service import telemetry
from exeunt.service.channel import known_by
from exeunt.service.program import Program, run
from exeunt.service.tokens import read_tokens

log = logging.getLogger(__name__)

HURRY = 1.0
"""Seconds of the shutdown time that are kept for the delivery of results."""


async def serve(settings: Settings) -> None:
    """Runs until told to stop: then no new steps, running ones may end, their results are delivered."""
    await run(partial(_start, settings=settings), grace=settings.shutdown_seconds)


async def _start(program: Program, settings: Settings) -> None:
    tokens = read_tokens(settings.token)
    known_by(read_tokens(settings.executor_token, "executor-token") or tokens)
    images, labels = settings.image_table(), settings.label_table()
    directory = await program.enter(data_directory(settings.data_dir))
    id, mark = kept_names(directory, settings.executor_id)
    context = RuntimeContext(
        directory, mark, images, settings.rootfs, settings.hidden_files(directory), tuple(settings.share)
    )
    runtime = await program.enter(RUNTIMES[settings.runtime](context))
    claims = Claims(directory / "claims")
    volumes = await program.enter(open_volumes(settings.volume_context(directory, mark, claims, runtime.own_files)))
    slots: Slots[SchedulerLink] = Slots(settings.slots, settings.exit_slots)
    token = "".join(tokens[:1])
    tools = await program.enter(
        open_toolbox(
            settings.action_settings(),
            start_workflow=WorkflowStarter(lambda: attempts.links, token),
            wait_workflow=WorkflowFollower(
                lambda: attempts.links, lambda: attempts.until(lambda: bool(attempts.links)), token
            ),
        )
    )
    limits = OutputLimits(
        output_bytes=settings.output_bytes,
        step_output_bytes=settings.step_output_bytes,
        log_bytes=settings.step_log_bytes,
    )
    road = await program.enter(
        open_road(settings.nats_url, settings.nats_password, f"executor {id}", lambda: attempts.links)
    )
    staging = Staging(
        StagingContext(directory, road, settings.artifact_seconds, settings.artifact_credentials, volumes.context.links)
    )
    attempts = Attempts(
        work=StepWork(
            runtime, ActionRunner(tools), id, limits, volumes=volumes, staging=staging, address=settings.address
        ),
        spawn=lambda work: program.routine("step", work),
        book=Book(directory / "attempts"),
        slots=slots,
        limits=limits,
    )
    identity = ExecutorIdentity(id, labels, (settings.runtime, *WORK_DONE_HERE), settings.heartbeat_seconds, claims)
    claims.on_new.append(partial(asyncio.get_running_loop().call_soon_threadsafe, attempts.wake_links))
    server = await program.enter(serve_health(settings.listen))
    program.background("health", keep_health(server, attempts))
    program.background("memory", MemoryWatch(attempts.unfinished, settings.step_memory_bytes, own_groups()).keep())
    program.background("links", Links(settings.schedulers, identity, attempts).run())
    program.at_stop(attempts.drain)
    drain = min(settings.drain_seconds, settings.shutdown_seconds / 2)
    program.finish(partial(attempts.finish, drain, settings.shutdown_seconds - HURRY))
    log.info("executor %s: %d slots and %d for exit steps", id, settings.slots, settings.exit_slots)
    program.ready(id=id, address=server.address, metrics=telemetry.current.metrics_address)
