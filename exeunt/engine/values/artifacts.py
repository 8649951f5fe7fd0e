"""Artifacts as values: what `from` leads to, what a template gets, where its own go (Argo: controller/scope.go).

An artifact of a node is a tree in the shape that it has in `status.nodes`: its name, its path, and its place under the
name of the kind of store (`s3: {key: …}`). The bytes are never here.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from typing import Any

import msgspec

from exeunt.engine.facts.problem import NoArtifactError, NodeError
from exeunt.engine.facts.run import Run
from exeunt.engine.values.scope import Scope
from exeunt.language.expression import ExpressionError, evaluate
from exeunt.language.locations import KEYS, Tree, has_place, is_whole, store_of
from exeunt.language.manifest import Artifact, Template
from exeunt.language.repository import KEY_FORMAT
from exeunt.language.variables import OPEN, ArtifactValue, environment, substitute


def has_sources(artifacts: Iterable[Artifact]) -> bool:
    """Whether any of these is to be taken from elsewhere."""
    return any(one.from_ or one.from_expression for one in artifacts)


def resolved(run: Run, artifact: Artifact, scope: Scope) -> Tree | None:
    """What `from` or `fromExpression` leads to; None where it has neither. Raises NodeError."""
    if artifact.from_expression:
        value = _evaluated(run, artifact.from_expression, scope)
    elif artifact.from_:
        value = _referred(run, artifact.from_, scope)
    else:
        return None
    if not isinstance(value, ArtifactValue):
        raise NodeError(f"Variable {{{{{artifact.from_ or artifact.from_expression}}}}} is not an artifact")
    tree = dict(value)
    if artifact.sub_path:
        return _with_key(tree, _put_in(run, artifact.sub_path, scope))
    return tree


def _evaluated(run: Run, source: str, scope: Scope) -> Any:
    try:
        return evaluate(source, environment(scope, artifacts=True), now=run.now, seed=f"{run.uid}{run.now}")
    except ExpressionError as error:
        raise NodeError(str(error)) from error


def _referred(run: Run, source: str, scope: Scope) -> Any:
    name = source.removeprefix("{{").removesuffix("}}").strip()
    if name.startswith("="):
        try:
            value = _evaluated(run, name[1:], scope)
        except NodeError as error:
            raise NodeError(f'Invalid expression: "{name[1:]}"') from error
    else:
        value = scope.get(name)
    if value is None:
        raise NodeError(f'Unable to resolve: "{name.removeprefix("=")}"')
    return value


def _put_in(run: Run, text: str, scope: Scope) -> str:
    try:
        return substitute(text, scope, allow_unresolved=True, now=run.now)
    except ExpressionError as error:
        raise NodeError(str(error)) from error


def _with_key(tree: Tree, below: str) -> Tree:
    """What stands below the place of a tree. Raises NodeError where nothing can be named there."""
    kind = store_of(tree)
    field = KEYS.get(kind, "")
    if not field:
        if tree.get("optional"):
            return tree
        raise NodeError(f"subPath {below}: no part of {kind or 'nothing'} can be named")
    place = tree[kind]
    return {**tree, kind: {**place, field: posixpath.normpath(posixpath.join(place.get(field, ""), below.lstrip("/")))}}


def arguments(run: Run, given: list[Artifact], scope: Scope, *, tolerant: bool, prefix: str = "") -> list[Artifact]:
    """The artifacts of arguments with what they are taken from. Raises NoArtifactError, its text behind the prefix.

    An optional one that cannot be had is left out: whatever the reason where `tolerant` (steps), else only where it is
    not there (DAG).
    """
    found: list[Artifact] = []
    for artifact in given:
        try:
            tree = resolved(run, artifact, scope)
        except NodeError as error:
            if artifact.optional and (tolerant or "Unable to resolve" in str(error)):
                continue
            raise NoArtifactError(f"{prefix}{error}") from error
        found.append(artifact if tree is None else of_tree({**tree, "name": artifact.name}))
    return found


def of_tree(tree: Tree) -> Artifact:
    """The manifest's model of a tree. Raises NodeError where a value has put something odd in."""
    try:
        return msgspec.convert(tree, Artifact, strict=False)
    except msgspec.ValidationError as error:
        raise NodeError(f"the artifact {tree.get('name', '')} cannot be read: {error}") from error


