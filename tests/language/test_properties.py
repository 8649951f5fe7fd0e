"""Whatever comes in, a model or problems come out: nothing crashes, nothing hangs, all is said with its place."""

# ruff: noqa: PT017 -- that nothing is raised is as good as what is looked at here

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from exeunt.language.decode import load_manifests, read
from exeunt.language.load import Document, load_documents
from exeunt.language.manifest import Workflow, WorkflowTemplate
from exeunt.language.problems import ManifestError, Problem
from exeunt.language.validate import resolve, validate, validate_template

KEYS = st.sampled_from(
    "spec templates name steps dag tasks template inline inputs outputs parameters value valueFrom arguments hooks "
    "exit expression container image args script retryStrategy limit withItems withParam withSequence depends "
    "dependencies templateRef workflowTemplateRef entrypoint onExit plugin resource manifest action path item".split()
)
NAMES = st.sampled_from(
    ["a", "b", "main", "t", "lib", "{{item}}", "{{=item}}", "{{steps.a.outputs.result}}", "a.Failed", "{{"]
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8), NAMES)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(KEYS, st.text(max_size=4)), inner, max_size=5)
    ),
    max_leaves=25,
)

PARAMETER = st.fixed_dictionaries({"name": NAMES}, optional={"value": SCALARS, "default": NAMES, "globalName": NAMES})
PARAMETERS = st.fixed_dictionaries({}, optional={"parameters": st.lists(PARAMETER, max_size=2)})
HOOKS = st.dictionaries(
    st.sampled_from(["exit", "late"]),
    st.fixed_dictionaries({}, optional={"template": NAMES, "expression": NAMES, "arguments": PARAMETERS}),
    max_size=2,
)
REF = st.fixed_dictionaries({"name": NAMES}, optional={"template": NAMES, "clusterScope": st.booleans()})
STEP = st.fixed_dictionaries(
    {"name": NAMES},
    optional={
        "template": NAMES,
        "templateRef": REF,
        "arguments": PARAMETERS,
        "when": NAMES,
        "onExit": NAMES,
        "hooks": HOOKS,
        "withItems": st.lists(TREES, max_size=2),
        "withParam": NAMES,
        "depends": st.sampled_from(["a", "b", "a && b", "a.Failed || zz", "(((", "a.AnySucceeded"]),
        "dependencies": st.lists(NAMES, max_size=2),
    },
)
TEMPLATE = st.fixed_dictionaries(
    {"name": NAMES},
    optional={
        "inputs": PARAMETERS,
        "outputs": PARAMETERS,
        "container": st.fixed_dictionaries({"args": st.lists(NAMES, max_size=2)}),
        "suspend": st.just({}),
        "steps": st.lists(st.lists(STEP, max_size=2), max_size=2),
        "dag": st.fixed_dictionaries({"tasks": st.lists(STEP, max_size=3)}, optional={"target": NAMES}),
        "retryStrategy": st.fixed_dictionaries({}, optional={"limit": SCALARS}),
        "resource": st.fixed_dictionaries({}, optional={"action": NAMES, "manifest": st.text(max_size=20)}),
    },
)
WORKFLOWS = st.fixed_dictionaries(
    {"templates": st.lists(TEMPLATE, max_size=4)},
    optional={
        "entrypoint": NAMES,
        "onExit": NAMES,
        "hooks": HOOKS,
        "arguments": PARAMETERS,
        "workflowTemplateRef": REF,
    },
)


def all_problems(document: Document) -> list[Problem]:
    """What reading and validation say, also of what is read in part; a whole model can be stored and read again."""
    loaded, found = read(document)
    if loaded is None:
        assert found
        return found
    model = loaded.model
    assert found or msgspec.json.decode(msgspec.json.encode(model), type=type(model)) is not None
    if isinstance(model, WorkflowTemplate):
        return found + loaded.beside(validate_template(model, lambda *_: None, document))
    if not isinstance(model, Workflow):
        return found
    library = WorkflowTemplate(kind="WorkflowTemplate", spec=model.spec)
    library.metadata.name = "lib"
    bundle = resolve(model, lambda _kind, _ns, name: library if name == "lib" else None)
    return found + loaded.beside(validate(bundle, document))


def check(found: list[Problem], file: str) -> None:
    for problem in found:
        assert problem.message
        assert problem.file in (file, "WorkflowTemplate/lib")
        assert "\n" not in str(problem)


@given(st.text())
def test_any_text_ends_in_manifests_or_problems(text: str) -> None:
    try:
        load_manifests(text, "f")
    except ManifestError as error:
        assert error.problems
        check(error.problems, "f")
        assert all(problem.line >= 1 for problem in error.problems)


@given(st.text(alphabet="[]{}:,-?&*!|>'\"#%@` \n\tab<=~01.\\", max_size=60))
def test_any_knot_of_yaml_signs_ends_in_documents_or_problems(text: str) -> None:
    try:
        documents = load_documents(text, "f")
    except ManifestError as error:
        check(error.problems, "f")
    else:
        assert all(document.line(()) >= 1 for document in documents)


@given(TREES)
@settings(deadline=None)
def test_any_tree_ends_in_a_model_or_problems(tree: Any) -> None:
    check(all_problems(Document("f", tree)), "f")
    shape = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"name": "w"}, "spec": tree}
    check(all_problems(Document("f", shape)), "f")


@given(WORKFLOWS, st.sampled_from(["Workflow", "WorkflowTemplate"]))
@settings(deadline=None, max_examples=300)
def test_anything_like_a_workflow_ends_in_a_model_or_problems(spec: Any, kind: str) -> None:
    shape = {"apiVersion": "argoproj.io/v1alpha1", "kind": kind, "metadata": {"name": "w"}, "spec": spec}
    check(all_problems(Document("f", shape)), "f")
