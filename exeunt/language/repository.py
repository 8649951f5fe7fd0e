"""Which artifact repository a workflow has: the one it names, or the default of its namespace.

A repository is a key of a ConfigMap, in YAML (Argo: artifact-repository-ref). It is fixed at submission: what
becomes of the ConfigMap later changes nothing for workflows that have begun.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from exeunt.language.load import load_documents
from exeunt.language.manifest import Artifact, Bundle, ConfigMap, Template, WorkflowSpec
from exeunt.language.place_parts import PlaceError
from exeunt.language.places import PLACES, REFUSED, read_place
from exeunt.language.problems import ManifestError

DEFAULT_MAP = "artifact-repositories"
DEFAULT_KEY = "workflows.argoproj.io/default-artifact-repository"
"""The annotation of a ConfigMap that says which of its keys counts where none is named."""
KINDS = tuple(kind for kind in PLACES if kind not in ("git", "http", "raw"))
"""The kinds of places that can be a repository."""
KEY_FORMAT = "{{workflow.name}}/{{pod.name}}"
"""Argo's DefaultArchivePattern."""

Tree = dict[str, Any]
ConfigMapLookup = Callable[[str, str], ConfigMap | None]


class RepositoryError(ValueError):
    """There is no such repository, or it cannot be one; the text says where it should be, and what is wrong."""


class RepositoryRef(NamedTuple):
    """The name of a ConfigMap, and the key in it; empty for the one that its annotation names."""

    config_map: str
    key: str


def ref_of(specs: Iterable[WorkflowSpec]) -> RepositoryRef | None:
    """What a workflow names, its own spec first; None where it names nothing."""
    for spec in specs:
        if spec.artifact_repository_ref is not None:
            given = spec.artifact_repository_ref
            return RepositoryRef(str(given.get("configMap") or DEFAULT_MAP), str(given.get("key") or ""))
    return None


def uses_artifacts(spec: WorkflowSpec, templates: Iterable[Template]) -> bool:
    """Whether any of these templates has files to fetch or to keep, logs included."""
    return bool(spec.archive_logs) or any(
        one.inputs.artifacts or one.outputs.artifacts or one.data is not None or (one.archive_location or {})
        for one in templates
    )


def map_wanted(specs: list[WorkflowSpec], *, uses: bool) -> str:
    """The ConfigMap to look a repository up in; empty where there is no need to."""
    ref = ref_of(specs)
    if ref is None:
        return DEFAULT_MAP if uses else ""
    return ref.config_map


def repository_of(bundle: Bundle) -> Tree | None:
    """The repository that a workflow names or its namespace has; None where it is left to the cluster.

    A tree of one place with `keyFormat`, and `archiveLogs` where it is on. Raises RepositoryError.
    """
    ref = ref_of(own_specs(bundle))
    wanted = ref or RepositoryRef(DEFAULT_MAP, "")
    found = next((one for one in bundle.config_maps if one.metadata.name == wanted.config_map), None)
    try:
        return None if found is None and ref is None else _read(found, wanted)
    except _NoKeyError:
        if ref is None:  # as Argo goes on to the default of the cluster
            return None
        raise


def own_specs(bundle: Bundle) -> list[WorkflowSpec]:
    """The spec of the workflow, and of the WorkflowTemplate that it runs: what is said of the workflow as a whole."""
    spec = bundle.workflow.spec
    ref = spec.workflow_template_ref
    if ref is None:
        return [spec]
    kind = "ClusterWorkflowTemplate" if ref.cluster_scope else "WorkflowTemplate"
    return [spec, *(t.spec for t in bundle.templates if t.metadata.name == ref.name and t.kind == kind)]


class _NoKeyError(RepositoryError):
    pass


def _read(found: ConfigMap | None, ref: RepositoryRef) -> Tree:
    if found is None:
        raise _NoKeyError(f"there is no ConfigMap {ref.config_map!r} in the workflow's namespace")
    key = ref.key or found.metadata.annotations.get(DEFAULT_KEY, "")
    if key not in found.data:
        said = f"has no key {key!r}" if key else f"has no annotation {DEFAULT_KEY}, and no key is named"
        raise _NoKeyError(f"the ConfigMap {ref.config_map!r} {said}")
    try:
        return read_repository(found.data[key])
    except RepositoryError as error:
        raise RepositoryError(f"the key {key!r} of the ConfigMap {ref.config_map!r}: {error}") from None


def read_repository(text: str) -> Tree:
    """A repository from its YAML. Raises RepositoryError."""
    try:
        documents = load_documents(text)
    except ManifestError as error:
        raise RepositoryError(f"it is no YAML: {error.problems[0].message}") from None
    tree = documents[0].value if len(documents) == 1 else None
    if not isinstance(tree, dict):
        raise RepositoryError("a mapping is expected, with one of " + ", ".join(KINDS))
    for kind, reason in REFUSED.items():
        if tree.get(kind) is not None:
            raise RepositoryError(f"{kind}: {reason}")
    given = [kind for kind in KINDS if tree.get(kind) is not None]
    unknown = sorted(set(map(str, tree)) - {*KINDS, "archiveLogs"})
    if unknown or len(given) != 1:
        said = f"{unknown[0]!r} is not known; " if unknown else ""
        raise RepositoryError(f"{said}one of {', '.join(KINDS)} is expected, and archiveLogs")
    if not isinstance(tree.get("archiveLogs", False), bool):
        raise RepositoryError("archiveLogs: true or false is expected")
    if not isinstance(tree[given[0]], dict):
        raise RepositoryError(f"{given[0]}: a mapping is expected")
    place = _with_format(given[0], dict(tree[given[0]]))
    try:
        read_place(given[0], {name: value for name, value in place.items() if name != "keyFormat"})
    except PlaceError as error:
        raise RepositoryError(str(error)) from None
    return {given[0]: place, **({"archiveLogs": True} if tree.get("archiveLogs") else {})}


def _with_format(kind: str, place: Tree) -> Tree:
    """The place with `keyFormat`: what each kind of repository says of its keys, in one way (IntoArtifactLocation)."""
    prefix, own = place.pop("keyPrefix", ""), place.pop("blobNameFormat", "")
    wanted = place.pop("keyFormat", "") or own or posixpath.join(str(prefix), KEY_FORMAT)
    if kind == "artifactory" and (url := place.pop("repoURL", "")):
        wanted = f"{url}/{wanted}"
        place["url"] = url
    return {**place, "keyFormat": wanted}


def files_problem(artifact: Artifact) -> str:
    """What is wrong with where an artifact lies, as `FIELD: what`; empty where nothing is, or it is not known yet."""
    given = [kind for kind in PLACES if getattr(artifact, kind) is not None]
    if len(given) > 1:
        return f"{given[1]}: it cannot stand beside {given[0]}; keep one"
    if not given:
        return ""
    try:
        place = read_place(given[0], getattr(artifact, given[0]), check=False)
        tagged = "{{" in str(getattr(artifact, given[0]))
        wrong = "" if tagged or place.only_key else place.problem()
    except PlaceError as error:
        return str(error)
    return f"{given[0]}.{wrong}" if wrong else ""
