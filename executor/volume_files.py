"""Which files a volume of ConfigMaps, secrets and texts has, and what is in them. Nothing is written here."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from typing import NamedTuple

from exeunt.internal.v1 import step_pb2 as pb
from exeunt.language.secret import SecretMissing, SecretUnreadable
from exeunt.language.volume_rules import path_wrong

MOST_FILES = 10_000
"""Of one volume."""
LONGEST_PATH = 1024

Values = Callable[[str], Mapping[str, bytes]]
"""The values of a secret by its name. Raises SecretMissing, SecretUnreadable."""


class ProjectedFile(NamedTuple):
    """A file to be made."""

    content: bytes
    mode: int


class VolumeProblem(Exception):  # noqa: N818 - it is an answer that becomes the step's result
    """Why a volume cannot be had, for people."""


def projected_files(volume: pb.Volume, step: pb.Step, secret: Values) -> dict[str, ProjectedFile]:
    """The files of a volume by their paths in it; of two with one path the later one counts. Raises VolumeProblem."""
    maps = {one.name: one.values for one in step.config_maps}
    made: dict[str, ProjectedFile] = {}
    for source in volume.files:
        values = _values(source, maps, secret)
        if source.every:
            made.update({_inside(key): ProjectedFile(value, volume.mode) for key, value in values.items()})
        for file in source.files:
            mode = file.mode if file.HasField("mode") else volume.mode
            if not file.key:
                made[_inside(file.path)] = ProjectedFile(file.text.encode(errors="surrogateescape"), mode)
            elif file.key in values:
                made[_inside(file.path)] = ProjectedFile(values[file.key], mode)
            elif not source.optional:
                kind, name = _name(source)
                raise VolumeProblem(f"the {kind} '{name}' has no key '{file.key}'")
    if len(made) > MOST_FILES:
        raise VolumeProblem(f"it would have {len(made)} files; {MOST_FILES} are allowed")
    _check(made)
    return made


def _name(source: pb.VolumeFiles) -> tuple[str, str]:
    return ("secret", source.secret) if source.secret else ("ConfigMap", source.config_map)


def _values(source: pb.VolumeFiles, maps: Mapping[str, Mapping[str, bytes]], secret: Values) -> Mapping[str, bytes]:
    if source.config_map:
        found = maps.get(source.config_map)
        if found is None and not source.optional:
            raise VolumeProblem(f"there is no ConfigMap '{source.config_map}' in the workflow's namespace")
        return found or {}
    if not source.secret:
        return {}
    try:
        return secret(source.secret)
    except SecretMissing as error:
        if source.optional:
            return {}
        raise VolumeProblem(str(error.args[0])) from None
    except SecretUnreadable as error:
        raise VolumeProblem(str(error.args[0])) from None


def _inside(path: str) -> str:
    """The path without what says nothing. VolumeProblem for one that leads out, or to no file."""
    if wrong := path_wrong(path):
        raise VolumeProblem(wrong)
    clean = posixpath.normpath(path)
    if clean == "." or len(path) > LONGEST_PATH or path.endswith(("/", "/.")):
        raise VolumeProblem(f"{path[:80]!r} is no path of a file")
    return clean


def _check(made: Mapping[str, ProjectedFile]) -> None:
    """No path is both a file and a directory."""
    for path in made:
        parts = path.split("/")
        for at in range(1, len(parts)):
            above = "/".join(parts[:at])
            if above in made:
                raise VolumeProblem(f"{above!r} is to be a file, and a directory with {path!r} in it")
