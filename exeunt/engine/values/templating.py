"""Templates with their inputs put in (Argo: ProcessArgs and SubstituteParams in workflow/common/util.go).

First the workflow's and the node's own variables are put into the whole template, then its inputs. What stays as a tag
is for later: steps, tasks and items, or the text of a command that means its braces.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from exeunt.engine.facts.problem import NodeError
from exeunt.engine.facts.run import Run
from exeunt.engine.facts.shared import Forms
from exeunt.engine.facts.turn import CHARACTERS
from exeunt.engine.values import artifacts
from exeunt.engine.values.scope import (
    Scope,
    config_map_value,
    global_scope,
    go_json,
)
from exeunt.language.expression import ExpressionError
from exeunt.language.expression.limits import Allowance, sharing
from exeunt.language.locations import Tree
from exeunt.language.manifest import Arguments, Parameter, Template
from exeunt.language.model import Model
from exeunt.language.variables import OPEN, substitute, substitute_tree, text

ABSENT = "\ufdd0absent"
"""Stands for an argument that refers to an output that is absent: the receiver's default counts."""
M = TypeVar("M", bound=Model)


class Processed(NamedTuple):
    """A template ready to be run, and the values of its inputs."""

    template: Template
    inputs: list[tuple[str, str]]
    artifacts: list[dict[str, Any]] = []
    """The input artifacts, each with its place and the path where the template wants it."""


class Texts:
    """Forms of pieces that are the run's own, and templates without the values of their inputs, by id."""

    def __init__(self) -> None:
        self.forms = Forms()
        self.bare: dict[int, tuple[Template, Any]] = {}


def _forms(run: Run, model: Model) -> Forms:
    """Whole templates are the same for all runs of a bundle; smaller pieces may be one run's own."""
    if isinstance(model, Template):
        return run.shared.forms
    return run.memory.of(Texts).forms


def tree_of(run: Run, model: Model) -> Any:
    """The plain tree of a piece of the manifest."""
    return _forms(run, model).of(model)[1]


def has_tags(run: Run, model: Model) -> bool:
    return mentions(run, model, OPEN)


def mentions(run: Run, model: Model, word: str) -> bool:
    """Whether a word stands anywhere in a piece of the manifest. Looked up once: templates may be large."""
    return _forms(run, model).mentions(model, word)


def source_of(run: Run, model: Model) -> str:
    """The JSON of a piece of the manifest: to see what it mentions."""
    return _forms(run, model).of(model)[2]


def replaced(run: Run, tree: Any, scope: Mapping[str, Any], strict: tuple[str, ...] = (), whole: bool = False) -> Any:
    """A tree with what the scope knows put in. Raises NodeError, also for what cannot be had any more (`strict`)."""
    try:
        return substitute_tree(
            tree, scope, allow_unresolved=not whole, strict=strict, now=run.now, seed=f"{run.uid}{run.now}"
        )
    except ExpressionError as error:
        raise NodeError(str(error)) from error


def replaced_text(run: Run, source: str, scope: Mapping[str, Any], strict: tuple[str, ...] = ()) -> str:
    """The same for one text."""
    try:
        return substitute(source, scope, allow_unresolved=True, strict=strict, now=run.now, seed=f"{run.uid}{run.now}")
    except ExpressionError as error:
        raise NodeError(str(error)) from error


def model(tree: Any, kind: type[M]) -> M:
    """The model of a tree that came from one. Raises NodeError where a value has put something odd in."""
    try:
        return msgspec.convert(tree, kind, strict=False)
    except msgspec.ValidationError as error:
        raise NodeError(f"the template cannot be read with its values put in: {error}") from error


def supplied(run: Run, template: Template, arguments: Mapping[str, str]) -> list[tuple[Parameter, str]]:
    """A value for each input: from the arguments, a ConfigMap, or the default. Raises NodeError where there is none."""
    values: list[tuple[Parameter, str]] = []
    for parameter in template.inputs.parameters:
        value: str | None = None
        if not isinstance(parameter.value, msgspec.UnsetType):
            value = text(parameter.value)
        elif not isinstance(parameter.default, msgspec.UnsetType):
            value = text(parameter.default)
        given = arguments.get(parameter.name)
        source = parameter.value_from
        if given == ABSENT:
            if value is None and source is None:
                raise NodeError(
                    f"inputs.parameters.{parameter.name}: argument references an absent optional "
                    "(skipped/omitted node output with no default)"
                )
        elif given is not None:
            value, source = given, None
        if source is not None and source.config_map_key_ref is not None:
            value = _from_config_map(run, parameter.name, parameter)
        if value is None and source is not None and not isinstance(source.default, msgspec.UnsetType):
            value = text(source.default)
        if value is None:
            raise NodeError(f"inputs.parameters.{parameter.name} was not supplied")
        values.append((parameter, value))
    return values


