"""Makes archives of files and directories as streams: tar.gz and zip, as Argo makes them (util/archive).

A tree is walked by descriptors and never through a link, so that a directory that is exchanged for a link while it is
read leads nowhere. A file is taken as long as it was when it was begun.
"""

from __future__ import annotations

import io
import os
import stat
import tarfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from exeunt.artifacts.beneath import (
    DEPTH,
    DIRECTORY,
    FILE,
    NoSuchFileError,
    OutsideError,
    kind_of,
    open_beneath,
    split,
)
from exeunt.artifacts.limits import ENTRIES, ArchiveError, MissingFileError
from exeunt.artifacts.threads import PIECE_BYTES

LEVELS = range(-1, 10)
"""Levels of compression: -1 is zlib's own choice, 0 a gzip that is not compressed."""


@dataclass(frozen=True, slots=True)
class PackedEntry:
    """Something in a tree. `fd` is open for files while it is looked at; `name` is relative to the archive's root."""

    name: str
    info: os.stat_result
    fd: int = -1
    link: str = ""


class HeldFile(NamedTuple):
    """A file or directory that somebody holds open, with the path that it has for people.

    `below`: a name in that directory, which is meant instead.
    """

    fd: int
    path: Path
    below: str = ""

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.shown.name

    @property
    def shown(self) -> Path:
        """Its path, for people."""
        return self.path / self.below

    def open(self) -> int:
        """A descriptor to read it from. Raises OutsideError, NoSuchFileError, OSError."""
        own = Path(f"/proc/self/fd/{self.fd}")
        if self.below:
            return open_beneath(own, self.below)
        mode = os.fstat(self.fd).st_mode  # before it is opened: devices and fifos never are
        return os.open(own, os.O_RDONLY | os.O_CLOEXEC) if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else os.dup(self.fd)


Source = Path | HeldFile


def opened(source: Source, root: Path | None) -> int:
    """A descriptor of the source. Raises MissingFileError, ArchiveError."""
    try:
        fd = source.open() if isinstance(source, HeldFile) else open_beneath(*split(source, root))
    except NoSuchFileError:
        raise MissingFileError(f"{_shown(source)}: no such file or directory") from None
    except OutsideError as error:
        said = f"{_shown(source)} leads out of its directory" if isinstance(source, HeldFile) else str(error)
        raise ArchiveError(f"{said}; a step's files have to be its own") from None
    except OSError as error:
        raise ArchiveError(f"{_shown(source)} cannot be read: {error.strerror}") from error
    mode = os.fstat(fd).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        os.close(fd)
        raise ArchiveError(f"{_shown(source)} is {kind_of(mode)}; only files and directories can be kept")
    return fd


def _shown(source: Source) -> Path:
    return source.shown if isinstance(source, HeldFile) else source


def found_in(fd: int, name: str) -> Iterator[PackedEntry]:
    """What an open file or directory is made of, directories before what they hold. Raises ArchiveError, OSError."""
    info = os.fstat(fd)
    yield PackedEntry(name, info, fd)
    if stat.S_ISDIR(info.st_mode):
        count = [0]
        yield from _below(fd, name, count, 0)


def _below(folder: int, name: str, count: list[int], depth: int) -> Iterator[PackedEntry]:
    if depth > DEPTH:
        raise ArchiveError(f"{name} is deeper than {DEPTH} directories: pack it in the step itself")
    for entry in _names(folder):
        count[0] += 1
        if count[0] > ENTRIES:
            raise ArchiveError(f"more than {ENTRIES:,} files: pack them in the step itself")
        inside = f"{name}/{entry}"
        _said(inside)
        mode = os.lstat(entry, dir_fd=folder).st_mode
        if stat.S_ISLNK(mode):
            yield PackedEntry(inside, os.lstat(entry, dir_fd=folder), link=os.readlink(entry, dir_fd=folder))
            continue
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise ArchiveError(f"{inside} is {kind_of(mode)}: remove it before the step ends, only files can be kept")
        fd = os.open(entry, DIRECTORY if stat.S_ISDIR(mode) else FILE, dir_fd=folder)
        try:
            info = os.fstat(fd)
            if stat.S_IFMT(info.st_mode) != stat.S_IFMT(mode):
                raise ArchiveError(f"{inside} was exchanged for {kind_of(info.st_mode)} while it was read")
            yield PackedEntry(inside, info, fd)
            if stat.S_ISDIR(mode):
                yield from _below(fd, inside, count, depth + 1)
        finally:
            os.close(fd)


def _names(folder: int) -> list[str]:
    names: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            names.append(entry.name)
            if len(names) > ENTRIES:
                break  # whoever counts says so
    return sorted(names)


