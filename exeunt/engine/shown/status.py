"""A run as people see it: metadata, spec and status in Argo's shape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from exeunt.engine.facts import phases
from exeunt.engine.facts.claims import kept_after
from exeunt.engine.facts.run import Run
from exeunt.engine.facts.state import Hook
from exeunt.engine.shown.argo_nodes import node_trees, shown_progress
from exeunt.engine.values.handlers import exit_handlers, finalization
from exeunt.engine.values.scope import rfc3339

OPERATORS = ("Stopped", "Terminated", "Deleted")
"""Reasons of a shutdown that somebody asked for."""


def status(run: Run) -> dict[str, Any]:
    """The whole workflow, or exit run. Nodes of finished exit runs stand among its own."""
    tree = head(run)
    tree["status"]["nodes"] = merged_nodes(run)
    return tree


def head(run: Run) -> dict[str, Any]:
    """The same without its nodes, which may be many."""
    started = run.state.started
    workflow = msgspec.to_builtins(run.workflow)
    metadata = {key: value for key, value in workflow.get("metadata", {}).items() if value}
    metadata.update(name=run.name, namespace=run.namespace, uid=run.uid)
    metadata["creationTimestamp"] = rfc3339(run.created_at)
    if started.labels:
        metadata["labels"] = {**metadata.get("labels", {}), **started.labels}
    if started.annotations:
        metadata["annotations"] = {**metadata.get("annotations", {}), **started.annotations}
    return {
        "apiVersion": workflow.get("apiVersion") or "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": metadata,
        "spec": _spec(run, workflow.get("spec", {})),
        "status": _status(run),
    }


def _spec(run: Run, spec: dict[str, Any]) -> dict[str, Any]:
    given = dict(run.state.started.parameters)
    if not given and not run.state.started.entrypoint:
        return spec
    parameters = [dict(parameter) for parameter in spec.get("arguments", {}).get("parameters", [])]
    for parameter in parameters:
        if parameter["name"] in given:
            parameter["value"] = given.pop(parameter["name"])
    parameters += [{"name": name, "value": value} for name, value in given.items()]
    changed = {**spec, "arguments": {**spec.get("arguments", {}), "parameters": parameters}}
    if run.state.started.entrypoint:
        changed["entrypoint"] = run.state.started.entrypoint
    return changed


def _status(run: Run) -> dict[str, Any]:
    state = run.state
    tree: dict[str, Any] = {
        "phase": state.phase,
        "message": state.message,
        "startedAt": rfc3339(state.started_at),
        "finishedAt": rfc3339(state.finished_at),
        "progress": progress(run),
        "outputs": {},
        "conditions": _conditions(run),
        "outcome": state.outcome,
        "reason": state.reason,
        "finalization": state.finalization if state.closed else _finalization(run),
    }
    if state.global_outputs:
        tree["outputs"] = {
            "parameters": [
                {"name": name} if value is None else {"name": name, "value": value}
                for name, value in state.global_outputs.items()
            ]
        }
    if state.global_artifacts:
        tree["outputs"]["artifacts"] = list(state.global_artifacts.values())
    if state.suspended:
        tree["suspended"] = True
    if state.shutdown_reason in OPERATORS:
        told = {"strategy": state.shutdown, "by": state.shutdown_by, "message": state.shutdown_message}
        tree["shutdown"] = {key: value for key, value in told.items() if value}
    if state.claims.executor and (not state.closed or kept_after(run.spec, state.phase)):
        tree["persistentVolumeClaims"] = _claims(run)
    if state.started.run_attempt:
        tree["runAttempt"] = state.started.run_attempt
    return tree


def _claims(run: Run) -> list[dict[str, Any]]:
    """The volumes that the workflow has made for itself, while they are there."""
    names = [claim.metadata.name for claim in run.spec.volume_claim_templates]
    return [{"name": name, "persistentVolumeClaim": {"claimName": f"{run.name}-{name}"}} for name in names]


def _finalization(run: Run) -> str:
    if any(hook.open for hook in exit_handlers(run)):
        return "Running"
    if not run.state.outcome and (run.spec.on_exit or "exit" in run.spec.hooks or run.handlers):
        return "Pending"
    return finalization(run)


def _conditions(run: Run) -> list[dict[str, str]]:
    found = [{"type": "Completed", "status": "True"}] if run.state.closed else []
    handlers = {id(hook) for hook in exit_handlers(run)}
    for hook in run.state.hooks:
        if hook.last in phases.BAD and hook.outcome is not None:
            message = hook.replay_message if hook.replayed else hook.outcome.message
            name = hook.outcome.nodes[0]["name"] if hook.outcome.nodes else hook.name
            kind = "HandlerFailed" if id(hook) in handlers else "HookFailed"
            found.append({"type": kind, "status": "True", "message": f"{name}: {message}"})
    return found


def merged_nodes(run: Run) -> dict[str, dict[str, Any]]:
    """The run's own nodes and those that its exit runs have brought back."""
    return dict(each_node(run))


def each_node(run: Run) -> Iterator[tuple[str, dict[str, Any]]]:
    """The same one by one, each with its id. The run must not change meanwhile."""
    hooked = _hooked_nodes(run)
    for id, tree in node_trees(run):
        yield id, hooked.pop(id, tree)
    yield from hooked.items()


def count_nodes(run: Run) -> int:
    """How many there are, about."""
    return len(run.nodes) + sum(len(hook.outcome.nodes) for hook in run.state.hooks if hook.outcome is not None)


def _hooked_nodes(run: Run) -> dict[str, dict[str, Any]]:
    """What exit runs have brought back, by id. What was linked below a hook hangs below its nodes."""
    nodes: dict[str, dict[str, Any]] = {}
    for hook in run.state.hooks:
        if hook.outcome is None:
            continue
        for node in hook.outcome.nodes:
            nodes[node["id"]] = dict(node)
        _hang_below(run, hook, nodes)
    return nodes


def _hang_below(run: Run, hook: Hook, nodes: dict[str, dict[str, Any]]) -> None:
    """What was linked below a hook hangs below its own node, or below the last nodes of its exit run."""
    if hook.outcome is None or not hook.outcome.nodes:
        return
    root = hook.outcome.nodes[0]
    ends = root.get("outboundNodes") or [root["id"]]
    for keys, below in ((hook.links, ends), (hook.own_links, [root["id"]])):
        links = [run.id(run.nodes[key]) for key in keys]
        for end in below if links else []:
            if end in nodes:
                nodes[end]["children"] = [*nodes[end].get("children", []), *links]


def progress(run: Run) -> str:
    """Done and all: every attempt of work counts, and only what went well is done, but for what it says itself."""
    counted: dict[str, tuple[str, str, str]] = {}
    for hook in run.state.hooks:
        for tree in hook.outcome.nodes if hook.outcome is not None else []:
            counted[tree["id"]] = tree["type"], tree["phase"], tree.get("progress", "")
    found = [(phase, said) for kind, phase, said in counted.values() if kind in phases.PROGRESSING]
    own = run.nodes if not counted else [node for node in run.nodes if run.id(node) not in counted]
    found += [(node.phase, node.progress) for node in own if node.type in phases.PROGRESSING]
    done = of_all = 0
    for phase, said in found:
        told = shown_progress(said, phase) if said else None
        done += told[0] if told is not None else phase == phases.SUCCEEDED
        of_all += told[1] if told is not None else 1
    return f"{done}/{of_all}"
