"""Work that somebody else does: containers, scripts, requests, plugins, resources. What they get, fully resolved."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec

from exeunt.engine import phases
from exeunt.engine.durations import seconds
from exeunt.engine.nodes import Node
from exeunt.engine.problem import NodeError
from exeunt.engine.scope import config_map_value
from exeunt.engine.state import Run
from exeunt.engine.steps import (
    ContainerWork,
    HttpWork,
    OutputParameter,
    PluginWork,
    ResourceWork,
    StepSpec,
    Work,
)
from exeunt.language.manifest import Container, EnvVar, Template
from exeunt.language.variables import text


def node_type(template: Template) -> str:
    """The type of node that a template makes. Raises NodeError for one that says nothing."""
    if template.steps is not None:
        return phases.STEPS
    if template.dag is not None:
        return phases.DAG
    if template.suspend is not None:
        return phases.SUSPEND
    if template.http is not None:
        return phases.HTTP
    if template.plugin is not None:
        return phases.PLUGIN
    kinds = (template.container, template.script, template.resource, template.data, template.container_set)
    if any(kind is not None for kind in kinds):
        return phases.POD
    raise NodeError(f"Template '{template.name}' missing specification")


def is_pod(template: Template) -> bool:
    return template.container is not None or template.script is not None or template.resource is not None


def work(run: Run, template: Template) -> Work:
    """What is to be done. Raises NodeError for what cannot be."""
    if template.container is not None:
        return _container(run, template.container)
    if template.script is not None:
        made = _container(run, template.script)
        made.source = template.script.source
        made.script = True
        return made
    if template.http is not None:
        http = template.http
        return HttpWork(
            method=http.method or "GET",
            url=http.url,
            headers=[(header.name, header.value) for header in http.headers],
            body=http.body,
            timeout_seconds=float(http.timeout_seconds or 30),
            success_condition=http.success_condition,
            insecure_skip_verify=http.insecure_skip_verify,
        )
    if template.plugin is not None:
        name = next(iter(template.plugin), "")
        tree: dict[str, Any] = msgspec.to_builtins(template)
        return PluginWork(name=name, arguments=template.plugin.get(name), template=tree)
    if template.resource is not None:
        resource = template.resource
        return ResourceWork(
            action=resource.action,
            manifest=resource.manifest,
            success_condition=resource.success_condition,
            failure_condition=resource.failure_condition,
        )
    raise NodeError(f"template {template.name}: data and containerSet templates are not supported yet")


def _container(run: Run, container: Container) -> ContainerWork:
    return ContainerWork(
        image=container.image,
        command=container.command,
        args=container.args,
        env=[(variable.name, _variable(run, variable)) for variable in container.env],
        working_dir=container.working_dir,
    )


def _variable(run: Run, variable: EnvVar) -> str:
    reference = (variable.value_from or {}).get("configMapKeyRef")
    if isinstance(reference, dict):
        found = config_map_value(run, str(reference.get("name", "")), str(reference.get("key", "")))
        if found is None and not reference.get("optional"):
            raise NodeError(f"env {variable.name}: ConfigMap {reference.get('name')} has no key {reference.get('key')}")
        return found or ""
    return text(variable.value)


def spec(run: Run, node: Node, template: Template, *, result: bool) -> StepSpec:
    """The step as executors get it."""
    return StepSpec(
        work=work(run, template),
        outputs=[
            OutputParameter(
                name=parameter.name,
                path=parameter.value_from.path,
                default=None
                if isinstance(parameter.value_from.default, msgspec.UnsetType)
                else text(parameter.value_from.default),
            )
            for parameter in template.outputs.parameters
            if parameter.value_from is not None and parameter.value_from.path
        ],
        result=result,
        timeout_seconds=_deadline(template),
        template=template.name,
        fenced=run.workflow.metadata.annotations.get("exeunt.dev/fence") == "true",
        idempotency_key=effect_key(run, node),
    )


def _deadline(template: Template) -> float:
    limits = [
        seconds(value) for value in (template.active_deadline_seconds, template.timeout) if value not in (None, "")
    ]
    return min(limits, default=0.0)


def effect_key(run: Run, node: Node) -> str:
    """Known for ever as this node's effect, in each try of it; a retry of the workflow and `--again` make another."""
    parts = [run.uid, run.hook_id, run.id(node)]
    if run.state.started.run_attempt and not run.exit:  # of an exit run it is part of its id
        parts.append(f"retry {run.state.started.run_attempt}")
    if run.state.again:
        parts.append(str(run.state.replay))
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:32]


_RESULT = re.compile(
    r"(steps|tasks)\.([-A-Za-z0-9_]+)\.outputs\.result|(steps|tasks)\[['\"]([^'\"]+)['\"]\]\.outputs.result"
)


def results_wanted(source: str, kind: str) -> frozenset[str]:
    """The steps or tasks whose result a template (its JSON) asks for, as Argo looks for them."""
    found = set()
    for match in _RESULT.finditer(source):
        if kind in (match[1], match[3]):
            found.add(match[2] or match[4])
    return frozenset(found)
