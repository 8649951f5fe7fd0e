"""Volumes and mounts of a step in the messages of exeunt.internal.v1, and what they ask for: secrets and ConfigMaps."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator

from exeunt.engine.facts.volumes import FilesOf, StepMount, StepVolume, VolumeFile
from exeunt.internal.v1 import step_pb2 as pb
from exeunt.language.manifest import ConfigMap

Wanted = tuple[str, str | None]
"""A secret that is asked for: its name and a key, None for all of its keys."""


def volumes_to_proto(volumes: Iterable[StepVolume]) -> list[pb.Volume]:
    """Volumes as messages."""
    return [
        pb.Volume(
            name=v.name,
            kind=v.kind,
            bytes=v.bytes,
            memory=v.memory,
            path=v.path,
            type=v.type,
            mode=v.mode,
            files=[_files_to_proto(files) for files in v.files],
            read_only=v.read_only,
        )
        for v in volumes
    ]


def _files_to_proto(source: FilesOf) -> pb.VolumeFiles:
    made = pb.VolumeFiles(
        config_map=source.config_map, secret=source.secret, optional=source.optional, every=source.every
    )
    for file in source.files:
        made.files.add(path=file.path, key=file.key, text=file.text, mode=None if file.mode < 0 else file.mode)
    return made


def volumes_of(volumes: Iterable[pb.Volume]) -> list[StepVolume]:
    """What the messages say."""
    return [
        StepVolume(
            name=v.name,
            kind=v.kind,
            bytes=v.bytes,
            memory=v.memory,
            path=v.path,
            type=v.type,
            mode=v.mode,
            files=[_files_of(files) for files in v.files],
            read_only=v.read_only,
        )
        for v in volumes
    ]


def _files_of(source: pb.VolumeFiles) -> FilesOf:
    return FilesOf(
        config_map=source.config_map,
        secret=source.secret,
        optional=source.optional,
        every=source.every,
        files=[
            VolumeFile(path=one.path, key=one.key, text=one.text, mode=one.mode if one.HasField("mode") else -1)
            for one in source.files
        ],
    )


def mounts_to_proto(mounts: Iterable[StepMount]) -> list[pb.VolumeMount]:
    """Mounts as messages."""
    return [
        pb.VolumeMount(volume=m.volume, path=m.path, sub_path=m.sub_path, expand=m.expand, read_only=m.read_only)
        for m in mounts
    ]


def mounts_of(mounts: Iterable[pb.VolumeMount]) -> list[StepMount]:
    """What the messages say."""
    return [
        StepMount(volume=m.volume, path=m.path, sub_path=m.sub_path, expand=m.expand, read_only=m.read_only)
        for m in mounts
    ]


def secrets_of_volumes(volumes: Iterable[pb.Volume]) -> Iterator[Wanted]:
    """The secrets whose keys are files of volumes."""
    for source in (source for volume in volumes for source in volume.files if source.secret):
        if source.every:
            yield source.secret, None
        yield from ((source.secret, file.key) for file in source.files)


def config_maps_of(volumes: Iterable[StepVolume], known: Iterable[ConfigMap]) -> list[pb.StepConfigMap]:
    """Of the ConfigMaps that are known, what these volumes name."""
    wanted: dict[str, set[str] | None] = {}
    for source in (source for volume in volumes for source in volume.files if source.config_map):
        keys = wanted.setdefault(source.config_map, set())
        if source.every:
            wanted[source.config_map] = None
        elif keys is not None:
            keys.update(file.key for file in source.files)
    if not wanted:
        return []
    return [_named(one, wanted[one.metadata.name]) for one in known if one.metadata.name in wanted]


def _named(config_map: ConfigMap, keys: set[str] | None) -> pb.StepConfigMap:
    values = {key: text.encode(errors="surrogateescape") for key, text in config_map.data.items()}
    values |= {key: base64.b64decode(coded) for key, coded in config_map.binary_data.items()}
    if keys is not None:
        values = {key: value for key, value in values.items() if key in keys}
    return pb.StepConfigMap(name=config_map.metadata.name, values=values)
