"""The variables in scope: the workflow's, a template's inputs, and what the steps and tasks before gave.

A scope is flat (`{"steps.a.outputs.result": "…"}`). Of a template's steps and tasks only those are put in that the text
mentions, so that a DAG of thousands of tasks costs no more per task than a small one (Argo: docs/variables.md).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

from exeunt.engine.facts import phases
from exeunt.engine.facts.nodes import Node, NodeOutputs
from exeunt.engine.facts.run import Run
from exeunt.engine.values import loops
from exeunt.language.manifest import ConfigMap, Parameter, Template
from exeunt.language.variables import NOTHING, ArtifactValue, text
from exeunt.utf8 import loads

Scope = dict[str, Any]
_WORD = re.compile(r"[A-Za-z0-9_][-A-Za-z0-9_]*")
_WHOLE = re.compile(r"\b(?:steps|tasks)\b(?!\s*\??\.\s*[A-Za-z0-9_-]|\s*\[\s*\\?['\"])")
_STRFTIME = "aAbBcCdeFgGHIjklmMpPrRsSTuUVwWxXyYzZ"


def rfc3339(seconds: float) -> str:
    """As Argo writes times: UTC, whole seconds."""
    return _stamp(int(seconds)) if seconds else ""


@lru_cache(maxsize=1024)  # writing a time costs more than most of what is done around it, and a second holds many
def _stamp(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def duration(seconds: float) -> str:
    return f"{seconds:f}"


# --- the workflow's variables -----------------------------------------------------------------------------------------


class Fixed:
    """The run's variables that stay as they are."""

    scope: Scope | None = None


def global_scope(run: Run) -> Scope:
    """The variables that every template sees, as they are now. The caller owns the copy."""
    fixed = run.memory.of(Fixed)
    if fixed.scope is None:
        fixed.scope = _inherited(run) if run.exit else _own(run)
    scope = dict(fixed.scope)
    if run.exit:  # what ended may have given nothing: `??` has something to ask
        scope["workflow.outputs.parameters"] = NOTHING
    for name, value in run.state.global_outputs.items():
        if value is not None:
            scope[f"workflow.outputs.parameters.{name}"] = value
    for name, tree in global_artifacts(run).items():
        scope[f"workflow.outputs.artifacts.{name}"] = ArtifactValue(tree)
    if run.exit and not run.first and not scope.get("workflow.status", "Running"):
        scope["workflow.status"] = phases.RUNNING  # it became due in the workflow's first decision
    if not run.exit:
        scope["workflow.status"] = "" if run.first else run.state.outcome or run.state.phase
        scope["workflow.duration"] = duration(max(0.0, run.now - run.state.started_at))
    return scope


def global_artifacts(run: Run) -> dict[str, dict[str, Any]]:
    """The workflow's output artifacts by their global names; in a handler also those from before it became due."""
    owed = run.obligation
    known = run.state.global_artifacts
    return known if owed is None or not owed.global_artifacts else {**owed.global_artifacts, **known}


def handed_on(name: str) -> bool:
    """Whether a variable goes along with an obligation. Of the creation time one form does."""
    return name.startswith("workflow.") and (
        not name.startswith("workflow.creationTimestamp") or name.endswith("Timestamp.s")
    )


def _inherited(run: Run) -> Scope:
    owed = run.obligation
    scope = dict(owed.scope) if owed is not None else {}
    if "workflow.creationTimestamp.s" in scope:
        scope.update(_times(int(scope["workflow.creationTimestamp.s"])))
    return scope


