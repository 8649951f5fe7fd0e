"""When artifacts go by themselves: what `artifactGC` of a workflow and of one artifact come to.

As Argo's page on artifacts has it, under Artifact Garbage Collection. What only a pod has (`serviceAccountName`,
`podMetadata`, `podSpecPatch`) has no effect: the scheduler removes artifacts itself, with the secrets of their places.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from exeunt.language.manifest import ArtifactGC, Bundle, Template, WorkflowSpec
from exeunt.language.problems import nearest, quoted_list, shorten
from exeunt.language.report import Place, Report

ON_COMPLETION = "OnWorkflowCompletion"
ON_DELETION = "OnWorkflowDeletion"
NEVER = "Never"
GC_STRATEGIES = (ON_COMPLETION, ON_DELETION, NEVER)


def check_gc(gc: ArtifactGC, place: Place, report: Report) -> None:
    """Reports a strategy that there is not."""
    if gc.strategy and gc.strategy not in GC_STRATEGIES:
        told = f"{shorten(gc.strategy)!r} is none of {quoted_list(GC_STRATEGIES)}{nearest(gc.strategy, GC_STRATEGIES)}"
        report.add(place.at("strategy"), told)


def strategy_for(artifact: Mapping[str, Any], default: str) -> str:
    """When an artifact goes, by its tree (Argo: GetArtifactGCStrategy). `default` is the workflow's strategy."""
    own = artifact.get("artifactGC")
    strategy = own.get("strategy") if isinstance(own, Mapping) else ""
    return str(strategy or default or NEVER)


def has_gc(spec: WorkflowSpec, bundle: Bundle) -> bool:
    """Whether any artifact of a workflow may go by itself (Argo: HasArtifactGC)."""
    if _acts(spec.artifact_gc):
        return True
    specs = [spec, *(stored.spec for stored in bundle.templates)]
    return any(_acts(one.artifact_gc) for spec in specs for each in _templates(spec) for one in each.outputs.artifacts)


def _acts(gc: ArtifactGC | None) -> bool:
    return gc is not None and gc.strategy not in ("", NEVER)


def _templates(spec: WorkflowSpec) -> Iterator[Template]:
    """Those of a spec, and what stands in steps and tasks themselves."""
    waiting = [*spec.templates, *([spec.template_defaults] if spec.template_defaults is not None else [])]
    while waiting:
        template = waiting.pop()
        yield template
        steps = [step for group in template.steps or () for step in group]
        tasks = template.dag.tasks if template.dag is not None else []
        waiting += [one.inline for one in (*steps, *tasks) if one.inline is not None]
