"""`exeunt exits`: the exit ledger. Which handlers were due, how often they were tried, what became of them."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import click

from exeunt.cli import times
from exeunt.cli.connect import with_client
from exeunt.cli.exits_shown import full, ledger_line, print_exit, print_ledger, record, state
from exeunt.cli.failure import SUCCEEDED, WRONG_INPUT, CommandError
from exeunt.cli.output import note, output_option, print_json, print_yaml
from exeunt.cli.visible import echo
from exeunt.cli.word import word_options
from exeunt.client import Client, ClientError
from exeunt.v1.exit_service_pb2 import EXIT_VIEW_BASIC, EXIT_VIEW_FULL, Exit, WatchExitsResponse

F = TypeVar("F", bound=Callable[..., Any])
PREFIX = "STATE_"
FAILED = (Exit.State.STATE_FAILED, Exit.State.STATE_PARKED)
STATES = [name.removeprefix(PREFIX).lower() for name in Exit.State.keys() if name != "STATE_UNSPECIFIED"]  # noqa: SIM118 (an enum, not a mapping)
NOT_AGAIN = ("due", "running", "skipped")
"""States in which there is nothing to replay."""


class ExitChoice(NamedTuple):
    """Which records: what the options say."""

    namespace: str
    workflow: str
    hook: str
    states: list[Exit.State.ValueType]


def which(function: F) -> F:
    """The options that choose records, as one argument `wanted`."""

    @functools.wraps(function)
    def call(
        *, namespace: str, workflow: str, hook: str, failed: bool, states: tuple[str, ...], **others: Any
    ) -> object:
        chosen = [Exit.State.Value(f"{PREFIX}{state.upper()}") for state in states] + list(FAILED) * failed
        return function(wanted=ExitChoice(namespace, workflow, hook, chosen), **others)

    wrapped: Any = call
    for option in (
        click.option("--state", "states", multiple=True, type=click.Choice(STATES), help="Only these; repeatable."),
        click.option("--failed", is_flag=True, help="Only failed and parked ones."),
        click.option("--hook", default="", metavar="NAME", help="Only this hook's; exit for onExit."),
        click.option("--workflow", default="", metavar="NAME", help="Only this workflow's."),
        click.option("-n", "--namespace", default="", help="One namespace.  [default: all]"),
    ):
        wrapped = option(wrapped)
    found: F = wrapped
    return found


since_option = click.option(
    "--since", type=times.Moment(), metavar="TIME", help="Due then or later: 30m, 2h, 1d, or a time."
)
until_option = click.option("--until", type=times.Moment(), metavar="TIME", help="Due before.")


@click.group("exits")
def exits_command() -> None:
    """The exit ledger; its records outlive their workflows."""


@exits_command.command("list")
@which
@since_option
@until_option
@click.option("--limit", type=click.IntRange(0), default=0, help="At most this many.  [default: all]")
@output_option
def exits_list(*, wanted: ExitChoice, since: Any, until: Any, limit: int, output: str | None) -> None:
    """Lists records, newest first."""
    view = EXIT_VIEW_FULL if output in ("json", "yaml") else EXIT_VIEW_BASIC
    found = with_client(
        lambda client: client.list_exits(**wanted._asdict(), since=since, until=until, limit=limit, view=view)
    )
    if output == "json":
        print_json([record(one) for one in found])
    elif output == "yaml":
        print_yaml([record(one) for one in found])
    elif output == "name":
        for one in found:
            echo(one.id)
    elif output == "tree":
        raise CommandError("the ledger has no tree; `exeunt exits get ID` shows one run", code=WRONG_INPUT)
    elif not found:
        note("no exit runs")
    else:
        print_ledger(found, wide=output == "wide")


@exits_command.command("get")
@click.argument("exit_id", metavar="ID")
@output_option
def exits_get(*, exit_id: str, output: str | None) -> None:
    """Shows one exit run with each of its attempts."""
    found = with_client(lambda client: client.get_exit(exit_id))
    if output == "json":
        print_json(full(found))
    elif output == "yaml":
        print_yaml([full(found)])
    elif output == "name":
        echo(found.id)
    else:
        print_exit(found)


@exits_command.command("watch")
@which
@click.option("--all", "everything", is_flag=True, help="Begin with the records that are there.")
@click.option("-o", "--output", type=click.Choice(["wide", "json", "name"]), help="json: one record for each line.")
@click.option("--timeout", type=float, metavar="SECONDS", help="Stop after this; exit code 3.")
def exits_watch(*, wanted: ExitChoice, everything: bool, output: str | None, timeout: float | None) -> None:
    """Prints records as they change, until it is interrupted."""

    async def work(client: Client) -> None:
        view = EXIT_VIEW_FULL if output == "json" else EXIT_VIEW_BASIC
        async for told in client.watch_exits(**wanted._asdict(), changes_only=not everything, view=view):
            found = told.exit
            if told.kind != WatchExitsResponse.KIND_CHANGED:
                continue
            if output == "json":
                echo(json.dumps(record(found), ensure_ascii=False))
            else:
                echo(found.id if output == "name" else ledger_line(found, time.time()))

    with_client(work, timeout)


@exits_command.command("cancel")
@click.argument("exit_ids", nargs=-1, required=True, metavar="ID...")
@word_options
def exits_cancel(*, exit_ids: tuple[str, ...], message: str, by: str) -> int:
    """Ends exit runs that are under way for good; their workflows go on to their end."""

    async def work(client: Client) -> int:
        code = SUCCEEDED
        for id in exit_ids:
            try:
                found = await client.cancel_exit(id, by=by, message=message)
            except ClientError as error:
                if error.unreachable or len(exit_ids) == 1:
                    raise
                note(f"{id}: {error}")
                code = 1
            else:
                echo(f"exit run {id} of {found.workflow} cancelled")
        return code

    return with_client(work)


@exits_command.command("replay")
@click.argument("exit_ids", nargs=-1, metavar="[ID...]")
@which
@since_option
@until_option
@click.option("--again", is_flag=True, help="Do everything once more: new workflows, new idempotency keys.")
@click.option("--request-id", default="", help="The same id again is the same replay.")
@output_option
def exits_replay(
    *,
    exit_ids: tuple[str, ...],
    wanted: ExitChoice,
    since: Any,
    until: Any,
    again: bool,
    request_id: str,
    output: str | None,
) -> int:
    """Runs exit runs again, with the inputs as they were: those named, or all that match the options."""
    narrowed = any(wanted) or since or until
    if bool(exit_ids) == bool(narrowed):
        text = "either IDs, or options that choose records (--failed, --workflow, --since, …) are needed"
        raise CommandError(text, code=WRONG_INPUT)

    async def work(client: Client) -> int:
        ids = list(exit_ids)
        if narrowed:
            found = await client.list_exits(**wanted._asdict(), since=since, until=until)
            ids = [one.id for one in found if state(one) not in NOT_AGAIN]
            if not ids:
                note("no exit runs to replay")
        done, code = [], SUCCEEDED
        one_named = len(exit_ids) == 1
        for id in ids:
            own = request_id if one_named or not request_id else f"{request_id}.{id}"  # one stands for one exit run
            try:
                done.append(await client.replay_exit(id, again=again, request_id=own))
            except ClientError as error:
                if error.unreachable or len(ids) == 1:
                    raise
                note(f"{id}: {error}")
                code = 1
                continue
            if output is None:
                echo(f"exit run {id} of {done[-1].workflow} runs again")
        if output == "json":
            print_json([record(one) for one in done] if narrowed or len(ids) > 1 else record(done[0]))
        elif output == "yaml":
            print_yaml([record(one) for one in done])
        elif output is not None:
            for one in done:
                echo(one.id)
        return code

    return with_client(work)
