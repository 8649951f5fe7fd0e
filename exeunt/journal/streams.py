"""Makes streams where they are missing, and the log's own."""

from __future__ import annotations

import asyncio
import base64
import logging
from typing import Any

from nats.js import JetStreamContext
from nats.js.api import StreamConfig
from nats.js.errors import APIError, NotFoundError

from exeunt.journal.errors import JetStreamError
from exeunt.journal.subjects import STREAM
from exeunt.journal.wire import Wire

log = logging.getLogger(__name__)

MEMBERS = "EXEUNT_MEMBERS"
READ_SECONDS = 2.0
"""Reads are safe to repeat: when a leader died, the next try finds the new one."""

_NAME_IN_USE = 10058
NOT_FOUND = 10059
_NO_MESSAGE = 10037
_NOT_YET = frozenset({10004, 10005, 10008, 10009})
"""The servers of a cluster have not found each other, or have no leader."""


async def ensure_stream(js: JetStreamContext, config: StreamConfig) -> None:
    """Makes the stream unless one of its name is there; an existing one keeps the settings that people gave it."""
    try:
        await js.stream_info(str(config.name))
    except NotFoundError:
        try:
            await js.add_stream(config)
        except APIError as error:
            if error.err_code != _NAME_IN_USE:  # else somebody made it at the same moment
                raise


async def ensure_raw(wire: Wire, config: dict[str, Any]) -> dict[str, Any]:
    """As `ensure_stream`, for settings that nats-py has no argument for. Answers the settings in force.

    Waits for a cluster that is not ready; raises JetStreamError when the server will never make it.
    """
    name = config["name"]
    while True:
        await wire.connected.wait()
        try:
            found: dict[str, Any] = (await wire.api(f"STREAM.INFO.{name}", seconds=READ_SECONDS))["config"]
        except JetStreamError as error:
            if error.code != NOT_FOUND:
                raise
        except TimeoutError:
            log.warning("stream %s does not answer; trying again", name)
            continue
        else:
            return found
        try:
            await wire.api(f"STREAM.CREATE.{name}", config)
        except JetStreamError as error:
            if error.code in _NOT_YET:
                log.warning("stream %s cannot be made yet: %s; trying again", name, error.description)
                await asyncio.sleep(0.5)
            elif error.code != _NAME_IN_USE:
                raise


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
        if error.code == _NO_MESSAGE:
            return 0, b""
        raise
    message = answer["message"]
    return int(message["seq"]), base64.b64decode(message.get("data", ""))
