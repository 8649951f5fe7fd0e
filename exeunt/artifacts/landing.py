"""Where an archive is unpacked: a directory that nothing of it gets out of, whatever its names and links say.

Each part of a path is opened from the descriptor of the one above, never through a link. A link may lead anywhere
within the directory; it has the shape `../../name/name`, with as many `..` as it has directories above it, so that no
chain of links leads out.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from exeunt.artifacts.beneath import DEPTH, DIRECTORY
from exeunt.artifacts.limits import NAME_BYTES, ArchiveError, UnpackLimits

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class UnpackedSize(NamedTuple):
    """What an archive came to."""

    entries: int
    size: int


def parts_of(name: str) -> tuple[str, ...]:
    """The parts of an entry's name. Raises ArchiveError where it is none that can stand below a directory."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        shown = name.encode("utf-8", "surrogateescape")
        raise ArchiveError(f"the name {shown!r} in the archive is not UTF-8") from None
    if name.startswith("/"):
        raise ArchiveError(f"the name {name!r} in the archive is absolute; names have to be relative")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts:
        raise ArchiveError(f"the name {name!r} in the archive leads out of it by '..'")
    if "\0" in name or size > NAME_BYTES or len(parts) > DEPTH:
        raise ArchiveError(f"the name {name[:80]!r}… in the archive is too long, or too deep, or has a zero byte")
    return parts


class Landing:
    """Writes the entries of one archive below an open directory, and counts them. Raises ArchiveError, OSError."""

    def __init__(self, root: int, limits: UnpackLimits) -> None:
        self._root = root
        self._limits = limits
        self._entries = 0
        self._size = 0
        self._packed = 0
        self._parent: tuple[str, ...] = ()
        self._parent_fd = os.dup(root)
        self._modes: dict[tuple[str, ...], int] = {}
        self._across = ""

    def close(self) -> None:
        """Lets go of what is open."""
        os.close(self._parent_fd)

    @property
    def written(self) -> UnpackedSize:
        """What it has come to so far."""
        return UnpackedSize(self._entries, self._size)

    @property
    def across(self) -> str:
        """A link that goes by way of the uppermost level; empty where there is none.

        Where this level has one entry only it goes away, and the link would lead out.
        """
        return self._across

    def packed(self, count: int) -> None:
        """So many bytes of the archive have been read."""
        self._packed += count
        if self._packed > self._limits.packed_bytes:
            raise ArchiveError(f"the archive is larger than the {self._limits.packed_bytes:,} bytes allowed")

    def count(self, size: int) -> None:
        """So many bytes more are written."""
        self._size += size
        limits = self._limits
        if self._size > limits.unpacked_bytes:
            raise ArchiveError(f"the archive unpacks to more than the {limits.unpacked_bytes:,} bytes allowed")
        if self._size > limits.unsuspected_bytes and self._size > self._packed * limits.ratio:
            raise ArchiveError(
                f"the archive unpacks to more than {limits.ratio} times its size ({self._packed:,} bytes read, "
                f"{self._size:,} written): this is what zip bombs do"
            )

    def _begin(self, name: str) -> tuple[str, ...]:
        self._entries += 1
        if self._entries > self._limits.entries:
            raise ArchiveError(f"the archive has more than the {self._limits.entries:,} entries allowed")
        return parts_of(name)

    def _folder(self, parts: tuple[str, ...], name: str) -> int:
        """The descriptor of a directory below the root, which is made where it is missing; it stays ours."""
        if parts == self._parent:
            return self._parent_fd
        fd = os.dup(self._root)
        try:
            for part in parts:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o755, dir_fd=fd)
                try:
                    below = os.open(part, DIRECTORY, dir_fd=fd)
                except OSError as error:
                    raise ArchiveError(f"{name!r} in the archive stands below {part!r}, no directory") from error
                os.close(fd)
                fd = below
        except BaseException:
            os.close(fd)
            raise
        os.close(self._parent_fd)
        self._parent, self._parent_fd = parts, fd
        return fd

    def folder(self, name: str, mode: int) -> None:
        """A directory. Its mode comes at the end, and always lets its owner in."""
        parts = self._begin(name)
        self._folder(parts, name)
        if parts:
            self._modes[parts] = mode & 0o777 | 0o700

    def file(self, name: str, mode: int, mtime: float | None, pieces: Iterator[bytes]) -> None:
        """A file; another one of that name is replaced. Without the bits that make it run as somebody else.

        `mtime`: in seconds since 1970; None for now.
        """
        parts = self._begin(name)
        if not parts:
            raise ArchiveError(f"{name!r} in the archive is no name of a file")
        fd = self._created(self._folder(parts[:-1], name), parts[-1], name)
        try:
            for piece in pieces:
                self.count(len(piece))
                rest = memoryview(piece)
                while rest:
                    rest = rest[os.write(fd, rest) :]
            os.fchmod(fd, mode & 0o777)
            if mtime is not None:
                os.utime(fd, (mtime, mtime))
        finally:
            os.close(fd)

    def _created(self, folder: int, last: str, name: str) -> int:
        try:
            return os.open(last, _NEW, 0o600, dir_fd=folder)
        except FileExistsError:
            self._gone(folder, last, name)
            return os.open(last, _NEW, 0o600, dir_fd=folder)

    def _gone(self, folder: int, last: str, name: str) -> None:
        """Makes place for another entry of the name."""
        try:
            os.unlink(last, dir_fd=folder)
        except FileNotFoundError:
            pass
        except (IsADirectoryError, PermissionError):
            raise ArchiveError(f"{name!r} is a directory and a file in the archive") from None

    def link(self, name: str, target: str) -> None:
        """A symbolic link, if it stays within."""
        parts = self._begin(name)
        aims = [part for part in target.split("/") if part not in ("", ".")]
        ups = next((i for i, part in enumerate(aims) if part != ".."), len(aims))
        parts_of("/".join(aims[ups:]) if not target.startswith("/") else target)
        if not parts or not target or ups >= len(parts):
            raise ArchiveError(f"the link {name!r} in the archive leads out of it, to {target!r}")
        if ups == len(parts) - 1:
            self._across = self._across or f"{name} -> {target}"
        folder = self._folder(parts[:-1], name)
        self._gone(folder, parts[-1], name)
        os.symlink(target, parts[-1], dir_fd=folder)

    def hard_link(self, name: str, target: str) -> None:
        """Another name of a file that was there before."""
        parts, aims = self._begin(name), parts_of(target)
        if not parts or not aims:
            raise ArchiveError(f"the link {name!r} in the archive is no file")
        folder = os.dup(self._folder(aims[:-1], target))
        try:
            there = os.lstat(aims[-1], dir_fd=folder)
            if not stat.S_ISREG(there.st_mode):
                raise ArchiveError(f"the link {name!r} in the archive leads to {target!r}, no file of it")
            own = self._folder(parts[:-1], name)
            if parts != aims:
                self._gone(own, parts[-1], name)
                os.link(aims[-1], parts[-1], src_dir_fd=folder, dst_dir_fd=own, follow_symlinks=False)
        except FileNotFoundError:
            raise ArchiveError(f"the link {name!r} in the archive leads to {target!r}, which is not there") from None
        finally:
            os.close(folder)

    def finish(self) -> None:
        """Gives directories their modes, the lowest first."""
        for parts in sorted(self._modes, key=len, reverse=True):
            os.fchmod(self._folder(parts, "/".join(parts)), self._modes[parts])
