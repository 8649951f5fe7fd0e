"""What may run is accepted, what cannot is refused at once, with file, line, path and a word about what to do."""

# ruff: noqa: E501 -- a row of these tables reads best on one line

from __future__ import annotations

import pytest

from exeunt.language.decode import load_manifests
from exeunt.language.manifest import WorkflowTemplate
from exeunt.language.validate import validate_template

from .manifests import HEAD, HELLO, errors, warnings

LEAF = "  - {name: t, inputs: {parameters: [{name: x, default: d}]}, container: {image: a}}\n"
NEEDY = "  - {name: needy, inputs: {parameters: [{name: x}]}, container: {image: a}}\n"


def spec(templates: str, more: str = "") -> str:
    """A workflow with these templates from line 6 on (more: further lines of the spec, behind them)."""
    return f"{HEAD}spec:\n  entrypoint: main\n  templates:\n{templates}{more}"


def steps(*groups: str) -> str:
    """A main template of steps, the first group in line 9."""
    return spec("  - name: main\n    steps:\n" + "".join(f"    - [{group}]\n" for group in groups) + LEAF + NEEDY)


def dag(*tasks: str) -> str:
    """A main template of tasks, the first in line 10."""
    return spec(
        "  - name: main\n    dag:\n      tasks:\n" + "".join(f"      - {task}\n" for task in tasks) + LEAF + NEEDY
    )


def test_a_plain_workflow_is_accepted_without_a_word() -> None:
    assert errors(HEAD + HELLO, support=True) == []
    assert warnings(HEAD + HELLO, support=True) == []


TWICE = "hooks.exit does not run: onExit (main)"


def test_of_two_handlers_for_the_same_end_lint_says_which_does_not_run() -> None:
    both = "  onExit: main\n  hooks: {exit: {template: main}}\n"
    [told] = warnings(HEAD + HELLO + both)
    assert told.startswith("w.yaml:10: spec.hooks.exit: warning: " + TWICE)
    [told] = warnings(steps("{name: a, template: t, onExit: t, hooks: {exit: {template: t}}}"))
    assert "spec.templates[0].steps[0][0].hooks.exit: warning: hooks.exit does not run: onExit (t)" in told
    library = (
        "apiVersion: argoproj.io/v1alpha1\nkind: WorkflowTemplate\nmetadata: {name: lib}\n"
        + HELLO
        + "  onExit: main\n---\n"
    )
    refers = HEAD + "spec: {workflowTemplateRef: {name: lib}, hooks: {exit: {template: main}}}\n"
    [told] = warnings(library + refers)
    assert TWICE + ", which the referenced template has," in told


def test_a_stored_template_may_use_what_handlers_have() -> None:
    script = "{{workflow.failures}} {{workflow.outputs.parameters.total}} {{workflow.exeunt.outcome}}"
    text = (
        "apiVersion: argoproj.io/v1alpha1\nkind: ClusterWorkflowTemplate\nmetadata: {name: lib}\nspec:\n  templates:\n"
        f"  - {{name: tell, container: {{image: a, args: ['{script} {{{{workflow.exeunt.nothing}}}}']}}}}\n"
    )
    [loaded] = load_manifests(text, "lib.yaml")
    assert isinstance(loaded.model, WorkflowTemplate)
    [problem] = validate_template(loaded.model, lambda *_: None, loaded.document)
    assert "workflow.exeunt.nothing" in str(problem)


