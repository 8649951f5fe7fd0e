"""Names of steps and tasks that hold variables: as they will be, wherever a template names them.

Argo puts global parameters and inputs in before it looks at names. What has no value before the workflow runs is
stood for by a word, the same in each place.
"""

from __future__ import annotations

from typing import Any, TypeVar

from msgspec.structs import replace

from exeunt.language.manifest import Step, Task, Template
from exeunt.language.report import Place
from exeunt.language.variables import OPEN
from exeunt.language.visible import TaggedTexts, Visible

S = TypeVar("S", bound=Step)


def with_names(template: Template, visible: Visible, texts: TaggedTexts, place: Place) -> Template:
    """The template with such names put in; what they hold is checked here, since it is not to be seen any more."""
    steps, dag = template.steps, template.dag
    if steps is not None and any(OPEN in step.name for group in steps for step in group):
        named = [
            [_named(step, visible, texts, place.at("steps", group, at)) for at, step in enumerate(row)]
            for group, row in enumerate(steps)
        ]
        return replace(template, steps=named)
    if dag is not None and any(OPEN in text for task in dag.tasks for text in _names_in(task)):
        tasks = [_named(task, visible, texts, place.at("dag", "tasks", at)) for at, task in enumerate(dag.tasks)]
        return replace(template, dag=replace(dag, tasks=tasks))
    return template


def _names_in(task: Task) -> list[str]:
    return [task.name, task.depends, *task.dependencies]


def _named(step: S, visible: Visible, texts: TaggedTexts, here: Place) -> S:
    changed: dict[str, Any] = {}
    for field in ("name", "depends", "dependencies") if isinstance(step, Task) else ("name",):
        value = getattr(step, field)
        texts.check(value, visible, here.at(field))
        changed[field] = visible.named(value) if isinstance(value, str) else [visible.named(one) for one in value]
    return replace(step, **changed)
