"""`exeunt run`: a private cluster for the time that some workflows, their exit handlers and their children take."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from exeunt.cli.cluster import Cluster, start_cluster
from exeunt.cli.failure import SUCCEEDED, TIMED_OUT, UNREACHABLE, WRONG_INPUT, CommandError
from exeunt.cli.files import read_documents
from exeunt.cli.interrupt import Interrupts, RunWaiter
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
@click.option("--abandon", is_flag=True, help="Ctrl-C and --timeout end it at once, with all that is due.")
@click.option("--quiet", "-q", is_flag=True, help="No progress on standard error.")
def run_command(
    *,
    files: tuple[str, ...],
    data_dir: Path | None,
    output: str | None,
    timeout: float | None,
    abandon: bool,
    quiet: bool,
    **given: Any,
) -> int:
    """Runs workflows on a private local cluster, with their exit handlers and the workflows that they start.

    FILE is a path, a directory, or - for standard input. The cluster is on loopback only and ends with the command.
    Ctrl-C, SIGTERM and --timeout stop the workflows and let their exit handlers run; a second Ctrl-C says what would be
    lost, a third gives it up.
    """
    documents = read_documents(files)
    wishes = submission(given)
    if data_dir is None and not (wishes["parameters"] or wishes["entrypoint"]):  # else the cluster knows better
        problems = [problem for problem in check(documents) if not problem.warning]
        if problems:
            raise CommandError("\n".join(map(str, problems)), code=WRONG_INPUT)
    logs.configure("run", "run", "error", "text")
    own = {name: given[name] for name in ("executors", "slots", "runtime", "images", "share")}
    with _folder(data_dir) as folder:
        options = options_of(folder, **own, shutdown_seconds=ALL_DONE_SECONDS)

        async def main() -> int:
            interrupts = Interrupts()
            kept = "" if data_dir is None else str(data_dir)
            ending = RunWaiter(interrupts, timeout, abandon=abandon, kept=kept)
            async with interrupts.heard(), start_cluster(options, kept=False) as cluster:
                return await _work(cluster, documents, wishes, ending, output=output, quiet=quiet)

        return asyncio.run(main())


async def _work(
    cluster: Cluster,
    documents: list[tuple[str, str]],
    wishes: dict[str, Any],
    ending: RunWaiter,
    *,
    output: str | None,
    quiet: bool,
) -> int:
    trace = trace_in(os.environ)
    async with Client(
        cluster.scheduler,
        exit_server=cluster.exithandler,
        patience=60.0,
        token=cluster.credentials.token,
        trace=trace,
    ) as client:
        ending.begin()
        try:
            async with asyncio.timeout_at(ending.ends):
                answer = await submit(client, documents, wishes)
        except TimeoutError:
            raise CommandError("nothing was submitted in time; the cluster is stopped", code=TIMED_OUT) from None
        if not answer.workflows:
            note("no Workflow is among the documents")
            return SUCCEEDED
        code = await finish(client, answer.workflows, output, quiet=quiet, wait=ending.wait)
        return ending.code or code


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
