"""`exeunt lint`: checks manifests without a cluster, by the same rules as a submission."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from exeunt.cli.failure import SUCCEEDED, WRONG_INPUT
from exeunt.cli.files import read_documents, read_parameters
from exeunt.cli.output import note
from exeunt.cli.visible import echo

if TYPE_CHECKING:
    from exeunt.language.problems import Problem


@click.command("lint")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("-p", "--parameter", multiple=True, metavar="NAME=VALUE", help="A workflow parameter, as at submission.")
@click.option("--parameter-file", "-f", type=click.Path(), help="YAML mapping of parameters.")
@click.option("--quiet", "-q", is_flag=True, help="Say nothing when all is well; no warnings.")
def lint_command(*, files: tuple[str, ...], parameter: tuple[str, ...], parameter_file: str | None, quiet: bool) -> int:
    """Checks manifests: one line per problem, FILE:LINE: path: what is wrong. Exit code 2 when there are errors.

    Templates that workflows refer to may stand in any of the files. Parameters need no values: a submission may bring
    them.
    """
    documents = read_documents(files)
    problems = check(documents, read_parameters(parameter, parameter_file))
    for problem in problems:
        if not (quiet and problem.warning):
            echo(str(problem))
    if any(not problem.warning for problem in problems):
        return WRONG_INPUT
    if not quiet:
        note(f"no errors in {len(documents)} file{'s' * (len(documents) != 1)}")
    return SUCCEEDED


def check(documents: Sequence[tuple[str, str]], parameters: dict[str, str] | None = None) -> list[Problem]:
    """All problems of documents, in the order of files and lines; nothing but these is stored anywhere."""
    from exeunt.scheduler.checks import CheckJob, Wishes
    from exeunt.scheduler.checks import check as look

    job = CheckJob(documents=list(documents), wishes=Wishes(parameters=tuple((parameters or {}).items())), linting=True)
    outcome = look(job)
    while outcome.missing:
        job.stored += [(key, None) for key in outcome.missing]
        outcome = look(job)
    order = {file: i for i, (file, _) in enumerate(documents)}
    found = set(outcome.problems)
    return sorted(found, key=lambda p: (order.get(p.file, len(order)), p.line, p.path, p.message))
