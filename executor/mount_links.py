"""Volumes for steps that see the machine's files as they are: a link at each mount's path, where nothing else stands.

Links are noted in a directory before they are made, and removed when the step has ended or, after the executor was
killed, before it takes steps again. So are the directories that had to be made for them. Steps take turns at a path.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from exeunt.executor.runtime.base import Bind
from exeunt.executor.volume_files import VolumeProblem


class MountLinks:
    """The links of this executor's steps; `notes` is the directory in which they are noted."""

    def __init__(self, notes: Path) -> None:
        self._notes = notes
        notes.mkdir(parents=True, exist_ok=True)
        self._made: set[str] = set()  # paths that are there only for steps
        for note in notes.iterdir():
            _undo(note)

    def turns(self, targets: Iterable[str]) -> tuple[str, ...]:
        """What a step has to have for itself before it puts links there: of each path the part that is not there."""
        return tuple(dict.fromkeys(self._missing(target) for target in targets))

    def put(self, id: str, binds: Sequence[Bind]) -> None:
        """Makes the links of one step, outer ones first. Raises VolumeProblem, OSError; then none are left."""
        note = self._note(id)
        links: list[tuple[str, str]] = []
        directories: list[str] = []
        try:
            for bind in binds:
                self._free(bind.target, [target for _, target in links])
                missing = _above(bind.target)
                links.append((os.path.realpath(bind.source), bind.target))
                directories += missing
                scratch = note.with_suffix(".new")
                scratch.write_text(json.dumps({"links": links, "directories": directories}))
                scratch.replace(note)
                self._made.update([bind.target, *missing])
                os.makedirs(os.path.dirname(bind.target), exist_ok=True)
                os.symlink(links[-1][0], bind.target)
        except BaseException:
            self.take_away(id)
            raise

    def take_away(self, id: str) -> None:
        """Removes the links of a step, and the directories that were made for them and are empty."""
        self._made -= _undo(self._note(id))

    def _note(self, id: str) -> Path:
        return self._notes / hashlib.blake2b(id.encode(), digest_size=12).hexdigest()

    def _missing(self, target: str) -> str:
        """The uppermost part of the path that is not there, but for what is there only for steps."""
        parts = target.strip("/").split("/")
        for at in range(1, len(parts)):
            path = "/" + "/".join(parts[:at])
            if path in self._made or not os.path.lexists(path):
                return path
        return target

    def _free(self, target: str, own: list[str]) -> None:
        for path in _parts(os.path.dirname(target)):
            if os.path.islink(path) and path in self._made and path not in own:
                raise VolumeProblem(f"{path} belongs to another step's volume")
        if os.path.lexists(target):
            raise VolumeProblem(
                f"{target} is on this machine already, and would be hidden: mount the volume elsewhere, or give steps "
                "files of their own with --runtime sandbox"
            )


def _parts(path: str) -> list[str]:
    """The path and all above it but the root, from above."""
    parts = path.strip("/").split("/") if path.strip("/") else []
    return ["/" + "/".join(parts[: at + 1]) for at in range(len(parts))]


def _above(target: str) -> list[str]:
    """The directories above a path that have to be made for it."""
    return [path for path in _parts(os.path.dirname(target)) if not os.path.lexists(path)]


def _undo(note: Path) -> set[str]:
    """Removes what a note names, as far as it is as it was made. The paths."""
    try:
        noted = json.loads(note.read_text())
    except (FileNotFoundError, ValueError):
        noted = {"links": [], "directories": []}
    for source, target in reversed(noted["links"]):
        with contextlib.suppress(OSError):
            if os.readlink(target) == source:
                os.unlink(target)
    for directory in reversed(noted["directories"]):
        with contextlib.suppress(OSError):
            os.rmdir(directory)
    note.unlink(missing_ok=True)
    return {target for _, target in noted["links"]} | set(noted["directories"])
