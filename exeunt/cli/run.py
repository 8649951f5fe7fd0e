"""`exeunt run`: a private cluster for the time that some workflows, their exit handlers and their children take."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from exeunt.cli.cluster import Cluster, start_cluster
from exeunt.cli.failure import SUCCEEDED, TIMED_OUT, UNREACHABLE, WRONG_INPUT, CommandError
from exeunt.cli.files import read_documents
from exeunt.cli.lint import check
from exeunt.cli.output import note
from exeunt.cli.submit import finish, submission, submission_options, submit
from exeunt.cli.up import cluster_options, options_of
from exeunt.client import Client, trace_in
from exeunt.service import logs

ALL_DONE_SECONDS = 2.0
"""How long services take to end at most: when `run` ends its cluster there is no work left to hand over."""


@click.command("run")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@submission_options
@cluster_options
@click.option("--quiet", "-q", is_flag=True, help="No progress on standard error.")
def run_command(
    *,
    files: tuple[str, ...],
    data_dir: Path | None,
    output: str | None,
    timeout: float | None,
    quiet: bool,
    **given: Any,
) -> int:
    """Runs workflows on a private local cluster, with their exit handlers and the workflows that they start.

    FILE is a path, a directory, or - for standard input. The cluster is on loopback only and ends with the command.
    """
    documents = read_documents(files)
    wishes = submission(given)
    if data_dir is None and not (wishes["parameters"] or wishes["entrypoint"]):  # else the cluster knows better
        problems = [problem for problem in check(documents) if not problem.warning]
        if problems:
            raise CommandError("\n".join(map(str, problems)), code=WRONG_INPUT)
    logs.configure("run", "run", "error", "text")
    own = {name: given[name] for name in ("executors", "slots", "runtime", "share", "images")}
    with _folder(data_dir) as folder:
        options = options_of(folder, **own, shutdown_seconds=ALL_DONE_SECONDS)

        async def main() -> int:
            async with _interruptible(), start_cluster(options, kept=False) as cluster:
                return await _work(cluster, documents, wishes, output, timeout, quiet=quiet)

        return asyncio.run(main())


async def _work(
    cluster: Cluster,
    documents: list[tuple[str, str]],
    wishes: dict[str, Any],
    output: str | None,
    timeout: float | None,
    *,
    quiet: bool,
) -> int:
    try:
        async with (
            asyncio.timeout(timeout),
            Client(
                cluster.scheduler,
                exit_server=cluster.exithandler,
                patience=60.0,
                token=cluster.credentials.token,
                trace=trace_in(os.environ),
            ) as client,
        ):
            answer = await submit(client, documents, wishes)
            if not answer.workflows:
                note("no Workflow is among the documents")
                return SUCCEEDED
            return await finish(client, answer.workflows, output, quiet=quiet)
    except TimeoutError:
        raise CommandError(f"not done after {timeout:g} s; the cluster is stopped", code=TIMED_OUT) from None


@contextlib.asynccontextmanager
async def _interruptible() -> Any:
    """Turns SIGTERM and Ctrl-C into a cancellation, so that the cluster is stopped in order."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    number = 0

    def stop(which: int) -> None:
        nonlocal number
        number = which
        task.cancel()

    for which in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(which, stop, which)
    try:
        yield
    except asyncio.CancelledError:
        if number:
            raise CommandError("interrupted; the cluster is stopped", code=128 + number) from None
        raise
    finally:
        for which in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(which)


@contextlib.contextmanager
def _folder(data_dir: Path | None) -> Iterator[Path]:
    """The data directory: the one that is named, kept; or a temporary one."""
    if data_dir is not None:
        yield data_dir
        return
    try:
        folder = Path(tempfile.mkdtemp(prefix="exeunt-"))
    except OSError as error:
        raise CommandError(f"no temporary directory could be made: {error}", code=UNREACHABLE) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