ENTRY = [
    (HEAD + "spec: {templates: [{name: a, suspend: {}}]}", "w.yaml:4: spec: has no entrypoint; give it one of a"),
    (HEAD + HELLO.replace("entrypoint: main", "entrypoint: mian"), "w.yaml:5: spec.entrypoint: there is no template 'mian'; did you mean main?"),
    (HEAD.replace("name: w", "name: W_1") + HELLO, "w.yaml:3: metadata.name: 'W_1' must be lower case letters"),
    (HEAD.replace("name: w", f"name: {'w' * 64}") + HELLO, "w.yaml:3: metadata.name: is 64 characters long; 63 are allowed"),
    (HEAD.replace("name: w", "namespace: a") + HELLO, "w.yaml:3: metadata: has no name; give it 'name' or 'generateName'"),
    (HEAD.replace("name: w", "generateName: A-") + HELLO, "metadata.generateName: 'A-' must be"),
    (HEAD + HELLO + "  onExit: bye\n", "w.yaml:9: spec.onExit: there is no template 'bye'; there are main"),
    (HEAD + HELLO + "  hooks: {exit: {template: bye}}\n", "w.yaml:9: spec.hooks.exit.template: there is no template 'bye'"),
    (HEAD + HELLO + "  hooks: {late: {template: main}}\n", "w.yaml:9: spec.hooks.late: has no expression"),
    (HEAD + HELLO + "  hooks: {exit: {}}\n", "w.yaml:9: spec.hooks.exit: names no template"),
    (HEAD + HELLO + "  arguments: {parameters: [{name: n1}]}\n", "spec.arguments.parameters[0]: the parameter n1 has no value"),
    (HEAD + HELLO + "  arguments: {parameters: [{name: a b, value: 1}]}\n", "parameters[0].name: 'a b' must be letters, digits"),
    (HEAD + HELLO + "  arguments: {parameters: [{name: a, value: z, enum: [x, u]}]}\n", "value: 'z' is none of x, u"),
    (HEAD + HELLO + "  retryStrategy: {retryPolicy: Sometimes}\n", "spec.retryStrategy.retryPolicy: 'Sometimes' is none of Always"),
    (HEAD + HELLO + "  templateDefaults: {retryStrategy: {limit: abc}}\n", "spec.templateDefaults.retryStrategy.limit: must be a whole number, not 'abc'"),
    (HEAD + HELLO + "  podGC: {strategy: Never}\n", "spec.podGC.strategy: 'Never' is none of"),
    (HEAD + HELLO + "  shutdown: Now\n", "spec.shutdown: 'Now' is neither Stop nor Terminate"),
    (HEAD + HELLO + "  activeDeadlineSeconds: soon\n", "spec.activeDeadlineSeconds: must be a whole number"),
    (HEAD + HELLO + "  workflowTemplateRef: {name: lib}\n", "w.yaml:9: spec.workflowTemplateRef.name: there is no WorkflowTemplate 'lib'"),
]  # fmt: skip

TEMPLATE = [
    (spec(LEAF + LEAF).replace("main", "t"), "w.yaml:8: spec.templates[1].name: 't' is not unique"),
    (spec("  - {name: main}\n"), "w.yaml:7: spec.templates[0]: does nothing; give it one of container"),
    (spec("  - {name: main, suspend: {}, steps: []}\n"), "spec.templates[0]: has 2 types, steps and suspend; keep one"),
    (spec("  - {container: {image: a}}\n  - {name: main, suspend: {}}\n"), "w.yaml:7: spec.templates[0]: has no name"),
    (spec("  - {name: -a, suspend: {}}\n  - {name: main, suspend: {}}\n"), "spec.templates[0].name: '-a' must be letters"),
    (spec("  - {name: main, container: {}}\n"), "spec.templates[0].container: has no image"),
    (spec("  - {name: main, suspend: {}, timeout: 5s}\n"), "spec.templates[0].timeout: is not for suspend templates"),
    (spec("  - {name: main, container: {image: a}, timeout: '5'}\n"), "timeout: needs a unit; 5s are seconds"),
    (spec("  - {name: main, steps: [], activeDeadlineSeconds: 5}\n"), "activeDeadlineSeconds: is not for steps"),
    (spec("  - {name: main, container: {image: a}, activeDeadlineSeconds: -5}\n"), "a whole number of seconds above 0"),
    (spec("  - {name: main, container: {image: a}, parallelism: 5}\n"), "parallelism: is for steps and dag templates only"),
    (spec("  - {name: main, plugin: {a: {}, b: {}}}\n"), "plugin: must have exactly one key"),
    (spec("  - {name: main, container: {image: a}, retryStrategy: {limit: '1x'}}\n"), "retryStrategy.limit: must be a whole number"),
    (spec("  - {name: main, resource: {action: make, manifest: a}}\n"), "resource.action: 'make' is none of get, create"),
    (spec("  - {name: main, resource: {action: create}}\n"), "resource: has no manifest"),
    (spec("  - {name: main, resource: {action: create, manifest: 'a: [{{=b}}'}}\n"), "resource.manifest: is no YAML in its line 2: not readable"),
    (spec("  - {name: main, inputs: {parameters: [{name: a}, {name: a}]}, suspend: {}}\n"), "inputs.parameters[1].name: 'a' is not unique"),
    (spec("  - {name: main, container: {image: a}, outputs: {parameters: [{name: o}]}}\n"), "has neither 'value' nor 'valueFrom'"),
    (spec("  - {name: main, container: {image: a}, outputs: {parameters: [{name: o, valueFrom: {}}]}}\n"), "names no source; give it path"),
    (spec("  - {name: main, container: {image: a}, outputs: {parameters: [{name: o, valueFrom: {expression: a}}]}}\n"), "is not for container templates; they have path"),
    (spec("  - {name: main, steps: [], outputs: {parameters: [{name: o, valueFrom: {path: /a}}]}}\n"), "is not for steps templates; they have parameter or expression"),
    (spec("  - {name: main, container: {image: a}, outputs: {parameters: [{name: o, globalName: a b, value: 1}]}}\n"), "globalName: 'a b' must be"),
]  # fmt: skip

