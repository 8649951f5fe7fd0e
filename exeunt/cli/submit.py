"""`exeunt submit`: hands manifests to a cluster, and waits for them when asked to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import click

from exeunt.cli.connect import command_for, with_client
from exeunt.cli.failure import SUCCEEDED, WRONG_INPUT, CommandError
from exeunt.cli.files import read_documents, read_parameters
from exeunt.cli.follow import FollowedWorkflows
from exeunt.cli.live import Display
from exeunt.cli.output import note, output_option, print_workflows
from exeunt.cli.visible import echo
from exeunt.cli.word import by_option
from exeunt.client import Client
from exeunt.v1 import workflow_service_pb2 as pb

F = TypeVar("F", bound=Callable[..., Any])
Wait = Callable[[Client, FollowedWorkflows, Sequence[pb.Workflow]], Awaitable[None]]


def submission_options(function: F) -> F:
    """The options that `run` and `submit` have in common."""
    for option in (
        output_option,
        click.option("--timeout", type=float, metavar="SECONDS", help="Give up waiting after this; exit code 3."),
        click.option("-n", "--namespace", default="", help="For documents that name none.  [default: default]"),
        click.option("--entrypoint", default="", metavar="T", help="Replaces spec.entrypoint."),
        click.option("--parameter-file", "-f", type=click.Path(), help="YAML mapping of parameters."),
        click.option("-p", "--parameter", multiple=True, metavar="NAME=VALUE", help="A workflow parameter."),
        by_option,
        click.option("-l", "--label", "labels", multiple=True, metavar="NAME=VALUE", help="A label to add."),
        click.option("--generate-name", default="", metavar="P", help="Replaces metadata.generateName."),
        click.option("--name", default="", metavar="N", help="Replaces metadata.name."),
    ):
        function = option(function)
    return function


@click.command("submit")
@click.argument("files", nargs=-1, metavar="FILE...")
@submission_options
@click.option("--from", "source", metavar="workflowtemplate/N", help="Submits a stored template.")
@click.option(
    "--request-id", default="", help="The same id again is the same submission; with other documents it is refused."
)
@click.option("--wait", is_flag=True, help="Wait until workflows, exit handlers and what they started have ended.")
@click.option("--watch", is_flag=True, help="The same, showing their trees meanwhile.")
def submit_command(
    *,
    files: tuple[str, ...],
    source: str | None,
    request_id: str,
    wait: bool,
    watch: bool,
    output: str | None,
    timeout: float | None,
    **given: Any,
) -> int:
    """Submits workflows and prints their names. FILE is a path, a directory, or - for standard input."""
    if bool(files) == bool(source):
        raise CommandError("either FILE or --from is needed", code=WRONG_INPUT)
    documents = read_documents(files) if files else [("--from", from_template(source or ""))]
    wishes = submission(given)

    async def work(client: Client) -> int:
        answer = await submit(client, documents, wishes, request_id)
        if not (wait or watch):
            print_submitted(answer.workflows, output or "name")
            return SUCCEEDED
        return await finish(client, answer.workflows, output, quiet=not watch)

    return with_client(work, timeout)


async def submit(
    client: Client, documents: Sequence[tuple[str, str]], wishes: dict[str, Any], request_id: str = ""
) -> pb.SubmitWorkflowResponse:
    """Submits documents and tells the warnings."""
    answer = await client.submit(documents, request_id=request_id, **wishes)
    for problem in answer.warnings:
        note(f"{place(problem)}: warning: {problem.message}")
    return answer


async def finish(
    client: Client, workflows: Sequence[pb.Workflow], output: str | None, *, quiet: bool, wait: Wait | None = None
) -> int:
    """Waits for workflows, in a way of the caller's where there is one; prints them, and returns the exit code."""
    with Display(quiet=quiet, command=command_for(client.server)) as display:
        followed = FollowedWorkflows(client, display)
        try:
            await (followed.wait(workflows) if wait is None else wait(client, followed, workflows))
        except BaseExceptionGroup as errors:  # one workflow that cannot be followed ends them all
            raise errors.exceptions[0] from None
    for text in followed.lost:
        note(text)
    print_workflows(followed.workflows(), output or "tree")
    return followed.code()


def submission(given: dict[str, Any]) -> dict[str, Any]:
    """What the common options ask for, as arguments of Client.submit."""
    labels = read_parameters(given["labels"], None)
    parameters = read_parameters(given["parameter"], given["parameter_file"])
    kept = ("namespace", "entrypoint", "name", "generate_name", "by")
    return {**{key: given[key] for key in kept}, "parameters": parameters, "labels": labels}


def print_submitted(workflows: Sequence[pb.Workflow], form: str) -> None:
    """Prints what was accepted."""
    import json

    if form == "name":
        for workflow in workflows:
            echo(workflow.name)
    else:
        print_workflows([json.loads(workflow.json) for workflow in workflows], form)


def from_template(source: str) -> str:
    """A manifest that runs a stored template: `workflowtemplate/N` or `clusterworkflowtemplate/N`."""
    import json

    kind, _, name = source.partition("/")
    kinds = {"workflowtemplate": False, "wftmpl": False, "clusterworkflowtemplate": True, "cwft": True}
    if kind.lower() not in kinds or not name:
        raise CommandError(f"--from {source}: workflowtemplate/NAME is expected", code=WRONG_INPUT)
    reference = {"name": name, **({"clusterScope": True} if kinds[kind.lower()] else {})}
    return json.dumps(
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Workflow",
            "metadata": {"generateName": f"{name}-"},
            "spec": {"workflowTemplateRef": reference},
        }
    )


def place(problem: pb.Problem) -> str:
    """`FILE:LINE: path` of a problem."""
    where = f"{problem.file}:{problem.line}" if problem.line else problem.file
    return f"{where}: {problem.path}" if problem.path else where
