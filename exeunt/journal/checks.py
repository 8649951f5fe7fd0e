"""Looks at the NATS server: is it new enough, does it sync before it acknowledges, does the stream fit."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from nats.errors import Error as NatsError

from exeunt.journal.errors import JetStreamError
from exeunt.journal.streams import log_stream
from exeunt.journal.subjects import STREAM
from exeunt.journal.wire import Wire

log = logging.getLogger(__name__)

OLDEST = (2, 12)
NO_SYNC = (
    "nats-server acknowledges before data is on disk: a power failure loses acknowledged work."
    " Set `sync_interval: always` in its jetstream block."
)


async def check(wire: Wire, monitor: str = "") -> list[str]:
    """What is wrong with the server, in sentences for people. Empty when all is well.

    `monitor` is the address of the server's HTTP side (`http://127.0.0.1:8222`): only there it says whether it syncs.
    """
    found: list[str] = []
    version = wire.nc.connected_server_version
    if (version.major, version.minor) < OLDEST:
        found.append(
            f"nats-server is {version.major}.{version.minor}.{version.patch}: atomic batches need"
            f" {OLDEST[0]}.{OLDEST[1]} or newer. Replace the server."
        )
    config = (await wire.api(f"STREAM.INFO.{STREAM}"))["config"]
    found += _stream(config)
    found += await _sync(monitor)
    return found


class ServerCheck:
    """`check` at the start and whenever the server is back, since it may be another one then."""

    def __init__(self, wire: Wire, monitor: str) -> None:
        self.problems: list[str] = []
        self._wire, self._monitor = wire, monitor

    async def keep(self) -> None:
        """Looks, says in the service's log what is wrong, and waits for the next time, until it is cancelled."""
        back = asyncio.Event()
        back.set()
        self._wire.on_back.append(back.set)
        try:
            while True:
                await back.wait()
                back.clear()
                await self._look()
        finally:
            self._wire.on_back.remove(back.set)

    async def _look(self) -> None:
        try:
            self.problems = await check(self._wire, self._monitor)
        except (JetStreamError, NatsError, TimeoutError) as error:
            log.warning("how nats-server is set up could not be looked at: %s", error or type(error).__name__)
        for sentence in self.problems:
            log.error("%s", sentence)


def _stream(config: dict[str, Any]) -> list[str]:
    wanted = log_stream(int(config.get("num_replicas", 1)), 1)
    found = [
        f"stream {STREAM}: {name} is {config.get(name)!r} and has to be {wanted[name]!r}: nats stream edit {STREAM}"
        for name in ("storage", "retention", "discard", "allow_atomic")
        if config.get(name) != wanted[name]
    ]
    if config.get("max_age"):
        found.append(f"stream {STREAM}: max_age is set, which forgets open runs: nats stream edit {STREAM} --max-age=0")
    if int(config.get("max_bytes", -1)) <= 0:
        found.append(
            f"stream {STREAM}: max_bytes is not set: a full disk would stop it in a way it cannot recover from."
        )
    return found


async def _sync(monitor: str) -> list[str]:
    if not monitor:
        return [
            "whether nats-server syncs before it acknowledges is not known: set the address of its monitoring port."
        ]
    import aiohttp

    try:
        timeout = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(f"{monitor}/varz") as answer:
            told = await answer.json(content_type=None)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        return [f"{monitor}/varz cannot be read ({error}): whether nats-server syncs is not known."]
    if told.get("jetstream", {}).get("config", {}).get("sync_always"):
        return []
    return [NO_SYNC]
