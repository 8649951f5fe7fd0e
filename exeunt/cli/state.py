"""Where local clusters keep what they know, and how other commands find them.

A cluster's data directory has `cluster.json` (addresses and pids) and `lock`, held by the supervisor for as long as it
lives. $XDG_STATE_HOME/exeunt/clusters has one small file for each cluster of this user, naming its data directory.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exeunt.cli import private
from exeunt.cli.failure import CommandError
from exeunt.local import entries, read_facts, state_home


class AlreadyRunningError(CommandError):
    """Another supervisor holds the data directory."""


@dataclass(frozen=True)
class RunningCluster:
    """A local cluster that runs now."""

    data_dir: Path
    kept: bool  # by `exeunt up`; else it belongs to an `exeunt run`
    started: float
    facts: dict[str, Any]  # cluster.json

    @property
    def scheduler(self) -> str:
        """The scheduler's address."""
        return str(self.facts["scheduler"]["address"])

    @property
    def exithandler(self) -> str:
        """The exit handler's address."""
        return str(self.facts["exithandler"]["address"])


def default_data_dir() -> Path:
    """The data directory of `exeunt up` when none is named."""
    return state_home() / "cluster"


@contextlib.contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Holds a data directory. Raises AlreadyRunningError when another has it, CommandError when it cannot be used."""
    private.directory(data_dir)
    try:
        descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CommandError(f"{data_dir} cannot be used as a data directory: {error.strerror}", code=4) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunningError(f"a cluster runs on {data_dir} already; `exeunt down` stops it", code=4) from None
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def holder(data_dir: Path) -> int | None:
    """The pid of the supervisor that lives on this data directory; None when there is none."""
    if not is_locked(data_dir):
        return None
    text = (data_dir / "lock").read_text()
    return int(text) if text.isdigit() else None


def is_locked(data_dir: Path) -> bool:
    """True while a supervisor lives on this data directory."""
    try:
        descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def write_facts(data_dir: Path, facts: dict[str, Any]) -> None:
    """Replaces cluster.json in one step, so that no reader ever sees half of it, and only its owner sees it at all."""
    private.write(data_dir / "cluster.json", json.dumps(facts, indent=2) + "\n")


def register(data_dir: Path, kept: bool) -> None:
    """Lets other commands find the cluster on this data directory."""
    folder = state_home() / "clusters"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    entry = {"data_dir": str(data_dir.resolve()), "kept": kept, "started": time.time()}
    fresh = folder / f".{os.getpid()}.new"
    fresh.write_text(json.dumps(entry))
    fresh.replace(_entry(data_dir))


def unregister(data_dir: Path) -> None:
    """Forgets the cluster."""
    _entry(data_dir).unlink(missing_ok=True)


def known_clusters() -> list[RunningCluster]:
    """The clusters of this user that run now: those of `up` first, in each kind the latest first."""
    found = []
    with contextlib.suppress(OSError):
        for entry in entries():
            facts = read_facts(entry["data_dir"])
            if facts is not None and is_locked(entry["data_dir"]):
                found.append(RunningCluster(entry["data_dir"], entry["kept"], entry["started"], facts))
    return sorted(found, key=lambda known: (not known.kept, -known.started))


def _entry(data_dir: Path) -> Path:
    name = hashlib.blake2b(str(data_dir.resolve()).encode(), digest_size=8).hexdigest()
    return state_home() / "clusters" / f"{name}.json"
