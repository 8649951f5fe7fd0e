"""Names that hold variables: of steps and tasks, and tags inside tags that ask for what these gave."""

from __future__ import annotations

import json
import textwrap

import pytest
import yaml

from exeunt.actions.trigger import own
from exeunt.engine.facts.work import PluginWork, ResourceWork, StepOutcome
from tests.engine.world import failing, read, written

DAYS = """
    spec:
      entrypoint: main
      templates:
      - name: main
        steps:
        - - {name: day, template: loop, arguments: {parameters: [{name: d, value: mon}]}}
      - name: loop
        inputs: {parameters: [{name: d}]}
        steps:
        - - {name: "run-{{inputs.parameters.d}}", template: work}
        - - name: "check-{{inputs.parameters.d}}"
            template: say
            when: "{{steps.run-{{inputs.parameters.d}}.status}} == Failed"
            arguments: {parameters: [{name: x, value: "{{steps.run-{{ inputs.parameters.d }}.outputs.result}}"}]}
      - {name: work, container: {image: a, command: ["true"]}}
      - name: say
        inputs: {parameters: [{name: x}]}
        container: {image: a, command: [echo, "{{inputs.parameters.x}}"]}
"""


def says(name: str, attempt: int) -> StepOutcome:
    return StepOutcome(phase="Succeeded", exit_code=0, result="seven" if "run-" in name else "")


@pytest.mark.parametrize("restarts", [False, True])
def test_a_step_may_be_named_by_an_input_and_asked_for_by_a_nested_tag(restarts: bool) -> None:
    world = written(DAYS, says, restarts=restarts)
    assert world.phases()["w[0].day[1].check-mon"] == "Skipped"
    world = written(DAYS.replace("== Failed", "== Succeeded"), says, restarts=restarts)
    assert world.ran("w[0].day[1].check-mon") == "echo seven"


TASKS = """
    spec:
      entrypoint: main
      arguments: {parameters: [{name: act, value: apply}]}
      templates:
      - name: main
        dag:
          tasks:
          - {name: "tf-{{workflow.parameters.act}}", template: work}
          - {name: after, template: work, depends: "tf-{{workflow.parameters.act}}.Failed"}
          - {name: also, template: work, depends: "tf-{{ workflow.parameters.act }}"}
          - name: told
            template: say
            depends: "tf-{{workflow.parameters.act}}.Failed || after"
            arguments: {parameters: [{name: x, value: "{{tasks.tf-{{workflow.parameters.act}}.status}}"}]}
      - {name: work, container: {image: a, command: ["true"]}}
      - name: say
        inputs: {parameters: [{name: x}]}
        container: {image: a, command: [echo, "{{inputs.parameters.x}}"]}
"""


def test_a_task_may_be_named_by_a_parameter_and_depended_on_by_that_name() -> None:
    world = written(TASKS, failing("w.tf-apply"))
    assert world.phases() | {"w": ""} == {
        "w": "",
        "w.tf-apply": "Failed",
        "w.after": "Succeeded",
        "w.also": "Omitted",
        "w.told": "Succeeded",
    }
    assert world.ran("w.told") == "echo Failed"


NO_INPUT = "{{inputs.parameters.e}}: the template has no such input"


@pytest.mark.parametrize(
    ("source", "old", "new", "words"),
    [
        (
            DAYS,
            "steps.run-{{inputs",
            "steps.ran-{{inputs",
            "steps.ran-inputs-parameters-d.status}}: there is",
        ),
        (DAYS, "{{steps.run-{{inputs.parameters.d", "{{steps.run-{{inputs.parameters.e", NO_INPUT),
        (DAYS, '"run-{{inputs.parameters.d}}"', '"run-{{inputs.parameters.e}}"', NO_INPUT),
        (DAYS, '"check-{{', '"check {{', "must be letters, digits and '-'"),
        (TASKS, "value: apply", "value: 'a b'", "'tf-a b' must be letters"),
        (TASKS, "tf-{{ workflow", "tg-{{ workflow", "there is no task 'tg-apply'"),
        (TASKS, 'depends: "tf-{{workflow.parameters.act}}.Failed || after"', "when: ''", "told does not depend on"),
    ],
)
def test_names_with_variables_are_held_to_the_same_rules(source: str, old: str, new: str, words: str) -> None:
    assert old in source
    _, problems = read(source.replace(old, new))
    assert any(words in told for told in problems), problems


CHILD = """\
kind: Workflow
metadata: {generateName: "kid-"}
spec:
  entrypoint: m
  arguments: {parameters: [{name: of, value: "{{workflow.parameters.day}}"}]}
  templates:
  - name: m
    steps:
    - - {name: a, template: t, arguments: {parameters: [{name: x, value: "{{workflow.parameters.of}}"}]}}
    - - {name: b, template: t, arguments: {parameters: [{name: x, value: "{{steps.a.outputs.result}}"}]}}
  - name: t
    inputs: {parameters: [{name: x}]}
    container:
      image: a
      command: [echo, "{{inputs.parameters.x}}", "{{=inputs.parameters.x + '!'}}", "{{child.workflow.name}}"]
"""
PARENT = """\
spec:
  entrypoint: main
  arguments: {parameters: [{name: day, value: monday}]}
  onExit: start
  templates:
  - {name: main, container: {image: a, command: ["true"]}}
  - name: start
"""
TRIGGER = "    plugin:\n      trigger:\n        workflow:\n"
RESOURCE = "    resource:\n      action: create\n      manifest: |\n"


@pytest.mark.parametrize("way", [TRIGGER, RESOURCE])
def test_a_childs_manifest_keeps_its_own_variables(way: str) -> None:
    """The parent's are put in where it has them, and not where they are kept for the child."""
    work = written(PARENT + way + textwrap.indent(CHILD, " " * 10)).given["w.onExit"].work
    if isinstance(work, PluginWork):
        manifest = work.arguments["workflow"]
    else:
        assert isinstance(work, ResourceWork)
        manifest = yaml.safe_load(work.manifest)
    wanted = CHILD.replace("{{workflow.parameters.day}}", "monday").replace("{{child.", "{{")
    assert own(manifest) == yaml.safe_load(wanted)


def test_failures_are_known_to_a_hook_of_the_workflow_and_its_template() -> None:
    world = written(TOLD, failing("w"))
    inner, outer = world.ran("w.hooks.on-fail").split("; ")
    assert inner == outer
    assert [entry["displayName"] for entry in json.loads(json.loads(inner))] == ["w"]


TOLD = """
    spec:
      entrypoint: m
      hooks:
        on-fail:
          expression: workflow.status == "Failed"
          template: tell
          arguments: {parameters: [{name: f, value: "{{workflow.failures}}"}]}
      templates:
      - {name: m, container: {image: a, command: ["false"]}}
      - name: tell
        inputs: {parameters: [{name: f}]}
        script: {image: a, command: [cat], source: "{{inputs.parameters.f}}; {{workflow.failures}}"}
"""
