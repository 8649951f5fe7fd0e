"""What is wrong with documents, and what they come to: a pure function, run in a process of its own (`submit`).

What is refused is refused with every problem at once, each with its file, line and path.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from exeunt.chains import wrong_labels
from exeunt.language.decode import Loaded, read_manifests
from exeunt.language.handlers import Defaults
from exeunt.language.load import Document
from exeunt.language.manifest import ConfigMap, Parameter, Secret, Workflow, WorkflowTemplate
from exeunt.language.metadata import check_stored
from exeunt.language.problems import ManifestError, Problem
from exeunt.language.resolve import resolve
from exeunt.language.secret import check_secret, secret_values
from exeunt.language.stored import Key, StoredManifests
from exeunt.language.template_lookup import CLUSTER_KIND, scope_of
from exeunt.language.validate import validate, validate_template
from exeunt.language.variables import text as value_text
from exeunt.launch import encode_bundle
from exeunt.service import worker
from exeunt.visible import quoted

DEFAULT_NAMESPACE = "default"
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


class ToStore(NamedTuple):
    """A manifest that others may refer to: stored as it was written."""

    kind: str
    namespace: str
    name: str
    tree: dict[str, Any]


class CheckJob(msgspec.Struct):
    """Documents (file, text), what the caller wishes, and what is stored of what they refer to, as far as known."""

    documents: list[tuple[str, str]]
    wishes: Wishes
    stored: list[tuple[Key, dict[str, Any] | None]] = []
    parameter_bytes: int = PARAMETER_BYTES
    handlers: tuple[list[str], list[str]] = ([], [])  # as `Defaults` takes them
    sealable: bool = True
    linting: bool = False


class CheckedWorkflow(msgspec.Struct):
    """A workflow that may be started: its bundle as it is stored, and what stands beside it."""

    content: bytes
    namespace: str
    entrypoint: str
    parameters: dict[str, str]
    labels: dict[str, str]


class CheckOutcome(msgspec.Struct):
    """What came of a job. When something is `missing` it is to be done again with that."""

    problems: list[Problem] = []
    workflows: list[CheckedWorkflow] = []
    stored: list[ToStore] = []  # of a secret: its plain values
    missing: list[Key] = []
    asked: bool = False  # the answer depends on what is stored


def check(job: CheckJob) -> CheckOutcome:
    """Looks through all documents of a job as one submission."""
    outcome = CheckOutcome()
    loaded: list[Loaded] = []
    unread = False
    for file, text in job.documents:
        try:
            read, found = read_manifests(text, file)
        except ManifestError as error:
            outcome.problems += error.problems
            unread = True
        else:
            loaded += read
            outcome.problems += found
    if unread and not job.linting:  # what the others refer to may stand there
        return outcome
    _Check(job, outcome).all(loaded)
    return outcome


class _Check:
    def __init__(self, job: CheckJob, outcome: CheckOutcome) -> None:
        self._job = job
        self._outcome = outcome
        self._stored = SubmittedManifests(job.stored, anywhere=job.linting)
        self._handlers = Defaults(*job.handlers)

    def all(self, loaded: list[Loaded]) -> None:
        job, outcome, stored = self._job, self._outcome, self._stored
        workflows: list[tuple[Workflow, Loaded]] = []
        templates: list[tuple[WorkflowTemplate, Loaded]] = []
        for one in loaded:
            match one.model:
                case Workflow():
                    workflows.append((_completed(one.model, job.wishes), one))
                case WorkflowTemplate():
                    templates.append((one.model, one))
                    outcome.stored.append(stored.add_template(one.model, one.document, job.wishes.namespace))
                case ConfigMap():
                    outcome.problems += check_stored(one.model.metadata, one.document)
                    outcome.stored.append(stored.add_config_map(one.model, one.document, job.wishes.namespace))
                case Secret():
                    self._secret(one.model, one.document)
        if not job.linting:  # what is looked at together need not be submitted together
            outcome.problems += _names([(workflow, one.document) for workflow, one in workflows], job.wishes)
        for template, one in templates:
            if self._there(Workflow(metadata=template.metadata, spec=template.spec)):
                outcome.problems += one.beside(validate_template(template, stored.template, one.document))
        for workflow, one in workflows:
            self._handlers.add_to(workflow)
            if self._there(workflow):
                self._workflow(workflow, one)
        outcome.asked = stored.asked

    def _secret(self, secret: Secret, document: Document) -> None:
        found = check_stored(secret.metadata, document) + check_secret(secret, document)
        if not self._job.sealable:
            found.append(document.problem(("kind",), NO_KEY))
        self._outcome.problems += found
        if not found:
            namespace = secret.metadata.namespace or self._job.wishes.namespace
            self._outcome.stored.append(ToStore("Secret", namespace, secret.metadata.name, secret_values(secret)))

    def _there(self, workflow: Workflow) -> bool:
        """Whether all that the workflow refers to is at hand, directly or through others."""
        missing = self._stored.missing(workflow)
        self._outcome.missing += [key for key in missing if key not in self._outcome.missing]
        return not missing

    def _workflow(self, workflow: Workflow, one: Loaded) -> None:
        bundle = resolve(workflow, self._stored.template, self._stored.config_map)
        found = one.beside(validate(bundle, one.document, self._stored.documents, linting=self._job.linting))
        found += _too_large(workflow, one.document, self._job.parameter_bytes)
        for label, why in wrong_labels(workflow.metadata.labels):
            found.append(one.document.problem(("metadata", "labels", label), why))
        self._outcome.problems += found
        if all(problem.warning for problem in found) and not self._job.linting:
            part = CheckedWorkflow(
                content=encode_bundle(bundle),
                namespace=workflow.metadata.namespace,
                entrypoint=self._job.wishes.entrypoint,
                parameters=dict(self._job.wishes.parameters),
                labels=dict(workflow.metadata.labels),
            )
            self._outcome.workflows.append(part)


class SubmittedManifests(StoredManifests):
    """What workflows of one submission may refer to: templates of the submission itself, and stored ones."""

    def __init__(self, known: list[tuple[Key, dict[str, Any] | None]], *, anywhere: bool) -> None:
        """`anywhere`: what stands in the documents serves every namespace."""
        super().__init__()
        self._anywhere = anywhere
        self.documents: dict[str, Document] = {}
        self.asked = bool(known)
        for key, tree in known:
            self.add(key, tree or None)

    def add_template(self, template: WorkflowTemplate, document: Document, namespace: str) -> ToStore:
        """A template of the submission itself."""
        if template.kind == CLUSTER_KIND:
            namespace = ""
        else:
            namespace = template.metadata.namespace = template.metadata.namespace or namespace
        self._known[template.kind, namespace, template.metadata.name] = template
        self.documents[scope_of(template)] = document
        return _to_store(template.kind, namespace, document)

    def add_config_map(self, config_map: ConfigMap, document: Document, namespace: str) -> ToStore:
        """A config map of the submission itself."""
        namespace = config_map.metadata.namespace = config_map.metadata.namespace or namespace
        self._known["ConfigMap", namespace, config_map.metadata.name] = config_map
        return _to_store("ConfigMap", namespace, document)

    def _get(self, key: Key) -> WorkflowTemplate | ConfigMap | None:
        kind, _, name = key
        if self._anywhere:
            for (known, _, called), manifest in self._known.items():
                if manifest is not None and (known, called) == (kind, name):
                    return manifest
        return super()._get(key)


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
            said = f"the parameter {quoted(parameter.name)} has {size:,} bytes; at most {most:,} are allowed"
            problems.append(document.problem(path, said))
    return problems


def work(data: bytes) -> bytes:
    """A job and its outcome as bytes."""
    return msgspec.msgpack.encode(check(msgspec.msgpack.decode(data, type=CheckJob)))


async def work_here(data: bytes) -> bytes:
    """The same in this process: for whoever has a process of its own, or a world that is simulated."""
    return work(data)


if __name__ == "__main__":
    worker.serve(work)
