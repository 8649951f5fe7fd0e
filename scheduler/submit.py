"""From documents to workflows that can be started: read, completed by the caller's wishes, resolved and checked.

Nothing is written here. What is refused is refused with every problem at once, each with its file, line and path.
"""

from __future__ import annotations

import hashlib
import uuid
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from exeunt.journal.blobs import digest
from exeunt.journal.manifests import Manifests
from exeunt.journal.secrets import Secrets
from exeunt.journal.subjects import partition_of
from exeunt.language.decode import Loaded, decode, read_manifests
from exeunt.language.handlers import Defaults
from exeunt.language.load import Document
from exeunt.language.manifest import Bundle, ConfigMap, Parameter, Secret, Workflow, WorkflowTemplate
from exeunt.language.problems import ManifestError, Problem
from exeunt.language.secret import check_secret, secret_values
from exeunt.language.templates import CLUSTER_KIND, scope_of
from exeunt.language.validate import resolve, validate, validate_template
from exeunt.language.variables import text as value_text
from exeunt.launch import encode_bundle
from exeunt.service.errors import invalid

DEFAULT_NAMESPACE = "default"
CACHED_CHECKS = 64
PARAMETER_BYTES = 256 * 1024
NO_KEY = (
    "this cluster has no key for secrets, so none can be stored; give its schedulers and exit handlers the setting "
    "secret-key (EXEUNT_SECRET_KEY, see docs/secrets.md)"
)


@dataclass(frozen=True)
class Wishes:
    """What the caller wants besides what stands in the documents."""

    namespace: str = DEFAULT_NAMESPACE
    name: str = ""
    generate_name: str = ""
    entrypoint: str = ""
    parameters: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Accepted:
    """A workflow that may be started. `content` is its bundle as it is stored, `digest` the hash of that."""

    bundle: Bundle
    content: bytes
    digest: str
    namespace: str
    entrypoint: str
    parameters: dict[str, str]
    labels: dict[str, str]


class ToStore(NamedTuple):
    """A manifest that others may refer to: stored as it was written."""

    kind: str
    namespace: str
    name: str
    tree: dict[str, Any]


@dataclass
class Checked:
    """All documents of a request, found to be in order. `content` is a hash of what was asked for."""

    workflows: list[Accepted] = field(default_factory=list)
    stored: list[ToStore] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    content: str = ""


def uids(namespace: str, request_id: str, count: int) -> list[str]:
    """The uids of a request's workflows: the same for each repeat, all in one partition, so that one owner has them."""
    found: list[str] = []
    home = -1
    nonce = 0
    while len(found) < count:
        content = f"{namespace}\0{request_id}\0{len(found)}\0{nonce}".encode()
        uid = str(uuid.UUID(bytes=hashlib.blake2b(content, digest_size=16).digest(), version=4))
        if home < 0:
            home = partition_of(uid)
        if partition_of(uid) == home:
            found.append(uid)
            nonce = 0
        else:
            nonce += 1
    return found


