"""`exeunt backup` and `exeunt restore`: all that is kept in NATS, as files, and back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from exeunt.cli.connect import nats_url
from exeunt.cli.failure import SUCCEEDED, UNREACHABLE, WORK_FAILED, CommandError
from exeunt.cli.visible import echo
from exeunt.service.program import ProgramError

if TYPE_CHECKING:
    from exeunt.journal.wire import Wire

CONNECT_SECONDS = 15.0


def _nats(command: Callable[..., int]) -> Callable[..., int]:
    url = click.option(
        "--nats-url", "url", envvar="EXEUNT_NATS_URL", help="Where NATS listens; else the local cluster's."
    )
    password = click.option(
        "--nats-password", "password", envvar="EXEUNT_NATS_PASSWORD", default="", help="Where the address has none."
    )
    return url(password(command))


@click.command("backup")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@_nats
def backup_command(*, folder: Path, url: str | None, password: str) -> int:
    """Writes all that is kept in NATS into FOLDER: workflows, handlers, archive, ledger, templates, sealed secrets.

    The key of the secrets is not in it: keep that apart.
    """
    from exeunt.journal import backup

    async def work() -> None:
        async with _connected(url, password) as wire:
            index = await backup.backup(wire, folder, _say)
        if index.running:
            echo(
                "Services were at work meanwhile: what went on during the backup may be in it by half, and steps that"
                " ended then may run again after a restore. Stop them first for a move.",
                err=True,
            )

    return _run(work())


@click.command("restore")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--replicas", type=click.IntRange(1, 5), help="Copies of each stream; else as many as there were.")
@click.option("--replace", is_flag=True, help="Removes what this NATS holds of Exeunt's now.")
@_nats
def restore_command(*, folder: Path, replicas: int | None, replace: bool, url: str | None, password: str) -> int:
    """Brings a backup in FOLDER back, also to a NATS with another number of nodes.

    Schedulers and exit handlers must not run meanwhile; started afterwards they go on from there.
    """
    from exeunt.journal import backup

    async def work() -> None:
        async with _connected(url, password) as wire:
            await backup.restore(wire, folder, _say, replicas=replicas or 0, replace=replace)

    return _run(work())


@contextlib.asynccontextmanager
async def _connected(url: str | None, password: str) -> AsyncIterator[Wire]:
    from exeunt.journal.wire import connect, wire_of
    from exeunt.natspy import whole

    servers = [one.strip() for one in (url or nats_url()).split(",")]
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            nc = await connect(servers, "backup", password=password)
    except TimeoutError:
        where = ", ".join(server.rpartition("@")[2] for server in servers)
        raise CommandError(f"NATS cannot be reached at {where}", code=UNREACHABLE) from None
    try:
        yield await wire_of(nc)
    finally:
        await whole(nc.close())


def _run(work: Any) -> int:
    from exeunt.journal.errors import JetStreamError

    try:
        asyncio.run(work)
    except CommandError:
        raise
    except (ProgramError, JetStreamError, TimeoutError) as error:
        raise CommandError(str(error) or "NATS does not answer", code=WORK_FAILED) from error
    return SUCCEEDED


def _say(line: str) -> None:
    echo(line)
