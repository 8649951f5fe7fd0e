"""The volumes that a step mounts: found by name, with variables put in (Argo: workflowpod.go, addVolumeReferences).

A template's own come first, then the workflow's, then those that the workflow makes by `volumeClaimTemplates`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable

from exeunt.engine.facts.nodes import Node
from exeunt.engine.facts.problem import NodeError
from exeunt.engine.facts.run import Run
from exeunt.engine.facts.volumes import (
    CLAIM,
    EMPTY,
    FILES,
    HOST,
    NAMED_CLAIM,
    FilesOf,
    StepMount,
    StepVolume,
    VolumeFile,
)
from exeunt.engine.values.pod_facts import pod_field
from exeunt.engine.values.scope import Scope, config_map_of, global_scope
from exeunt.engine.values.templating import has_tags, model, replaced, tree_of
from exeunt.language.containers import Container
from exeunt.language.manifest import Template
from exeunt.language.quantity import bytes_of
from exeunt.language.volume_rules import MOST_VOLUMES, known_field, mount_wrong
from exeunt.language.volumes import DownwardFile, KeyToPath, Volume

MODE = 0o644
MOST_FILES = 1000
"""That the items of one source may name, or the keys of its ConfigMap."""


def mounts_of(container: Container) -> list[StepMount]:
    """Where a container mounts what. Raises NodeError for a mount that cannot be."""
    for mount in container.volume_mounts:
        if wrong := mount_wrong(mount):
            raise NodeError(f"volumeMounts: {mount.name}: {wrong[0]} {wrong[1]}")
    return [
        StepMount(
            volume=mount.name,
            path=mount.mount_path,
            sub_path=mount.sub_path or mount.sub_path_expr,
            expand=bool(mount.sub_path_expr),
            read_only=mount.read_only,
        )
        for mount in container.volume_mounts
    ]


def volumes_of(run: Run, node: Node, template: Template, mounts: Iterable[StepMount]) -> list[StepVolume]:
    """The volumes that these mounts name, each once. Raises NodeError for one that cannot be had."""
    names = list(dict.fromkeys(mount.volume for mount in mounts))
    if len(names) > MOST_VOLUMES:
        raise NodeError(f"the step mounts {len(names)} volumes; {MOST_VOLUMES} are allowed")
    return [_resolved(run, node, template, name) for name in names]


def _resolved(run: Run, node: Node, template: Template, name: str) -> StepVolume:
    found = next((one for one in template.volumes if one.name == name), None)
    if found is None:
        found = next((_put_in(run, node, one) for one in run.spec.volumes if one.name == name), None)
    if found is None:
        claims = (claim.metadata.name for claim in run.spec.volume_claim_templates)
        if name in claims:
            return StepVolume(name=name, kind=CLAIM, path=name)
        raise NodeError(f"volume '{name}' not found in workflow spec")
    try:
        return _made(run, node, template, found)
    except ValueError as error:
        raise NodeError(f"volume '{name}': {error}") from None


def _put_in(run: Run, node: Node, volume: Volume) -> Volume:
    if not has_tags(run, volume):
        return volume
    scope: Scope = global_scope(run)
    scope["pod.name"] = run.names.pod(node)
    return model(replaced(run, tree_of(run, volume), scope), Volume)


def _made(run: Run, node: Node, template: Template, volume: Volume) -> StepVolume:
    """ValueError says what is wrong with it."""
    name = volume.name
    if (host := volume.host_path) is not None:
        return StepVolume(name=name, kind=HOST, path=host.path, type=host.type)
    if (claim := volume.persistent_volume_claim) is not None:
        return StepVolume(name=name, kind=NAMED_CLAIM, path=claim.claim_name, read_only=claim.read_only)
    if (config_map := volume.config_map) is not None:
        files = [_of_config_map(run, config_map.name, config_map.items, optional=config_map.optional)]
        return _files(name, files, config_map.default_mode)
    if (secret := volume.secret) is not None:
        files = [_of_secret(secret.secret_name, secret.items, optional=secret.optional)]
        return _files(name, files, secret.default_mode)
    if (downward := volume.downward_api) is not None:
        return _files(name, [_of_pod(run, node, template, downward.items)], downward.default_mode)
    if (projected := volume.projected) is not None:
        files = []
        for source in projected.sources:
            if (part := source.config_map) is not None:
                files.append(_of_config_map(run, part.name, part.items, optional=part.optional))
            if (hidden := source.secret) is not None:
                files.append(_of_secret(hidden.name, hidden.items, optional=hidden.optional))
            if source.downward_api is not None:
                files.append(_of_pod(run, node, template, source.downward_api.items))
        return _files(name, files, projected.default_mode)
    empty = volume.empty_dir
    if empty is None:
        return StepVolume(name=name, kind=EMPTY)
    limit = bytes_of(str(empty.size_limit)) if empty.size_limit else 0
    return StepVolume(name=name, kind=EMPTY, bytes=limit, memory=empty.medium == "Memory")


def _files(name: str, files: list[FilesOf], mode: int | None) -> StepVolume:
    return StepVolume(name=name, kind=FILES, files=files, mode=MODE if mode is None else mode, read_only=True)


def _of_config_map(run: Run, name: str, items: list[KeyToPath], *, optional: bool) -> FilesOf:
    found = config_map_of(run, name)
    if found is None and not optional:
        raise ValueError(f"there is no ConfigMap {name}")
    keys = {*found.data, *found.binary_data} if found is not None else set()
    for item in items:
        if item.key not in keys and not optional:
            raise ValueError(f"ConfigMap {name} has no key {item.key}")
    for key, coded in found.binary_data.items() if found is not None else ():
        try:
            base64.b64decode(coded, validate=True)
        except ValueError:
            raise ValueError(f"ConfigMap {name}: binaryData.{key} is no base64") from None
    return FilesOf(config_map=name, optional=optional, every=not items, files=_items(items))


def _of_secret(name: str, items: list[KeyToPath], *, optional: bool) -> FilesOf:
    return FilesOf(secret=name, optional=optional, every=not items, files=_items(items))


def _items(items: list[KeyToPath]) -> list[VolumeFile]:
    if len(items) > MOST_FILES:
        raise ValueError(f"{len(items)} items are named; {MOST_FILES} are allowed")
    return [VolumeFile(path=one.path, key=one.key, mode=-1 if one.mode is None else one.mode) for one in items]


# --- what a step is called ------------------------------------------------------------------------------------------


def _of_pod(run: Run, node: Node, template: Template, items: list[DownwardFile]) -> FilesOf:
    if len(items) > MOST_FILES:
        raise ValueError(f"{len(items)} items are named; {MOST_FILES} are allowed")
    files = []
    for item in items:
        path = item.field_ref.field_path if item.field_ref is not None else ""
        if not known_field(path):
            raise ValueError(f"the field {path!r} of a pod cannot be known here")
        mode = -1 if item.mode is None else item.mode
        files.append(VolumeFile(path=item.path, mode=mode, text=pod_field(run, node, template, path)))
    return FilesOf(files=files)
