"""A part of a volume, opened so that no link leads out of it, and made where it is missing (Kubernetes: subPath)."""

from __future__ import annotations

import contextlib
import os

from exeunt.executor.runtime.sandbox import kernel

DEEPEST = 64
"""Directories below each other in one subPath."""


def open_part(root: str, path: str, *, make: bool) -> int:
    """A descriptor (O_PATH) of what lies at `path` in the volume. OSError, with EXDEV where a link leads out of it.

    `make`: directories that are missing are made, as Kubernetes does.
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts or len(parts) > DEEPEST:
        raise ValueError(f"'..' and more than {DEEPEST} directories are not allowed")
    top = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for number in range(1, len(parts) + 1 if make else 0):
            _make(top, "/".join(parts[: number - 1]) or ".", parts[number - 1])
        return _open("/".join(parts) or ".", top)
    finally:
        os.close(top)


def _make(top: int, above: str, name: str) -> None:
    at = _open(above, top)
    try:
        os.stat(name, dir_fd=at, follow_symlinks=False)
    except FileNotFoundError:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o755, dir_fd=at)
    finally:
        os.close(at)


def _open(path: str, top: int) -> int:
    return kernel.open_beneath(top, path, os.O_PATH | os.O_CLOEXEC, links=True)