def trees(artifacts: Iterable[Artifact]) -> list[Tree]:
    """Their trees, without what is not said."""
    return [msgspec.to_builtins(one) for one in artifacts]


def supplied(template: Template, given: Iterable[Tree]) -> list[Tree]:
    """The input artifacts of a template with its arguments put in (Argo: ProcessArgs). Raises NodeError."""
    known = {one["name"]: one for one in given}
    found: list[Tree] = []
    for artifact in template.inputs.artifacts:
        own: Tree = msgspec.to_builtins(artifact)
        argument = known.get(artifact.name)
        if not artifact.optional and not has_place(own):
            if argument is None:
                raise NodeError(f"inputs.artifacts.{artifact.name} was not supplied")
            if not has_place(argument):
                raise NodeError(f"inputs.artifacts.{artifact.name} missing location information")
        if argument is None:
            found.append(own)
            continue
        here: Tree = {name: own[name] for name in _OF_THE_RECEIVER if name in own}
        found.append({**{name: value for name, value in argument.items() if name not in _OF_THE_RECEIVER}, **here})
    return found


_OF_THE_RECEIVER = ("path", "mode", "recurseMode")


def add_inputs(scope: Scope, given: Iterable[Tree]) -> None:
    """The input artifacts of a template among the variables of what stands in it."""
    for tree in given:
        scope[f"inputs.artifacts.{tree['name']}"] = ArtifactValue(tree)


def paths(template: Template) -> Scope:
    """The variables `inputs.artifacts.NAME.path` and `outputs.artifacts.NAME.path` of a template's own texts."""
    sides = (("inputs", template.inputs.artifacts), ("outputs", template.outputs.artifacts))
    return {f"{side}.artifacts.{one.name}.path": one.path for side, known in sides for one in known if one.path}


def archive_location(run: Run, template: Template, local: Scope) -> Tree:
    """Where the files of a step lie whose own place is not whole, the key worked out: the folder for those without one.

    That is what the template says, or else the workflow's repository (Argo: addArchiveLocation). Empty where all places
    are whole, so that nobody needs one.
    """
    own = template.archive_location or {}
    kind = store_of(own)
    if kind and is_whole(own):
        return {kind: _keyed(run, own[kind], KEYS[kind], local)}
    known = [*template.inputs.artifacts, *template.outputs.artifacts]
    if template.data is not None and template.data.source.artifact_paths is not None:
        known.append(template.data.source.artifact_paths)
    if not archives_logs(run, template) and all(is_whole(msgspec.to_builtins(one)) for one in known):
        return {}
    kind = store_of(run.repository)
    if not kind:
        return {}
    place = {name: value for name, value in run.repository[kind].items() if name != "keyFormat"}
    pattern = run.repository[kind].get("keyFormat") or KEY_FORMAT
    return {kind: _keyed(run, {**place, KEYS[kind]: pattern}, KEYS[kind], local)}


def _keyed(run: Run, place: Tree, field: str, local: Scope) -> Tree:
    pattern = place.get(field, "")
    return {**place, field: _put_in(run, pattern, local)} if OPEN in pattern else place


def archives_logs(run: Run, template: Template) -> bool:
    """Whether what a step prints is kept as an artifact: a repository that wants it is obeyed (Argo: IsArchiveLogs)."""
    if run.repository.get("archiveLogs"):
        return True
    own = (template.archive_location or {}).get("archiveLogs")
    return bool(run.spec.archive_logs) if own is None else bool(own)
