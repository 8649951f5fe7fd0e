"""A run as people see it: metadata, spec and status in Argo's shape (contract.md)."""

from __future__ import annotations

from typing import Any

import msgspec

from exeunt.engine import phases
from exeunt.engine.scope import rfc3339
from exeunt.engine.shape import nodes_tree
from exeunt.engine.state import Hook, Run
from exeunt.engine.workflow import exit_handlers, finalization


def status(run: Run) -> dict[str, Any]:
    """The whole workflow, or exit run. Nodes of finished exit runs stand among its own."""
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
    nodes = merged_nodes(run)
    tree: dict[str, Any] = {
        "phase": state.phase,
        "message": state.message,
        "startedAt": rfc3339(state.started_at),
        "finishedAt": rfc3339(state.finished_at),
        "progress": progress(nodes),
        "outputs": {},
        "conditions": _conditions(run),
        "outcome": state.outcome,
        "reason": state.reason,
        "finalization": state.finalization if state.closed else _finalization(run),
        "nodes": nodes,
    }
    if state.global_outputs:
        tree["outputs"] = {
            "parameters": [
                {"name": name} if value is None else {"name": name, "value": value}
                for name, value in state.global_outputs.items()
            ]
        }
    if state.suspended:
        tree["suspended"] = True
    if state.started.run_attempt:
        tree["runAttempt"] = state.started.run_attempt
    return tree


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
    nodes = nodes_tree(run)
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


def progress(nodes: dict[str, dict[str, Any]]) -> str:
    """Done and all: every attempt of work counts, and only what went well is done."""
    done = total = 0
    for node in nodes.values():
        if node["type"] in phases.PROGRESSING:
            total += 1
            done += node["phase"] == phases.SUCCEEDED
    return f"{done}/{total}"
