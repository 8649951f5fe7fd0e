"""Validation: whether a workflow, with all it refers to, may be accepted; everything that is wrong, at once.

What Argo refuses when a workflow is created is refused, what it accepts is accepted (Argo: workflow/validate), but for
the few things that could never run: see `refused-at-once` in docs/argo-differences.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import UNSET

from exeunt.language import handlers, rules
from exeunt.language.load import Document
from exeunt.language.manifest import Arguments, Bundle, Workflow, WorkflowMetadata, WorkflowSpec, WorkflowTemplate
from exeunt.language.metadata import check_metadata, check_workflow_metadata
from exeunt.language.problems import ManifestError, Problem, quoted_list
from exeunt.language.report import Place, Report
from exeunt.language.repository import RepositoryError, repository_of
from exeunt.language.resolve import resolve
from exeunt.language.support import check_support
from exeunt.language.template_lookup import Lookup, Templates, scope_name, scope_of
from exeunt.language.visible import constant
from exeunt.language.volume_rules import check_mounted
from exeunt.language.walk import Origin, Walker

__all__ = ["ManifestError", "Problem", "resolve", "validate", "validate_template"]

_GLOBALS = (
    "name",
    "namespace",
    "uid",
    "mainEntrypoint",
    "serviceAccountName",
    "status",
    "annotations",
    "annotations.json",
    "labels",
    "labels.json",
)
_AT_THE_END = (
    "workflow.failures",
    "workflow.exeunt.outcome",
    "workflow.exeunt.reason",
    "workflow.exeunt.message",
    "workflow.exeunt.failures",
    "workflow.exeunt.skipped",
)
_POD_GC = ("", "OnPodCompletion", "OnPodSuccess", "OnWorkflowCompletion", "OnWorkflowSuccess")
_SHUTDOWN = ("", "Stop", "Terminate")


def validate(
    bundle: Bundle,
    document: Document | None = None,
    stored: Mapping[str, Document] | None = None,
    *,
    support: bool = True,
    linting: bool = False,
) -> list[Problem]:
    """Everything that is wrong with a workflow, warnings included; it may run when no problem but warnings is there.

    `document` is where the workflow was read from, `stored` the documents of stored templates by scope
    (`templates.scope_of`), where they are at hand; without them problems have no line. `support` also refuses what
    Argo can do and Exeunt cannot yet. `linting`: parameters may get their values at submission.
    """
    workflow = bundle.workflow
    report = Report()
    place = Place(document or Document(_label(workflow), None, 0), ())
    check_metadata(workflow.metadata, place.at("metadata"), report)
    _Validation(bundle, place, stored or {}, report, linting=linting).whole(isolated=False)
    if support:
        check_support(workflow.spec, place.at("spec"), report)
        _check_repository(bundle, place.at("spec"), report)
        for template in bundle.templates:
            there = (stored or {}).get(scope_of(template)) or Document(_label(template), None, 0)
            check_support(template.spec, Place(there, ("spec",)), report)
    return report.problems()


def validate_template(
    template: WorkflowTemplate, lookup: Lookup, document: Document | None = None, *, support: bool = True
) -> list[Problem]:
    """Everything that is wrong with a WorkflowTemplate or ClusterWorkflowTemplate by itself, before anyone uses it.

    Its arguments need no values, and names of workflow parameters may come from the workflow that will use it.
    """
    report = Report()
    place = Place(document or Document(_label(template), None, 0), ())
    check_metadata(template.metadata, place.at("metadata"), report)
    workflow = Workflow(metadata=template.metadata, spec=template.spec)
    _Validation(resolve(workflow, lookup), place, {}, report).whole(isolated=True)
    if support:
        check_support(template.spec, place.at("spec"), report)
    return report.problems()


def _check_repository(bundle: Bundle, place: Place, report: Report) -> None:
    """Whether artifacts have a place. A ConfigMap that nobody names and that cannot be one is said too."""
    try:
        repository_of(bundle)
    except RepositoryError as error:
        named = bundle.workflow.spec.artifact_repository_ref is not None
        report.add(place.at("artifactRepositoryRef") if named else place, str(error))


def _label(manifest: Workflow | WorkflowTemplate) -> str:
    name = manifest.metadata.name or manifest.metadata.generate_name
    return f"{manifest.kind}/{name}" if name else manifest.kind


class _Validation:
    """One workflow, or one template looked at as if it were one."""

    def __init__(
        self, bundle: Bundle, place: Place, stored: Mapping[str, Document], report: Report, *, linting: bool = False
    ) -> None:
        self._linting = linting
        self._workflow = bundle.workflow
        self._place = place.at("spec")
        self._annotations = place.at("metadata", "annotations")
        self._report = report
        self._templates = Templates(bundle, defaults=False)
        origins = {
            scope_of(template): Origin(
                stored.get(scope_of(template)) or Document(_label(template), None, 0), template.spec
            )
            for template in bundle.templates
        }
        self._base = self._templates.local
        origins[self._base] = Origin(place.document, bundle.workflow.spec)
        ref = bundle.workflow.spec.workflow_template_ref
        if ref is not None:  # Argo reads its templates where they are stored
            self._base = scope_name(ref.name, cluster=ref.cluster_scope)
        self._origins = origins
        self._walker = Walker(self._templates, origins, report)

    def whole(self, *, isolated: bool) -> None:
        """All rules. `isolated`: a template by itself."""
        spec, report = self._workflow.spec, self._report
        rules.check_names(spec.templates, self._place.at("templates"), report)
        self._spec_fields(spec)
        if not isolated:
            check_mounted(spec, self._templates.spec, self._place, report)
        if self._base not in self._origins:
            ref = spec.workflow_template_ref
            assert ref is not None
            kind = "ClusterWorkflowTemplate" if ref.cluster_scope else "WorkflowTemplate"
            report.add(self._place.at("workflowTemplateRef", "name"), f"there is no {kind} {ref.name!r}")
            return
        if spec.workflow_template_ref is not None and spec.templates:
            report.add(self._place.at("templates"), "cannot stand beside workflowTemplateRef, which brings its own")
        arguments = self._arguments(isolated=isolated)
        self._globals(arguments, isolated=isolated)
        self._walker.arguments = None if isolated else arguments
        self._entrypoint(None if isolated else arguments, isolated=isolated)
        self._handlers(arguments, isolated=isolated)
        self._walker.visit_all(self._base)

    def _spec_fields(self, spec: WorkflowSpec) -> None:
        report = self._report
        rules.check_retry(spec.retry_strategy, self._place.at("retryStrategy"), report)
        if spec.template_defaults is not None:
            where = self._place.at("templateDefaults", "retryStrategy")
            rules.check_retry(spec.template_defaults.retry_strategy, where, report)
        rules.check_hook_expressions(spec.hooks, self._place.at("hooks"), report)
        if spec.workflow_metadata is not None:
            check_workflow_metadata(spec.workflow_metadata, self._place.at("workflowMetadata"), report)
        if not rules.whole_number(spec.active_deadline_seconds):
            report.add(self._place.at("activeDeadlineSeconds"), "must be a whole number of seconds")
        if spec.shutdown not in _SHUTDOWN:
            report.add(self._place.at("shutdown"), f"{spec.shutdown!r} is neither Stop nor Terminate")
        strategy = (spec.pod_gc or {}).get("strategy") or ""
        if strategy not in _POD_GC:
            report.add(self._place.at("podGC", "strategy"), f"{strategy!r} is none of {quoted_list(_POD_GC[1:])}")

    def _arguments(self, *, isolated: bool) -> Arguments:
        own, merged = self._workflow.spec.arguments, self._templates.spec.arguments
        rules.check_arguments(own, self._place.at("arguments"), self._report, may_be_empty=True)
        if isolated:
            return merged
        lines = {parameter.name: at for at, parameter in enumerate(own.parameters)}
        for parameter in merged.parameters:
            if parameter.value is UNSET and parameter.value_from is None and not self._linting:
                at = lines.get(parameter.name)
                where = self._place.at("arguments", *(() if at is None else ("parameters", at)))
                self._report.add(where, f"the parameter {parameter.name} has no value; give it one here or with -p")
        return merged

    def _globals(self, arguments: Arguments, *, isolated: bool) -> None:
        shared = self._walker.shared
        shared.update(dict.fromkeys((f"workflow.{name}" for name in _GLOBALS), None))
        if arguments.parameters:
            shared["workflow.parameters"] = shared["workflow.parameters.json"] = None
        for parameter in arguments.parameters:
            shared[f"workflow.parameters.{parameter.name}"] = None if isolated else constant(parameter.value)
        if isolated:  # what the workflow that will use it has, also when it has ended: templates may be for handlers
            self._walker.open = ("workflow.parameters", "workflow.outputs.")
            shared.update(dict.fromkeys(_AT_THE_END, None))
        metadata, spec = self._workflow.metadata, self._templates.spec
        own = spec.workflow_metadata or WorkflowMetadata()
        for key in [*metadata.annotations, *own.annotations]:
            shared[f"workflow.annotations.{key}"] = None
        for key in [*metadata.labels, *own.labels, *own.labels_from]:
            shared[f"workflow.labels.{key}"] = None
        if self._workflow.spec.priority is not None:
            shared["workflow.priority"] = str(self._workflow.spec.priority)

    def _entrypoint(self, arguments: Arguments | None, *, isolated: bool) -> None:
        spec, joined = self._workflow.spec, self._templates.spec
        if joined.entrypoint:
            where = self._place.at("entrypoint") if spec.entrypoint else self._place.at("workflowTemplateRef")
            self._walker.visit(joined.entrypoint, self._base, arguments, where)
        elif not isolated:
            there = quoted_list(template.name for template in joined.templates if template.name)
            self._report.add(self._place, f"has no entrypoint{f'; give it one of {there}' if there else ''}")

    def _handlers(self, arguments: Arguments, *, isolated: bool) -> None:
        spec, joined = self._workflow.spec, self._templates.spec
        further = handlers.entries(self._workflow.metadata.annotations.get(handlers.ANNOTATION, ""))
        if joined.on_exit or joined.hooks or further:  # what ran before cannot know of failures, what follows can
            self._walker.shared.update(dict.fromkeys(_AT_THE_END, None))
            self._open_global_artifacts(joined)
        if joined.on_exit and "exit" in joined.hooks:
            own = "exit" in spec.hooks
            place = self._place.at("hooks", "exit") if own else self._place.at("onExit")
            rules.told_twice(joined.on_exit, place, self._report, stored=not (own and spec.on_exit))
        if joined.on_exit:
            where = self._place.at("onExit") if spec.on_exit else self._place.at("workflowTemplateRef")
            self._walker.visit(joined.on_exit, self._base, None if isolated else arguments, where)
        for name, hook in joined.hooks.items():
            where = self._place.at("hooks", name) if name in spec.hooks else self._place.at("workflowTemplateRef")
            self._walker.check_workflow_hook(name, hook, self._base, where)
        if not isolated:
            self._further(further, joined)

    def _further(self, further: list[str], joined: WorkflowSpec) -> None:
        """Our annotations: handlers exist, the names of their hooks are their own, and they can be put in order."""
        given = self._workflow.metadata.annotations
        if wrong := handlers.wrong_ends(given.get(handlers.EXIT_ON, "")):
            self._report.add(self._annotations.at(handlers.EXIT_ON), wrong)
        if given.get(handlers.FAIL_WORKFLOW, "true") not in ("true", "false"):
            self._report.add(self._annotations.at(handlers.FAIL_WORKFLOW), '"true" or "false" is expected')
        place = self._annotations.at(handlers.ANNOTATION)
        for entry in further:
            if wrong := handlers.wrong_entry(entry):
                self._report.add(place, wrong)
                continue
            name, hook = handlers.handler_of(entry)
            if name in joined.hooks or name == handlers.ON_EXIT:
                self._report.add(place, f"{name!r} is a hook of spec.hooks already; give one of them another name")
            self._walker.check_workflow_hook("exit", hook, self._base, place)
        if wrong := handlers.wrong_order(handlers.order(self._workflow)):
            self._report.add(place, wrong)

    def _open_global_artifacts(self, spec: WorkflowSpec) -> None:
        names = [artifact.global_name for template in spec.templates for artifact in template.outputs.artifacts]
        if any(rules.HAS_TAG.search(name) for name in names):
            self._walker.open = (*self._walker.open, "workflow.outputs.artifacts.")
