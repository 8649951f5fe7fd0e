"""Reads and removes what a step left in its root, when the root itself is gone: links never lead out of it.

A path is followed as the step saw it, through the step's own directories and the layers below them, by their text
alone. The file that this leads to is then opened from its layer without following any link, so that whoever changes
directories meanwhile gains nothing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Sequence
from typing import NamedTuple

from exeunt.executor.runtime.base import OutputTooLarge, Unreadable
from exeunt.executor.runtime.sandbox import kernel
from exeunt.executor.runtime.sandbox.plan import below

MOST_LINKS = 40
"""As many as the kernel follows in one path."""

_OF_THE_KERNEL = frozenset({"trusted.overlay.uuid", "trusted.overlay.origin", "trusted.overlay.impure"})


class SeenPlace(NamedTuple):
    """What a step saw at `target`: what it wrote is in `upper`, what was there before in `lower`; empty for none."""

    target: str
    upper: str
    lower: str = ""


def locate(path: str, start: str, places: Sequence[SeenPlace]) -> tuple[str, str]:
    """The directory of the host, and the path below it, that a path of the step leads to. Raises Unreadable.

    Relative paths begin at `start`. An empty directory: nothing that the step can have written lies there.
    """
    left = [part for part in os.path.join("/", start, path).split("/") if part][::-1]
    now, links = "/", 0
    while left:
        part = left.pop()
        if part == ".":
            continue
        if part == "..":
            now = os.path.dirname(now)
            continue
        reached = os.path.join(now, part)
        text = _link(reached, places)
        if text is None:
            now = reached
            continue
        links += 1
        if links > MOST_LINKS:
            raise Unreadable(f"{path!r}: {os.strerror(errno.ELOOP)}")
        if text.startswith("/"):
            now = "/"
        left += [each for each in text.split("/") if each][::-1]
    place = _place(now, places)
    return place.upper, os.path.relpath(now, place.target)


def read_file(path: str, start: str, places: Sequence[SeenPlace], limit: int) -> bytes | None:
    """The file of at most so many bytes; None when the step wrote none. Raises Unreadable, OutputTooLarge."""
    try:
        directory, rest = locate(path, start, places)
        if not directory:
            return None
        if rest == "." and not os.path.isdir(directory):
            directory, rest = os.path.split(directory)
        root = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            found = kernel.open_beneath(root, rest, os.O_PATH | os.O_CLOEXEC)
        finally:
            os.close(root)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise Unreadable(f"{path!r}: {getattr(error, 'strerror', None) or error}") from error
    try:
        return _content(found, path, limit)
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}") from error
    finally:
        os.close(found)


def _content(found: int, path: str, limit: int) -> bytes | None:
    """What is in it. A device, a pipe or a socket is not even opened."""
    status = os.fstat(found)
    if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
        return None  # how an overlay notes what was removed
    if not stat.S_ISREG(status.st_mode):
        raise Unreadable(f"{path}: not a regular file")
    data = bytearray()
    with open(f"/proc/self/fd/{found}", "rb", buffering=0) as file:
        while len(data) <= limit and (more := file.read(limit + 1 - len(data))):
            data += more
    if len(data) > limit:
        raise OutputTooLarge(max(len(data), status.st_size))
    return bytes(data)


def _place(path: str, places: Sequence[SeenPlace]) -> SeenPlace:
    """What covers the path: the last that was put there, or above it."""
    return next(each for each in reversed(places) if below(path, (each.target,)))


def _link(path: str, places: Sequence[SeenPlace]) -> str | None:
    """The text of the link at this path; None when there is none."""
    place = _place(path, places)
    rest = os.path.relpath(path, place.target)
    for directory in (place.upper, place.lower):
        if not directory or rest == ".":
            continue
        full = os.path.join(directory, rest)
        try:
            return os.readlink(full)
        except OSError:
            if os.path.lexists(full):
                return None
    return None


def renewed(directory: str) -> bool:
    """Makes a step's directory ready for another one; False, when the step has left anything in it, or changed it."""
    try:
        for name in os.listdir(directory):
            path = os.path.join(directory, name)
            if name.startswith("w"):
                shutil.rmtree(os.path.join(path, "work"))
                continue
            status = os.lstat(path)
            mode = 0o1777 if name == "tmp" else 0o755
            same = (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (mode, os.geteuid(), os.getegid())
            if not same or os.listdir(path) or not _OF_THE_KERNEL.issuperset(os.listxattr(path)):
                return False
    except OSError:
        return False
    return True


def remove_tree(directory: str) -> None:
    """Removes a directory with all that a step left in it, also what may not be looked into."""
    shutil.rmtree(directory, ignore_errors=True)
    left = [directory] if os.path.isdir(directory) else []
    while left:
        with contextlib.suppress(OSError):
            os.chmod(left[-1], 0o700)
        with contextlib.suppress(OSError), os.scandir(left.pop()) as listing:
            left += [each.path for each in listing if each.is_dir(follow_symlinks=False)]
    shutil.rmtree(directory, ignore_errors=True)
