"""The executor as a service: puts its parts together, and takes them apart in order."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import secrets
import socket
from collections.abc import AsyncIterator
from pathlib import Path

from exeunt.actions.context import open_toolbox
from exeunt.actions.perform import WORK_DONE_HERE
from exeunt.executor.actions import ActionRunner, WorkflowFollower, WorkflowStarter
from exeunt.executor.attempts import Attempts
from exeunt.executor.book import Book
from exeunt.executor.health import CONNECTED, Health
from exeunt.executor.images import Image, load_images
from exeunt.executor.limits import OutputLimits
from exeunt.executor.links import Links
from exeunt.executor.memory import MemoryWatch, own_groups
from exeunt.executor.runtime.table import RUNTIMES
from exeunt.executor.session import ExecutorIdentity, Session
from exeunt.executor.settings import Settings
from exeunt.executor.slots import Slots
from exeunt.executor.work import StepWork
from exeunt.service import telemetry
from exeunt.service.channel import known_by
from exeunt.service.grpc import serve_grpc
from exeunt.service.program import Program, ProgramError, run
from exeunt.service.tokens import read_tokens

log = logging.getLogger(__name__)

HURRY = 1.0
"""Seconds of the shutdown time that are kept for the delivery of results."""


async def serve(settings: Settings) -> None:
    """Runs until told to stop: then no new steps, running ones may end, their results are delivered."""

    async def setup(program: Program) -> None:
        await _start(program, settings)

    await run(setup, grace=settings.shutdown_seconds)


async def _start(program: Program, settings: Settings) -> None:
    tokens = read_tokens(settings.token)
    known_by(read_tokens(settings.executor_token, "executor-token") or tokens)
    images = _images(settings)
    labels = _pairs("labels", settings.labels)
    directory = await program.enter(_directory(settings.data_dir))
    id, mark = _identity(directory, settings.executor_id)
    runtime = await program.enter(RUNTIMES[settings.runtime](directory, mark))
    slots: Slots[Session] = Slots(settings.slots, settings.exit_slots)
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
    attempts = Attempts(
        work=StepWork(runtime, ActionRunner(tools), images, id, limits),
        spawn=lambda work: program.routine("step", work),
        book=Book(directory / "attempts"),
        slots=slots,
        limits=limits,
    )
    identity = ExecutorIdentity(id, labels, (settings.runtime, *WORK_DONE_HERE), settings.heartbeat_seconds)
    server = await program.enter(serve_grpc(settings.listen, {}, health_of=(CONNECTED,), grace=0.0))
    program.background("health", Health(server, attempts).keep())
    program.background("memory", MemoryWatch(attempts.unfinished, settings.step_memory_bytes, own_groups()).keep())
    program.background("links", Links(settings.schedulers, identity, attempts).run())
    program.at_stop(attempts.drain)
    program.finish(lambda: _finish(attempts, settings))
    log.info("executor %s: %d slots and %d for exit steps", id, settings.slots, settings.exit_slots)
    program.ready(id=id, address=server.address, metrics=telemetry.current.metrics_address)


async def _finish(attempts: Attempts, settings: Settings) -> None:
    """Lets steps end, ends the others, and waits until their results are delivered to whoever is connected."""
    ends = asyncio.get_running_loop().time() + settings.shutdown_seconds - HURRY
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(min(settings.drain_seconds, settings.shutdown_seconds / 2)):
            await attempts.until(attempts.idle)
    if not attempts.idle():
        attempts.stop_running(max(0.0, ends - asyncio.get_running_loop().time()))
        await attempts.until(attempts.idle)
    await attempts.until(lambda: attempts.delivered() or not attempts.links)


def _images(settings: Settings) -> dict[str, Image]:
    if not settings.images:
        return {}
    try:
        return load_images(Path(settings.images))
    except ValueError as error:
        raise ProgramError(f"--images: {error}") from error


def _pairs(name: str, texts: tuple[str, ...]) -> dict[str, str]:
    wrong = [text for text in texts if "=" not in text]
    if wrong:
        raise ProgramError(f"--{name}: {wrong[0]!r} is not NAME=VALUE")
    return dict(text.split("=", 1) for text in texts)


def _made(path: Path) -> Path:
    directory = path.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@contextlib.asynccontextmanager
async def _directory(path: Path) -> AsyncIterator[Path]:
    """The data directory, for this process alone."""
    directory = _made(path)
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ProgramError(
                f"{directory} is in use by another executor: end that one, or give this one another --data-dir"
            ) from None
        yield directory
    finally:
        os.close(lock)


def _identity(directory: Path, wanted: str) -> tuple[str, str]:
    """The executor's id and the mark of its processes: both stay the same on one data directory."""
    path = directory / "identity.json"
    try:
        known = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        known = {"mark": secrets.token_hex(8)}
    host = socket.gethostname().partition(".")[0]
    known["id"] = wanted or known.get("id") or f"executor-{host}-{secrets.token_hex(3)}"
    scratch = path.with_suffix(".new")
    scratch.write_text(json.dumps(known))
    scratch.replace(path)
    return str(known["id"]), str(known["mark"])
