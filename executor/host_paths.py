"""Paths of the machine that steps may mount: only below directories that the operator names, wherever links lead."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence

from exeunt.executor.runtime.sandbox.plan import below
from exeunt.executor.sub_paths import open_part
from exeunt.executor.volume_files import VolumeProblem

_IS: dict[str, tuple[str, int]] = {
    "Directory": ("a directory", stat.S_IFDIR),
    "DirectoryOrCreate": ("a directory", stat.S_IFDIR),
    "File": ("a file", stat.S_IFREG),
    "FileOrCreate": ("a file", stat.S_IFREG),
    "Socket": ("a socket", stat.S_IFSOCK),
    "CharDevice": ("a character device", stat.S_IFCHR),
    "BlockDevice": ("a block device", stat.S_IFBLK),
}


class HostPaths:
    """What of the machine may be mounted. `kept` are the executor's own directories, which never may."""

    def __init__(self, roots: Sequence[str], kept: Sequence[str] = ()) -> None:
        self._roots = [os.path.realpath(each) for each in roots]
        self._kept = [os.path.realpath(each) for each in kept]

    def place(self, path: str, type: str) -> tuple[str, str]:
        """The directory that is allowed, and the path below it, without links; made where `type` says so.

        Raises VolumeProblem, OSError. Whoever opens it goes by no link that leads out of the directory, since other
        steps may change what is in there meanwhile.
        """
        if not path.startswith("/") or ".." in path.split("/") or "\0" in path:
            raise VolumeProblem(f"hostPath {path!r} must be absolute, and without '..'")
        if type and type not in _IS:
            raise VolumeProblem(f"hostPath type {type!r} is not known")
        root, part = self._allowed(path)
        if type == "FileOrCreate":
            _create_file(root, part)
        try:
            fd = open_part(root, part, make=type == "DirectoryOrCreate")
        except (FileNotFoundError, NotADirectoryError):
            raise VolumeProblem(f"hostPath {path} is not {_IS[type][0] if type else 'there'}") from None
        try:
            if type and stat.S_IFMT(os.fstat(fd).st_mode) != _IS[type][1]:
                raise VolumeProblem(f"hostPath {path} is not {_IS[type][0]}")
        finally:
            os.close(fd)
        return root, part

    def _allowed(self, path: str) -> tuple[str, str]:
        real = os.path.realpath(path)
        if not below(real, self._roots):
            where = f" ({real})" if real != os.path.normpath(path) else ""
            told = f"only what is below {', '.join(self._roots)} is" if self._roots else "nothing is"
            raise VolumeProblem(
                f"hostPath {path}{where} is not allowed on this executor: {told}; its operator can allow more with "
                "--host-paths"
            )
        if below(real, self._kept) or any(below(each, (real,)) for each in self._kept):
            raise VolumeProblem(f"hostPath {path} holds the executor's own files")
        root = next(each for each in self._roots if below(real, (each,)))
        return root, os.path.relpath(real, root)


def _create_file(root: str, part: str) -> None:
    folder = open_part(root, os.path.dirname(part), make=False)
    try:
        with contextlib.suppress(FileExistsError):
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
            os.close(os.open(os.path.basename(part), flags, 0o644, dir_fd=folder))
    finally:
        os.close(folder)
