"""The types of template: one row for each field of a template that says what the template does.

What a template of each type becomes, its node and its work, stands in a table of the engine with the same names
(`engine/values/leaf.py`).
"""

from __future__ import annotations

from typing import NamedTuple

from exeunt.language.manifest import Template


class TemplateType(NamedTuple):
    """What is true of all templates of a type.

    `leaf`: it has work that is done outside of the workflow. `pod`: for Argo that is a pod, and `{{pod.name}}` has a
    value. `result`: other steps can read `outputs.result`. `sources`: where an output parameter may come from (fields
    of `valueFrom`; empty for anywhere). `built` is False for a type that is refused until it is supported.
    """

    attribute: str
    leaf: bool = False
    pod: bool = False
    composite: bool = False
    result: bool = False
    sources: tuple[str, ...] = ()
    built: bool = True


TEMPLATE_TYPES = {
    "container": TemplateType("container", leaf=True, pod=True, result=True, sources=("path",)),
    "containerSet": TemplateType("container_set", leaf=True, pod=True, sources=("path",)),
    "steps": TemplateType("steps", composite=True, sources=("parameter", "expression")),
    "script": TemplateType("script", leaf=True, pod=True, result=True, sources=("path",)),
    "resource": TemplateType("resource", leaf=True, pod=True, sources=("jqFilter", "jsonPath")),
    "dag": TemplateType("dag", composite=True, sources=("parameter", "expression")),
    "suspend": TemplateType("suspend"),
    "data": TemplateType("data", leaf=True, pod=True, result=True),
    "http": TemplateType("http", leaf=True, result=True),
    "plugin": TemplateType("plugin", leaf=True, result=True),
}
"""By the field as it is spelled in a manifest, in Argo's order. A sound template has exactly one of them."""


def types_of(template: Template) -> list[str]:
    """The types that a template has, in Argo's order."""
    return [field for field, row in TEMPLATE_TYPES.items() if getattr(template, row.attribute) is not None]