class Checker:
    """Reads and checks documents; knows the stored templates and config maps."""

    def __init__(
        self,
        manifests: Manifests,
        parameter_bytes: int = PARAMETER_BYTES,
        handlers: Defaults | None = None,
        secrets: Secrets | None = None,
    ) -> None:
        """`parameter_bytes`: the largest value of a workflow's parameter; `handlers`: what every workflow gets.

        Without `secrets` (a service that has no key) documents of that kind are refused.
        """
        self._handlers = handlers or Defaults()
        self._secrets = secrets
        self._manifests = manifests
        self._parameter_bytes = parameter_bytes
        self._known: OrderedDict[bytes, Checked] = OrderedDict()

    async def check(self, documents: Iterable[tuple[str, str]], wishes: Wishes) -> Checked:
        """Checks documents (file, text) as one submission. Raises ManifestError with every problem of all of them."""
        given = list(documents)
        key = hashlib.blake2b(msgspec.msgpack.encode((given, msgspec.to_builtins(wishes))), digest_size=16).digest()
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            return known
        checked, problems, closed = await self._check(given, wishes)
        if any(not problem.warning for problem in problems):
            raise ManifestError(problems)
        checked.content = digest(msgspec.msgpack.encode(([text for _, text in given], msgspec.to_builtins(wishes))))
        if closed:  # nothing in it depends on what is stored: the answer will be the same
            self._known[key] = checked
            if len(self._known) > CACHED_CHECKS:
                self._known.popitem(last=False)
        return checked

    def check_parameters(self, given: Iterable[tuple[str, str]]) -> None:
        """Raises INVALID_ARGUMENT for a value that is too large."""
        for i, (name, value) in enumerate(given):
            size = len(value.encode())
            if size > self._parameter_bytes:
                text = f"the parameter {name!r} has {size:,} bytes; at most {self._parameter_bytes:,} may be"
                raise invalid(text, [(f"parameters[{i}].value", text)])

    async def lint(self, documents: Iterable[tuple[str, str]], namespace: str) -> list[Problem]:
        """Everything that is wrong or may surprise, in the order of files and lines."""
        given = list(documents)
        order = {file: i for i, (file, _) in enumerate(given)}
        _, problems, _ = await self._check(given, Wishes(namespace=namespace or DEFAULT_NAMESPACE))
        return sorted(problems, key=lambda p: (order.get(p.file, len(order)), p.line))

    async def _check(self, given: list[tuple[str, str]], wishes: Wishes) -> tuple[Checked, list[Problem], bool]:
        problems: list[Problem] = []
        loaded: list[Loaded] = []
        unread = False
        for file, text in given:
            try:
                read, found = read_manifests(text, file)
            except ManifestError as error:
                problems += error.problems
                unread = True
            else:
                loaded += read
                problems += found
        if unread:  # what the others refer to may stand there
            return Checked(), problems, False
        checked = Checked()
        workflows: list[tuple[Workflow, Loaded]] = []
        templates: list[tuple[WorkflowTemplate, Loaded]] = []
        stored = _Stored(self._manifests)
        for one in loaded:
            match one.model:
                case Workflow():
                    workflows.append((_completed(one.model, wishes), one))
                case WorkflowTemplate():
                    templates.append((one.model, one))
                    checked.stored.append(stored.add_template(one.model, one.document, wishes.namespace))
                case ConfigMap():
                    checked.stored.append(stored.add_config_map(one.model, one.document, wishes.namespace))
                case Secret():
                    found = check_secret(one.model, one.document)
                    if self._secrets is None:
                        found.append(one.document.problem(("kind",), NO_KEY))
                    problems += found
                    if self._secrets is not None and not found:
                        checked.stored.append(_sealed(one.model, wishes.namespace, self._secrets))
        problems += _names([(workflow, one.document) for workflow, one in workflows], wishes)
        for template, one in templates:
            await stored.fetch(Workflow(metadata=template.metadata, spec=template.spec))
            problems += one.beside(validate_template(template, stored.lookup, one.document))
        for workflow, one in workflows:
            self._handlers.add_to(workflow)
            await stored.fetch(workflow)
            bundle = resolve(workflow, stored.lookup, stored.config_map)
            found = one.beside(validate(bundle, one.document, stored.documents))
            found += _too_large(workflow, one.document, self._parameter_bytes)
            problems += found
            if all(problem.warning for problem in found):
                checked.workflows.append(_accepted(bundle, wishes))
        checked.warnings = [problem for problem in problems if problem.warning]
        closed = not (stored.asked or checked.stored)
        return checked, problems, closed


class _Stored:
    """What workflows of one submission may refer to: templates of the submission itself, and stored ones."""

    def __init__(self, manifests: Manifests) -> None:
        self._manifests = manifests
        self._templates: dict[tuple[str, str, str], WorkflowTemplate | None] = {}
        self._config_maps: dict[tuple[str, str], ConfigMap | None] = {}
        self._missing: set[tuple[str, str, str]] = set()
        self.documents: dict[str, Document] = {}
        self.asked = False

    def add_template(self, template: WorkflowTemplate, document: Document, namespace: str) -> ToStore:
        """A template of the submission itself."""
        if template.kind == CLUSTER_KIND:
            namespace = ""
        else:
            namespace = template.metadata.namespace = template.metadata.namespace or namespace
        self._templates[template.kind, namespace, template.metadata.name] = template
        self.documents[scope_of(template)] = document
        return _to_store(template.kind, namespace, document)

    def add_config_map(self, config_map: ConfigMap, document: Document, namespace: str) -> ToStore:
        """A config map of the submission itself."""
        namespace = config_map.metadata.namespace = config_map.metadata.namespace or namespace
        self._config_maps[namespace, config_map.metadata.name] = config_map
        return _to_store("ConfigMap", namespace, document)

    def lookup(self, kind: str, namespace: str, name: str) -> WorkflowTemplate | None:
        key = (kind, namespace, name)
        if key not in self._templates:
            self._missing.add(key)
        return self._templates.get(key)

    def config_map(self, namespace: str, name: str) -> ConfigMap | None:
        if (namespace, name) not in self._config_maps:
            self._missing.add(("ConfigMap", namespace, name))
        return self._config_maps.get((namespace, name))

    async def fetch(self, workflow: Workflow) -> None:
        """Gets from the store whatever the workflow refers to, directly or through others."""
        while True:
            self._missing.clear()
            resolve(workflow, self.lookup, self.config_map)
            if not self._missing:
                return
            self.asked = True
            for kind, namespace, name in self._missing:
                tree = await self._manifests.get(kind, namespace, name) if name else None
                model = decode(Document(f"{kind}/{name}", tree, 0)) if tree else None
                if kind == "ConfigMap":
                    self._config_maps[namespace, name] = model if isinstance(model, ConfigMap) else None
                else:
                    self._templates[kind, namespace, name] = model if isinstance(model, WorkflowTemplate) else None