STEP = [
    (steps("{name: a, template: tt}"), "w.yaml:9: spec.templates[0].steps[0][0].template: there is no template 'tt'"),
    (steps("{name: a}"), "w.yaml:9: spec.templates[0].steps[0][0]: names no template"),
    (steps("{template: t}"), "w.yaml:9: spec.templates[0].steps[0][0]: has no name"),
    (steps("{name: a, template: t}", "{name: a, template: t}"), "w.yaml:10: spec.templates[0].steps[1][0].name: 'a' is not unique"),
    (steps("{name: a.b, template: t}"), "steps[0][0].name: 'a.b' must be letters, digits and '-'"),
    (steps("{name: a, template: t, templateRef: {name: l, template: t}}"), "template: stands beside a templateRef"),
    (steps("{name: a, templateRef: {name: l, template: t}}"), "steps[0][0].templateRef.name: there is no WorkflowTemplate 'l'"),
    (steps("{name: a, templateRef: {name: l}}"), "templateRef: needs both 'name' and 'template'"),
    (steps("{name: a, template: '{{item}}', withItems: [t]}"), "template: must be known at submission"),
    (steps("{name: a, template: needy}"), "steps[0][0]: the input x of template needy gets no value and has no default"),
    (steps("{name: a, template: needy, arguments: {parameters: [{name: xs, value: 1}]}}"), "steps[0][0].arguments.parameters: the input x of template needy gets no value"),
    (steps("{name: a, template: t, arguments: {parameters: [{name: x}]}}"), "the argument x has no value"),
    (steps("{name: a, template: t, arguments: {parameters: [{name: x, valueFrom: {path: /a}}]}}"), "takes only configMapKeyRef"),
    (steps("{name: a, template: t, withItems: [1], withParam: '[]'}"), "only one of withItems, withParam, withSequence"),
    (steps("{name: a, template: t, withSequence: {count: 1, end: 2}}"), "withSequence: has both 'count' and 'end'"),
    (steps("{name: a, template: t, withSequence: {start: 1}}"), "withSequence: has no end; give it 'count' or 'end'"),
    (steps("{name: a, template: t, hooks: {late: {template: t}}}"), "hooks.late: has no expression"),
    (steps("{name: a, template: t, hooks: {exit: {template: bye}}}"), "hooks.exit.template: there is no template 'bye'"),
    (steps("{name: a, template: t, onExit: bye}"), "onExit: there is no template 'bye'"),
    (steps("{name: a, template: t, when: '{{steps.b.status}} == Failed'}"), "when: {{steps.b.status}}: there is nothing of this name"),
    (steps("{name: a, template: t}", "{name: b, template: t, when: '{{steps.a.output.result}} == 1'}"), "did you mean steps.a.outputs.result?"),
    (steps("{name: b, template: t, when: '{{steps.c.outputs.result}} == 1'}", "{name: c, template: t}"), "{{steps.c.outputs.result}}"),
    (steps("{name: a, template: t, when: '{{workflow.parameters.q}}'}"), "{{workflow.parameters.q}}: the workflow has no such parameter"),
    (steps("{name: a, template: t, when: '{{item.k}}', withItems: [{j: 1}]}"), "{{item.k}}: the step has no loop whose items have this"),
    (steps("{name: a, template: t, when: '{{inputs.parameters.x'}"), "'{{inputs.parameters.x' is not closed with }}"),
    (steps("{name: a, template: t, when: '{{=steps.zz.status}}'}"), "{{=steps.zz.status}}: there is no step 'zz' in this template"),
    (steps("{name: a, template: t, when: '{{=frobnicate(1)}}'}"), "there is no variable or function 'frobnicate'"),
    (steps("{name: a, template: t, when: '{{=inputs.parameters.zz}}'}"), "inputs.parameters.zz: the template has no such input"),
]  # fmt: skip

