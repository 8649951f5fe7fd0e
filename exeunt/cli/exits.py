"""`exeunt exits`: the exit ledger. Which handlers were due, how often they were tried, what became of them."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from exeunt.cli import times
from exeunt.cli.connect import with_client
from exeunt.cli.failure import WRONG_INPUT, CommandError
from exeunt.cli.output import note, output_option, print_json, print_table, print_yaml
from exeunt.v1.exit_service_pb2 import Exit

PREFIX = "STATE_"
FAILED = (Exit.State.STATE_FAILED, Exit.State.STATE_PARKED)
STATES = [name.removeprefix(PREFIX).lower() for name in Exit.State.keys() if name != "STATE_UNSPECIFIED"]  # noqa: SIM118 (an enum, not a mapping)


@click.group("exits")
def exits_command() -> None:
    """The exit ledger; its records outlive their workflows."""


@exits_command.command("list")
@click.option("-n", "--namespace", default="", help="One namespace.  [default: all]")
@click.option("--workflow", default="", metavar="NAME", help="Only this workflow's.")
@click.option("--failed", is_flag=True, help="Only failed and parked ones.")
@click.option("--state", "states", multiple=True, type=click.Choice(STATES), help="Only these states; repeatable.")
@click.option("--limit", type=click.IntRange(0), default=0, help="At most this many.  [default: all]")
@output_option
def exits_list(
    *, namespace: str, workflow: str, failed: bool, states: tuple[str, ...], limit: int, output: str | None
) -> None:
    """Lists records, newest first."""
    wanted = [Exit.State.Value(f"{PREFIX}{state.upper()}") for state in states] + list(FAILED) * failed
    found = with_client(lambda client: client.list_exits(namespace, workflow=workflow, states=wanted, limit=limit))
    if output == "json":
        print_json([record(one) for one in found])
    elif output == "yaml":
        print_yaml([record(one) for one in found])
    elif output == "name":
        for one in found:
            click.echo(one.id)
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
        click.echo(found.id)
    else:
        print_exit(found)


@exits_command.command("replay")
@click.argument("exit_id", metavar="ID")
@click.option("--again", is_flag=True, help="Do everything once more: new workflows, new idempotency keys.")
@click.option("--request-id", default="", help="The same id again is the same replay.")
@output_option
def exits_replay(*, exit_id: str, again: bool, request_id: str, output: str | None) -> None:
    """Runs an exit run again, with the inputs as they were."""
    found = with_client(lambda client: client.replay_exit(exit_id, again=again, request_id=request_id))
    if output == "json":
        print_json(record(found))
    elif output == "yaml":
        print_yaml([record(found)])
    else:
        click.echo(f"exit run {found.id} of {found.workflow} runs again")


def record(found: Exit) -> dict[str, Any]:
    """A record as `-o json` has it."""
    return {
        "id": found.id,
        "workflow": found.workflow,
        "namespace": found.namespace,
        "uid": found.uid,
        "node": found.node,
        "hook": found.hook,
        "state": state(found),
        "attempts": [
            {
                "node": one.node,
                "startedAt": times.iso(times.of_proto(one.start_time)),
                "finishedAt": times.iso(times.of_proto(one.finish_time)),
                "phase": one.phase,
                "error": one.error,
                **({"answer": _json(one.answer_json)} if one.answer_json else {}),
            }
            for one in found.attempts
        ],
        "error": found.error,
        "dueAt": times.iso(times.of_proto(found.due_time)),
        "startedAt": times.iso(times.of_proto(found.start_time)),
        "finishedAt": times.iso(times.of_proto(found.finish_time)),
        "replays": found.replays,
    }


def full(found: Exit) -> dict[str, Any]:
    """The same with everything that the exit handler keeps."""
    return {**record(found), **({"record": _json(found.json)} if found.json else {})}


def print_ledger(found: list[Exit], *, wide: bool) -> None:
    """A line for each record."""
    now = time.time()
    head: tuple[str, ...] = ("ID", "WORKFLOW", "HOOK", "NODE", "STATE", "ATTEMPTS", "AGE", "DURATION")
    body = []
    for one in found:
        due, started, finished = (times.of_proto(t) for t in (one.due_time, one.start_time, one.finish_time))
        cells: tuple[str, ...] = (
            one.id,
            one.workflow,
            one.hook,
            "" if one.node == one.workflow else one.node.removeprefix(one.workflow),
            state(one),
            str(len(one.attempts)),
            times.duration(now - due) if due else "",
            times.duration((finished or now) - started) if started else "",
        )
        if wide:
            cells = (one.namespace, one.uid, str(one.replays), *cells)
        body.append((*cells, " ".join(one.error.split())))
    print_table((*(("NAMESPACE", "UID", "REPLAYS") if wide else ()), *head, "ERROR"), body)


def print_exit(found: Exit) -> None:
    """One record for people."""
    lines = [
        ("Id", found.id),
        ("Workflow", f"{found.namespace}/{found.workflow}"),
        ("Node", found.node),
        ("Hook", found.hook),
        ("State", state(found)),
        ("Error", found.error),
        ("Due", times.iso(times.of_proto(found.due_time)) or ""),
        ("Started", times.iso(times.of_proto(found.start_time)) or ""),
        ("Finished", times.iso(times.of_proto(found.finish_time)) or ""),
        ("Replays", str(found.replays) if found.replays else ""),
    ]
    for name, text in lines:
        if text:
            click.echo(f"{name + ':':<12}{text}")
    body = []
    for number, one in enumerate(found.attempts, 1):
        started, finished = times.of_proto(one.start_time), times.of_proto(one.finish_time)
        length = times.duration(finished - started) if started and finished else ""
        said = one.error or one.answer_json
        body.append((str(number), one.node, one.phase, times.iso(started) or "", length, " ".join(said.split())))
    if body:
        click.echo()
        print_table(("ATTEMPT", "NODE", "PHASE", "STARTED", "DURATION", "ERROR OR ANSWER"), body)


def state(found: Exit) -> str:
    """due, running, succeeded, failed, skipped, cancelled or parked."""
    return Exit.State.Name(found.state).removeprefix(PREFIX).lower()


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