def _sealed(secret: Secret, namespace: str, secrets: Secrets) -> ToStore:
    """A secret as it is stored. Nothing else of its document is kept: annotations may hold a copy of the values."""
    namespace, name = secret.metadata.namespace or namespace, secret.metadata.name
    return ToStore("Secret", namespace, name, secrets.sealed(namespace, name, secret_values(secret)))


def _to_store(kind: str, namespace: str, document: Document) -> ToStore:
    metadata = dict(document.value.get("metadata") or {})
    if namespace:
        metadata["namespace"] = namespace
    return ToStore(kind, namespace, metadata.get("name", ""), {**document.value, "metadata": metadata})


def _completed(workflow: Workflow, wishes: Wishes) -> Workflow:
    """The workflow as it is checked and run: with the caller's parameters, entrypoint and labels."""
    metadata, spec = workflow.metadata, workflow.spec
    metadata.namespace = metadata.namespace or wishes.namespace
    if wishes.name or wishes.generate_name:
        metadata.name, metadata.generate_name = wishes.name, wishes.generate_name
    if wishes.labels:
        metadata.labels = {**metadata.labels, **dict(wishes.labels)}
    spec.entrypoint = wishes.entrypoint or spec.entrypoint
    parameters = {parameter.name: parameter for parameter in spec.arguments.parameters}
    for name, value in wishes.parameters:
        old = parameters.get(name) or Parameter(name=name)
        parameters[name] = msgspec.structs.replace(old, value=value, value_from=None)
    spec.arguments.parameters = list(parameters.values())
    return workflow


def _names(workflows: list[tuple[Workflow, Document]], wishes: Wishes) -> list[Problem]:
    """What is wrong with the names of several workflows taken together."""
    problems: list[Problem] = []
    if (wishes.name or wishes.generate_name) and len(workflows) > 1:
        document = workflows[1][1]
        problems.append(document.problem(("metadata", "name"), "a name can be given to a single workflow only"))
    seen: set[tuple[str, str]] = set()
    for workflow, document in workflows:
        key = (workflow.metadata.namespace, workflow.metadata.name)
        if workflow.metadata.name and key in seen:
            problems.append(
                document.problem(("metadata", "name"), f"{key[1]!r} is the name of an earlier document too")
            )
        seen.add(key)
    return problems


def _too_large(workflow: Workflow, document: Document, most: int) -> list[Problem]:
    """Parameters of the workflow that are too large: every step that is started carries what it uses of them."""
    problems: list[Problem] = []
    for i, parameter in enumerate(workflow.spec.arguments.parameters):
        size = 0 if parameter.value is msgspec.UNSET else len(value_text(parameter.value).encode())
        if size > most:
            path = ("spec", "arguments", "parameters", i, "value")
            said = f"the parameter {parameter.name!r} has {size:,} bytes; at most {most:,} are allowed"
            problems.append(document.problem(path, said))
    return problems


def _accepted(bundle: Bundle, wishes: Wishes) -> Accepted:
    workflow = bundle.workflow
    content = encode_bundle(bundle)
    return Accepted(
        bundle=bundle,
        content=content,
        digest=digest(content),
        namespace=workflow.metadata.namespace,
        entrypoint=wishes.entrypoint,
        parameters=dict(wishes.parameters),
        labels=dict(workflow.metadata.labels),
    )
