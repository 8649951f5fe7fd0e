"""Outputs of composites, and what goes to the workflow's by globalName (Argo: getTemplateOutputsFromScope)."""

from __future__ import annotations

import msgspec

from exeunt.engine.facts.events import GlobalsSet
from exeunt.engine.facts.nodes import Node, NodeOutputs
from exeunt.engine.facts.problem import NodeError
from exeunt.engine.facts.run import Run
from exeunt.engine.values import artifacts
from exeunt.engine.values.processed import locals_of
from exeunt.engine.values.scope import Scope, global_scope
from exeunt.engine.values.templating import replaced_text
from exeunt.language.expression import ExpressionError, evaluate, to_text
from exeunt.language.locations import Tree
from exeunt.language.manifest import Parameter, Template, ValueFrom
from exeunt.language.variables import OPEN, environment, text


def from_scope(run: Run, template: Template, scope: Scope) -> NodeOutputs | None:
    """What a steps or DAG template gives, out of what its children gave. Raises NodeError."""
    parameters = [(parameter.name, _value(run, parameter, scope)) for parameter in template.outputs.parameters]
    files = _artifacts(run, template, scope)
    return NodeOutputs(parameters=list(parameters), artifacts=files) if parameters or files else None


def _artifacts(run: Run, template: Template, scope: Scope) -> list[Tree]:
    """An optional one that is not there is left out, as is one that is taken from nowhere."""
    found: list[Tree] = []
    for artifact in template.outputs.artifacts:
        try:
            tree = artifacts.resolved(run, artifact, scope)
        except NodeError as error:
            if artifact.optional and "Unable to resolve" in str(error):
                continue
            raise NodeError(f"unable to resolve outputs from scope: {error}") from error
        if tree is not None:
            own = {"globalName": artifact.global_name} if artifact.global_name else {}
            found.append({**tree, "name": artifact.name, **own})
    return found


def _value(run: Run, parameter: Parameter, scope: Scope) -> str:
    source = parameter.value_from
    if source is None:
        raise NodeError("output parameters must have a valueFrom specified")
    default = None if isinstance(source.default, msgspec.UnsetType) else text(source.default)
    try:
        value = _referred(run, source, scope)
    except NodeError:
        if default is None:
            raise
        return default
    if value is None:
        if default is not None:
            return default
        raise NodeError(
            f'output parameter "{parameter.name}": "{source.parameter}" is an absent optional '
            "(skipped/omitted node output with no default)"
        )
    return value


def _referred(run: Run, source: ValueFrom, scope: Scope) -> str | None:
    if source.expression:
        return _expression(run, source.expression, scope)
    if not source.parameter:
        return ""
    name = source.parameter.removeprefix("{{").removesuffix("}}").strip()
    if name.startswith("="):
        return _expression(run, name[1:], scope)
    if name not in scope:
        raise NodeError(f'Unable to resolve: "{name}"')
    value = scope[name]
    return None if value is None else str(value)


def _expression(run: Run, source: str, scope: Scope) -> str:
    try:
        value = evaluate(source, environment(scope), now=run.now, seed=f"{run.uid}{run.now}")
        if value is None:
            raise NodeError(f'failed to evaluate expression "{source}"')
        return to_text(value)
    except ExpressionError as error:
        raise NodeError(str(error)) from error


def export(run: Run, node: Node, template: Template, outputs: NodeOutputs | None) -> None:
    """Outputs with a globalName become outputs of the workflow. `template` is that of the node, as it is written."""
    if outputs is None:
        return
    names = {
        parameter.name: _global_name(run, node, parameter.global_name)
        for parameter in template.outputs.parameters
        if parameter.global_name
    }
    values = {names[name]: value for name, value in outputs.parameters if name in names}
    known = run.state.global_outputs
    changed = {
        name: value
        for name, value in values.items()
        if name not in known or (value is not None and known[name] != value)
    }
    files = {
        _global_name(run, node, tree["globalName"]): {key: tree[key] for key in tree if key not in _LOCAL}
        for tree in outputs.artifacts
        if tree.get("globalName")
    }
    files = {name: {"name": name, **tree} for name, tree in files.items()}
    news = {name: tree for name, tree in files.items() if run.state.global_artifacts.get(name) != tree}
    if changed or news:
        run.emit(GlobalsSet(changed, news))


_LOCAL = ("name", "globalName", "path")
"""What an artifact has as the output of a node, and not as one of the workflow (Argo: addArtifactToGlobalScope)."""


def _global_name(run: Run, node: Node, name: str) -> str:
    """The name with the node's variables put in. What cannot be worked out stays as it stands: the value is kept."""
    if OPEN not in name:
        return name
    scope = {**global_scope(run), **locals_of(run, node)}
    scope.update({f"inputs.parameters.{known}": value for known, value in node.given})
    try:
        return replaced_text(run, name, scope)
    except NodeError:
        return name
