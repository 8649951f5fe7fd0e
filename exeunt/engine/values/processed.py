"""A node's template as it was found, and with its inputs put in; and the variables of the node itself."""

from __future__ import annotations

from exeunt.engine.facts import phases
from exeunt.engine.facts.nodes import Node
from exeunt.engine.facts.state import Run
from exeunt.engine.values.scope import Scope
from exeunt.engine.values.templating import Processed, mentions, put_in
from exeunt.language.manifest import Step, Template, TemplateRef
from exeunt.language.templates import Found, TemplateNotFoundError


def found_of(run: Run, node: Node) -> Found:
    """The template of a node that runs, as it was found when the node began."""
    known = run.cache.get(("found", node.key))
    if known is None:
        holder = holder_of(node)
        if node.ref is None and not node.template:
            holder.inline = run.inline_of(run, node)
        known = run.templates.get(holder, node.scope)
        run.cache["found", node.key] = known
    found: Found = known
    return found


def holder_of(node: Node) -> Step:
    """A step that asks for the node's template by its name."""
    ref = node.ref
    return Step(
        template=node.template,
        template_ref=None if ref is None else TemplateRef(name=ref[0], template=ref[1], cluster_scope=ref[2]),
    )


def processed_of(run: Run, node: Node) -> Processed:
    """A composite's template with its inputs: made again when the workflow's outputs have changed since."""
    known = run.cache.get(("processed", node.key))
    if known is not None and known[1] == run.outputs_version:
        made: Processed = known[0]
        return made
    found = found_of(run, node)
    if known is not None and not mentions(run, found.template, "workflow"):
        made = known[0]
    else:
        made = put_in(run, found.template, node.given, locals_of(run, node))
    run.cache["processed", node.key] = made, run.outputs_version
    return made


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
