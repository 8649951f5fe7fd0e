"""How a command finds its cluster: --server, EXEUNT_SERVER, or the local cluster that was started last."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import click

from exeunt.cli import state
from exeunt.cli.failure import TIMED_OUT, UNREACHABLE, CommandError
from exeunt.client import Client, trace_in

T = TypeVar("T")
PATIENCE = 8.0
"""Seconds for which a command asks again while a service does not answer; a restarted one is back within two."""


def addresses() -> tuple[str, str]:
    """The scheduler's and the exit handler's address. Raises CommandError when no cluster is known."""
    given = click.get_current_context().find_root().obj or {}
    server, exit_server = given.get("server"), given.get("exit_server")
    clusters = state.known_clusters()
    if not server:
        if not clusters:
            text = "no cluster: name one with --server or EXEUNT_SERVER, or start one with `exeunt up`"
            raise CommandError(text, code=UNREACHABLE)
        server = clusters[0].scheduler
    if not exit_server:
        exit_server = next((known.exithandler for known in clusters if known.scheduler == server), server)
    return server, exit_server


def command_for(server: str) -> str:
    """What to type in another terminal to reach this scheduler: `exeunt`, with --server where it is not the default."""
    clusters = state.known_clusters()
    return "exeunt" if clusters and clusters[0].scheduler == server else f"exeunt --server {server}"


def nats_url() -> str:
    """Where the cluster's NATS listens, for a local cluster. Raises CommandError for others."""
    server, _ = addresses()
    for known in state.known_clusters():
        if known.scheduler == server:
            return str(known.facts["nats"]["url"])
    raise CommandError(f"where the NATS of {server} listens is not known here: name it with --nats-url", code=2)


@contextlib.asynccontextmanager
async def connected(patience: float = PATIENCE) -> AsyncIterator[Client]:
    """A client of the command's cluster."""
    server, exit_server = addresses()
    trace = trace_in(os.environ)
    async with Client(server, exit_server=exit_server, patience=patience, trace=trace) as client:
        yield client


def with_client(work: Callable[[Client], Awaitable[T]], timeout: float | None = None) -> T:
    """Runs a command's work with a client. After `timeout` seconds the command ends with code 3."""

    async def run() -> T:
        try:
            async with asyncio.timeout(timeout), connected() as client:
                return await work(client)
        except TimeoutError:
            raise CommandError(f"not done after {timeout:g} s", code=TIMED_OUT) from None

    return asyncio.run(run())
