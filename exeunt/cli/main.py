"""The command `exeunt`: its groups, and how it ends. Every command's own code is imported when it is called."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from exeunt.cli.failure import INTERRUPTED, UNREACHABLE, WORK_FAILED, WRONG_INPUT, CommandError
from exeunt.cli.visible import echo

COMMANDS = {
    "run": ("exeunt.cli.run", "Run workflows on a private local cluster and wait for them"),
    "up": ("exeunt.cli.up", "Start a local cluster that stays"),
    "down": ("exeunt.cli.up", "Stop a local cluster"),
    "submit": ("exeunt.cli.submit", "Submit workflows"),
    "get": ("exeunt.cli.show", "Show a workflow with its nodes"),
    "list": ("exeunt.cli.show", "List workflows"),
    "watch": ("exeunt.cli.show", "Watch a workflow until it has ended"),
    "logs": ("exeunt.cli.show", "Print the output of a workflow's steps"),
    "artifacts": ("exeunt.cli.artifacts", "List and get what steps have kept"),
    "stop": ("exeunt.cli.steer", "End a workflow and let its exit handlers run"),
    "terminate": ("exeunt.cli.steer", "End a workflow at once"),
    "suspend": ("exeunt.cli.steer", "Start no further steps of a workflow"),
    "resume": ("exeunt.cli.steer", "Resume a workflow or its suspended steps"),
    "retry": ("exeunt.cli.again", "Run again what failed of a workflow that ended"),
    "resubmit": ("exeunt.cli.again", "Submit a workflow once more"),
    "delete": ("exeunt.cli.steer", "Delete a workflow; one that runs is ended first"),
    "node": ("exeunt.cli.steer", "Give suspended steps their outputs"),
    "lint": ("exeunt.cli.lint", "Check manifests without running them"),
    "exits": ("exeunt.cli.exits", "The exit ledger: what handlers ran, and how often"),
    "events": ("exeunt.cli.events", "Print public events as they were published"),
    "executors": ("exeunt.cli.show", "List executors and what they run"),
    "backup": ("exeunt.cli.backup", "Write all that is kept in NATS into a folder"),
    "restore": ("exeunt.cli.backup", "Bring a backup back"),
    "doctor": ("exeunt.cli.doctor", "Say what works on this machine"),
    "serve": ("exeunt.cli.serve", "Run one service"),
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = getattr(importlib.import_module(COMMANDS[cmd_name][0]), f"{cmd_name}_command")
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="exeunt", message="exeunt %(version)s")
@click.option("--server", metavar="HOST:PORT", envvar="EXEUNT_SERVER", help="The scheduler; else the local cluster.")
@click.option("--exit-server", metavar="HOST:PORT", envvar="EXEUNT_EXIT_SERVER", help="The exit handler, for `exits`.")
@click.pass_context
def cli(context: click.Context, server: str | None, exit_server: str | None) -> None:
    """Runs Argo Workflow YAML on a small cluster whose exit handlers always run.

    Exit codes: 0 all succeeded, 1 some failed, 2 wrong input, 3 timeout, 4 no cluster.
    """
    context.obj = {"server": server, "exit_server": exit_server}


def main(arguments: list[str] | None = None) -> None:
    """The entry point: runs a command and leaves the process with its exit code."""
    sys.exit(call(arguments))


def call(arguments: list[str] | None = None) -> int:
    """Runs a command and returns its exit code."""
    try:
        ordered = _servers_first(sys.argv[1:] if arguments is None else arguments)
        result: Any = cli.main(ordered, prog_name="exeunt", standalone_mode=False)
    except click.exceptions.Abort:  # as click says of Ctrl-C
        echo("interrupted", err=True)
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except CommandError as error:
        echo(str(error), err=True)
        return error.code
    except BrokenPipeError:
        sys.stderr.close()  # who read our output has left: `exeunt list | head`
        return 0
    except Exception as error:
        code = _refused(error)
        if code is None:
            raise
        return code
    return result if isinstance(result, int) else 0


def _servers_first(arguments: list[str]) -> list[str]:
    """Lets --server and --exit-server stand anywhere on the line: they are options of the whole command."""
    first: list[str] = []
    rest: list[str] = []
    waiting = list(arguments)
    while waiting and waiting[0] != "--":
        word = waiting.pop(0)
        if word in ("--server", "--exit-server") and waiting:
            first += [word, waiting.pop(0)]
        elif word.startswith(("--server=", "--exit-server=")):
            first.append(word)
        else:
            rest.append(word)
    return [*first, *rest, *waiting]


def _refused(error: Exception) -> int | None:
    """The exit code for what a service refused, after saying it; None for other errors."""
    module = sys.modules.get("exeunt.client")
    if module is None or not isinstance(error, module.ClientError):
        return None
    if error.problems and error.code == "INVALID_ARGUMENT":
        echo("\n".join(error.problems), err=True)
    else:
        echo(str(error), err=True)
    if error.code == "UNAUTHENTICATED":
        return UNREACHABLE
    return UNREACHABLE if error.unreachable else WRONG_INPUT if error.code == "INVALID_ARGUMENT" else WORK_FAILED


if __name__ == "__main__":
    main()
