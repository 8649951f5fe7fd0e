"""From a document to its model: every unknown field and every wrong type, each at its line, in one pass.

As lenient as Argo's own reading of JSON: null is absent, parameter values may be numbers or booleans. What is text in
Argo is text here: `args: [1]` is refused and says how to write it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import msgspec
from msgspec import inspect

from exeunt.language import containers, manifest
from exeunt.language.load import Document, load_documents
from exeunt.language.problems import ManifestError, Path, Problem, nearest, quoted_list, shorten, show_path
from exeunt.language.volumes import ClaimMetadata

AnyManifest = manifest.Workflow | manifest.WorkflowTemplate | manifest.ConfigMap | manifest.Secret

_ARGO = "argoproj.io/v1alpha1"
_KINDS: dict[str, tuple[str, type[AnyManifest]]] = {
    "Workflow": (_ARGO, manifest.Workflow),
    "WorkflowTemplate": (_ARGO, manifest.WorkflowTemplate),
    "ClusterWorkflowTemplate": (_ARGO, manifest.WorkflowTemplate),
    "ConfigMap": ("v1", manifest.ConfigMap),
    "Secret": ("v1", manifest.Secret),
}
_LATER = frozenset({"CronWorkflow", "WorkflowEventBinding", "Sensor", "EventSource"})
_OF_THE_SERVER = frozenset(
    {
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generation",
        "managedFields",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
    }
)
_IGNORED: dict[type, frozenset[str]] = {
    manifest.Metadata: _OF_THE_SERVER,
    ClaimMetadata: _OF_THE_SERVER,
    manifest.Workflow: frozenset({"status"}),
    containers.Container: frozenset({"restartPolicyRules"}),
    containers.Script: frozenset({"restartPolicyRules"}),
}
"""Fields that are known and mean nothing here: what a Kubernetes server writes into what it gives out."""

_ANY_STRING = frozenset({(manifest.Parameter, "value"), (manifest.Parameter, "default")})
_TEXT_OF_ANY = frozenset({(manifest.Parameter, "description")})
_MAX_PROBLEMS = 200
_BAD: Final = object()
_IN_A_TEMPLATE = 3
"""So many parts has the path of a template of a workflow: spec, templates, its number."""


@dataclass(frozen=True)
class Loaded:
    """A manifest and the document it was read from, which knows the lines. What stood at `wrong` is left out of it."""

    model: AnyManifest
    document: Document
    wrong: tuple[Path, ...] = ()

    def beside(self, found: Iterable[Problem]) -> list[Problem]:
        """Of what validation found in it, that which does not come of the parts that are left out.

        A mistake in one template says nothing of the others; one anywhere else may be the reason for all the rest.
        """
        if any(path[:2] != ("spec", "templates") or len(path) <= _IN_A_TEMPLATE for path in self.wrong):
            return []
        spoilt = tuple({show_path(path[:_IN_A_TEMPLATE]) for path in self.wrong})
        return [problem for problem in found if not problem.path.startswith(spoilt)]


def load_manifests(text: str, file: str = "-") -> list[Loaded]:
    """All manifests of a text, in their order. Raises ManifestError with every problem of every document."""
    loaded, problems = read_manifests(text, file)
    if problems:
        raise ManifestError(problems)
    return loaded


def read_manifests(text: str, file: str = "-") -> tuple[list[Loaded], list[Problem]]:
    """All manifests of a text as far as they can be read, and everything that is wrong with their shape.

    Raises ManifestError for a text that is no YAML.
    """
    loaded: list[Loaded] = []
    problems: list[Problem] = []
    for document in load_documents(text, file):
        one, found = read(document)
        if one is not None:
            loaded.append(one)
        problems += found
    return loaded, problems


def decode(document: Document) -> AnyManifest:
    """The model of a document of a known kind. Raises ManifestError with everything that is wrong with its shape."""
    loaded, problems = read(document)
    if problems or loaded is None:
        raise ManifestError(problems)
    return loaded.model


def read(document: Document) -> tuple[Loaded | None, list[Problem]]:
    """The model of a document as far as it can be read, and everything that is wrong with its shape."""
    tree = document.value
    if not isinstance(tree, dict):
        return None, [document.problem((), f"a manifest is a mapping; this is {_kind_of(tree)}")]
    kind, version = tree.get("kind"), tree.get("apiVersion")
    if not isinstance(kind, str) or kind not in _KINDS:
        return None, [document.problem(("kind",), _unknown_kind(kind))]
    wanted, model = _KINDS[kind]
    reader = _Reader(document, quotes=kind != "Secret")
    if version != wanted:
        shown = "missing" if version is None else repr(shorten(str(version)))
        reader.problem(("apiVersion",), f"is {shown}; of a {kind} it is {wanted}")
    try:
        result = reader.struct(tree, _info(model), ())
    except _TooManyError:
        return None, reader.problems
    assert isinstance(result, AnyManifest)
    return Loaded(result, document, tuple(reader.wrong)), reader.problems


def _unknown_kind(kind: object) -> str:
    if kind is None:
        return f"is missing; known are {quoted_list(_KINDS)}"
    if not isinstance(kind, str):
        return f"must be text, not {_kind_of(kind)}"
    if kind in _LATER:
        return f"{kind} is not supported yet"
    return f"{shorten(kind)!r} is none that Exeunt knows: {quoted_list(_KINDS)}{nearest(kind, _KINDS)}"


@cache
def _info(model: type[msgspec.Struct]) -> inspect.StructType:
    info = inspect.type_info(model)
    assert isinstance(info, inspect.StructType)
    return info


@cache
def _fields(model: type[msgspec.Struct]) -> dict[str, inspect.Field]:
    return {field.encode_name: field for field in _info(model).fields}


class _TooManyError(Exception):
    """So much is wrong that reading on helps nobody."""


class _Reader:
    """One walk over a document along the models' types. A part that is wrong is reported and left out."""

    def __init__(self, document: Document, *, quotes: bool) -> None:
        self.problems: list[Problem] = []
        self.wrong: list[Path] = []
        self._document = document
        self._quotes = quotes  # problems may quote values: not those of a Secret

    def problem(self, path: Path, message: str) -> None:
        self.problems.append(self._document.problem(path, message))
        self.wrong.append(path)
        if len(self.problems) >= _MAX_PROBLEMS:
            raise _TooManyError

    def struct(self, value: Any, info: inspect.StructType, path: Path) -> Any:
        if not isinstance(value, dict):
            return self._wrong(path, "a mapping", value)
        model: type[msgspec.Struct] = info.cls
        known, ignored = _fields(model), _IGNORED.get(model, frozenset())
        given: dict[str, Any] = {}
        for name, item in value.items():
            field = known.get(name)
            if field is None:
                if name not in ignored:
                    self.problem((*path, name), self._unknown(name, known))
            elif item is not None:
                read = self._field(model, field, item, (*path, name))
                if read is not _BAD:
                    given[field.name] = read
        return model(**given)

    def _unknown(self, name: str, known: dict[str, inspect.Field]) -> str:
        lower = {field.lower(): field for field in known}
        near = lower.get(name.lower())
        return f"unknown field{f'; did you mean {near}?' if near else nearest(name, known)}"

    def _field(self, model: type, field: inspect.Field, value: Any, path: Path) -> Any:
        if (model, field.name) in _ANY_STRING and isinstance(value, (dict, list)):
            self.problem(path, f"a value is text, a number or a boolean, not {_kind_of(value)}; write it as JSON text")
            return _BAD
        if (model, field.name) in _TEXT_OF_ANY and isinstance(value, (bool, int, float)):
            return str(value).lower() if isinstance(value, bool) else str(value)
        return self.value(value, field.type, path)

    def value(self, value: Any, kind: inspect.Type, path: Path) -> Any:
        """The value as this type, or _BAD after its problems have been reported."""
        if isinstance(kind, inspect.UnionType):
            return self._union(value, kind, path)
        if isinstance(kind, inspect.StructType):
            return self.struct(value, kind, path)
        if isinstance(kind, inspect.ListType):
            return self._list(value, kind, path)
        if isinstance(kind, inspect.DictType):
            return self._dict(value, kind, path)
        if isinstance(kind, inspect.StrType):
            return value if isinstance(value, str) else self._wrong(path, "text", value)
        if isinstance(kind, inspect.BoolType):
            return value if isinstance(value, bool) else self._wrong(path, "true or false", value)
        if isinstance(kind, inspect.IntType):
            return self._integer(value, path)
        return value

    def _union(self, value: Any, kind: inspect.UnionType, path: Path) -> Any:
        choices = [choice for choice in kind.types if not isinstance(choice, inspect.NoneType)]
        if len(choices) == 1:
            return self.value(value, choices[0], path)
        if isinstance(value, (dict, list)):  # the only unions of several are scalars
            return self._wrong(path, "text or a number", value)
        return value

    def _list(self, value: Any, kind: inspect.ListType, path: Path) -> Any:
        if not isinstance(value, list):
            return self._wrong(path, "a list", value)
        if isinstance(kind.item_type, inspect.AnyType):
            return value
        if isinstance(kind.item_type, inspect.ListType) and any(isinstance(item, dict) for item in value):
            return self._wrong(path, "a list of lists: each step under a second dash (- - name: …)", value)
        read = [
            self._wrong((*path, at), "a value", None) if item is None else self.value(item, kind.item_type, (*path, at))
            for at, item in enumerate(value)
        ]
        return [item for item in read if item is not _BAD]

    def _dict(self, value: Any, kind: inspect.DictType, path: Path) -> Any:
        if not isinstance(value, dict):
            return self._wrong(path, "a mapping", value)
        if isinstance(kind.value_type, inspect.AnyType):
            return value
        empty = "" if isinstance(kind.value_type, inspect.StrType) else {}
        read = {
            name: self.value(empty if item is None else item, kind.value_type, (*path, name))
            for name, item in value.items()
        }
        return {name: item for name, item in read.items() if item is not _BAD}

    def _integer(self, value: Any, path: Path) -> Any:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value):
            return self._wrong(path, "a whole number", value)
        if not -(2**63) <= value < 2**63:
            return self._wrong(path, "a whole number of 64 bits", value)
        return int(value)

    def _wrong(self, path: Path, wanted: str, value: Any) -> Any:
        said = f"{_kind_of(value)}{_advice(wanted, value)}" if self._quotes else _type_of(value)
        self.problem(path, f"must be {wanted}, not {said}")
        return _BAD


def _kind_of(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the text {shorten(value, 40)!r}"
    return "a list" if isinstance(value, list) else "a mapping"


def _type_of(value: Any) -> str:
    """The kind of a value without the value."""
    if isinstance(value, bool):
        return "true or false; write it in quotes"
    if isinstance(value, (int, float)):
        return "a number; write it in quotes"
    return "a text" if isinstance(value, str) else _kind_of(value)


def _advice(wanted: str, value: Any) -> str:
    if wanted == "text" and isinstance(value, bool):
        return "; write it in quotes (without them y, n, yes, no, on and off are true or false)"
    if wanted == "text" and isinstance(value, (int, float)):
        return f'; write it in quotes, "{value}"'
    if wanted in ("true or false", "a whole number") and isinstance(value, str):
        return "; write it without quotes" if value in ("true", "false") or value.isdigit() else ""
    return ""
