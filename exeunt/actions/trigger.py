"""Starts a workflow: the trigger action, and `resource` create of a Workflow.

There is one child for each node, however often it is tried: its uid comes from the node's idempotency key.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from exeunt.actions.arguments import BadArguments, read
from exeunt.actions.conditions import Term, all_hold, failed_term, parse
from exeunt.actions.context import Context, StartedWorkflow, StartRefused, Unavailable
from exeunt.engine.facts import NodeError, ResourceWork, StepOutcome
from exeunt.engine.values import seconds
from exeunt.join import JoinRequest
from exeunt.language.actions import Join, Trigger
from exeunt.language.load import load_documents
from exeunt.language.problems import ManifestError
from exeunt.language.variables import text
from exeunt.utf8 import loads

API = "argoproj.io/v1alpha1"
_FOR_CHILD = re.compile(r"\{\{\s*child\.")
_MEMBER = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9]{0,62}")


class Conditions(NamedTuple):
    """What is waited for. With `at_end` only the final state of the child counts, otherwise every state of it."""

    success: list[Term]
    failure: list[Term]
    at_end: bool = False

    @property
    def waits(self) -> bool:
        """Whether there is anything to wait for."""
        return bool(self.success or self.failure)


async def perform(arguments: Any, context: Context) -> StepOutcome:
    """Starts what `trigger` says; the result is the child's name, uid and namespace as JSON."""
    try:
        wanted = read("trigger", arguments, Trigger)
        conditions = _conditions(wanted)
        if wanted.join is not None:
            return await _join(wanted, wanted.join, arguments, conditions, context)
        manifest = await _manifest(wanted, context)
    except StartRefused as error:
        return StepOutcome(phase="Failed", message=f"the workflow was refused: {error}")
    except Unavailable as error:
        return StepOutcome(phase="Failed", message=f"the workflow could not be started: {error}")
    return await _start(manifest, conditions, context)


def _conditions(wanted: Trigger) -> Conditions:
    """The conditions that are given; with `wait` alone, that the child succeeds. The child's final state counts."""
    success, failure = wanted.success_condition, wanted.failure_condition
    if wanted.wait and not (success or failure):
        success, failure = "status.phase == Succeeded", "status.phase in (Failed, Error)"
    return Conditions(parse(success), parse(failure), at_end=True)


async def _join(wanted: Trigger, join: Join, arguments: Any, conditions: Conditions, context: Context) -> StepOutcome:
    """Says that this member has arrived. When all have, the join's own run starts the child."""
    chain = context.chain
    if chain is None:
        raise BadArguments("plugin.trigger.join is for exit handlers: what joins are workflows that ended")
    if wanted.resubmit or (wanted.workflow is None) == (not wanted.template):
        raise BadArguments("plugin.trigger: either workflow (a manifest) or template (a name) is expected with join")
    if not join.key or len(set(join.of)) < len(join.of) or not all(_MEMBER.fullmatch(name) for name in join.of):
        raise BadArguments(
            "plugin.trigger.join: a key, and members by different names of letters, digits and '-', are expected"
        )
    own = ("join", "parameters", "parametersFrom")
    request = JoinRequest(
        key=join.key,
        of=join.of,
        member=join.as_,
        within=_within(join),
        trigger={name: value for name, value in arguments.items() if name not in own},
        parameters=_parameters(wanted),
    )
    if len(json.dumps(request.parameters).encode()) > context.settings.result_bytes:
        raise BadArguments(f"plugin.trigger.parameters have more than {context.settings.result_bytes:,} bytes")
    if conditions.waits:  # the run of the join waits for the child with the conditions; this for the run
        conditions = Conditions(parse("status.phase == Succeeded"), [], at_end=True)
    return await _begin(lambda: chain.join(request), "joined", conditions, context)


def _within(join: Join) -> int:
    try:
        length = seconds(join.within or 0)
    except NodeError:
        length = -1
    if length < 0:
        raise BadArguments(
            f"plugin.trigger.join.within: seconds are expected, or a time as 90s or 2h, not {join.within}"
        )
    return math.ceil(length)


def _parameters(wanted: Trigger) -> dict[str, str]:
    found: dict[str, str] = {}
    for source in filter(None, wanted.parameters_from):
        try:
            given = loads(source)
        except ValueError:
            given = None
        if not isinstance(given, dict):
            raise BadArguments(f"plugin.trigger.parametersFrom: {source[:100]!r} is no JSON object")
        found |= {str(name): text(value) for name, value in given.items()}
    return found | {name: text(value) for name, value in wanted.parameters.items()}


