"""`exeunt lint`: checks manifests without a cluster, by the same rules as a submission."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from exeunt.cli.failure import SUCCEEDED, WRONG_INPUT
from exeunt.cli.files import read_documents
from exeunt.cli.output import note

if TYPE_CHECKING:
    from exeunt.language.manifest import ConfigMap, WorkflowTemplate
    from exeunt.language.problems import Problem


@click.command("lint")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--quiet", "-q", is_flag=True, help="Say nothing when all is well; no warnings.")
def lint_command(*, files: tuple[str, ...], quiet: bool) -> int:
    """Checks manifests: one line per problem, FILE:LINE: path: what is wrong. Exit code 2 when there are errors.

    Templates that workflows refer to may stand in any of the files.
    """
    documents = read_documents(files)
    problems = check(documents)
    for problem in problems:
        if not (quiet and problem.warning):
            click.echo(str(problem))
    if any(not problem.warning for problem in problems):
        return WRONG_INPUT
    if not quiet:
        note(f"no errors in {len(documents)} file{'s' * (len(documents) != 1)}")
    return SUCCEEDED


def check(documents: Sequence[tuple[str, str]]) -> list[Problem]:
    """All problems of documents that shall be submitted together, in the order of files and lines."""
    from exeunt.language.decode import read_manifests
    from exeunt.language.manifest import ConfigMap, Secret, Workflow, WorkflowTemplate
    from exeunt.language.problems import ManifestError
    from exeunt.language.secret import check_secret
    from exeunt.language.templates import scope_of
    from exeunt.language.validate import resolve, validate, validate_template

    problems: list[Problem] = []
    loaded = []
    for file, text in documents:
        try:
            read, found = read_manifests(text, file)
        except ManifestError as error:
            problems += error.problems
        else:
            loaded += read
            problems += found
    templates: dict[str, WorkflowTemplate] = {}
    config_maps: dict[str, ConfigMap] = {}
    places = {}
    for one in loaded:
        if isinstance(one.model, WorkflowTemplate):
            templates[scope_of(one.model)] = one.model
            places[scope_of(one.model)] = one.document
        elif isinstance(one.model, Secret):
            problems += check_secret(one.model, one.document)
        elif isinstance(one.model, ConfigMap):
            config_maps[one.model.metadata.name] = one.model

    def lookup(kind: str, namespace: str, name: str) -> WorkflowTemplate | None:
        return next((t for t in templates.values() if t.kind == kind and t.metadata.name == name), None)

    for one in loaded:
        if isinstance(one.model, Workflow):
            bundle = resolve(one.model, lookup, lambda _, name: config_maps.get(name))
            problems += one.beside(validate(bundle, one.document, places))
        elif isinstance(one.model, WorkflowTemplate):
            problems += one.beside(validate_template(one.model, lookup, one.document))
    order = {file: i for i, (file, _) in enumerate(documents)}
    return sorted(set(problems), key=lambda p: (order.get(p.file, len(order)), p.line, p.path, p.message))
