"""The data directory of an executor: one process has it at a time, and its executor keeps its name in it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import socket
from collections.abc import AsyncIterator
from pathlib import Path

from exeunt.service.program import ProgramError


@contextlib.asynccontextmanager
async def data_directory(path: Path) -> AsyncIterator[Path]:
    """The directory, made where it is missing, for this process alone. ProgramError when another one has it."""
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


def _made(path: Path) -> Path:
    directory = path.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def kept_names(directory: Path, wanted: str) -> tuple[str, str]:
    """The executor's id and the mark of its processes: both stay the same on one data directory.

    `wanted` is the id of the settings; when it is empty, the one from before is kept, or one is made up.
    """
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
