"""Documents become models; every unknown field and every wrong type is named at its place, all in one go."""

from __future__ import annotations

import pytest

from exeunt.language.decode import load_manifests, read_manifests
from exeunt.language.manifest import ConfigMap, Secret, Workflow, WorkflowTemplate
from exeunt.language.problems import ManifestError
from exeunt.language.validate import resolve, validate

from .manifests import HEAD, HELLO, workflow


def refused(text: str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        load_manifests(text, "w.yaml")
    return [str(problem) for problem in caught.value.problems]


def in_container(line: str) -> str:
    return f"{HEAD}spec:\n  templates:\n  - name: main\n    container:\n      {line}\n"


def test_a_workflow_is_read_with_its_steps_and_hooks() -> None:
    model = workflow(
        "spec:\n"
        "  hooks: {exit: {template: bye}}\n"
        "  templates:\n"
        "  - name: main\n"
        "    steps: [[{name: a, template: t, arguments: {parameters: [{name: count, value: 5}]}}]]\n"
    )
    [[step]] = model.spec.templates[0].steps or []
    assert (step.name, step.arguments.parameters[0].value) == ("a", 5)
    assert model.spec.hooks["exit"].template == "bye"


def test_null_is_absent() -> None:
    model = workflow("spec: {entrypoint: null, arguments: null, templates: [{name: a, steps: null, retryStrategy: }]}")
    assert model.spec.entrypoint == ""
    assert model.spec.templates[0].steps is None
    assert model.spec.templates[0].retry_strategy is None


def test_what_is_there_but_empty_is_not_absent() -> None:
    model = workflow("spec: {templates: [{name: a, suspend: {}, retryStrategy: {}}]}")
    assert model.spec.templates[0].suspend is not None
    assert model.spec.templates[0].retry_strategy is not None


def test_all_kinds_are_known() -> None:
    text = (
        "apiVersion: argoproj.io/v1alpha1\nkind: ClusterWorkflowTemplate\nmetadata: {name: t}\n---\n"
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: b}\n---\n"
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {a: b}\n"
    )
    template, config_map, secret = (loaded.model for loaded in load_manifests(text))
    assert isinstance(template, WorkflowTemplate)
    assert template.kind == "ClusterWorkflowTemplate"
    assert isinstance(config_map, ConfigMap)
    assert isinstance(secret, Secret)


def test_what_a_server_adds_is_no_unknown_field() -> None:
    text = HEAD.replace("{name: w}", "{name: w, managedFields: [], resourceVersion: '5', creationTimestamp: null}")
    assert load_manifests(text + HELLO + "status: {phase: Running}\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD + "spek: {}\n", "w.yaml:4: spek: unknown field; did you mean spec?"),
        (HEAD + "spec:\n  entryPoint: main\n", "w.yaml:5: spec.entryPoint: unknown field; did you mean entrypoint?"),
        (in_container("comand: [a]"), "w.yaml:8: spec.templates[0].container.comand: unknown field"),
        (in_container("args: [1]"), 'container.args[0]: must be text, not the number 1; write it in quotes, "1"'),
        (in_container("args: [yes]"), "must be text, not true; write it in quotes (without them y, n, yes"),
        (in_container("args: hello"), "spec.templates[0].container.args: must be a list, not the text 'hello'"),
        (in_container("image: [a]"), "w.yaml:8: spec.templates[0].container.image: must be text, not a list"),
        (in_container("tty: 'true'"), "must be true or false, not the text 'true'; write it without quotes"),
        (HEAD + "spec: {parallelism: '2'}\n", "w.yaml:4: spec.parallelism: must be a whole number, not the text '2'"),
        (HEAD + "spec: {parallelism: 1.5}\n", "must be a whole number, not the number 1.5"),
        (HEAD + "spec: {parallelism: 9223372036854775808}\n", "a whole number of 64 bits"),
        (HEAD + "spec: {templates: {a: 1}}\n", "w.yaml:4: spec.templates: must be a list, not a mapping"),
        (HEAD + "spec: {templates: [null]}\n", "w.yaml:4: spec.templates[0]: must be a value, not nothing"),
        (HEAD + "spec: {templates: [{steps: [{name: a}]}]}\n", "each step under a second dash"),
        (HEAD + "spec: {arguments: {parameters: [{name: a, value: [1]}]}}\n", "not a list; write it as JSON text"),
        (HEAD + "spec: {templates: [{retryStrategy: {limit: {a: 1}}}]}\n", "must be text or a number, not a mapping"),
        (HEAD.replace("name: w", "labels: {a: 1}"), 'w.yaml:3: metadata.labels.a: must be text, not the number 1'),
        ("kind: Workflow\n", "w.yaml:1: apiVersion: is missing; of a Workflow it is argoproj.io/v1alpha1"),
        ("apiVersion: v1\nkind: Workflow\n", "w.yaml:1: apiVersion: is 'v1'; of a Workflow it is"),
        ("a: 1\n", "w.yaml:1: kind: is missing"),
        ("kind: Workflw\n", "did you mean Workflow?"),
        ("kind: CronWorkflow\n", "w.yaml:1: kind: CronWorkflow is not supported yet"),
        ("kind: [a]\n", "w.yaml:1: kind: must be text, not a list"),
        ("- a\n", "w.yaml:1: a manifest is a mapping; this is a list"),
        ("hello\n", "w.yaml:1: a manifest is a mapping; this is the text 'hello'"),
    ],
)  # fmt: skip
def test_what_has_not_the_right_shape_is_refused_with_its_place(text: str, said: str) -> None:
    [problem] = refused(text)
    assert said in problem


def test_everything_wrong_in_all_documents_is_said_at_once() -> None:
    text = HEAD + "spec: {a: 1, templates: [{b: 2, steps: [[{c: 3}]]}]}\n---\n" + HEAD + "d: 4\n"
    assert [problem.split(":")[2].strip() for problem in refused(text)] == [
        "spec.a",
        "spec.templates[0].b",
        "spec.templates[0].steps[0][0].c",
        "d",
    ]


def test_a_description_may_be_a_number() -> None:
    text = "spec: {arguments: {parameters: [{name: a, value: 1, description: 5}]}}"
    assert workflow(text).spec.arguments.parameters[0].description == "5"


def test_a_mistake_of_shape_in_one_template_hides_nothing_of_the_others() -> None:
    text = HEAD + (
        "spec:\n  entrypoint: main\n  onExit: bye\n  templates:\n"
        "  - name: main\n    steps: [[{name: a, template: wrk}]]\n"
        "  - name: work\n    container: {image: x, comand: [sh], args: ['{{inputs.parameters.nothing}}']}\n"
    )
    [one], shape = read_manifests(text, "w.yaml")
    assert isinstance(one.model, Workflow)
    found = [problem.path for problem in one.beside(validate(resolve(one.model, lambda *_: None), one.document))]
    assert [problem.path for problem in shape] == ["spec.templates[1].container.comand"]
    assert sorted(found) == ["spec.onExit", "spec.templates[0].steps[0][0].template"]


def test_a_mistake_of_shape_outside_of_templates_may_be_the_reason_for_all_the_rest() -> None:
    text = HEAD + "spec:\n  entrypoint: main\n  templats:\n  - name: main\n    container: {image: x}\n"
    [one], shape = read_manifests(text, "w.yaml")
    assert isinstance(one.model, Workflow)
    assert [problem.path for problem in shape] == ["spec.templats"]
    assert one.beside(validate(resolve(one.model, lambda *_: None), one.document)) == []