async def perform_resource(work: ResourceWork, context: Context) -> StepOutcome:
    """Starts the Workflow of a `resource` template with `action: create`. Anything else needs a Kubernetes API."""
    if work.action != "create":
        return StepOutcome(
            phase="Error",
            message=f"resource.action {work.action!r} needs a Kubernetes API; only create of a Workflow is done here",
        )
    manifest = _document(work.manifest, "resource.manifest")
    kind = manifest.get("kind")
    if kind != "Workflow":
        return StepOutcome(
            phase="Error",
            message=f"resource.manifest: kind {kind!r} needs a Kubernetes API; only Workflow is started here",
        )
    conditions = Conditions(parse(work.success_condition), parse(work.failure_condition))
    return await _start(manifest, conditions, context)


async def _start(manifest: dict[str, Any], conditions: Conditions, context: Context) -> StepOutcome:
    """Starts the workflow of the manifest."""
    manifest = own(manifest)
    start = context.chain.start if context.chain is not None else context.tools.start_workflow
    if start is None:
        return StepOutcome(phase="Error", message="workflows cannot be started from here")
    key = context.idempotency_key
    return await _begin(lambda: start(manifest, context.namespace, key), "started", conditions, context)


def own(tree: Any) -> Any:
    """The manifest as the child reads it: `{{child.workflow.name}}` becomes `{{workflow.name}}`."""
    if isinstance(tree, str):
        return _FOR_CHILD.sub("{{", tree)
    if isinstance(tree, dict):
        return {own(key): own(value) for key, value in tree.items()}
    return [own(value) for value in tree] if isinstance(tree, list) else tree


async def _begin(
    begin: Callable[[], Awaitable[StartedWorkflow]], done: str, conditions: Conditions, context: Context
) -> StepOutcome:
    """Starts something, and waits for it where there are conditions."""
    if conditions.waits and context.tools.wait_workflow is None:
        return StepOutcome(
            phase="Error",
            message="waiting for a started workflow is not supported here yet; leave wait and conditions out",
        )
    try:
        child = await begin()
    except StartRefused as error:
        return StepOutcome(phase="Failed", message=f"the workflow was refused: {error}")
    except Unavailable as error:
        return StepOutcome(phase="Failed", message=f"the workflow could not be started: {error}")
    phase, message = "Succeeded", f"{done} {child.namespace}/{child.name}"
    if conditions.waits:
        phase, message = await _waited(child, conditions, context)
    return StepOutcome(
        phase=phase,
        message=message,
        result=msgspec.json.encode(child._asdict()).decode(),
        parameters=child._asdict(),
        answer={"workflow": child._asdict()},
    )


async def _waited(child: StartedWorkflow, conditions: Conditions, context: Context) -> tuple[str, str]:
    """Follows the child until one of the conditions holds; a child that ends before fails the step."""
    assert context.tools.wait_workflow is not None
    name = f"{child.namespace}/{child.name}"
    tree: Mapping[str, Any] = {}
    async for tree in context.tools.wait_workflow(child):
        judged = None if conditions.at_end else _judged(name, tree, conditions)
        if judged is not None:
            return judged
    phase = str((tree.get("status") or {}).get("phase", ""))
    judged = _judged(name, tree, conditions)
    if judged is not None:
        return judged
    if not conditions.success:
        return "Succeeded", f"{name} ended: {phase}"
    return "Failed", f"{name} ended ({phase}) and the success condition does not hold"


def _judged(name: str, tree: Mapping[str, Any], conditions: Conditions) -> tuple[str, str] | None:
    failed = failed_term(conditions.failure, tree)
    if failed is not None:
        return "Failed", f"{name}: failure condition '{failed}' evaluated true"
    if conditions.success and all_hold(conditions.success, tree):
        return "Succeeded", f"{name}: the success condition holds"
    return None


async def _manifest(wanted: Trigger, context: Context) -> dict[str, Any]:
    if (wanted.workflow is not None) + bool(wanted.template) + wanted.resubmit != 1:
        raise BadArguments(
            "plugin.trigger: either workflow (a manifest), template (a name) or resubmit: true is expected"
        )
    if wanted.artifacts is not None:
        raise BadArguments("plugin.trigger.artifacts is not supported yet")
    if wanted.resubmit:
        if context.chain is None:
            raise BadArguments("plugin.trigger.resubmit is for exit handlers: there is no workflow that ended")
        manifest = await context.chain.origin()
    elif wanted.workflow is not None:
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
    parameters = _parameters(wanted)
    if parameters:
        arguments = dict(_fields(spec, "arguments"))
        there = arguments.get("parameters") or []
        if not isinstance(there, list):
            raise BadArguments("plugin.trigger.workflow: spec.arguments.parameters is no list")
        kept = [p for p in there if not (isinstance(p, dict) and p.get("name") in parameters)]
        arguments["parameters"] = [*kept, *({"name": n, "value": v} for n, v in parameters.items())]
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
