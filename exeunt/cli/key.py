"""The key for secrets of a local cluster: made once in its data directory, for this user's eyes only."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "EXEUNT_SECRET_KEY"
FILE = "secret.key"


def key_setting(data_dir: Path, environ: Mapping[str, str]) -> str:
    """The setting for the services that need the key: the user's own, else the file, which is made if it is missing."""
    if environ.get(VARIABLE):
        return environ[VARIABLE]
    path = data_dir.absolute() / FILE
    if not path.exists():
        from exeunt.journal.keyring import new_key

        scratch = path.with_suffix(".new")
        scratch.unlink(missing_ok=True)
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{new_key()}\n")
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    return f"file:{path}"
