"""Labels and annotations that a workflow gives itself when it begins: `workflowMetadata`."""

from __future__ import annotations

import pytest

from exeunt.engine import decide
from tests.engine.world import World, read, written

OWN = """
    metadata: {name: w, labels: {team: dev, kept: "yes"}}
    spec:
      entrypoint: main
      arguments: {parameters: [{name: foo, value: bar}, {name: count, value: "7"}]}
      onExit: bye
      workflowMetadata:
        labels: {team: ops, about: "{{workflow.parameters.foo}}"}
        annotations: {note: "seen by {{workflow.name}}"}
        labelsFrom: {foo: {expression: "workflow.parameters.foo + '-' + workflow.labels.team"}}
      templates:
      - {name: main, container: {image: a, command: [echo, "{{workflow.labels.team}} {{workflow.labels.foo}}"]}}
      - {name: bye, container: {image: a, command: [echo, "{{workflow.labels.foo}} {{workflow.annotations.note}}"]}}
"""


@pytest.mark.parametrize("restarts", [False, True])
def test_a_workflow_has_the_labels_that_it_gives_itself(restarts: bool) -> None:
    world = written(OWN, restarts=restarts)
    metadata = decide.status(world.main)["metadata"]
    assert metadata["labels"] == {"team": "ops", "kept": "yes", "about": "bar", "foo": "bar-ops"}
    assert metadata["annotations"] == {"note": "seen by w"}
    assert world.ran("w") == "echo ops bar-ops"
    assert world.ran("w.onExit") == "echo bar-ops seen by w"


STORED = """
    metadata: {name: w}
    spec:
      workflowTemplateRef: {name: lib}
      workflowMetadata: {labels: {team: own}}
    ---
    apiVersion: argoproj.io/v1alpha1
    kind: WorkflowTemplate
    metadata: {name: lib}
    spec:
      entrypoint: main
      arguments: {parameters: [{name: day, value: monday}]}
      workflowMetadata:
        labels: {team: theirs, kind: nightly}
        labelsFrom: {day: {expression: workflow.parameters.day}}
      templates:
      - {name: main, container: {image: a, command: [echo, "{{workflow.labels.day}} {{workflow.labels.team}}"]}}
"""


def test_they_may_come_out_of_a_template_and_the_workflows_word_counts() -> None:
    world = written(STORED)
    assert decide.status(world.main)["metadata"]["labels"] == {"team": "own", "kind": "nightly", "day": "monday"}
    assert world.ran("w") == "echo monday own"


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("workflow.parameters.none + 'x'", "labelsFrom.foo: "),
        ("int(workflow.parameters.count)", "labelsFrom.foo: int(workflow.parameters.count) is no text"),
        ("workflow.parameters.foo + ' and more'", "labelsFrom.foo: 'bar and more' should be"),
    ],
)
def test_a_label_that_cannot_be_worked_out_ends_the_workflow_in_error_with_its_handler(
    expression: str, words: str
) -> None:
    bundle, problems = read(OWN.replace("\"workflow.parameters.foo + '-' + workflow.labels.team\"", f'"{expression}"'))
    assert problems == []
    world = World({}, bundle=bundle).run()
    assert world.main.phase == "Error"
    assert words in world.main.message
    assert world.phases()["w.onExit"] == "Succeeded"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('workflow.labels.team"}}', '"}}', "is not readable"),
        ("labels: {team: ops", "labels: {exeunt.dev/depth: ops", "put exeunt.dev/depth into metadata"),
        ("annotations: {note", "annotations: {exeunt.dev/exit-on", "put exeunt.dev/exit-on into metadata"),
        ("labels: {team: ops", "labels: {'te am': ops", "'te am' must be"),
        ("workflow.labels.team}} {{", "workflow.labels.tem}} {{", "there is nothing of this name here"),
    ],
)
def test_wrong_ones_are_refused_at_submission(old: str, new: str, words: str) -> None:
    assert old in OWN
    _, problems = read(OWN.replace(old, new))
    assert any(words in told for told in problems), problems