def _own(run: Run) -> Scope:
    started = run.state.started
    scope: Scope = {
        "workflow.name": run.name,
        "workflow.namespace": run.namespace,
        "workflow.uid": run.uid,
        "workflow.mainEntrypoint": started.entrypoint or run.spec.entrypoint,
        "workflow.serviceAccountName": run.spec.service_account_name,
    }
    scope.update(_times(int(run.created_at)))
    if run.spec.priority is not None:
        scope["workflow.priority"] = str(run.spec.priority)
    labels = {**run.workflow.metadata.labels, **started.labels}
    annotations = {**run.workflow.metadata.annotations, **started.annotations}
    for kind, values in (("labels", labels), ("annotations", annotations)):
        listed = json.dumps(values, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
        scope[f"workflow.{kind}"] = listed if values else "null"
        scope[f"workflow.{kind}.json"] = scope[f"workflow.{kind}"]
        for key, value in values.items():
            scope[f"workflow.{kind}.{key}"] = value
    parameters = workflow_parameters(run)
    listed = json.dumps(
        [{"name": name, "value": value} for name, value in parameters.items()],
        separators=(",", ":"),
        ensure_ascii=False,
    )
    scope["workflow.parameters"] = listed if parameters else "null"
    scope["workflow.parameters.json"] = scope["workflow.parameters"]
    for name, value in parameters.items():
        scope[f"workflow.parameters.{name}"] = value
    return scope


@lru_cache(maxsize=64)  # workflows of one second share it
def _times(started: int) -> Mapping[str, str]:
    created = datetime.fromtimestamp(started, UTC)
    stamp = _stamp(started)
    times = {
        "workflow.creationTimestamp": stamp,
        "workflow.creationTimestamp.RFC3339": stamp,
        "workflow.creationTimestamp.s": str(started),
    }
    for letter in _STRFTIME:
        if letter != "s":
            times[f"workflow.creationTimestamp.{letter}"] = created.strftime(f"%{letter}")
    return times


def workflow_parameters(run: Run) -> dict[str, str]:
    """The workflow's arguments as they were submitted, or as the manifest has them."""
    values: dict[str, str] = {}
    for parameter in run.spec.arguments.parameters:
        value = argument_value(run, parameter)
        if value is not None:
            values[parameter.name] = value
    values.update(run.state.started.parameters)
    return values


def argument_value(run: Run, parameter: Parameter) -> str | None:
    """The value of an argument, or what its ConfigMap says."""
    if not isinstance(parameter.value, msgspec.UnsetType):
        return text(parameter.value)
    source = parameter.value_from
    if source is not None and source.config_map_key_ref is not None:
        found = config_map_value(run, source.config_map_key_ref.name, source.config_map_key_ref.key)
        if found is not None:
            return found
    if source is not None and not isinstance(source.default, msgspec.UnsetType):
        return text(source.default)
    return None if isinstance(parameter.default, msgspec.UnsetType) else text(parameter.default)


def config_map_value(run: Run, name: str, key: str) -> str | None:
    return (config_map_data(run, name) or {}).get(key)


def config_map_data(run: Run, name: str) -> dict[str, str] | None:
    """The whole config map, None when the bundle has none of that name."""
    found = config_map_of(run, name)
    return None if found is None else found.data


def config_map_of(run: Run, name: str) -> ConfigMap | None:
    """The config map of the bundle, None when it has none of that name."""
    return next((one for one in run.bundle.config_maps if one.metadata.name == name), None)


# --- what steps and tasks gave ----------------------------------------------------------------------------------------


def mentioned(source: str) -> set[str] | None:
    """The words of a text that may be names of steps; None when it takes all of them at once."""
    return None if _WHOLE.search(source) else set(_WORD.findall(source))


def source_of(tree: Any) -> str:
    """A text to look for names in."""
    return tree if isinstance(tree, str) else msgspec.json.encode(tree).decode()


def attempt_of(run: Run, node: Node) -> Node:
    """The node whose outcome counts: of a Retry its last attempt."""
    if node.type == phases.RETRY and node.members:
        return run.nodes[node.members[-1]]
    return node


def add_node(run: Run, scope: Scope, prefix: str, node: Node) -> None:
    """What one step or task gave, as `steps.NAME.…`."""
    node = attempt_of(run, node)
    scope[f"{prefix}.id"] = run.id(node)
    scope[f"{prefix}.startedAt"] = rfc3339(node.started)
    if node.finished:
        scope[f"{prefix}.finishedAt"] = rfc3339(node.finished)
    scope[f"{prefix}.status"] = node.phase
    if node.executor:
        scope[f"{prefix}.hostNodeName"] = node.executor
    if node.address:
        scope[f"{prefix}.ip"] = node.address
    add_outputs(scope, prefix, node.outputs)


def add_outputs(scope: Scope, prefix: str, outputs: NodeOutputs | None) -> None:
    if outputs is None:
        return
    if outputs.result is not None:
        scope[f"{prefix}.outputs.result"] = outputs.result
    if outputs.exit_code is not None:
        scope[f"{prefix}.exitCode"] = str(outputs.exit_code)
    for name, value in outputs.parameters:
        if value is not None:
            scope[f"{prefix}.outputs.parameters.{name}"] = value
    for tree in outputs.artifacts:
        scope[f"{prefix}.outputs.artifacts.{tree['name']}"] = ArtifactValue(tree)


def add_skipped(
    scope: Scope, prefix: str, node: Node, template: Template | None, *, result: bool = True, artifacts: bool = False
) -> None:
    """What a node that never ran would have given: its declared defaults, or None: absent.

    Its result is absent in the same way (Argo waits for it for ever), save for the outputs of a template. In steps its
    `artifacts` are there, without a place; in a DAG they are not, as in Argo.
    """
    if node.outputs is not None or node.phase not in (phases.SKIPPED, phases.OMITTED):
        return
    if result:
        scope.setdefault(f"{prefix}.outputs.result", None)
    for parameter in template.outputs.parameters if template is not None else []:
        source = parameter.value_from
        default = None
        if source is not None and not isinstance(source.default, msgspec.UnsetType):
            default = text(source.default)
        scope[f"{prefix}.outputs.parameters.{parameter.name}"] = default
    for artifact in template.outputs.artifacts if template is not None and artifacts else []:
        scope[f"{prefix}.outputs.artifacts.{artifact.name}"] = ArtifactValue()


def add_loop(scope: Scope, prefix: str, nodes: list[Node]) -> None:
    """The outputs of all items that succeeded, in lists."""
    results: list[str] = []
    rows: list[dict[str, str]] = []
    columns: dict[str, list[str]] = {}
    for node in sorted(nodes, key=lambda one: one.item):
        if node.phase != phases.SUCCEEDED or node.outputs is None:
            continue
        if node.outputs.parameters:
            row = {name: value or "" for name, value in node.outputs.parameters}
            rows.append(dict(sorted(row.items())))
            for name, value in row.items():
                columns.setdefault(name, []).append(value)
        if node.outputs.result is not None:
            results.append(_as_json(node.outputs.result))
    scope[f"{prefix}.outputs.result"] = "[" + ",".join(results) + "]"
    scope[f"{prefix}.outputs.parameters"] = _escaped(json.dumps(rows, separators=(",", ":"), ensure_ascii=False))
    for name, values in columns.items():
        scope[f"{prefix}.outputs.parameters.{name}"] = _column(values)


def _as_json(result: str) -> str:
    """The result of an item in the list: JSON as it is, anything else as a JSON string."""
    try:
        return _escaped(loops.compact(loops.parse(result)))
    except (ValueError, RecursionError):
        return _escaped(json.dumps(result, ensure_ascii=False))


def _column(values: list[str]) -> str:
    parsed = []
    for value in values:
        try:
            one = loads(value)
        except (ValueError, RecursionError):
            break
        if not isinstance(one, dict | list):
            break
        parsed.append(_sorted(one))
    else:
        return _escaped(json.dumps(parsed, separators=(",", ":"), ensure_ascii=False))
    return _escaped(json.dumps(values, separators=(",", ":"), ensure_ascii=False))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(one) for one in value] if isinstance(value, list) else value


def go_json(value: Any) -> str:
    """JSON as Go writes it: no blanks, and safe inside HTML."""
    return _escaped(json.dumps(value, separators=(",", ":"), ensure_ascii=False))


def _escaped(written: str) -> str:
    """As Go writes JSON: safe inside HTML."""
    return written.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
