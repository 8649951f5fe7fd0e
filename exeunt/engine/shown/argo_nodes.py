"""Nodes in the shape of Argo's status.nodes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from exeunt.engine.facts import phases
from exeunt.engine.facts.nodes import Node, NodeOutputs
from exeunt.engine.facts.run import Run
from exeunt.engine.shown.outbound import last_of, outbound
from exeunt.engine.values.cause import cause
from exeunt.engine.values.scope import rfc3339
from exeunt.language.progress import as_text, progress_of


def node_tree(run: Run, node: Node, name: str, display: str) -> dict[str, Any]:
    """One node. `name` is given, since putting long names together is the caller's to do well."""
    tree: dict[str, Any] = {
        "id": run.id(node),
        "name": name,
        "displayName": display,
        "type": node.type,
        "phase": node.phase,
        "startedAt": rfc3339(node.started),
    }
    if node.ref is not None:
        tree["templateRef"] = _ref(node.ref)
    elif node.template:
        tree["templateName"] = node.template
    if node.scope:
        tree["templateScope"] = node.scope
    boundary = _boundary(run, node)
    if boundary:
        tree["boundaryID"] = boundary
    if node.children:
        tree["children"] = [_link(run, key) for key in node.children]
    inputs: dict[str, Any] = {}
    if node.inputs:
        inputs["parameters"] = [{"name": key, "value": value} for key, value in node.inputs]
    if node.artifacts:
        inputs["artifacts"] = node.artifacts
    if inputs:
        tree["inputs"] = inputs
    if node.outputs is not None:
        tree["outputs"] = outputs_tree(node.outputs)
    if node.message:
        tree["message"] = node.message
    if why := cause(run, node):
        tree["cause"] = why
    if node.finished:
        tree["finishedAt"] = rfc3339(node.finished)
    if node.executor:
        tree["hostNodeName"] = node.executor
    if done := shown_progress(node.progress, node.phase):
        tree["progress"] = as_text(done)
    if node.serving:
        tree["daemoned"] = True
        if node.address:
            tree["podIP"] = node.address
    # Argo's flag of a hook with a retryStrategy is shared by its Retry and its attempts
    flags = {"hooked": node.hooked, "retried": node.retried or (node.hooked and node.type == phases.RETRY)}
    if any(flags.values()):
        tree["nodeFlag"] = {key: True for key, value in flags.items() if value}
    return tree


def shown_progress(progress: str, phase: str) -> tuple[int, int] | None:
    """How far a node has come by its own account; all the way when it went well."""
    found = progress_of(progress)
    return (found[1], found[1]) if found is not None and phase == phases.SUCCEEDED else found


def _ref(ref: tuple[str, str, bool]) -> dict[str, Any]:
    tree: dict[str, Any] = {"name": ref[0], "template": ref[1]}
    if ref[2]:
        tree["clusterScope"] = True
    return tree


def _boundary(run: Run, node: Node) -> str | None:
    if node.boundary >= 0:
        return run.id(run.nodes[node.boundary])
    owed = run.obligation
    return owed.boundary if owed is not None else None


def _link(run: Run, key: int) -> str:
    if key >= 0:
        return run.id(run.nodes[key])
    hook = run.state.hooks[-1 - key]
    parent = run.nodes[hook.parent]
    return run.names.hooked_id(parent, ".onExit" if hook.name == "exit" else f".hooks.{hook.name}")


def outputs_tree(outputs: NodeOutputs) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    if outputs.parameters:
        tree["parameters"] = [
            {"name": name} if value is None else {"name": name, "value": value} for name, value in outputs.parameters
        ]
    if outputs.artifacts:
        tree["artifacts"] = outputs.artifacts
    if outputs.result is not None:
        tree["result"] = outputs.result
    if outputs.exit_code is not None:
        tree["exitCode"] = str(outputs.exit_code)
    return tree


def node_trees(run: Run) -> Iterator[tuple[str, dict[str, Any]]]:
    """All nodes of the run itself, each with its id."""
    names: list[str] = []
    for node in run.nodes:
        name = node.suffix if node.owner < 0 else names[node.owner] + node.suffix
        names.append(name)
        yield run.id(node), node_tree(run, node, name, run.names.display(node, run.display))


def hook_nodes(run: Run) -> list[dict[str, Any]]:
    """The nodes of an exit run for the main run. The first one is the handler's own."""
    trees = list(dict(node_trees(run)).values())
    root = run.root
    if (root.type in phases.BOUNDARIES and last_of(run, 0)) or root.type == phases.RETRY:
        trees[0]["outboundNodes"] = [run.id(run.nodes[end]) for end in outbound(run, 0) if end >= 0]
    return trees