TASK = [
    (spec("  - {name: main, dag: {tasks: []}}\n"), "w.yaml:7: spec.templates[0].dag: has no tasks"),
    (dag("{name: a, template: t, dependencies: [b]}"), "w.yaml:10: spec.templates[0].dag.tasks[0].dependencies[0]: there is no task 'b'"),
    (dag("{name: a, template: t}", "{name: b, template: t, depends: a && cc}"), "tasks[1].depends: there is no task 'cc'"),
    (dag("{name: a, template: t}", "{name: b, template: t, depends: a.Success}"), "a.Success is no result; there are Succeeded"),
    (dag("{name: a, template: t}", "{name: b, template: t, depends: a.AnySucceeded}"), "asks a for AllFailed or AnySucceeded, but a has no items"),
    (dag("{name: a, template: t, depends: a}"), "tasks[0]: tasks wait for each other in a circle: a → a"),
    (dag("{name: a, template: t, depends: c}", "{name: b, template: t, depends: a}", "{name: c, template: t, depends: b}"), "in a circle: a → c → b → a"),
    (dag("{name: a, template: t}", "{name: a, template: t}"), "w.yaml:11: spec.templates[0].dag.tasks[1].name: 'a' is not unique"),
    (dag("{name: 1a, template: t}", "{name: b, template: t, depends: 1a}"), "tasks[0].name: cannot start with a digit"),
    (dag("{name: a, template: t}", "{name: b, template: t, depends: a}", "{name: c, template: t, dependencies: [a]}"), "tasks[2].dependencies: cannot stand in a dag that uses 'depends'"),
    (dag("{name: a, template: t, continueOn: {failed: true}}", "{name: b, template: t, depends: a}"), "tasks[0].continueOn: cannot stand"),
    (dag("{name: a, template: t}", "{name: b, template: t, when: '{{tasks.a.status}}'}"), "tasks[1].when: {{tasks.a.status}}"),
    (dag("{name: a, template: t}", "{name: b, template: t, arguments: {parameters: [{name: x, value: '{{tasks.a.outputs.result}}'}]}}"), "uses task 'a', which b does not depend on"),
    (dag("{name: a, template: t}").replace("dag:\n", "dag:\n      target: zz\n"), "dag.target: there is no task 'zz'"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), [*ENTRY, *TEMPLATE, *STEP, *TASK])
def test_what_cannot_run_is_refused_with_its_place(text: str, said: str) -> None:
    found = errors(text)
    assert any(said in problem for problem in found), found
    assert all(problem.startswith("w.yaml:") for problem in found)


ACCEPTED = [
    steps("{name: a, template: t, withItems: [1, {j: 1}], when: '{{item.j}} == 1'}"),
    steps("{name: a, template: t, withParam: '[]', when: '{{item.any}} == 1'}"),
    steps("{name: a, template: t, withItems: [[1, 2]], when: '{{item.[1]}}'}"),
    steps("{name: a, template: t}", "{name: b, template: t, when: '{{steps.a.outputs.result}} == {{steps.a.status}}'}"),
    steps("{name: a, template: t, hooks: {exit: {template: t}}, when: '{{steps.a.exitCode}} == 1'}"),
    steps("{name: a, template: t, hooks: {late: {template: t, expression: 'steps.a.status == \"Failed\"'}}}"),
    steps("{name: a, template: t, when: '{{=steps.zz?.status ?? 1}} == 1'}").replace("zz", "a"),
    steps("{name: a, inline: {container: {image: a, args: ['{{workflow.name}}']}}}"),
    dag("{name: a, template: t}", "{name: b, template: t, depends: 'a.Succeeded || a.Failed', when: '{{tasks.a.status}}'}"),
    dag("{name: a, template: t, withItems: [1]}", "{name: b, template: t, depends: a.AllFailed}"),
    dag("{name: a, template: t}", "{name: b, template: t, dependencies: [a]}", "{name: c, template: t, dependencies: [b], when: '{{tasks.a.status}}'}"),
    spec("  - {name: main, steps: [[{name: again, template: main}]]}\n"),
    spec("  - {name: main, container: {image: a, args: ['{{ workflow.duration }}', '{{pod.name}}', '{{retries}}']}}\n"),
    spec("  - {name: main, container: {command: [a]}}\n", "  templateDefaults: {container: {image: b}}\n"),
    spec("  - {name: main, container: {image: a}, retryStrategy: {limit: '{{workflow.parameters.n1}}'}}\n", "  arguments: {parameters: [{name: n1, value: 3}]}\n"),
    spec("  - {name: main, steps: [[{name: a, template: '{{workflow.parameters.which}}'}]]}\n  - {name: t1, suspend: {}}\n", "  arguments: {parameters: [{name: which, value: t1}]}\n"),
    spec("  - {name: main, suspend: {}, outputs: {parameters: [{name: o, valueFrom: {supplied: {}}}]}}\n"),
    spec("  - {name: main, suspend: {}}\n  - {name: bye, container: {image: a, args: ['{{workflow.failures}}']}}\n", "  onExit: bye\n"),
    spec("  - {name: main, suspend: {}}\n  - {name: bye, container: {image: a, args: ['{{workflow.failures}}']}}\n", "  hooks: {exit: {template: bye}}\n"),
]  # fmt: skip


