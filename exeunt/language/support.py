"""What Argo can do and Exeunt cannot yet: refused at submission, so that nothing is left out in silence.

The fields of our own actions are checked here too: a slip would show only when the handler runs.

`REFUSED` is the whole list, by model and field; a feature that gets built leaves it. `WITHOUT_EFFECT` are fields that
only a pod can honour: they are accepted with a warning, since a workflow runs well without them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from exeunt.language import containers, manifest
from exeunt.language.action_check import wrong
from exeunt.language.actions import ACTIONS
from exeunt.language.artifact_gc import check_gc
from exeunt.language.load import load_documents
from exeunt.language.manifest import WorkflowSpec
from exeunt.language.places import REFUSED as PLACES_REFUSED
from exeunt.language.pod_fields import check_field, check_resource
from exeunt.language.pods import unsupported
from exeunt.language.problems import ManifestError, Path, quoted_list, shorten
from exeunt.language.report import Place, Report
from exeunt.language.template_types import TEMPLATE_TYPES
from exeunt.language.visible import STAND_IN, without_tags
from exeunt.language.volume_rules import check_mounts, check_spec_volumes, check_volumes

REFUSED: dict[tuple[type, str], str] = {
    (manifest.ValueFrom, "jqFilter"): "jqFilter is",
    (manifest.ValueFrom, "jsonPath"): "jsonPath is",
    (manifest.ValueFrom, "event"): "reading from events is",
    (containers.Container, "volumeDevices"): "block devices are",
    **{(manifest.Template, name): f"{name} templates are" for name, row in TEMPLATE_TYPES.items() if not row.built},
    (manifest.Template, "memoize"): "memoization is",
    (manifest.Template, "synchronization"): "synchronization is",
    (manifest.Template, "metrics"): "metrics of templates are",
    (manifest.Template, "resourceClaims"): "resource claims are",
    (manifest.Template, "podSpecPatch"): "podSpecPatch is",
    (manifest.HTTP, "bodyFrom"): "bodyFrom is",
    (manifest.Resource, "manifestFrom"): "manifestFrom is",
    (manifest.WorkflowSpec, "synchronization"): "synchronization is",
    (manifest.WorkflowSpec, "metrics"): "metrics of workflows are",
    (manifest.WorkflowSpec, "podSpecPatch"): "podSpecPatch is",
    (manifest.WorkflowSpec, "executorPlugins"): "executor plugins in a workflow are",
    (manifest.WorkflowSpec, "resourceClaims"): "resource claims are",
}
"""(model, field as in a manifest) → the beginning of the sentence that ends in `not supported yet`."""

_POD = ("affinity", "hostAliases", "nodeSelector", "securityContext")
WITHOUT_EFFECT: frozenset[tuple[type, str]] = frozenset(
    {
        *((manifest.Template, field) for field in (*_POD, "executor", "pendingTimeout")),
        *((manifest.WorkflowSpec, field) for field in (*_POD, "dnsConfig", "hostNetwork")),
        *((containers.Container, field) for field in ("lifecycle", "livenessProbe", "securityContext", "startupProbe")),
    }
)
"""Fields whose absence somebody may notice. Others that only a pod has (`resources`, …) pass in silence."""

_KIND = re.compile(r"^kind:[ \t]*[\"']?([A-Za-z]+)", re.MULTILINE)


def check_support(spec: WorkflowSpec, place: Place, report: Report) -> None:
    """Report what is not supported yet, and as warnings what has no effect here."""
    stack: list[tuple[Path, Any]] = [((), spec)]
    while stack and not report.full:
        path, value = stack.pop()
        if isinstance(value, list):
            stack += [((*path, at), item) for at, item in reversed(list(enumerate(value)))]
        elif isinstance(value, dict):
            stack += [((*path, str(key)), item) for key, item in reversed(list(value.items()))]
        elif isinstance(value, msgspec.Struct):
            for model, rule in _RULES.items():
                if isinstance(value, model):
                    rule(value, place.at(*path), report)
            fields = zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True)
            for name, attribute in reversed(list(fields)):
                inner = getattr(value, attribute)
                if not inner and inner != {}:
                    continue
                if not _known(type(value), name, place.at(*path, name), report):
                    stack.append(((*path, name), inner))


def _known(model: type, field: str, place: Place, report: Report) -> bool:
    """Whether a field of a model needs no further look, after saying what is to be said about it."""
    owner = containers.Container if issubclass(model, containers.Container) else model
    if refused := REFUSED.get((owner, field)):
        report.add(place, f"{refused} not supported yet")
        return True
    if (owner, field) in WITHOUT_EFFECT:
        report.add(place, "has no effect outside of a Kubernetes pod", warning=True)
        return True
    return False


def _template(template: manifest.Template, place: Place, report: Report) -> None:
    unsupported(template, place, report)
    check_volumes(template.volumes, place.at("volumes"), report)
    for name, arguments in (template.plugin or {}).items():
        if name in ACTIONS:
            for path, message in wrong(name, arguments):
                report.add(place.at("plugin", name, *path), message)
            if name == "trigger" and isinstance(arguments, dict) and arguments.get("artifacts") is not None:
                report.add(place.at("plugin", name, "artifacts"), "artifacts of triggers are not supported yet")


def _artifact(artifact: manifest.Artifact, place: Place, report: Report) -> None:
    for kind, reason in PLACES_REFUSED.items():
        if getattr(artifact, kind) is not None:
            report.add(place.at(kind), f"{kind} is not supported: {reason}")


def _variable(variable: containers.EnvVar, place: Place, report: Report) -> None:
    source, there = variable.value_from, place.at("valueFrom")
    if source is None:
        return
    given = {
        "configMapKeyRef": source.config_map_key_ref,
        "fieldRef": source.field_ref,
        "resourceFieldRef": source.resource_field_ref,
        "secretKeyRef": source.secret_key_ref,
    }
    for name in msgspec.to_builtins(source):
        if name not in given:
            report.add(there.at(name), f"{name} is not supported yet; {quoted_list(given)} are")
            return
    named = [name for name, part in given.items() if part is not None]
    if len(named) != 1:
        report.add(there, f"one of {quoted_list(given)} is expected here")
    elif variable.value not in ("", None):
        report.add(there, "cannot stand beside value")
    elif source.field_ref is not None:
        check_field(source.field_ref, there.at("fieldRef"), report)
    elif source.resource_field_ref is not None:
        check_resource(source.resource_field_ref, there.at("resourceFieldRef"), report)
    else:
        key = source.config_map_key_ref or source.secret_key_ref
        assert key is not None
        _key(key, there.at(named[0]), report)


def _source(source: containers.EnvFromSource, place: Place, report: Report) -> None:
    given = [("configMapRef", source.config_map_ref), ("secretRef", source.secret_ref)]
    named = [(field, whole) for field, whole in given if whole is not None]
    if len(named) != 1:
        report.add(place, "either configMapRef or secretRef is expected here")
    elif not named[0][1].name:
        report.add(place.at(named[0][0]), "has no name")


def _header(header: manifest.HTTPHeader, place: Place, report: Report) -> None:
    if header.value_from is None:
        return
    if header.value_from.secret_key_ref is None:
        report.add(place.at("valueFrom"), "secretKeyRef is expected here")
    elif header.value:
        report.add(place.at("valueFrom"), "cannot stand beside value")
    else:
        _key(header.value_from.secret_key_ref, place.at("valueFrom", "secretKeyRef"), report)


def _key(key: containers.KeySelector, place: Place, report: Report) -> None:
    for field in ("name", "key"):
        if not getattr(key, field):
            report.add(place, f"has no {field}")


def _resource(resource: manifest.Resource, place: Place, report: Report) -> None:
    if "{{" in resource.action:
        return
    if resource.action != "create":
        report.add(place.at("action"), f"{shorten(resource.action)} is not supported yet; create is")
        return
    kind = _kind_of(resource.manifest)
    if kind not in (None, "Workflow"):
        report.add(place.at("manifest"), f"creating a {shorten(kind or '')} is not supported yet; a Workflow is")


def _kind_of(text: str) -> str | None:
    """The kind of a manifest inside a manifest, as far as it can be known before its variables have values."""
    try:
        documents = load_documents(without_tags(text))
    except ManifestError:
        found = _KIND.search(text)
        return found[1] if found else None
    tree = documents[0].value if documents else None
    kind = tree.get("kind") if isinstance(tree, dict) else None
    return kind if isinstance(kind, str) and STAND_IN not in kind else None


_RULES: dict[type, Callable[[Any, Place, Report], None]] = {
    manifest.WorkflowSpec: check_spec_volumes,
    manifest.Template: _template,
    manifest.Artifact: _artifact,
    manifest.ArtifactGC: check_gc,
    containers.Container: check_mounts,
    containers.EnvVar: _variable,
    containers.EnvFromSource: _source,
    manifest.HTTPHeader: _header,
    manifest.Resource: _resource,
}
