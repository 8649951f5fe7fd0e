"""A node's template as it was found, and with its inputs put in; and the variables of the node itself."""

from __future__ import annotations

from exeunt.engine.facts import phases
from exeunt.engine.facts.nodes import Node
from exeunt.engine.facts.run import Run
from exeunt.engine.values.scope import Scope
from exeunt.engine.values.templating import Processed, mentions, put_in
from exeunt.language.manifest import Step, Template, TemplateRef
from exeunt.language.template_lookup import Found, TemplateNotFoundError


class Called:
    """The template that a node was called with: as it was found, and with its inputs as of a version of the outputs."""

    __slots__ = ("found", "processed", "version")

    def __init__(self) -> None:
        self.found: Found | None = None
        self.processed: Processed | None = None
        self.version = -1


def found_of(run: Run, node: Node) -> Found:
    """The template of a node that runs, as it was found when the node began."""
    called = run.memory.of(Called, node.key)
    if called.found is None:
        holder = holder_of(node)
        if node.ref is None and not node.template:
            holder.inline = run.inline_of(node)
        called.found = run.templates.get(holder, node.scope)
    return called.found


def holder_of(node: Node) -> Step:
    """A step that asks for the node's template by name, as the node's caller did."""
    ref = node.ref
    return Step(
        template=node.template,
        template_ref=None if ref is None else TemplateRef(name=ref[0], template=ref[1], cluster_scope=ref[2]),
    )


def processed_of(run: Run, node: Node) -> Processed:
    """A composite's template with its inputs: made again when the workflow's outputs have changed since."""
    called = run.memory.of(Called, node.key)
    if called.processed is not None and called.version == run.outputs_version:
        return called.processed
    found = found_of(run, node)
    if called.processed is None or mentions(run, found.template, "workflow"):
        called.processed = put_in(run, found.template, node.given, locals_of(run, node), node.artifacts or ())
    called.version = run.outputs_version
    return called.processed


def locals_of(run: Run, node: Node) -> Scope:
    """The node's own variables, as they were when it began."""
    scope: Scope = {}
    if mentions(run, found_of(run, node).template, "node"):
        scope["node.name"] = run.names.full(node)
    if node.retried:
        scope.update(attempt_scope(run, run.nodes[node.owner], node.index))
        scope["pod.name"] = run.names.pod(node)
    return scope


def attempt_scope(run: Run, retry: Node, number: int) -> Scope:
    """What an attempt may know of the ones before. Texts, as Argo has them."""
    scope: Scope = {
        "retries": str(number),
        "lastRetry.exitCode": "0",
        "lastRetry.duration": "0",
        "lastRetry.status": "",
        "lastRetry.message": "",
    }
    if number > 0:
        last = run.nodes[retry.members[number - 1]]
        if last.outputs is not None and last.outputs.exit_code is not None:
            scope["lastRetry.exitCode"] = str(last.outputs.exit_code)
        scope["lastRetry.status"] = last.phase
        scope["lastRetry.duration"] = lasted(last)
        scope["lastRetry.message"] = last.message
    return scope


def lasted(node: Node) -> str:
    """How long an attempt took: whole seconds, as Argo's times have no more."""
    return str(max(0, int(node.finished) - int(node.started))) if node.finished else "0"


def template_behind(run: Run, node: Node) -> Template | None:
    owner = run.nodes[node.owner] if node.owner >= 0 else None
    try:
        return found_of(run, owner if owner is not None and owner.type == phases.RETRY else node).template
    except TemplateNotFoundError:
        return None