@pytest.mark.parametrize("text", ACCEPTED)
def test_what_can_run_is_accepted(text: str) -> None:
    assert errors(text) == []


def test_everything_wrong_is_said_at_once_and_only_once() -> None:
    found = errors(
        steps(
            "{name: a, template: nope, when: '{{steps.zz.status}}'}",
            "{name: b, template: nope}",
            "{name: c, template: t, when: '{{steps.a.outputs.parameters.unknowable}}'}",
        )
    )
    assert [problem.split(": ", 2)[:2] for problem in found] == [
        ["w.yaml:9", "spec.templates[0].steps[0][0].template"],
        ["w.yaml:9", "spec.templates[0].steps[0][0].when"],
        ["w.yaml:10", "spec.templates[0].steps[1][0].template"],
    ]


def test_failures_are_known_to_handlers_only() -> None:
    text = spec(
        "  - {name: main, container: {image: a, args: ['{{workflow.failures}}']}}\n  - {name: bye, suspend: {}}\n",
        "  onExit: bye\n",
    )
    [problem] = errors(text)
    assert "spec.templates[0].container.args[0]: {{workflow.failures}}" in problem


def test_global_outputs_are_known_after_the_step_that_makes_them() -> None:
    maker = "  - {name: maker, container: {image: a}, outputs: {parameters: [{name: o, value: 1, globalName: g}]}}\n"
    user = "  - {name: user, container: {image: a, args: ['{{workflow.outputs.parameters.g}}']}}\n"
    main = "  - {name: main, steps: [[{name: a, template: %s}], [{name: b, template: %s}]]}\n"
    assert errors(spec(main % ("maker", "user") + maker + user)) == []
    assert len(errors(spec(main % ("user", "maker") + maker + user))) == 1


def test_global_outputs_of_the_entrypoint_itself_are_known_to_handlers() -> None:
    main = "  - {name: main, container: {image: a}, outputs: {parameters: [{name: o, value: 1, globalName: %s}]}}\n"
    bye = "  - {name: bye, container: {image: a, args: ['{{workflow.outputs.parameters.g}}']}}\n"
    assert errors(spec(main % "g" + bye, "  onExit: bye\n")) == []
    assert errors(spec(main % "'{{workflow.name}}'" + bye, "  onExit: bye\n")) == []
    assert len(errors(spec(main % "h" + bye, "  onExit: bye\n"))) == 1


def test_a_text_that_is_no_variable_is_passed_on_with_a_warning() -> None:
    text = spec("  - {name: main, container: {image: a, args: ['{{greeting}}']}}\n")
    assert errors(text) == []
    [warning] = warnings(text)
    assert "warning: {{greeting}} is no variable and is passed on as it stands" in warning


def test_variables_in_a_childs_manifest_may_be_the_childs() -> None:
    for own in ("{{=steps.a.status}}", "{{inputs.parameters.x}}", "{{child.workflow.name}}"):
        text = spec(f"  - {{name: main, resource: {{action: create, manifest: 'a: \"{own}\"'}}}}\n")
        assert errors(text) == []
        assert warnings(text) == []


