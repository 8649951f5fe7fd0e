"""Opens files below a directory without ever leaving it, whatever links are there or put there in the meantime."""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from pathlib import Path

LINKS = 40
"""So many links are followed for one path, as Linux does."""
DEPTH = 256
"""So deep a tree may be: each directory on the way is held open."""
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class OutsideError(Exception):
    """A path leads out of the directory that it has to stay in."""


class NoSuchFileError(Exception):
    """There is nothing at that path."""


def open_beneath(root: Path, name: str) -> int:
    """A descriptor of what stands at `name` below `root`; links are followed as long as they stay below it.

    Nothing of a fifo or a device is opened in a way that waits. Raises OutsideError, NoSuchFileError, OSError.
    """
    folders = [os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)]
    try:
        return _walk(root, name, folders)
    except FileNotFoundError:
        raise NoSuchFileError(f"{root / name}: no such file or directory") from None
    finally:
        for fd in folders:
            os.close(fd)


def _walk(root: Path, name: str, folders: list[int]) -> int:
    ahead = [part for part in reversed(name.split("/")) if part not in ("", ".")]
    links = 0
    while ahead:
        part = ahead.pop()
        if part == "..":
            if len(folders) == 1:
                raise OutsideError(f"{root / name} leads out of {root}")
            os.close(folders.pop())
            continue
        if stat.S_ISLNK(os.lstat(part, dir_fd=folders[-1]).st_mode):
            links += 1
            if links > LINKS:
                raise OutsideError(f"{root / name} goes through more than {LINKS} links")
            target = os.readlink(part, dir_fd=folders[-1])
            if target.startswith("/"):
                target = _below(root, name, target)
                while len(folders) > 1:
                    os.close(folders.pop())
            ahead += [one for one in reversed(target.split("/")) if one not in ("", ".")]
            continue
        if not ahead:
            return os.open(part, FILE, dir_fd=folders[-1])
        if len(folders) > DEPTH:
            raise OutsideError(f"{root / name} is deeper than {DEPTH} directories")
        folders.append(os.open(part, DIRECTORY, dir_fd=folders[-1]))
    return os.dup(folders[-1])


def _below(root: Path, name: str, target: str) -> str:
    """An absolute target as it is called from the root."""
    clean, top = posixpath.normpath(target), os.path.abspath(root)
    if clean != top and not clean.startswith(top.rstrip("/") + "/"):
        raise OutsideError(f"{root / name} is a link to {target}, which is outside of {root}")
    return clean[len(top) :]


def split(path: Path, root: Path | None) -> tuple[Path, str]:
    """The directory that a path has to stay in, and its name from there; without one its own directory."""
    if root is None:
        return path.parent, path.name
    try:
        return root, str(path.relative_to(root))
    except ValueError:
        raise OutsideError(f"{path} is not below {root}") from None


def kind_of(mode: int) -> str:
    """What a file is, in words."""
    kinds = {
        stat.S_IFIFO: "a fifo",
        stat.S_IFSOCK: "a socket",
        stat.S_IFBLK: "a block device",
        stat.S_IFCHR: "a character device",
        stat.S_IFLNK: "a link",
        stat.S_IFDIR: "a directory",
    }
    return kinds.get(stat.S_IFMT(mode), "a file")


def set_mode(name: str, mode: int, *, recurse: bool, folder: int) -> None:
    """Gives a file or directory in an open folder its mode; `recurse`: and all that is below. Links stay as they are.

    Argo follows links here. What is below comes first, so that a mode without `x` does not stand in the way.
    Raises OSError.
    """
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    _set_mode(fd, mode & 0o777, recurse=recurse, depth=0)


def _set_mode(fd: int, mode: int, *, recurse: bool, depth: int) -> None:
    try:
        here = os.fstat(fd).st_mode
        if stat.S_ISLNK(here):
            return
        own = f"/proc/self/fd/{fd}"
        if recurse and stat.S_ISDIR(here):
            if depth > DEPTH:
                raise OSError(errno.ENAMETOOLONG, f"more than {DEPTH} directories below each other")
            with os.scandir(own) as found:
                names = [entry.name for entry in found]
            for name in names:
                below = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
                _set_mode(below, mode, recurse=True, depth=depth + 1)
        os.chmod(own, mode)
    finally:
        os.close(fd)
