"""Reads archives as streams: tar.gz, zip, and the file itself where it is neither (Argo: unarchiveArtifact).

What is unpacked comes into a directory beside the target and takes its place at the end, in one step: a file alone
becomes the target itself, and so does a directory alone. On an error nothing is left.
"""

from __future__ import annotations

import calendar
import contextlib
import io
import os
import secrets
import shutil
import stat
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, cast

from exeunt.artifacts.beneath import DIRECTORY, kind_of, set_mode
from exeunt.artifacts.landing import Landing, UnpackedSize
from exeunt.artifacts.limits import DIRECTORY_BYTES, HEADER_BYTES, ArchiveError, UnpackLimits
from exeunt.artifacts.threads import PIECE_BYTES

GZIP = b"\x1f\x8b"
_PEEKED = 64 * 1024


class Inflated(io.RawIOBase):
    """The content of a gzip, of one or several members, checked by its sums; at most PIECE_BYTES at a time.

    `allowed`: so much may be read until it is set anew; None for any amount. Raises ArchiveError.
    """

    def __init__(self, packed: io.BufferedReader, landing: Landing) -> None:
        super().__init__()
        self._packed = packed
        self._landing = landing
        self._open = zlib.decompressobj(31)
        self._waiting = b""
        self.allowed: int | None = None

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int | None = -1) -> bytes:
        """At most `size` bytes; none at the end."""
        most = PIECE_BYTES if size is None or size < 0 else min(size, PIECE_BYTES)
        try:
            content = self._inflate(most)
        except zlib.error as error:
            raise ArchiveError(f"the archive is no gzip, or a damaged one: {error}") from None
        if self.allowed is not None:
            self.allowed -= len(content)
            if self.allowed < 0:
                raise ArchiveError(f"an entry of the archive has headers of more than {HEADER_BYTES:,} bytes")
        return content

    def _inflate(self, most: int) -> bytes:
        while True:
            if not self._waiting:
                self._waiting = self._packed.read1(PIECE_BYTES)
                self._landing.packed(len(self._waiting))
                if not self._waiting:
                    if not self._open.eof:
                        raise ArchiveError("the archive ends in the midst: it was not stored whole")
                    return b""
            if self._open.eof:
                self._open = zlib.decompressobj(31)
            content = self._open.decompress(self._waiting, most)
            self._waiting = self._open.unconsumed_tail or self._open.unused_data
            if content:
                return content