@pytest.mark.parametrize(
    ("phase", "tag", "told"),
    [
        ("Running", "{{tasks.a.outputs.result}}", True),
        ("Running", "{{=tasks.a.exitCode}}", True),
        ("Running", "{{tasks.a.status}} {{workflow.name}}", False),
        ("Failed", "{{tasks.a.outputs.result}}", False),
    ],
)
def test_what_a_hook_on_running_can_never_see_is_told(phase: str, tag: str, told: bool) -> None:
    arguments = f"arguments: {{parameters: [{{name: x, value: '{tag}'}}]}}"
    hook = f"hooks: {{live: {{template: needy, expression: 'tasks.a.status == \"{phase}\"', {arguments}}}}}"
    main = f"  - {{name: main, dag: {{tasks: [{{name: a, template: quick, {hook}}}]}}}}\n"
    text = spec(main + "  - {name: quick, container: {image: a}}\n" + NEEDY)
    assert errors(text) == []
    assert ["has no value while a runs" in warning for warning in warnings(text)] == [True] * told


@pytest.mark.parametrize(
    ("tag", "told"),
    [
        ("{{tasks.a.startedAt}}", "{{tasks.a.startedAt}} is not told to hooks of a itself; it is passed on"),
        ("{{tasks.a.id}}", "{{tasks.a.id}} is not told to hooks of a itself; it is passed on"),
        ("{{item}}", "{{item}} has no value outside of a loop; it is passed on as it stands"),
        ("{{tasks.b.startedAt}} {{tasks.a.status}} {{tasks.a.outputs.result}} {{tasks.a.exitCode}}", ""),
    ],
)
def test_what_no_hook_of_a_step_can_see_is_told(tag: str, told: str) -> None:
    arguments = f"arguments: {{parameters: [{{name: x, value: '{tag}'}}]}}"
    hook = f"dependencies: [b], hooks: {{exit: {{template: needy, {arguments}}}}}"
    tasks = f"{{name: a, template: quick, {hook}}}, {{name: b, template: quick}}"
    text = spec(
        f"  - {{name: main, dag: {{tasks: [{tasks}]}}}}\n  - {{name: quick, container: {{image: a}}}}\n" + NEEDY
    )
    assert errors(text) == []
    assert [told in warning for warning in warnings(text)] == [True] * bool(told)


def test_an_item_is_told_only_where_there_is_none() -> None:
    hook = "hooks: {exit: {template: needy, arguments: {parameters: [{name: x, value: '{{item}}'}]}}}"
    for loop, told in (("", 1), ("withItems: [1, 2], ", 0)):
        main = f"  - {{name: main, steps: [[{{name: a, template: quick, {loop}{hook}}}]]}}\n"
        text = spec(main + "  - {name: quick, suspend: {}}\n" + NEEDY)
        assert errors(text) == []
        assert len(warnings(text)) == told
    text = spec("  - {name: main, suspend: {}}\n" + NEEDY, f"  {hook}\n")
    [warning] = warnings(text)
    assert "spec.hooks.exit.arguments.parameters[0].value: warning: {{item}} has no value outside" in warning


@pytest.mark.parametrize(
    "hook",
    ["  hooks: {exit: {template: needy}}\n", "  hooks: {late: {template: needy, expression: 'true'}}\n"],
)
def test_a_handler_without_what_it_needs_is_warned_of(hook: str) -> None:
    text = spec("  - {name: main, suspend: {}}\n" + NEEDY, hook)
    assert errors(text) == []
    [warning] = warnings(text)
    assert "warning: the input x of the handler needy gets no value: it would end in Error" in warning


def test_an_exit_handler_without_arguments_has_those_of_the_workflow() -> None:
    arguments = "  arguments: {parameters: [{name: x, value: 1}]}\n"
    steps = "{name: a, template: quick, onExit: needy}, {name: b, template: quick, hooks: {exit: {template: needy}}}"
    main = f"  - {{name: main, steps: [[{steps}]]}}\n"
    text = spec(main + "  - {name: quick, suspend: {}}\n" + NEEDY, arguments + "  hooks: {exit: {template: needy}}\n")
    assert errors(text) + warnings(text) == []


def test_an_unknown_name_in_a_workflows_hook_is_passed_on_with_a_warning() -> None:
    hook = "  hooks: {exit: {template: t, arguments: {parameters: [{name: x, value: '{{workflow.outputs.parameters.q}}'}]}}}\n"
    text = spec("  - {name: main, suspend: {}}\n" + LEAF, hook)
    assert errors(text) == []
    [warning] = warnings(text)
    assert "spec.hooks.exit.arguments.parameters[0].value: warning: {{workflow.outputs.parameters.q}}" in warning
