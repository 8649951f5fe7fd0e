"""What keeps a local cluster to its user: a directory and files that only he can read; its key, password and tokens."""

from __future__ import annotations

import hmac
import json
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from exeunt.cli.failure import UNREACHABLE, CommandError

KEY_VARIABLE = "EXEUNT_SECRET_KEY"
KEY_FILE = "secret.key"
CREDENTIALS_FILE = "credentials.json"
OURS = ("lock", "cluster.json", "logs")
"""One of these lies in every data directory that a cluster has used."""


class Credentials(NamedTuple):
    """What the processes of one cluster know each other by, and its user. Made once for each data directory."""

    nats: str
    """Password of the NATS user."""
    token: str
    """For the API."""
    executor: str
    """For sessions of executors."""

    @property
    def artifacts(self) -> str:
        """Password of the NATS user by whom executors keep artifacts."""
        return hmac.digest(self.nats.encode(), b"artifacts", "sha256").hex()


def directory(path: Path) -> None:
    """Makes the data directory, or what there is of it, this user's alone. Raises CommandError when it cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = path.stat()
        if found.st_uid != os.geteuid():
            raise CommandError(f"{path} belongs to another user, who could read all of it", code=UNREACHABLE)
        if stat.S_IMODE(found.st_mode) & 0o077:
            names = os.listdir(path)
            if names and not any(name in OURS for name in names):
                text = f"{path} may be read by others, and holds files of other things: name a directory of its own"
                raise CommandError(f"{text} with --data-dir, or chmod 700 it", code=UNREACHABLE)
            path.chmod(0o700)
    except OSError as error:
        raise CommandError(f"{path} cannot be used as a data directory: {error.strerror}", code=UNREACHABLE) from error


def write(path: Path, text: str, *, durable: bool = False) -> None:
    """Replaces a file in one step by one that only its owner can read."""
    scratch = path.with_name(f"{path.name}.new")
    scratch.unlink(missing_ok=True)
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    scratch.replace(path)


def credentials(data_dir: Path) -> Credentials:
    """The credentials of the cluster on this data directory: the same ones each time."""
    path = data_dir / CREDENTIALS_FILE
    if not path.exists():
        made = Credentials(*(secrets.token_hex(32) for _ in Credentials._fields))
        write(path, json.dumps(made._asdict()) + "\n", durable=True)
    try:
        return Credentials(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        text = f"{path} cannot be read ({error}); remove it to have it made anew"
        raise CommandError(text, code=UNREACHABLE) from error


def key_setting(data_dir: Path, environ: Mapping[str, str]) -> str:
    """The key for secrets, as a setting: the user's own, else the file, which is made if it is missing."""
    if environ.get(KEY_VARIABLE):
        return environ[KEY_VARIABLE]
    path = data_dir.absolute() / KEY_FILE
    if not path.exists():
        from exeunt.journal.keyring import new_key

        write(path, f"{new_key()}\n", durable=True)
    return f"file:{path}"