class _Entry(tarfile.TarInfo):
    """An entry whose damaged header is an error: tarfile takes it for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Entry:
        try:
            return super().frombuf(buf, encoding, errors)
        except (tarfile.EmptyHeaderError, tarfile.EOFHeaderError):  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise ArchiveError(f"the archive is no tar, or a damaged one: {error}") from None


def untar(packed: io.BufferedReader, landing: Landing) -> None:
    """Unpacks a tar.gz. Raises ArchiveError, OSError."""
    inflated = Inflated(packed, landing)
    inflated.allowed = HEADER_BYTES
    try:
        with tarfile.open(
            mode="r|",
            fileobj=cast("IO[bytes]", inflated),
            bufsize=PIECE_BYTES,
            tarinfo=_Entry,
            encoding="utf-8",
            errors="surrogateescape",
        ) as tar:
            while True:
                inflated.allowed = HEADER_BYTES + PIECE_BYTES
                entry = tar.next()
                if entry is None:
                    break
                tar.members.clear()  # type: ignore[attr-defined]
                inflated.allowed = None
                _land(tar, entry, landing)
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise ArchiveError(f"the archive is no tar, or a damaged one: {error}") from error
    inflated.allowed = None
    while inflated.read():  # to the end, for the sums of the gzip
        pass


def _land(tar: tarfile.TarFile, entry: tarfile.TarInfo, landing: Landing) -> None:
    if entry.isdir():
        landing.folder(entry.name, entry.mode)
    elif entry.issym():
        landing.link(entry.name, entry.linkname)
    elif entry.islnk():
        landing.hard_link(entry.name, entry.linkname)
    elif entry.isreg():
        content = tar.extractfile(entry)
        assert content is not None
        landing.file(entry.name, entry.mode, max(entry.mtime, 0), _pieces(content))
    else:
        kinds = {tarfile.CHRTYPE: stat.S_IFCHR, tarfile.BLKTYPE: stat.S_IFBLK, tarfile.FIFOTYPE: stat.S_IFIFO}
        kind = kind_of(kinds[entry.type]) if entry.type in kinds else f"of an unknown type {entry.type!r}"
        raise ArchiveError(f"{entry.name!r} in the archive is {kind}; only files, directories and links are taken")


def _pieces(content: IO[bytes]) -> Iterator[bytes]:
    while piece := content.read(PIECE_BYTES):
        yield piece


class _Bounded(io.FileIO):
    """A file of which nobody reads much at once: zipfile reads the list of contents as a whole."""

    def read(self, size: int | None = -1) -> bytes:
        """At most so much; DIRECTORY_BYTES of what is left where no size is said."""
        if size is None or size < 0:
            return super().read(DIRECTORY_BYTES)
        if size > DIRECTORY_BYTES:
            raise ArchiveError(f"the archive has a list of contents of more than {DIRECTORY_BYTES:,} bytes")
        return super().read(size)


def unzip(packed: io.BufferedReader, landing: Landing, folder: int) -> None:
    """Unpacks a zip, by way of a file without a name in that directory. Raises ArchiveError, OSError."""
    with tempfile.TemporaryFile(dir=f"/proc/self/fd/{folder}") as spool:
        while piece := packed.read1(PIECE_BYTES):
            landing.packed(len(piece))
            spool.write(piece)
        spool.flush()
        with _Bounded(spool.fileno(), closefd=False) as file:
            try:
                with zipfile.ZipFile(file) as archive:
                    for entry in archive.infolist():
                        _land_zipped(archive, entry, landing)
            except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
                raise ArchiveError(f"the archive is no zip that can be read: {error}") from error


def _land_zipped(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, landing: Landing) -> None:
    mode = entry.external_attr >> 16
    kind = stat.S_IFMT(mode)
    if entry.is_dir():
        landing.folder(entry.filename, stat.S_IMODE(mode) or 0o755)
        return
    with archive.open(entry) as content:
        if kind == stat.S_IFLNK:
            landing.link(entry.filename, content.read(4096).decode("utf-8", "surrogateescape"))
        elif kind in (0, stat.S_IFREG):
            landing.file(entry.filename, stat.S_IMODE(mode) or 0o644, _moment(entry), _pieces(content))
        else:
            raise ArchiveError(f"{entry.filename!r} in the archive is {kind_of(mode)}; only files are taken")


def _moment(entry: zipfile.ZipInfo) -> float:
    try:
        return max(float(calendar.timegm(time.struct_time((*entry.date_time, 0, 0, 0)))), 0.0)
    except (ValueError, OverflowError):
        return 0.0


def raw(packed: io.BufferedReader, landing: Landing) -> Iterator[bytes]:
    """The bytes as they come. Raises ArchiveError where there are too many."""
    while piece := packed.read1(PIECE_BYTES):
        landing.packed(len(piece))
        yield piece


def is_tar_gz(packed: io.BufferedReader) -> bool:
    """Whether a stream begins as a tar.gz does; nothing of it is lost. An empty tar is none, as in Argo."""
    begin = packed.peek(_PEEKED)
    if not begin.startswith(GZIP):
        return False
    try:
        block = zlib.decompressobj(31).decompress(begin, tarfile.BLOCKSIZE)
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (zlib.error, tarfile.HeaderError):
        return False
    return True


def arrange(
    into: Path,
    limits: UnpackLimits,
    fill: Callable[[Landing, int], None],
    mode: int | None = None,
    *,
    recurse: bool = False,
) -> UnpackedSize:
    """Has a directory filled beside the target, and puts what came into it in the target's place.

    `mode`: what it gets; `recurse`: and all that is below.
    Raises ArchiveError; then the target is what it was, and nothing is left beside it.
    """
    with _staging(into) as (beside, staging, root):
        landing = Landing(root, limits)
        try:
            fill(landing, root)
            landing.finish()
            _put(root, beside, staging, into.name, landing.across)
            if mode is not None:
                set_mode(into.name, mode, recurse=recurse, folder=beside)
            return landing.written
        finally:
            landing.close()


@contextlib.contextmanager
def directory_for(into: Path) -> Iterator[int]:
    """An open directory to be filled, which takes the target's place when the block has ended well.

    Raises ArchiveError; then the target is what it was, and nothing is left beside it.
    """
    with _staging(into) as (beside, staging, root):
        yield root
        os.rename(staging, into.name, src_dir_fd=beside, dst_dir_fd=beside)


@contextlib.contextmanager
def _staging(into: Path) -> Iterator[tuple[int, str, int]]:
    """A new directory beside a target: the one above both, its name there, and itself. It is gone after the block."""
    try:
        into.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        beside = os.open(into.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ArchiveError(f"{into.parent} cannot be made: {error.strerror}") from error
    staging = f".{into.name[:100]}.{secrets.token_hex(6)}.tmp"
    try:
        os.mkdir(staging, 0o755, dir_fd=beside)
        try:
            root = os.open(staging, DIRECTORY, dir_fd=beside)
            try:
                yield beside, staging, root
            finally:
                os.close(root)
        finally:
            shutil.rmtree(staging, ignore_errors=True, dir_fd=beside)
    except OSError as error:
        raise ArchiveError(f"{into} cannot be written: {error.strerror or error}") from error
    finally:
        os.close(beside)


def _put(root: int, beside: int, staging: str, name: str, across: str) -> None:
    entries = os.listdir(root)
    if len(entries) != 1:
        os.rename(staging, name, src_dir_fd=beside, dst_dir_fd=beside)
        return
    if across or stat.S_ISLNK(os.lstat(entries[0], dir_fd=root).st_mode):
        raise ArchiveError(f"a link in the archive leads out of it: {across or entries[0]}")
    os.rename(entries[0], name, src_dir_fd=root, dst_dir_fd=beside)
