"""`exeunt up` and `exeunt down`: a local cluster that stays until it is told to go."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from exeunt.cli import private, state
from exeunt.cli.cluster import ClusterOptions, start_cluster
from exeunt.cli.failure import UNREACHABLE, CommandError
from exeunt.cli.visible import echo
from exeunt.local import read_facts
from exeunt.service import logs
from exeunt.service.program import READY_VARIABLE, Program, run

F = TypeVar("F", bound=Callable[..., Any])
DOWN_SECONDS = 90.0
RUNTIMES = {"sandbox": "sandboxes", "process": "plain processes, which see the machine's files"}


def cluster_options(function: F) -> F:
    """The options that `run` and `up` have in common."""
    for option in (
        click.option("--images", type=click.Path(exists=True, dir_okay=False), help="Images' entrypoints."),
        click.option("--share", multiple=True, help="Directory that sandboxes share with the machine (repeatable)."),
        click.option("--runtime", default="", help="What steps run in.  [default: sandbox where it works, or process]"),
        click.option("--slots", type=click.IntRange(1), help="Steps at once, each.  [default: 16]"),
        click.option("--executors", type=click.IntRange(0), default=1, show_default=True, help="How many executors."),
        click.option("--data-dir", type=click.Path(file_okay=False, path_type=Path), help="Where everything lies."),
    ):
        function = option(function)
    return function


def options_of(data_dir: Path, **given: Any) -> ClusterOptions:
    """The options of a cluster from those of a command, with paths that hold wherever the cluster runs."""
    given["images"] = str(Path(given["images"]).resolve()) if given["images"] else ""
    given["share"] = tuple(str(Path(each).resolve()) for each in given["share"])
    return ClusterOptions(data_dir.resolve(), **given)


@click.command("up")
@cluster_options
@click.option("--detach", "-d", is_flag=True, help="Return when the cluster is ready; `exeunt down` stops it.")
@click.option("--metrics/--no-metrics", default=True, show_default=True, help="Serve metrics for Prometheus.")
@click.option("--log-level", default="", hidden=True)
def up_command(*, data_dir: Path | None, detach: bool, **given: Any) -> int:
    """Starts NATS, scheduler, exit handler and executors on loopback, and keeps them running.

    A service that dies is started again within a second, on the same port. DIR/cluster.json says what runs where.
    The services' EXEUNT_* variables hold here, too; a flag wins over its variable. Addresses, names, tokens,
    directories, EXEUNT_REPLICAS and EXEUNT_SHUTDOWN_SECONDS are the cluster's own.
    """
    options = options_of(data_dir or state.default_data_dir(), **given)
    if detach:
        return _detached(options)
    logs.configure("up", str(os.getpid()), "info", "text")
    asyncio.run(run(lambda program: _keep(program, options), grace=60))
    return 0


async def _keep(program: Program, options: ClusterOptions) -> None:
    cluster = await program.enter(start_cluster(options, kept=True))
    services = f"scheduler {cluster.scheduler}, exit handler {cluster.exithandler}"
    echo(
        f"{services}, NATS {cluster.nats_address}; steps run in {RUNTIMES.get(cluster.runtime, cluster.runtime)}",
        err=True,
    )
    program.ready(address=cluster.scheduler)


def _detached(options: ClusterOptions) -> int:
    """Starts another process that does it, and waits until that is ready or has given up."""
    if state.is_locked(options.data_dir):
        facts = read_facts(options.data_dir) or {}
        echo(f"a cluster runs on {options.data_dir} already", err=True)
        echo(facts.get("scheduler", {}).get("address", ""))
        return 0
    private.directory(options.data_dir)
    log = options.data_dir / "logs" / "supervisor.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        text = f"{options.data_dir} cannot be used as a data directory: {error.strerror}"
        raise CommandError(text, code=UNREACHABLE) from error
    arguments = [f"--data-dir={options.data_dir}", f"--executors={options.executors}"]
    arguments += [f"--slots={options.slots}"] * (options.slots is not None)
    arguments += [f"--runtime={options.runtime}", *([f"--images={options.images}"] * bool(options.images))]
    arguments += [f"--share={each}" for each in options.share]
    arguments += ["--metrics" if options.metrics else "--no-metrics", f"--log-level={options.log_level}"]
    reading, writing = os.pipe()
    begin = log.stat().st_size if log.exists() else 0
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 (this very program)
            [sys.executable, "-m", "exeunt.cli.main", "up", *arguments],
            env={**os.environ, READY_VARIABLE: str(writing)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(writing,),
            start_new_session=True,
        )
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        line = pipe.readline()
    if not line:
        process.wait()
        said = log.read_bytes()[begin:].decode(errors="replace").strip()
        raise CommandError(f"the cluster did not start\n{said}", code=UNREACHABLE)
    echo(json.loads(line)["address"])
    return 0


@click.command("down")
@click.option("--data-dir", type=click.Path(file_okay=False, path_type=Path), help="The cluster's data directory.")
def down_command(data_dir: Path | None) -> int:
    """Stops a cluster of `exeunt up`: the one on --data-dir, else the one that was started last."""
    if data_dir is None:
        kept = [known.data_dir for known in state.known_clusters() if known.kept]
        data_dir = kept[0] if kept else state.default_data_dir()
    pid = state.holder(data_dir)
    if pid is None:
        echo(f"no cluster runs on {data_dir}", err=True)
        return 0
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        os.kill(pid, signal.SIGTERM)
        gone, _, _ = select.select([descriptor], [], [], DOWN_SECONDS)
        os.close(descriptor)
        if not gone:
            raise CommandError(f"the cluster on {data_dir} is still stopping (pid {pid})", code=UNREACHABLE)
    return 0
