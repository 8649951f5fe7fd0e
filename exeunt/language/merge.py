"""Laying one manifest over another: a workflow over the WorkflowTemplate it names, a template over the defaults.

Both follow Kubernetes' strategic merge: mappings merge field by field, most lists are replaced as a whole, and those
in `MERGE_KEYS` merge item by item. What is on top wins (Argo: docs/workflow-templates.md, docs/template-defaults.md).
"""

from __future__ import annotations

from typing import Any

import msgspec

from exeunt.language.manifest import Parameter, Template, WorkflowSpec
from exeunt.language.template_types import TEMPLATE_TYPES, types_of

MERGE_KEYS = {
    "templates": "name",
    "parameters": "name",
    "artifacts": "name",
    "tasks": "name",
    "env": "name",
    "volumes": "name",
    "sidecars": "name",
    "initContainers": "name",
    "imagePullSecrets": "name",
    "tolerations": "key",
    "hostAliases": "ip",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "ports": "containerPort",
}
"""Fields whose lists merge by the named key of their items, as Argo's and Kubernetes' types declare it."""


def join_spec(spec: WorkflowSpec, stored: WorkflowSpec) -> WorkflowSpec:
    """The spec that is run: the workflow's over the one of the WorkflowTemplate in its `workflowTemplateRef`.

    Hooks do not merge: a name that both have is the workflow's. `suspend` is the workflow's alone. A parameter with a
    value keeps nothing of a weaker one: a `value` never stands beside somebody else's `valueFrom`.
    """
    base, top = _tree(stored), _tree(spec)
    hooks = {**stored.hooks, **spec.hooks}
    base.pop("hooks", None)
    top.pop("hooks", None)
    joined = msgspec.convert(_overlay(base, top), WorkflowSpec)
    joined.hooks = hooks
    joined.suspend = spec.suspend
    strongest = {p.name: p for p in stored.arguments.parameters if has_value(p)}
    strongest |= {p.name: p for p in spec.arguments.parameters if has_value(p)}
    joined.arguments.parameters = [strongest.get(p.name, p) if has_value(p) else p for p in joined.arguments.parameters]
    return joined


def with_defaults(template: Template, defaults: Template | None) -> Template:
    """The template over `templateDefaults`. Defaults for other types of template do not apply to it."""
    if defaults is None:
        return template
    own = types_of(template)
    base = {field: value for field, value in _tree(defaults).items() if field not in TEMPLATE_TYPES or field in own}
    return msgspec.convert(_plain(_overlay(base, _tree(template))), Template)


def _plain(tree: Any) -> Any:
    """Numbers lose their written form in Argo's merge: 2.0 is 2 (strategicpatch goes through plain maps)."""
    if isinstance(tree, dict):
        return {key: _plain(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_plain(value) for value in tree]
    return int(tree) if isinstance(tree, float) and tree.is_integer() and abs(tree) < 1e21 else tree


def has_value(parameter: Parameter) -> bool:
    """Whether anything gives the parameter a value: a value, a default or a place to read it from."""
    given = (parameter.value, parameter.default)
    return any(value is not msgspec.UNSET for value in given) or parameter.value_from is not None


def _tree(model: msgspec.Struct) -> dict[str, Any]:
    tree = msgspec.to_builtins(model)
    assert isinstance(tree, dict)
    return tree


def _overlay(base: Any, top: Any, field: str = "") -> Any:
    if isinstance(base, dict) and isinstance(top, dict):
        merged = dict(base)
        for name, value in top.items():
            merged[name] = _overlay(base[name], value, name) if name in base else value
        return merged
    key = MERGE_KEYS.get(field)
    if key and isinstance(base, list) and isinstance(top, list) and _keyed(base, key) and _keyed(top, key):
        return _overlay_items(base, top, key)
    return top


def _keyed(items: list[Any], key: str) -> bool:
    return all(isinstance(item, dict) and key in item for item in items)


def _overlay_items(base: list[Any], top: list[Any], key: str) -> list[Any]:
    """Merge two lists by key. The order is that of the top list; an item only the base has goes before the first
    item of the top that stood behind it in the base, or else to the end."""
    weaker = {item[key]: item for item in base}
    place = {item[key]: index for index, item in enumerate(base)}
    names = {item[key] for item in top}
    waiting = [item for item in base if item[key] not in names]
    merged: list[Any] = []
    for item in top:
        name = item[key]
        while waiting and name in place and place[waiting[0][key]] < place[name]:
            merged.append(waiting.pop(0))
        merged.append(_overlay(weaker[name], item) if name in weaker else item)
    return merged + waiting
