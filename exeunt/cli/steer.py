"""Commands that change a workflow under way: stop, terminate, suspend, resume, delete, node set."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import click

from exeunt.cli.connect import with_client
from exeunt.cli.failure import SUCCEEDED, WRONG_INPUT, CommandError
from exeunt.cli.files import read_parameters
from exeunt.cli.output import note
from exeunt.cli.show import namespace_option
from exeunt.cli.visible import echo
from exeunt.cli.word import by_option, word_options
from exeunt.client import Client, ClientError

names_argument = click.argument("names", nargs=-1, required=True, metavar="NAME...")
selector_option = click.option(
    "--node-field-selector", "selector", default="", metavar="FIELD=VALUE", help="As in displayName=approve."
)


def _each(names: tuple[str, ...], done: str, call: Callable[[Client, str], Awaitable[object]]) -> int:
    """Does something to each workflow; one that cannot does not keep the others from it."""

    async def work(client: Client) -> int:
        code = SUCCEEDED
        for name in names:
            try:
                await call(client, name)
            except ClientError as error:
                if error.unreachable or len(names) == 1:
                    raise
                note(f"{name}: {error}")
                code = 1
            else:
                echo(f"workflow {name} {done}")
        return code

    return with_client(work)


@click.command("stop")
@names_argument
@namespace_option
@selector_option
@word_options
def stop_command(*, names: tuple[str, ...], namespace: str, selector: str, **word: Any) -> int:
    """Ends workflows: running steps are ended, nothing new starts, exit handlers run."""
    return _each(names, "stopped", lambda client, name: client.stop(name, namespace, selector=selector, **word))


@click.command("terminate")
@names_argument
@namespace_option
@word_options
def terminate_command(*, names: tuple[str, ...], namespace: str, **word: Any) -> int:
    """Ends workflows at once; exit handlers run only where the annotation exeunt.dev/exit-on says so."""
    return _each(names, "terminated", lambda client, name: client.terminate(name, namespace, **word))


@click.command("suspend")
@names_argument
@namespace_option
@word_options
def suspend_command(*, names: tuple[str, ...], namespace: str, **word: Any) -> int:
    """Lets workflows start no further steps until they are resumed."""
    return _each(names, "suspended", lambda client, name: client.suspend(name, namespace, **word))


@click.command("resume")
@names_argument
@namespace_option
@selector_option
@word_options
def resume_command(*, names: tuple[str, ...], namespace: str, selector: str, **word: Any) -> int:
    """Resumes suspended workflows and the suspend steps that wait in them, or only those that the selector names."""
    return _each(names, "resumed", lambda client, name: client.resume(name, namespace, selector=selector, **word))


@click.command("delete")
@names_argument
@namespace_option
@word_options
def delete_command(*, names: tuple[str, ...], namespace: str, **word: Any) -> int:
    """Deletes workflows; those that run are ended, with exit handlers only where exeunt.dev/exit-on asks for them."""

    async def work(client: Client) -> int:
        for name in names:
            gone = await client.delete(name, namespace, **word)
            echo(f"workflow {name} {'deleted' if gone else 'ends, and is deleted then'}")
        return SUCCEEDED

    return with_client(work)


@click.group("node")
def node_command() -> None:
    """Works on nodes of a workflow."""


@node_command.command("set")
@click.argument("name", metavar="NAME")
@namespace_option
@selector_option
@click.option("--output-parameter", "-p", "outputs", multiple=True, metavar="NAME=VALUE", help="An output to set.")
@click.option("--phase", type=click.Choice(["Succeeded", "Failed"]), help="Ends the node.")
@click.option("--message", "-m", default="", help="The node's message.")
@by_option
def node_set(
    *, name: str, namespace: str, selector: str, outputs: tuple[str, ...], phase: str | None, message: str, by: str
) -> None:
    """Gives waiting suspend nodes their outputs, or ends them."""
    if not selector:
        raise CommandError("--node-field-selector says which node, as in displayName=approve", code=WRONG_INPUT)
    if not (outputs or phase or message):
        raise CommandError("nothing to set: --output-parameter, --phase or --message", code=WRONG_INPUT)
    given = read_parameters(outputs, None)
    with_client(
        lambda client: client.set_nodes(
            name, namespace, selector=selector, outputs=given, phase=phase or "", message=message, by=by
        )
    )
    echo("workflow values set")