def _from_config_map(run: Run, name: str, parameter: Parameter) -> str | None:
    source = parameter.value_from
    if source is None or source.config_map_key_ref is None:
        return None
    scope = global_scope(run)
    reference = source.config_map_key_ref
    config_map = replaced_text(run, reference.name, scope)
    key = replaced_text(run, reference.key, scope)
    found = config_map_value(run, config_map, key)
    if found is None and isinstance(source.default, msgspec.UnsetType):
        raise NodeError(
            f"unable to retrieve inputs.parameters.{name} from ConfigMap: "
            f"ConfigMap '{config_map}' does not have the key '{key}'"
        )
    return found


def argument_values(arguments: Arguments) -> dict[str, str]:
    """The values of arguments; those without one are left out."""
    return {
        parameter.name: text(parameter.value)
        for parameter in arguments.parameters
        if not isinstance(parameter.value, msgspec.UnsetType)
    }


def process(
    run: Run, template: Template, arguments: Mapping[str, str], local: Scope, files: Iterable[Tree] = ()
) -> Processed:
    """The template with its arguments; `files` are those that are artifacts. Raises NodeError."""
    values = supplied(run, template, arguments)
    given = artifacts.supplied(template, files) if template.inputs.artifacts else []
    return put_in(run, template, [(parameter.name, value) for parameter, value in values], local, given)


def put_in(
    run: Run, template: Template, values: list[tuple[str, str]], local: Scope, files: Sequence[Tree] = ()
) -> Processed:
    """The template with these values of its inputs, and these input artifacts."""
    if not (values or files or has_tags(run, template)):
        return Processed(template, [])
    with sharing(Allowance()):
        return _put_in(run, template, values, local, list(files))


def _put_in(run: Run, template: Template, values: list[tuple[str, str]], local: Scope, files: list[Tree]) -> Processed:
    scope = global_scope(run)
    scope.update(local)
    first = []
    for name, value in values:
        first.append((name, replaced_text(run, value, scope) if OPEN in value else value))
    size = len(source_of(run, template)) + sum(len(value) for _, value in values)
    run.turn.took(size // CHARACTERS, kept=False)
    plain = _without_input_values(run, template)
    files = replaced(run, files, scope) if files else files
    tree = replaced(run, plain, scope) if has_tags(run, template) else plain
    for name, value in first:
        scope[f"inputs.parameters.{name}"] = value
    if values:
        scope["inputs.parameters"] = _listed(template, dict(first))
    for parameter in template.outputs.parameters:
        if parameter.value_from is not None and parameter.value_from.path:
            scope[f"outputs.parameters.{parameter.name}.path"] = parameter.value_from.path
    scope.update(artifacts.paths(template))
    inputs = [(name, replaced_text(run, value, scope) if OPEN in value else value) for name, value in first]
    files = replaced(run, files, scope) if files else files
    if not has_tags(run, template):
        return Processed(template, inputs, files)
    done = replaced(run, tree, scope)
    return Processed(template if done is plain else model(done, Template), inputs, files)


def _listed(template: Template, values: Mapping[str, str]) -> str:
    """All inputs as JSON, as `{{inputs.parameters}}` reads."""
    listed = []
    for parameter in template.inputs.parameters:
        tree: dict[str, Any] = {"name": parameter.name}
        if not isinstance(parameter.default, msgspec.UnsetType):
            tree["default"] = text(parameter.default)
        tree["value"] = values.get(parameter.name, "")
        if parameter.enum:
            tree["enum"] = [text(one) for one in parameter.enum]
        if parameter.description:
            tree["description"] = parameter.description
        listed.append(tree)
    return go_json(listed)


def _without_input_values(run: Run, template: Template) -> Any:
    """The template's tree; values and defaults of its inputs are treated apart."""
    known = run.memory.of(Texts).bare
    found = known.get(id(template))
    if found is None:
        tree = tree_of(run, template)
        if "inputs" in tree:
            tree = {key: value for key, value in tree.items() if key != "inputs"}
            tree["inputs"] = {"parameters": [{"name": p.name} for p in template.inputs.parameters]}
        found = (template, tree)
        known[id(template)] = found
    return found[1]


def mark_absent(tree: Any, scope: Scope) -> Any:
    """Arguments that are nothing but a reference to an absent output count as not given."""
    parameters = tree.get("parameters") if isinstance(tree, dict) else None
    if not parameters:
        return tree
    marked = [
        {**parameter, "value": ABSENT} if _absent(parameter.get("value"), scope) else parameter
        for parameter in parameters
    ]
    if all(new is old for new, old in zip(marked, parameters, strict=True)):
        return tree
    return {**tree, "parameters": marked}


def _absent(value: object, scope: Scope) -> bool:
    if not isinstance(value, str) or not (value.startswith("{{") and value.endswith("}}")):
        return False
    name = value[2:-2].strip()
    return "{{" not in name and "}}" not in name and name in scope and scope[name] is None
