"""Commands that only look: get, list, watch, logs, executors."""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import Any

import click

from exeunt.cli import times
from exeunt.cli.connect import command_for, with_client
from exeunt.cli.failure import SUCCEEDED, WRONG_INPUT, CommandError
from exeunt.cli.follow import FollowedWorkflows
from exeunt.cli.live import Display
from exeunt.cli.output import (
    note,
    output_option,
    print_json,
    print_list,
    print_table,
    print_workflow,
    print_workflows,
    print_yaml,
)
from exeunt.cli.visible import echo
from exeunt.client import Client
from exeunt.v1.workflow_service_pb2 import WORKFLOW_VIEW_OBJECT, LogStream

namespace_option = click.option("-n", "--namespace", default="", help="The workflow's namespace.  [default: default]")


@click.command("get")
@click.argument("name", metavar="NAME")
@namespace_option
@output_option
def get_command(*, name: str, namespace: str, output: str | None) -> None:
    """Shows one workflow: its tree, or with -o json the object in Argo's shape."""
    _, workflow = with_client(lambda client: client.read(name, namespace))
    print_workflow(workflow, output or "tree")


@click.command("list")
@click.option("-n", "--namespace", default="", help="One namespace.  [default: default]")
@click.option("-A", "--all-namespaces", is_flag=True, help="Every namespace.")
@click.option("--phase", "--status", "phases", multiple=True, metavar="PHASE", help="Only these; may be repeated.")
@click.option("-l", "--selector", default="", help="Labels, as in a=b,c!=d,e in (f,g).")
@click.option("--limit", type=click.IntRange(0), default=0, help="At most this many.  [default: all]")
@output_option
def list_command(
    *, namespace: str, all_namespaces: bool, phases: tuple[str, ...], selector: str, limit: int, output: str | None
) -> None:
    """Lists workflows, newest first by their creation, running and finished alike."""
    wanted = [one for phase in phases for one in phase.split(",") if one]
    where = "*" if all_namespaces else namespace or "default"

    async def work(client: Client) -> list[dict[str, Any]]:
        found = await client.list_workflows(
            where, phases=wanted, selector=selector, limit=limit, view=WORKFLOW_VIEW_OBJECT
        )
        return [json.loads(workflow.json) for workflow in found]

    workflows = with_client(work)
    if output in ("json", "yaml", "name"):
        print_workflows(workflows, output)
    else:
        print_list(workflows, wide=output == "wide" or all_namespaces)


@click.command("watch")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@namespace_option
@click.option("--timeout", type=float, metavar="SECONDS", help="Give up after this; exit code 3.")
@output_option
def watch_command(*, names: tuple[str, ...], namespace: str, timeout: float | None, output: str | None) -> int:
    """Watches workflows until they have ended, exit handlers included; then prints them."""

    async def work(client: Client) -> int:
        workflows = [(await client.read(name, namespace))[0] for name in names]
        with Display(command=command_for(client.server)) as display:
            followed = FollowedWorkflows(client, display, children=False)
            try:
                await followed.wait(workflows)
            except BaseExceptionGroup as errors:  # one workflow that cannot be followed ends them all
                raise errors.exceptions[0] from None
        print_workflows(followed.workflows(), output or "tree")
        return followed.code()

    return with_client(work, timeout)


@click.command("logs")
@click.argument("name", metavar="NAME")
@click.argument("node", default="", metavar="[NODE]")
@namespace_option
@click.option("-f", "--follow", is_flag=True, help="Stay on until the workflow has ended.")
@click.option("--tail", type=click.IntRange(0), default=0, help="Only the last lines of each step.  [default: all]")
@click.option("--since", type=times.Moment(), metavar="TIME", help="Written then or later: 30m, 2h, 1d, or a time.")
@click.option("--attempt", type=click.IntRange(0), help="Only this try of each step, from 0.")
@click.option("--stream", type=click.Choice(["stdout", "stderr"]), help="Only what was written there.")
@click.option("--no-name", is_flag=True, help="Lines without the name of their step.")
@click.option("--timestamps", is_flag=True, help="Lines with their times.")
def logs_command(
    *,
    name: str,
    node: str,
    namespace: str,
    follow: bool,
    tail: int,
    since: datetime | None,
    attempt: int | None,
    stream: str | None,
    no_name: bool,
    timestamps: bool,
) -> int:
    """Prints the output of a workflow's steps, or of one NODE (id, name or display name)."""

    async def work(client: Client) -> int:
        where = LogStream.Value(f"LOG_STREAM_{stream.upper()}" if stream else "LOG_STREAM_UNSPECIFIED")
        lines = client.logs(
            name, namespace, node=node, follow=follow, tail=tail, since=since, attempt=attempt, stream=where
        )
        async for line in lines:
            parts = [times.iso(times.of_proto(line.time)) or ""] * timestamps
            parts += [f"{line.display_name}:"] * (not no_name)
            echo(" ".join([*parts, line.text.rstrip("\r") + "…" * line.unfinished]))
        return SUCCEEDED

    return with_client(work)


@click.command("executors")
@output_option
def executors_command(*, output: str | None) -> None:
    """Lists the executors that are connected, their slots and what they run."""
    found = with_client(lambda client: client.executors())
    entries = [
        {
            "id": one.id,
            "labels": dict(one.labels),
            "capabilities": list(one.capabilities),
            "slots": one.slots,
            "exitSlots": one.exit_slots,
            "running": list(one.running),
            "draining": one.draining,
            "seenAt": times.iso(times.of_proto(one.seen_time)),
        }
        for one in found
    ]
    if output == "json":
        print_json(entries)
    elif output == "yaml":
        print_yaml(entries)
    elif output == "name":
        for one in found:
            echo(one.id)
    elif output == "tree":
        raise CommandError("executors have no tree; use -o wide", code=WRONG_INPUT)
    elif not found:
        note("no executor is connected; steps wait until one is")
    else:
        now = time.time()
        body = []
        for one in found:
            seen = times.of_proto(one.seen_time)
            state = "draining" if one.draining else "ready"
            heard = times.duration(now - seen) if seen else ""
            shown = list(one.running) if output == "wide" else [*one.running[:3], *["…"] * (len(one.running) > 3)]
            slots = f"{len(one.running)}/{one.slots}+{one.exit_slots}"
            body.append((one.id, state, slots, ",".join(one.capabilities), heard, " ".join(shown)))
        print_table(("ID", "STATE", "SLOTS", "CAPABILITIES", "HEARD", "RUNNING"), body)