def _said(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ArchiveError(f"the file name {os.fsencode(name)!r} is not UTF-8: give it another one") from None


def content(one: PackedEntry) -> Iterator[bytes]:
    """The bytes of an open file: exactly as many as it had when it was begun. Raises ArchiveError, OSError."""
    left = one.info.st_size
    while left:
        piece = os.read(one.fd, min(left, PIECE_BYTES))
        if not piece:
            raise ArchiveError(f"{one.name} became shorter while it was read: end what writes it before the step ends")
        left -= len(piece)
        yield piece


def readable(source: Source, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same, with what the system says told as an ArchiveError about the source."""
    try:
        yield from pieces
    except OSError as error:
        name = f" ({error.filename})" if error.filename else ""
        raise ArchiveError(
            f"{_shown(source)} cannot be packed: {error.strerror}{name}; was it changed meanwhile?"
        ) from error


def tar_gz(source: Source, level: int, root: Path | None) -> Iterator[bytes]:
    """A tar.gz of a file or directory, under its own name. Raises ArchiveError, MissingFileError."""
    if level not in LEVELS:
        raise ArchiveError(f"compressionLevel {level}: there are -1 (the usual) to 9 (the smallest)")
    packer = zlib.compressobj(level, zlib.DEFLATED, 31)
    fd = opened(source, root)
    try:
        for piece in readable(source, _tar(fd, source.name)):
            yield packer.compress(piece)
        yield packer.flush()
    finally:
        os.close(fd)


def _tar(fd: int, name: str) -> Iterator[bytes]:
    _said(name)
    for one in found_in(fd, name):
        yield _header(one)
        if stat.S_ISREG(one.info.st_mode):
            yield from content(one)
            yield b"\0" * (-one.info.st_size % tarfile.BLOCKSIZE)
    yield b"\0" * (2 * tarfile.BLOCKSIZE)


def _header(one: PackedEntry) -> bytes:
    header = tarfile.TarInfo(one.name)
    header.mode = stat.S_IMODE(one.info.st_mode)
    header.mtime = max(int(one.info.st_mtime), 0)
    if one.link:
        _said(one.link)
        header.type, header.linkname = tarfile.SYMTYPE, one.link
    elif stat.S_ISDIR(one.info.st_mode):
        header.type = tarfile.DIRTYPE
    else:
        header.size = one.info.st_size
    return header.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


class _Sink(io.RawIOBase):
    """Takes what zipfile writes until it is fetched."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        part = bytes(data)  # type: ignore[call-overload]
        self._parts.append(part)
        return len(part)

    def taken(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def zipped(source: Source, root: Path | None) -> Iterator[bytes]:
    """A zip of a file or directory, under its own name; directories only where something is in them, as Argo's.

    Argo leaves modes out, and writes links as empty files; here both are kept as Info-ZIP does.
    Raises ArchiveError, MissingFileError.
    """
    fd = opened(source, root)
    try:
        yield from readable(source, _zip(fd, source.name))
    finally:
        os.close(fd)


def _zip(fd: int, name: str) -> Iterator[bytes]:
    _said(name)
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for one in found_in(fd, name):
            if stat.S_ISDIR(one.info.st_mode):
                continue
            moment = time.gmtime(min(max(one.info.st_mtime, _ZIP_FIRST), _ZIP_LAST))
            entry = zipfile.ZipInfo(one.name, moment[:6])
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = one.info.st_mode << 16
            if one.link:
                archive.writestr(entry, one.link)
                continue
            entry.file_size = one.info.st_size
            with archive.open(entry, "w", force_zip64=one.info.st_size > _ZIP_PLAIN) as writer:
                for piece in content(one):
                    writer.write(piece)
                    yield sink.taken()
    yield sink.taken()


_ZIP_FIRST, _ZIP_LAST = 315532800, 4354819198
"""From 1980 to 2107: what a zip can say of a time."""
_ZIP_PLAIN = 1 << 30
"""Larger files get sizes of 64 bits."""


def as_it_is(source: Source, root: Path | None) -> Iterator[bytes]:
    """The bytes of one file. Raises ArchiveError (also for a directory), MissingFileError."""
    fd = opened(source, root)
    try:
        one = PackedEntry(str(_shown(source)), os.fstat(fd), fd)
        if stat.S_ISDIR(one.info.st_mode):
            raise ArchiveError(f"{_shown(source)} is a directory: without an archive its files are kept one by one")
        yield from readable(source, content(one))
    finally:
        os.close(fd)


def names_below(source: Source, root: Path | None) -> list[str] | None:
    """The files of a directory by their names from it, without links, as in Argo (generatePutTasks); None for a file.

    Raises ArchiveError, MissingFileError.
    """
    fd = opened(source, root)
    try:
        prefix = len(source.name) + 1
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            return None
        return [one.name[prefix:] for one in found_in(fd, source.name) if stat.S_ISREG(one.info.st_mode)]
    except OSError as error:
        raise ArchiveError(f"{_shown(source)} cannot be read: {error.strerror}") from error
    finally:
        os.close(fd)
