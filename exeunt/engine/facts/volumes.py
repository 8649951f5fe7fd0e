"""The volumes of a step and where its containers mount them, with everything resolved but the contents of ConfigMaps.

These are named: they stand in the bundle, and go into the message that an executor gets, not into the log.
"""

from __future__ import annotations

from exeunt.engine.facts.struct import Struct


class VolumeFile(Struct):
    """A file of a volume: of a key, or (without one) with this text. `mode` -1: the volume's."""

    path: str
    key: str = ""
    mode: int = -1
    text: str = ""


class FilesOf(Struct):
    """Files of one source: of a ConfigMap or a secret by its name, or, without any, of texts.

    `every`: each key is a file of its own name; else `files` says which.
    """

    config_map: str = ""
    secret: str = ""
    optional: bool = False
    every: bool = False
    files: list[VolumeFile] = []


EMPTY, FILES, HOST, CLAIM, NAMED_CLAIM = "empty", "files", "host", "claim", "named claim"
"""The kinds of volumes: of the step alone; files of ConfigMaps, secrets and texts; the machine's; one that the workflow
made for itself; one that the operator has made."""


class StepVolume(Struct):
    """A volume by its name. `path` is that of the machine, or the name of a claim; 0 bytes is no limit."""

    name: str
    kind: str = EMPTY
    bytes: int = 0
    memory: bool = False
    path: str = ""
    type: str = ""  # of a path of the machine: Directory, FileOrCreate, …
    mode: int = 0o644
    files: list[FilesOf] = []
    read_only: bool = False


class StepMount(Struct):
    """Where a container finds a volume, or the part `sub_path` of it, in which `expand` puts its variables in."""

    volume: str
    path: str
    sub_path: str = ""
    expand: bool = False
    read_only: bool = False
