"""Packs what a step leaves, and unpacks what it gets: the archive strategies of Argo, as streams of bytes."""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from exeunt.artifacts import packing, unpacking
from exeunt.artifacts.landing import Landing, UnpackedSize
from exeunt.artifacts.limits import ArchiveError, MissingFileError, UnpackLimits
from exeunt.artifacts.packing import HeldFile, Source
from exeunt.artifacts.threads import consumed, gathered, produced

__all__ = [
    "ArchiveError",
    "HeldFile",
    "MissingFileError",
    "Strategy",
    "UnpackLimits",
    "UnpackedSize",
    "file_name",
    "names_below",
    "pack",
    "unpack",
]
DEFAULT_LEVEL = -1


@dataclass(frozen=True, slots=True)
class Strategy:
    """How an artifact is packed. `level`: of compression, for tar only; -1 is the usual one, 0 none."""

    kind: Literal["tar", "zip", "none"] = "tar"
    level: int = DEFAULT_LEVEL


def file_name(artifact: str, path: str, strategy: Strategy) -> str:
    """What the key of an artifact ends with, where the manifest names none (Argo: stageArchiveFile)."""
    if strategy.kind == "none":
        return os.path.basename(path.rstrip("/"))
    return f"{artifact}.{'tgz' if strategy.kind == 'tar' else 'zip'}"


def pack(source: Source, strategy: Strategy, *, root: Path | None = None) -> AsyncIterator[bytes]:
    """The archive of a file or directory, in pieces of about 256 KB.

    `root`: links on the way to the source may lead anywhere below it, else only within the source's own directory.
    Raises MissingFileError and ArchiveError, also in the midst: what has come until then is of no use.
    """

    def pieces() -> Iterator[bytes]:
        if strategy.kind == "tar":
            made = packing.tar_gz(source, strategy.level, root)
        elif strategy.kind == "zip":
            made = packing.zipped(source, root)
        else:
            made = packing.as_it_is(source, root)
        return gathered(made)

    return produced(pieces)


def names_below(source: Source, *, root: Path | None = None) -> list[str] | None:
    """The files of a directory, to be kept one by one under a prefix (`archive: none`), without links; None for a file.

    Each is then packed with `root=source`. Blocks. Raises MissingFileError, ArchiveError.
    """
    return packing.names_below(source, root)


async def unpack(
    stream: AsyncIterable[bytes],
    into: Path,
    kind: Literal["tar", "zip", "none", ""] = "",
    *,
    mode: int | None = None,
    recurse: bool = False,
    limits: UnpackLimits | None = None,
) -> UnpackedSize:
    """Makes `into` of an artifact's bytes; answers what it came to.

    `kind`: as the artifact says; empty: a tar.gz is unpacked and anything else is the file itself, as Argo does. An
    archive of one file becomes this file, of one directory this directory. What was at `into` is replaced, unless it is
    a directory with something in it. `mode` and `recurse` as in the manifest. Raises ArchiveError, and what the stream
    raises; then nothing has changed.
    """

    def work(packed: io.BufferedReader) -> UnpackedSize:
        def fill(landing: Landing, root: int) -> None:
            if kind == "zip":
                unpacking.unzip(packed, landing, root)
            elif kind == "tar" or (not kind and unpacking.is_tar_gz(packed)):
                unpacking.untar(packed, landing)
            else:
                landing.file(into.name, 0o644, None, unpacking.raw(packed, landing))

        return unpacking.arrange(into, limits or UnpackLimits(), fill, mode, recurse=recurse)

    return await consumed(stream, work)
