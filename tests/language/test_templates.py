"""Finding templates from anywhere, with what stands above them merged in."""

# ruff: noqa: E501 -- a manifest in flow style has one object on one line

from __future__ import annotations

import pytest

from exeunt.language.decode import load_manifests
from exeunt.language.manifest import Bundle, ConfigMap, Step, TemplateRef, Workflow, WorkflowTemplate
from exeunt.language.template_lookup import TemplateNotFoundError, Templates
from exeunt.language.validate import resolve, validate_template

from .manifests import HEAD, errors, workflow


def library(name: str, body: str, kind: str = "WorkflowTemplate") -> str:
    return f"---\napiVersion: argoproj.io/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\n{body}"


def bundle(text: str) -> Bundle:
    models = [loaded.model for loaded in load_manifests(HEAD + text)]
    store = {(m.kind, m.metadata.name): m for m in models if isinstance(m, WorkflowTemplate)}
    maps = {m.metadata.name: m for m in models if isinstance(m, ConfigMap)}
    assert isinstance(models[0], Workflow)
    return resolve(models[0], lambda kind, _, name: store.get((kind, name)), lambda _, name: maps.get(name))


LIB = library(
    "lib",
    "spec:\n  templates:\n  - {name: outer, steps: [[{name: a, template: inner}]]}\n  - {name: inner, suspend: {}}\n",
)


def test_a_plain_name_stays_in_its_scope_and_a_ref_leads_into_another() -> None:
    templates = Templates(
        bundle(
            "spec: {templates: [{name: inner, dag: {tasks: [{name: a, templateRef: {name: lib, template: outer}}]}}]}\n"
            + LIB
        )
    )
    ref = Step(name="a", template_ref=TemplateRef(name="lib", template="outer"))
    outer = templates.get(ref, templates.local)
    assert (outer.scope, outer.name) == ("namespaced/lib", "outer")
    [[step]] = outer.template.steps or []
    assert templates.get(step, outer.scope).template.suspend is not None
    assert templates.get(step, templates.local).template.dag is not None


def test_an_inline_template_has_no_name_and_stays_where_it_is() -> None:
    model = workflow("spec: {templates: [{name: main, steps: [[{name: a, inline: {suspend: {}}}]]}]}")
    templates = Templates(Bundle(workflow=model))
    [[step]] = model.spec.templates[0].steps or []
    found = templates.get(step, "namespaced/lib")
    assert (found.scope, found.name, found.template.suspend is not None) == ("namespaced/lib", "", True)


def test_the_same_question_has_the_same_answer_object() -> None:
    model = workflow(
        "spec: {templateDefaults: {timeout: 5s}, templates: [{name: main, steps: [[{name: a, inline: {suspend: {}}}]]}]}"
    )
    templates = Templates(Bundle(workflow=model))
    [[step]] = model.spec.templates[0].steps or []
    assert templates.named("main").template is templates.named("main").template
    assert templates.get(step, templates.local).template is templates.get(step, templates.local).template


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (Step(template="nope"), "template nope not found"),
        (Step(template_ref=TemplateRef(name="lib", template="x")), "template x not found in workflow template lib"),
        (Step(template_ref=TemplateRef(name="no", template="x")), "workflow template no not found"),
        (Step(), "failed to get a template"),
    ],
)
def test_what_is_not_there_is_named(step: Step, said: str) -> None:
    templates = Templates(
        bundle(
            "spec: {templates: [{name: a, steps: [[{name: a, templateRef: {name: lib, template: outer}}]]}]}\n" + LIB
        )
    )
    with pytest.raises(TemplateNotFoundError, match=said):
        templates.get(step, templates.local)


def test_everything_a_workflow_leads_to_comes_into_the_bundle() -> None:
    second = library(
        "second",
        "spec: {templates: [{name: t, steps: [[{name: a, templateRef: {name: third, template: t, clusterScope: true}}]]}]}\n",
    )
    third = library("third", "spec: {templates: [{name: t, suspend: {}}]}\n", "ClusterWorkflowTemplate")
    unused = library("unused", "spec: {templates: [{name: t, suspend: {}}]}\n")
    first = (
        "spec:\n  arguments: {parameters: [{name: lib, value: second}]}\n  templates:\n"
        "  - name: main\n    steps: [[{name: a, inline: {dag: {tasks: [{name: b, templateRef: {name: '{{workflow.parameters.lib}}', template: t}}]}}}]]\n"
        "  - {name: h, container: {image: a, env: [{name: E, valueFrom: {configMapKeyRef: {name: settings, key: k}}}]}}\n"
    )
    config = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {k: v}\n"
    found = bundle(first + second + third + unused + config)
    assert [template.metadata.name for template in found.templates] == ["second", "third"]
    assert [config_map.metadata.name for config_map in found.config_maps] == ["settings"]


