"""Starts a workflow: the trigger action, and `resource` create of a Workflow.

There is one child for each node, however often it is tried: its uid comes from the node's idempotency key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from exeunt.actions.arguments import BadArguments, read
from exeunt.actions.conditions import BadCondition, Term, all_hold, failed_term, parse
from exeunt.actions.context import Child, Context, StartRefused, Unavailable
from exeunt.engine.steps import ResourceWork, StepOutcome
from exeunt.language.actions import Trigger
from exeunt.language.load import load_documents
from exeunt.language.problems import ManifestError
from exeunt.language.variables import text

API = "argoproj.io/v1alpha1"


async def perform(arguments: Any, context: Context) -> StepOutcome:
    """Starts what `trigger` says; the result is the child's name, uid and namespace as JSON."""
    try:
        wanted = read("trigger", arguments, Trigger)
        manifest = _manifest(wanted)
    except BadArguments as error:
        return StepOutcome(phase="Error", message=str(error))
    success = "status.phase == Succeeded" if wanted.wait else ""
    failure = "status.phase in (Failed, Error)" if wanted.wait else ""
    return await _start(manifest, success, failure, context)


async def perform_resource(work: ResourceWork, context: Context) -> StepOutcome:
    """`resource` with `action: create` and a Workflow. Anything else needs a Kubernetes API."""
    if work.action != "create":
        return StepOutcome(
            phase="Error",
            message=f"resource.action {work.action!r} needs a Kubernetes API; only create of a Workflow is done here",
        )
    try:
        manifest = _document(work.manifest, "resource.manifest")
    except BadArguments as error:
        return StepOutcome(phase="Error", message=str(error))
    kind = manifest.get("kind")
    if kind != "Workflow":
        return StepOutcome(
            phase="Error",
            message=f"resource.manifest: kind {kind!r} needs a Kubernetes API; only Workflow is started here",
        )
    return await _start(manifest, work.success_condition, work.failure_condition, context)


async def _start(manifest: dict[str, Any], success: str, failure: str, context: Context) -> StepOutcome:
    start = context.starter or context.tools.start_workflow
    if start is None:
        return StepOutcome(phase="Error", message="workflows cannot be started from here")
    try:
        conditions = parse(success), parse(failure)
    except BadCondition as error:
        return StepOutcome(phase="Error", message=str(error))
    if any(conditions) and context.tools.wait_workflow is None:
        return StepOutcome(
            phase="Error",
            message="waiting for a started workflow is not supported here yet; leave wait and conditions out",
        )
    try:
        child = await start(manifest, context.namespace, context.idempotency_key)
    except StartRefused as error:
        return StepOutcome(phase="Failed", message=f"the workflow was refused: {error}")
    except Unavailable as error:
        return StepOutcome(phase="Error", message=f"the workflow could not be started: {error}")
    phase, message = "Succeeded", f"started {child.namespace}/{child.name}"
    if any(conditions):
        phase, message = await _waited(child, *conditions, context)
    return StepOutcome(
        phase=phase,
        message=message,
        result=msgspec.json.encode(child._asdict()).decode(),
        parameters=child._asdict(),
        answer={"workflow": child._asdict()},
    )


async def _waited(child: Child, success: list[Term], failure: list[Term], context: Context) -> tuple[str, str]:
    """Follows the child until one of the conditions holds; a child that ends before fails the step."""
    assert context.tools.wait_workflow is not None
    name = f"{child.namespace}/{child.name}"
    phase = ""
    async for tree in context.tools.wait_workflow(child):
        failed = failed_term(failure, tree)
        if failed is not None:
            return "Failed", f"{name}: failure condition '{failed}' evaluated true"
        if success and all_hold(success, tree):
            return "Succeeded", f"{name}: the success condition holds"
        phase = str((tree.get("status") or {}).get("phase", ""))
    if not success:
        return "Succeeded", f"{name} ended: {phase}"
    return "Failed", f"{name} ended ({phase}) and the success condition does not hold"


def _manifest(wanted: Trigger) -> dict[str, Any]:
    if (wanted.workflow is None) == (not wanted.template):
        raise BadArguments("plugin.trigger: either workflow (a manifest) or template (a name) is expected")
    if wanted.artifacts is not None:
        raise BadArguments("plugin.trigger.artifacts is not supported yet")
    if wanted.workflow is not None:
        manifest = (
            wanted.workflow
            if isinstance(wanted.workflow, dict)
            else _document(wanted.workflow, "plugin.trigger.workflow")
        )
        manifest = {"apiVersion": API, "kind": "Workflow", **manifest}
        if manifest["kind"] != "Workflow":
            raise BadArguments(f"plugin.trigger.workflow: a Workflow is expected, not {manifest['kind']!r}")
    else:
        reference = {"name": wanted.template, **({"clusterScope": True} if wanted.cluster_scope else {})}
        manifest = {
            "apiVersion": API,
            "kind": "Workflow",
            "metadata": {"generateName": f"{wanted.template}-"},
            "spec": {"workflowTemplateRef": reference},
        }
    return _overridden(manifest, wanted)


def _overridden(manifest: dict[str, Any], wanted: Trigger) -> dict[str, Any]:
    metadata = dict(_fields(manifest, "metadata"))
    spec = dict(_fields(manifest, "spec"))
    if wanted.name or wanted.generate_name:
        for field, value in (("name", wanted.name), ("generateName", wanted.generate_name)):
            metadata.pop(field, None)
            if value:
                metadata[field] = value
    if wanted.labels:
        metadata["labels"] = {**_fields(metadata, "labels"), **wanted.labels}
    if wanted.entrypoint:
        spec["entrypoint"] = wanted.entrypoint
    if wanted.parameters:
        arguments = dict(_fields(spec, "arguments"))
        there = arguments.get("parameters") or []
        if not isinstance(there, list):
            raise BadArguments("plugin.trigger.workflow: spec.arguments.parameters is no list")
        kept = [p for p in there if not (isinstance(p, dict) and p.get("name") in wanted.parameters)]
        arguments["parameters"] = [*kept, *({"name": n, "value": text(v)} for n, v in wanted.parameters.items())]
        spec["arguments"] = arguments
    return {**manifest, "metadata": metadata, "spec": spec}


def _fields(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    inner = value.get(name) or {}
    if not isinstance(inner, Mapping):
        raise BadArguments(f"plugin.trigger.workflow: {name} has no fields")
    return inner


def _document(manifest: str, where: str) -> dict[str, Any]:
    try:
        documents = load_documents(manifest, where)
    except ManifestError as error:
        raise BadArguments("; ".join(str(p) for p in error.problems)) from None
    if len(documents) != 1 or not isinstance(documents[0].value, dict):
        raise BadArguments(f"{where}: one manifest is expected")
    return documents[0].value
