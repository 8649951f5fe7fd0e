"""Paths of the machine that steps may mount: only below directories that the operator names, wherever links lead."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence

from exeunt.executor.runtime.sandbox.plan import below
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

    def place(self, path: str, type: str) -> str:
        """The path with all links resolved, made where `type` says so. Raises VolumeProblem, OSError."""
        if not path.startswith("/") or ".." in path.split("/") or "\0" in path:
            raise VolumeProblem(f"hostPath {path!r} must be absolute, and without '..'")
        real = self._allowed(path)
        if type.endswith("OrCreate"):
            _create(real, type)
            real = self._allowed(path)  # somebody may have put a link there meanwhile
        if not type:
            if not os.path.lexists(real):
                raise VolumeProblem(f"hostPath {path} is not there")
            return real
        if type not in _IS:
            raise VolumeProblem(f"hostPath type {type!r} is not known")
        what, kind = _IS[type]
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if stat.S_IFMT(os.stat(real).st_mode) == kind:
                return real
        raise VolumeProblem(f"hostPath {path} is not {what}")

    def _allowed(self, path: str) -> str:
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
        return real


def _create(path: str, type: str) -> None:
    if type == "DirectoryOrCreate":
        os.makedirs(path, 0o755, exist_ok=True)
    elif not os.path.lexists(path):
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644))
