"""Finding a template: by name, by templateRef or inline, from wherever the reference stands.

A *scope* says in whose templates a plain name is looked up: `local/WORKFLOW`, `namespaced/WORKFLOWTEMPLATE` or
`cluster/CLUSTERWORKFLOWTEMPLATE`. A templateRef leads into the scope of what it names; an inline template and a plain
name stay where they are (Argo: docs/workflow-templates.md, node field `templateScope`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from exeunt.language.manifest import (
    Bundle,
    LifecycleHook,
    Step,
    Template,
    TemplateRef,
    Workflow,
    WorkflowSpec,
    WorkflowTemplate,
)
from exeunt.language.merge import join_spec, with_defaults

CLUSTER_KIND = "ClusterWorkflowTemplate"
NAMESPACED_KIND = "WorkflowTemplate"

Lookup = Callable[[str, str, str], WorkflowTemplate | None]
"""(kind, namespace, name) → what is stored under it. The namespace of a ClusterWorkflowTemplate is empty."""


class TemplateNotFoundError(Exception):
    """A reference names no template. The text says which one, in Argo's words."""


class Found(NamedTuple):
    template: Template
    scope: str
    name: str
    """The template's name in its scope; empty for an inline template."""


class Templates:
    """All templates that a workflow can reach, with its defaults merged in. Answers are kept: asking is cheap."""

    def __init__(self, bundle: Bundle, *, defaults: bool = True) -> None:
        """Without `defaults` templates come as they were written, for looking at rather than for running."""
        self._stored = {scope_of(stored): stored.spec for stored in bundle.templates}
        self.local = f"local/{bundle.workflow.metadata.name}"
        self.spec = self._run_spec(bundle.workflow)
        """The spec that is run, with what the workflowTemplateRef brings."""
        self._defaults = self.spec.template_defaults if defaults else None
        specs = {**self._stored, self.local: self.spec}
        self._named = {
            scope: {template.name: template for template in reversed(spec.templates)} for scope, spec in specs.items()
        }
        self._found: dict[tuple[str, str], Found] = {}
        self._inline: dict[int, tuple[Template, Template]] = {}

    def get(self, holder: Step | LifecycleHook, scope: str) -> Found:
        """What a step, a task or a hook in this scope refers to. Raises TemplateNotFoundError."""
        inline = holder.inline if isinstance(holder, Step) else None
        if inline is not None:
            return Found(self._with_defaults(inline), scope, "")
        if holder.template_ref is not None:
            return self.named(holder.template_ref.template, ref_scope(holder.template_ref))
        if not holder.template:
            raise TemplateNotFoundError("failed to get a template")
        return self.named(holder.template, scope)

    def named(self, name: str, scope: str = "") -> Found:
        """The template of this name (scope empty: the workflow's own). Raises TemplateNotFoundError."""
        scope = scope or self.local
        found = self._found.get((scope, name))
        if found is None:
            template = self._plain(name, scope)
            found = Found(with_defaults(template, self._defaults), scope, name)
            self._found[scope, name] = found
        return found

    def names(self, scope: str = "") -> list[str]:
        """The templates of a scope, for saying what there is."""
        return list(self._named.get(scope or self.local, {}))

    def _plain(self, name: str, scope: str) -> Template:
        named = self._named.get(scope)
        kind, _, owner = scope.partition("/")
        if named is None:
            raise TemplateNotFoundError(f"{'cluster ' if kind == 'cluster' else ''}workflow template {owner} not found")
        if name not in named:
            place = "" if kind == "local" else f" in workflow template {owner}"
            raise TemplateNotFoundError(f"template {name} not found{place}")
        return named[name]

    def _with_defaults(self, inline: Template) -> Template:
        if self._defaults is None:
            return inline
        known = self._inline.get(id(inline))
        if known is None:  # the original is kept beside the result, so that its id stays its own
            known = (inline, with_defaults(inline, self._defaults))
            self._inline[id(inline)] = known
        return known[1]

    def _run_spec(self, workflow: Workflow) -> WorkflowSpec:
        ref = workflow.spec.workflow_template_ref
        if ref is None:
            return workflow.spec
        stored = self._stored.get(scope_name(ref.name, cluster=ref.cluster_scope))
        return workflow.spec if stored is None else join_spec(workflow.spec, stored)


def scope_name(name: str, *, cluster: bool) -> str:
    return f"{'cluster' if cluster else 'namespaced'}/{name}"


def scope_of(stored: WorkflowTemplate) -> str:
    """The scope of a stored template's own names."""
    return scope_name(stored.metadata.name, cluster=stored.kind == CLUSTER_KIND)


def ref_scope(ref: TemplateRef) -> str:
    """The scope that a templateRef leads into."""
    return scope_name(ref.name, cluster=ref.cluster_scope)
