"""Commands that run a workflow once more: retry goes on with it, resubmit makes a new one of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import click

from exeunt.cli.connect import with_client
from exeunt.cli.failure import SUCCEEDED
from exeunt.cli.files import read_parameters
from exeunt.cli.output import output_option
from exeunt.cli.show import namespace_option
from exeunt.cli.steer import names_argument
from exeunt.cli.submit import finish, print_submitted
from exeunt.cli.word import by_option
from exeunt.client import Client
from exeunt.v1 import workflow_service_pb2 as pb

F = TypeVar("F", bound=Callable[..., Any])


def _options(function: F) -> F:
    for option in (
        output_option,
        click.option("--timeout", type=float, metavar="SECONDS", help="Give up waiting after this; exit code 3."),
        click.option("--watch", is_flag=True, help="The same, showing their trees meanwhile."),
        click.option(
            "--wait", is_flag=True, help="Wait until workflows, exit handlers and what they started have ended."
        ),
        click.option("--request-id", default="", help="The same id again is the same request; of one workflow."),
        click.option(
            "-p", "--parameter", "parameters", multiple=True, metavar="NAME=VALUE", help="In place of its own."
        ),
        by_option,
        namespace_option,
    ):
        function = option(function)
    return function


@click.command("retry")
@names_argument
@click.option("--message", "-m", default="", help="Why; shown to people.")
@_options
def retry_command(
    *, names: tuple[str, ...], namespace: str, parameters: tuple[str, ...], message: str, by: str, **others: Any
) -> int:
    """Runs again what failed of workflows that have ended; what went well stays, and exit handlers are due anew."""
    given = read_parameters(parameters, None)

    def retried(client: Client, name: str, request_id: str) -> Awaitable[pb.Workflow]:
        return client.retry(name, namespace, parameters=given, message=message, by=by, request_id=request_id)

    return _run_again(names, retried, **others)


@click.command("resubmit")
@names_argument
@click.option("-l", "--label", "labels", multiple=True, metavar="NAME=VALUE", help="A label to add.")
@_options
def resubmit_command(
    *,
    names: tuple[str, ...],
    namespace: str,
    parameters: tuple[str, ...],
    labels: tuple[str, ...],
    by: str,
    **others: Any,
) -> int:
    """Submits workflows once more, as new ones with the same manifest and arguments, and prints their names."""
    given, more = read_parameters(parameters, None), read_parameters(labels, None)

    def resubmitted(client: Client, name: str, request_id: str) -> Awaitable[pb.Workflow]:
        return client.resubmit(name, namespace, parameters=given, labels=more, by=by, request_id=request_id)

    return _run_again(names, resubmitted, **others)


def _run_again(
    names: tuple[str, ...],
    call: Callable[[Client, str, str], Awaitable[pb.Workflow]],
    *,
    request_id: str,
    wait: bool,
    watch: bool,
    timeout: float | None,
    output: str | None,
) -> int:
    """Runs each workflow once more by `call`, which is given the client, its name and the request id."""

    async def work(client: Client) -> int:
        workflows = [await call(client, name, request_id) for name in names]
        if wait or watch:
            return await finish(client, workflows, output, quiet=not watch)
        print_submitted(workflows, output or "name")
        return SUCCEEDED

    return with_client(work, timeout)
