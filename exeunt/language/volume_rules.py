"""What must hold of volumes and mounts: one source that is built, names, modes, amounts, and paths that stay inside.

Most of this Kubernetes says when a pod is made (its validation of volumes), which would be too late here. That two
mounts of a container cannot have one path, Argo says itself (validate.go, validateLeaf). Texts with variables are
looked at when these have values: by whoever makes the volume.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec

from exeunt.language.containers import Container
from exeunt.language.manifest import Template, WorkflowSpec
from exeunt.language.problems import nearest, quoted_list, shorten
from exeunt.language.quantity import bytes_of
from exeunt.language.report import Place, Report
from exeunt.language.variables import OPEN
from exeunt.language.volumes import (
    BUILT,
    ClaimTemplate,
    DownwardFile,
    EmptyDirVolume,
    HostPathVolume,
    KeyToPath,
    Projection,
    Volume,
    VolumeMount,
)

MOST_VOLUMES = 100
"""Of one workflow, one template, or one step."""
NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
MOST_NAME = 63
HIGHEST_MODE = 0o777
HOST_TYPES = ("DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice")
STRATEGIES = ("OnWorkflowSuccess", "OnWorkflowCompletion")
FIELDS = ("metadata.name", "metadata.namespace", "metadata.uid", "metadata.labels", "metadata.annotations")
_ONE_OF = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


def check_spec_volumes(spec: WorkflowSpec, place: Place, report: Report) -> None:
    """Of a whole workflow: its volumes, the claims that it makes, and when these go."""
    check_volumes(spec.volumes, place.at("volumes"), report)
    _claims(spec.volume_claim_templates, spec.volumes, place.at("volumeClaimTemplates"), report)
    strategy = spec.volume_claim_gc.strategy if spec.volume_claim_gc is not None else ""
    if strategy and strategy not in STRATEGIES:
        told = f"{shorten(strategy)!r} is none of {quoted_list(STRATEGIES)}{nearest(strategy, STRATEGIES)}"
        report.add(place.at("volumeClaimGC", "strategy"), told)


def check_volumes(volumes: Sequence[Volume], place: Place, report: Report) -> None:
    """Volumes of a workflow or a template."""
    if len(volumes) > MOST_VOLUMES:
        report.add(place, f"there are {len(volumes)} volumes; {MOST_VOLUMES} are allowed")
        return
    _names([volume.name for volume in volumes], place, report)
    for at, volume in enumerate(volumes):
        _volume(volume, place.at(at), report)


def check_mounts(container: Container, place: Place, report: Report) -> None:
    """The mounts of one container."""
    mounts = container.volume_mounts
    if len(mounts) > MOST_VOLUMES:
        report.add(place.at("volumeMounts"), f"there are {len(mounts)} mounts; {MOST_VOLUMES} are allowed")
        return
    for at, mount in enumerate(mounts):
        here = place.at("volumeMounts", at)
        if not mount.name:
            report.add(here, "names no volume; give it 'name'")
        if wrong := mount_wrong(mount):
            report.add(here.at(wrong[0]), wrong[1])


def check_mount_places(template: Template, kind: str, place: Place, report: Report) -> None:
    """No two mounts of the main container have one path, and no input artifact has the path of a mount."""
    container = template.container or template.script
    if container is None:
        return
    taken: dict[str, str] = {}
    for at, mount in enumerate(container.volume_mounts):
        if mount.mount_path and mount.mount_path in taken:
            told = f"{mount.mount_path!r} is where the volume {taken[mount.mount_path]} is mounted already"
            report.add(place.at(kind, "volumeMounts", at, "mountPath"), told)
        taken.setdefault(mount.mount_path, mount.name)
    for at, artifact in enumerate(template.inputs.artifacts):
        if artifact.path and artifact.path in taken:
            told = f"{artifact.path!r} is where the volume {taken[artifact.path]} is mounted"
            report.add(place.at("inputs", "artifacts", at, "path"), told)


def check_mounted(spec: WorkflowSpec, joined: WorkflowSpec, place: Place, report: Report) -> None:
    """Warn of mounts in a workflow's own templates that name no volume: Argo finds out when the step is due.

    `joined` is the spec that is run, with what a workflowTemplateRef brings.
    """
    of_all = [*spec.volumes, *joined.volumes, *(joined.template_defaults.volumes if joined.template_defaults else ())]
    there = {one.name for one in of_all} | {claim.metadata.name for claim in joined.volume_claim_templates}
    if any(OPEN in name for name in there):
        return
    for at, template in enumerate(spec.templates):
        known = there | {one.name for one in template.volumes}
        for field, container in (("container", template.container), ("script", template.script)):
            for number, mount in enumerate(container.volume_mounts if container is not None else ()):
                if mount.name and OPEN not in mount.name and mount.name not in known:
                    here = place.at("templates", at, field, "volumeMounts", number, "name")
                    told = f"there is no volume {shorten(mount.name)!r}: the step would end in Error"
                    report.add(here, told + nearest(mount.name, known), warning=True)


def mount_wrong(mount: VolumeMount) -> tuple[str, str] | None:
    """What is wrong with the paths of a mount: the field, and the words. None when nothing is."""
    if not mount.mount_path:
        return "mountPath", "is missing: say where the volume is to be found"
    if ":" in mount.mount_path or "\0" in mount.mount_path:
        return "mountPath", f"{shorten(mount.mount_path)!r} has a character that no mount can have"
    if mount.sub_path and mount.sub_path_expr:
        return "subPathExpr", "cannot stand beside subPath"
    for field, path in (("subPath", mount.sub_path), ("subPathExpr", mount.sub_path_expr)):
        if path and (wrong := path_wrong(path)):
            return field, wrong
    return None


def path_wrong(path: str) -> str:
    """Why a path does not stay in its volume; empty when it does, as far as its text says."""
    if path.startswith("/"):
        return f"{shorten(path)!r} must be relative: it is a path in the volume"
    if ".." in path.split("/"):
        return f"{shorten(path)!r} leads out of the volume: '..' is not allowed"
    return f"{shorten(path)!r} is no path" if "\0" in path else ""


def _names(names: Sequence[str], place: Place, report: Report) -> None:
    seen: set[str] = set()
    for at, name in enumerate(names):
        here = place.at(at, "name")
        if not name:
            report.add(place.at(at), "has no name")
        elif OPEN not in name and (len(name) > MOST_NAME or not NAME.fullmatch(name)):
            report.add(
                here, f"{shorten(name)!r} must be at most {MOST_NAME} of a-z, 0-9 and '-', and no '-' at its ends"
            )
        elif name in seen:
            report.add(here, f"{name!r} is not unique; another volume before it has the same name")
        seen.add(name)


def _volume(volume: Volume, place: Place, report: Report) -> None:
    given = [name for name in msgspec.to_builtins(volume) if name != "name"]
    if len(given) > 1:
        report.add(place, f"has {len(given)} sources, {' and '.join(given)}; keep one")
    for name in given:
        if name not in BUILT:
            report.add(place.at(name), f"volumes of {name} are not supported yet; those of {quoted_list(BUILT)} are")
    if volume.empty_dir is not None:
        _empty(volume.empty_dir, place.at("emptyDir"), report)
    if volume.host_path is not None:
        _host(volume.host_path, place.at("hostPath"), report)
    if volume.config_map is not None:
        _keys(volume.config_map.items, volume.config_map.default_mode, place.at("configMap"), report)
        _named(volume.config_map.name, "name", place.at("configMap"), report)
    if volume.secret is not None:
        _keys(volume.secret.items, volume.secret.default_mode, place.at("secret"), report)
        _named(volume.secret.secret_name, "secretName", place.at("secret"), report)
    if volume.downward_api is not None:
        _mode(volume.downward_api.default_mode, place.at("downwardAPI", "defaultMode"), report)
        _fields(volume.downward_api.items, place.at("downwardAPI"), report)
    if volume.projected is not None:
        _mode(volume.projected.default_mode, place.at("projected", "defaultMode"), report)
        for at, source in enumerate(volume.projected.sources):
            _projection(source, place.at("projected", "sources", at), report)
    if volume.persistent_volume_claim is not None:
        _named(volume.persistent_volume_claim.claim_name, "claimName", place.at("persistentVolumeClaim"), report)


def _empty(source: EmptyDirVolume, place: Place, report: Report) -> None:
    if source.medium not in ("", "Memory") and OPEN not in source.medium:
        report.add(place.at("medium"), f"{shorten(source.medium)!r} is not supported yet; Memory is, or none")
    limit = str(source.size_limit)
    if limit and OPEN not in limit:
        try:
            bytes_of(limit)
        except ValueError as error:
            report.add(place.at("sizeLimit"), str(error))


def _host(source: HostPathVolume, place: Place, report: Report) -> None:
    if not source.path:
        report.add(place, "has no path")
    elif OPEN not in source.path and (not source.path.startswith("/") or ".." in source.path.split("/")):
        report.add(place.at("path"), f"{shorten(source.path)!r} must be absolute, and without '..'")
    if source.type and source.type not in HOST_TYPES and OPEN not in source.type:
        told = f"{shorten(source.type)!r} is none of {quoted_list(HOST_TYPES)}{nearest(source.type, HOST_TYPES)}"
        report.add(place.at("type"), told)


def _projection(source: Projection, place: Place, report: Report) -> None:
    given = list(msgspec.to_builtins(source))
    known = ("configMap", "secret", "downwardAPI")
    if len(given) != 1:
        report.add(place, f"one source is expected here, {quoted_list(known)}")
    for name in given:
        if name not in known:
            report.add(place.at(name), f"{name} is not supported yet; {quoted_list(known)} are")
    for field, part in (("configMap", source.config_map), ("secret", source.secret)):
        if part is not None:
            _keys(part.items, None, place.at(field), report)
            _named(part.name, "name", place.at(field), report)
    if source.downward_api is not None:
        _fields(source.downward_api.items, place.at("downwardAPI"), report)


def _named(name: str, field: str, place: Place, report: Report) -> None:
    if not name:
        report.add(place, f"has no {field}")


def _keys(items: Iterable[KeyToPath], mode: int | None, place: Place, report: Report) -> None:
    _mode(mode, place.at("defaultMode"), report)
    for at, item in enumerate(items):
        here = place.at("items", at)
        if not item.key:
            report.add(here, "has no key")
        _file(item.path, item.mode, here, report)


def _fields(items: Iterable[DownwardFile], place: Place, report: Report) -> None:
    for at, item in enumerate(items):
        here = place.at("items", at)
        _file(item.path, item.mode, here, report)
        if item.resource_field_ref is not None:
            report.add(here.at("resourceFieldRef"), "resourceFieldRef is not supported yet; fieldRef is")
        elif item.field_ref is None:
            report.add(here, "has no fieldRef")
        elif not known_field(item.field_ref.field_path) and OPEN not in item.field_ref.field_path:
            told = f"{shorten(item.field_ref.field_path)!r} cannot be known here; {quoted_list(FIELDS)} can"
            report.add(here.at("fieldRef", "fieldPath"), told)


def known_field(path: str) -> bool:
    """Whether a field of a pod has a value here."""
    return path in FIELDS or _ONE_OF.fullmatch(path) is not None


def field_key(path: str) -> tuple[str, str]:
    """Of `metadata.labels['x']`: labels and x. ("", "") for others."""
    found = _ONE_OF.fullmatch(path)
    return (found[1], found[2]) if found else ("", "")


def _file(path: str, mode: int | None, place: Place, report: Report) -> None:
    if not path:
        report.add(place, "has no path")
    elif OPEN not in path and (wrong := path_wrong(path)):
        report.add(place.at("path"), wrong)
    _mode(mode, place.at("mode"), report)


def _mode(mode: int | None, place: Place, report: Report) -> None:
    if mode is not None and not 0 <= mode <= HIGHEST_MODE:
        report.add(place, f"{mode} is no file mode: 0 to 0777 (in decimal 0 to 511) is expected")


def _claims(templates: Sequence[ClaimTemplate], volumes: Sequence[Volume], place: Place, report: Report) -> None:
    if len(templates) > MOST_VOLUMES:
        report.add(place, f"there are {len(templates)} volume claims; {MOST_VOLUMES} are allowed")
        return
    seen: set[str] = set()
    beside = {volume.name for volume in volumes}
    for at, template in enumerate(templates):
        name, here = template.metadata.name, place.at(at, "metadata", "name")
        if not name:
            report.add(place.at(at), "has no metadata.name; steps mount the volume by it")
        elif len(name) > MOST_NAME or not NAME.fullmatch(name):
            report.add(
                here, f"{shorten(name)!r} must be at most {MOST_NAME} of a-z, 0-9 and '-', and no '-' at its ends"
            )
        elif name in seen:
            report.add(here, f"{name!r} is not unique; another claim before it has the same name")
        elif name in beside:
            report.add(here, f"a volume of spec.volumes is called {name!r}, too, and hides this one", warning=True)
        seen.add(name)
