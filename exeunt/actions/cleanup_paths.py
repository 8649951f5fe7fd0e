"""Removes files and directories below declared roots. What is gone already is no error."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Sequence

from exeunt.actions.cleanup_report import CleanupReport, NotRemoved

PATTERN = frozenset("*?[")
"""Characters that people mean as a pattern."""


def remove_all(paths: Sequence[str], roots: Sequence[str]) -> CleanupReport:
    """Removes each path; says what became of it. Blocking."""
    report = CleanupReport()
    for path in paths:
        try:
            removed = remove(path, roots)
            if not removed and PATTERN & set(path):
                raise NotRemoved(
                    "there is nothing of just this name, and patterns are not expanded; name what is to go"
                )
            report.note(path, removed)
        except NotRemoved as error:
            report.wrong(path, str(error))
        except OSError as error:
            report.wrong(path, error.strerror or str(error))
    return report


def remove(path: str, roots: Sequence[str]) -> bool:
    """Removes a file, a link, or a directory with everything in it; False when it is not there.

    The path is opened directory by directory from the root down, without following links, so that nobody can redirect
    it meanwhile. Raises NotRemoved for a path outside the roots or behind a link, OSError where the system says
    no.
    """
    root, parts = _inside(path, roots)
    try:
        folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        for part in parts[:-1]:
            try:
                inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            except FileNotFoundError:
                return False
            except OSError as error:
                if error.errno in {errno.ELOOP, errno.ENOTDIR}:
                    raise NotRemoved(
                        f"{part!r} on the way there is a link or no directory; links are not followed"
                    ) from None
                raise
            os.close(folder)
            folder = inner
        return _remove_at(parts[-1], folder)
    finally:
        os.close(folder)


def _remove_at(name: str, folder: int) -> bool:
    try:
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode):
            shutil.rmtree(name, dir_fd=folder)
        else:
            os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return False
    return True


def _inside(path: str, roots: Sequence[str]) -> tuple[str, list[str]]:
    """The root that the path lies below, with links in the root itself resolved, and the rest of the way."""
    if "\0" in path or not os.path.isabs(path):
        raise NotRemoved("an absolute path is expected")
    parts = [p for p in path.split("/") if p not in {"", "."}]
    if ".." in parts:
        raise NotRemoved("'..' is not allowed in a path to remove")
    for root in roots:
        for form in {os.path.abspath(root), os.path.realpath(root)}:
            above = [p for p in form.split("/") if p]
            if parts[: len(above)] == above:
                if len(parts) == len(above):
                    raise NotRemoved("this is a root itself; only what lies below it is removed")
                return os.path.realpath(root), parts[len(above) :]
    if not roots:
        raise NotRemoved(
            "no roots are declared below which things may be removed; set cleanup roots for the exit handler"
        )
    raise NotRemoved(f"outside the declared roots ({', '.join(roots)})")
