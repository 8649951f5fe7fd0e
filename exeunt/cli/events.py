"""`exeunt events`: prints the public CloudEvents, as any subscriber could read them (docs/events.md)."""

from __future__ import annotations

import asyncio
import json

import click

from exeunt.cli.connect import nats_url
from exeunt.cli.failure import SUCCEEDED, UNREACHABLE, CommandError
from exeunt.cli.visible import echo
from exeunt.client import ClientError, events
from exeunt.client.events import Event


@click.command("events")
@click.option("-n", "--namespace", default="", help="Only this namespace.  [default: all]")
@click.option("--workflow", default="", metavar="NAME", help="Only this workflow's.")
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Only these: workflow.failed, exit.*; repeatable.")
@click.option("-f", "--follow", is_flag=True, help="Stay on for what is yet to come.")
@click.option("--nats-url", "url", envvar="EXEUNT_NATS_URL", help="Where NATS listens; else the local cluster's.")
@click.option("-o", "--output", type=click.Choice(["wide", "json"]), help="json: one event per line.")
def events_command(
    *, namespace: str, workflow: str, types: tuple[str, ...], follow: bool, url: str | None, output: str | None
) -> int:
    """Prints events, oldest first: all that are kept, then live ones with --follow."""

    async def show() -> None:
        found = events.subscribe(
            url or nats_url(),
            namespace=namespace,
            types=types,
            workflow=workflow,
            since=events.ALL_KEPT,
            follow=follow,
        )
        async for event in found:
            echo(_json(event) if output == "json" else _line(event))

    try:
        asyncio.run(show())
    except ClientError as error:
        if error.code != "NOT_FOUND":
            raise
        raise CommandError(error.text, code=UNREACHABLE) from error
    return SUCCEEDED


def _json(event: Event) -> str:
    return json.dumps({**event.attributes, "data": event.data}, ensure_ascii=False)


def _line(event: Event) -> str:
    facts = event.data if isinstance(event.data, dict) else {}
    shown = [f"{key}={facts[key]}" for key in ("hook", "phase", "outcome", "by", "error", "message") if facts.get(key)]
    name, about = event.workflow, event.subject
    place = name if about in ("", name) else about if about.startswith(name) else f"{name} {about}"
    return " ".join([event.attributes.get("time", "")[11:23], f"{event.type:<20}", place, *shown])