def test_the_workflow_lies_over_the_template_it_refers_to() -> None:
    stored = library(
        "lib",
        "spec:\n"
        "  entrypoint: main\n"
        "  onExit: bye\n"
        "  suspend: true\n"
        "  parallelism: 3\n"
        "  hooks: {exit: {template: bye}, run: {template: bye, expression: 'true'}}\n"
        "  arguments: {parameters: [{name: a, value: 1}, {name: b, valueFrom: {configMapKeyRef: {name: c, key: k}}}, {name: z, value: 9}]}\n"
        "  templates: [{name: main, suspend: {}}, {name: bye, suspend: {}}]\n",
    )
    spec = Templates(
        bundle(
            "spec:\n"
            "  workflowTemplateRef: {name: lib}\n"
            "  parallelism: 5\n"
            "  hooks: {run: {template: main, expression: 'false'}}\n"
            "  arguments: {parameters: [{name: u, value: 7}, {name: b, value: mine}]}\n" + stored
        )
    ).spec
    assert (spec.entrypoint, spec.on_exit, spec.parallelism, spec.suspend) == ("main", "bye", 5, False)
    assert spec.hooks["exit"].template == "bye"
    assert (spec.hooks["run"].template, spec.hooks["run"].expression) == ("main", "false")
    parameters = {p.name: (p.value, p.value_from) for p in spec.arguments.parameters}
    assert parameters["b"] == ("mine", None)
    assert sorted(parameters) == ["a", "b", "u", "z"]


def test_defaults_fill_what_a_template_does_not_say_and_only_for_its_type() -> None:
    model = workflow(
        "spec:\n"
        "  templateDefaults:\n"
        "    timeout: 30s\n"
        "    retryStrategy: {limit: 2, backoff: {duration: '1'}}\n"
        "    container: {image: busybox, command: [sh, -c], env: [{name: A, value: '1'}, {name: B, value: '1'}]}\n"
        "    script: {image: python}\n"
        "  templates:\n"
        "  - {name: c, container: {args: [x], command: [echo], env: [{name: B, value: '2'}]}, retryStrategy: {limit: 5}}\n"
        "  - {name: s, script: {source: pass}}\n"
        "  - {name: d, steps: []}\n"
    )
    templates = Templates(Bundle(workflow=model))
    container = templates.named("c").template
    assert container.container is not None
    assert container.container.command == ["echo"]
    assert {variable.name: variable.value for variable in container.container.env} == {"A": "1", "B": "2"}
    assert container.retry_strategy is not None
    assert (container.retry_strategy.limit, container.timeout, container.script) == (5, "30s", None)
    assert container.retry_strategy.backoff is not None
    script = templates.named("s").template
    assert script.script is not None
    assert (script.script.image, script.script.source, script.container) == ("python", "pass", None)
    assert templates.named("d").template.container is None


def test_wrongs_of_a_stored_template_are_told_where_it_stands() -> None:
    first = "spec: {entrypoint: main, templates: [{name: main, steps: [[{name: a, templateRef: {name: lib, template: t}}]]}]}\n"
    bad = library(
        "lib", "spec:\n  templates:\n  - {name: t, container: {image: a, args: ['{{inputs.parameters.q}}']}}\n"
    )
    [problem] = errors(HEAD + first + bad)
    assert problem.startswith("w.yaml:11: spec.templates[0].container.args[0]: {{inputs.parameters.q}}")


def test_a_workflow_with_a_template_ref_brings_no_templates_of_its_own() -> None:
    [problem] = errors(
        HEAD
        + "spec: {workflowTemplateRef: {name: lib}, entrypoint: inner, templates: [{name: a, suspend: {}}]}\n"
        + LIB
    )
    assert "spec.templates: cannot stand beside workflowTemplateRef" in problem


def test_a_template_by_itself_may_wait_for_values_and_parameters() -> None:
    text = library(
        "lib",
        "spec:\n  entrypoint: main\n  arguments: {parameters: [{name: a}]}\n"
        "  templates:\n  - {name: main, inputs: {parameters: [{name: a}]}, container: {image: a, args: ['{{workflow.parameters.later}}']}}\n",
    )
    [loaded] = load_manifests(text)
    assert isinstance(loaded.model, WorkflowTemplate)
    assert validate_template(loaded.model, lambda *_: None, loaded.document) == []
