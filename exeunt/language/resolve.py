"""Collecting what a workflow refers to, so that a run depends on nothing that may change later."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from exeunt.language.handlers import further_handlers
from exeunt.language.manifest import (
    Arguments,
    Bundle,
    ConfigMap,
    LifecycleHook,
    Parameter,
    Step,
    Template,
    Workflow,
    WorkflowSpec,
    WorkflowTemplate,
)
from exeunt.language.pods import containers_of
from exeunt.language.repository import map_wanted, own_specs, uses_artifacts
from exeunt.language.template_lookup import CLUSTER_KIND, NAMESPACED_KIND, Lookup, scope_of
from exeunt.language.visible import Visible, constant
from exeunt.language.volumes import maps_of

ConfigMapLookup = Callable[[str, str], ConfigMap | None]
"""(namespace, name) → the config map."""


def resolve(workflow: Workflow, lookup: Lookup, config_map: ConfigMapLookup | None = None) -> Bundle:
    """The workflow with all templates and config maps that it names, directly or through others.

    What is not there is left out: `validate` says so, with its place. Names may hold workflow parameters whose value
    is known; names that are known only at run time lead nowhere.
    """
    bundle = Bundle(workflow=workflow)
    namespace = workflow.metadata.namespace or "default"
    stored: dict[str, WorkflowTemplate] = {}
    known = Visible({})
    # the handlers that the annotation names are hooks of the workflow like others
    todo = [workflow.spec, WorkflowSpec(hooks=further_handlers(workflow))]
    first = workflow.spec.workflow_template_ref
    if first is not None:  # before anything else: its arguments may stand in the names of others
        kind = CLUSTER_KIND if first.cluster_scope else NAMESPACED_KIND
        found = lookup(kind, "" if first.cluster_scope else namespace, first.name)
        if found is not None:
            stored[scope_of(found)] = found
            todo.append(found.spec)
            _learn(found.spec, known)
    _learn(workflow.spec, known)
    maps: dict[str, ConfigMap] = {}
    uses = False
    while todo:
        spec = todo.pop()
        uses = uses or uses_artifacts(spec, all_templates(spec))
        for name, cluster in _references(spec, known):
            found = lookup(CLUSTER_KIND if cluster else NAMESPACED_KIND, "" if cluster else namespace, name)
            if found is not None and scope_of(found) not in stored:
                stored[scope_of(found)] = found
                todo.append(found.spec)
        if config_map is not None:
            for name in _config_maps(spec, known):
                if name not in maps and (content := config_map(namespace, name)) is not None:
                    maps[name] = content
    bundle.templates = list(stored.values())
    if config_map is not None:
        name = map_wanted(own_specs(bundle), uses=uses)
        if name and name not in maps and (content := config_map(namespace, name)) is not None:
            maps[name] = content
    bundle.config_maps = list(maps.values())
    return bundle


def _learn(spec: WorkflowSpec, known: Visible) -> None:
    for parameter in spec.arguments.parameters:
        known.add(f"workflow.parameters.{parameter.name}", constant(parameter.value))


def _references(spec: WorkflowSpec, known: Visible) -> Iterator[tuple[str, bool]]:
    holders: list[Step | LifecycleHook] = [*spec.hooks.values()]
    for template in all_templates(spec):
        for step in _steps(template):
            holders += [step, *step.hooks.values()]
    for holder in holders:
        if holder.template_ref is not None and (name := known.constant(holder.template_ref.name)):
            yield name, holder.template_ref.cluster_scope


def _config_maps(spec: WorkflowSpec, known: Visible) -> Iterator[str]:
    arguments: list[Arguments] = [spec.arguments, *(hook.arguments for hook in spec.hooks.values())]
    parameters: list[Parameter] = []
    volumes = [*spec.volumes, *(spec.template_defaults.volumes if spec.template_defaults is not None else ())]
    for template in all_templates(spec):
        parameters += template.inputs.parameters
        volumes += template.volumes
        for step in _steps(template):
            arguments += [step.arguments, *(hook.arguments for hook in step.hooks.values())]
        for _, running in containers_of(template):
            keys = [variable.value_from.config_map_key_ref for variable in running.env if variable.value_from]
            for source in (*keys, *(one.config_map_ref for one in running.env_from)):
                if source is not None and (name := known.constant(source.name)):
                    yield name
    for volume in volumes:
        for map_name in maps_of(volume):
            if name := known.constant(map_name):
                yield name
    for given in arguments:
        parameters += given.parameters
    for parameter in parameters:
        ref = parameter.value_from.config_map_key_ref if parameter.value_from is not None else None
        if ref is not None and (name := known.constant(ref.name)):
            yield name


def all_templates(spec: WorkflowSpec) -> Iterator[Template]:
    """The templates of a spec and those inline in them."""
    todo = list(spec.templates)
    while todo:
        template = todo.pop()
        yield template
        todo += [step.inline for step in _steps(template) if step.inline is not None]


def _steps(template: Template) -> list[Step]:
    steps = [step for group in template.steps or [] for step in group]
    return steps if template.dag is None else [*steps, *template.dag.tasks]
