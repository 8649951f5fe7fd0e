"""Small manifests for the tests of the language, and what is said about them."""

from __future__ import annotations

from exeunt.language.decode import load_manifests
from exeunt.language.manifest import Workflow, WorkflowTemplate
from exeunt.language.problems import ManifestError, Problem
from exeunt.language.template_lookup import scope_of
from exeunt.language.validate import resolve, validate

HEAD = "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nmetadata: {name: w}\n"
"""Three lines: a manifest's own lines start at the fourth."""

HELLO = """\
spec:
  entrypoint: main
  templates:
  - name: main
    container: {image: busybox, command: [echo, hi]}
"""


def workflow(text: str) -> Workflow:
    """The first workflow of a text that needs no head."""
    return next(loaded.model for loaded in load_manifests(HEAD + text) if isinstance(loaded.model, Workflow))


def problems(text: str, *, support: bool = False) -> list[Problem]:
    """Everything said about the workflow of a text; other documents of the text are the store."""
    try:
        loaded = load_manifests(text, "w.yaml")
    except ManifestError as error:
        return error.problems
    stored = [one for one in loaded if isinstance(one.model, WorkflowTemplate)]
    store = {(one.model.kind, one.model.metadata.name): one.model for one in stored}
    first = next(one for one in loaded if isinstance(one.model, Workflow))
    assert isinstance(first.model, Workflow)

    def lookup(kind: str, _namespace: str, name: str) -> WorkflowTemplate | None:
        found = store.get((kind, name))
        return found if isinstance(found, WorkflowTemplate) else None

    bundle = resolve(first.model, lookup)
    documents = {scope_of(one.model): one.document for one in stored if isinstance(one.model, WorkflowTemplate)}
    return validate(bundle, first.document, documents, support=support)


def errors(text: str, *, support: bool = False) -> list[str]:
    return [str(problem) for problem in problems(text, support=support) if not problem.warning]


def warnings(text: str, *, support: bool = False) -> list[str]:
    return [str(problem) for problem in problems(text, support=support) if problem.warning]
