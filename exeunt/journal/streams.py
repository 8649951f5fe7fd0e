"""Makes streams where they are missing, and the log's own."""

from __future__ import annotations

import asyncio
import base64
import logging
from typing import Any

from exeunt.journal.errors import JetStreamError
from exeunt.journal.subjects import STREAM
from exeunt.journal.wire import Wire
from exeunt.service.program import ProgramError

log = logging.getLogger(__name__)

MEMBERS = "EXEUNT_MEMBERS"
READ_SECONDS = 2.0
"""Reads are safe to repeat: when a leader died, the next try finds the new one."""

PAUSE_SECONDS = 0.5
LEAST_BYTES = 1024**2
"""Where NATS has no room for as much as a stream may take, a quarter of it is tried, and so on down to this."""

ABILITIES = ("allow_msg_ttl",)
_NAME_IN_USE = 10058
NOT_FOUND = 10059
NO_MESSAGE = 10037
NO_ROOM = frozenset({10023, 10047})
DELETED = "$JS.EVENT.ADVISORY.STREAM.DELETED"
_ONE_NODE = 10074


async def ensure_stream(wire: Wire, config: dict[str, Any]) -> dict[str, Any]:
    """Makes the stream unless one of its name is there; an existing one keeps the settings that people gave it.

    Only abilities that it was made without, by an older version, are switched on. Answers the settings in force. Waits
    for a cluster that is still forming, however long that takes; raises ProgramError when the server never makes it.
    """
    name = config["name"]
    while True:
        await wire.connected.wait()
        try:
            return await _made(wire, name, config)
        except TimeoutError:
            log.warning("stream %s: NATS does not answer; trying again", name)
        except JetStreamError as error:
            if not error.passing:
                raise ProgramError(f"NATS does not make the stream {name}: {_why(error, config)}") from error
            log.warning("stream %s: NATS is not ready yet: %s; trying again", name, error.description)
            await asyncio.sleep(PAUSE_SECONDS)


async def _made(wire: Wire, name: str, config: dict[str, Any]) -> dict[str, Any]:
    while True:
        try:
            found: dict[str, Any] = (await wire.api(f"STREAM.INFO.{name}", seconds=READ_SECONDS))["config"]
        except JetStreamError as error:
            if error.code != NOT_FOUND:
                raise
        else:
            lacking = {ability: True for ability in ABILITIES if config.get(ability) and not found.get(ability)}
            if lacking:
                await wire.api(f"STREAM.UPDATE.{name}", {**found, **lacking})
            return {**found, **lacking}
        try:
            await with_room(wire, "CREATE", config)
        except JetStreamError as error:
            if error.code != _NAME_IN_USE:  # else somebody made it at the same moment
                raise


async def with_room(wire: Wire, verb: str, config: dict[str, Any]) -> None:
    """Makes or changes a stream. NATS keeps aside what it may take: where that is not there, less is asked for.

    Not for the log: everything rests on its room. Raises JetStreamError.
    """
    most = int(config.get("max_bytes") or -1)
    while True:
        try:
            await wire.api(f"STREAM.{verb}.{config['name']}", {**config, "max_bytes": most})
        except JetStreamError as error:
            if error.code not in NO_ROOM or config["name"] == STREAM or most // 4 < LEAST_BYTES:
                raise
            most //= 4  # not all that is left: there are other streams
            continue
        if most != int(config.get("max_bytes") or -1):
            log.warning("NATS has room for %d MB of the stream %s only", most >> 20, config["name"])
        return


def _why(error: JetStreamError, config: dict[str, Any]) -> str:
    if error.code == _ONE_NODE:
        return (
            f"EXEUNT_REPLICAS asks for {config['num_replicas']} copies, and this NATS is a single node; "
            "set it to 1, or run three nodes"
        )
    return f"{error.description} ({error.code})"


def log_stream(replicas: int, max_bytes: int) -> dict[str, Any]:
    """The settings of EXEUNT_LOG: fsync'd file storage, atomic batches, refuses when full, no limit of age."""
    return {
        "name": STREAM,
        "subjects": ["xj.>"],
        "storage": "file",
        "retention": "limits",
        "discard": "new",
        "max_bytes": max_bytes,
        "num_replicas": replicas,
        "allow_atomic": True,
        "deny_delete": True,
    }


def members_stream(replicas: int) -> dict[str, Any]:
    """The settings of the members' bucket: who is there, in memory, the last word of each."""
    return {
        "name": f"KV_{MEMBERS}",
        "subjects": [f"$KV.{MEMBERS}.>"],
        "storage": "memory",
        "retention": "limits",
        "discard": "new",
        "max_msgs_per_subject": 1,
        "num_replicas": replicas,
        "allow_rollup_hdrs": True,
        "deny_delete": True,
    }


async def last_on(wire: Wire, stream: str, subject: str) -> tuple[int, bytes]:
    """Position and data of the last message on a subject, as the stream's leader has it; (0, b"") for none."""
    try:
        answer = await wire.api(f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject}, READ_SECONDS)
    except JetStreamError as error:
        if error.code == NO_MESSAGE:
            return 0, b""
        raise
    message = answer["message"]
    return int(message["seq"]), base64.b64decode(message.get("data", ""))
