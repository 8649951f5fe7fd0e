"""`exeunt events`: prints the public CloudEvents, as any subscriber could read them (docs/events.md)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import click

from exeunt.cli.connect import nats_url
from exeunt.cli.failure import SUCCEEDED, UNREACHABLE, CommandError

STREAM = "EXEUNT_EVENTS"


@click.command("events")
@click.option("-n", "--namespace", default="", help="Only this namespace.  [default: all]")
@click.option("--workflow", default="", metavar="NAME", help="Only this workflow's.")
@click.option("-f", "--follow", is_flag=True, help="Stay on for what is yet to come.")
@click.option("--nats-url", "url", envvar="EXEUNT_NATS_URL", help="Where NATS listens; else the local cluster's.")
@click.option("-o", "--output", type=click.Choice(["wide", "json"]), help="json: one event per line.")
def events_command(*, namespace: str, workflow: str, follow: bool, url: str | None, output: str | None) -> int:
    """Prints events, oldest first: all that are kept, then live ones with --follow."""
    return asyncio.run(_print(url or nats_url(), namespace or "*", workflow, follow=follow, as_json=output == "json"))


async def _print(url: str, namespace: str, workflow: str, *, follow: bool, as_json: bool) -> int:
    import nats
    from nats.errors import Error, NoServersError
    from nats.js.api import ConsumerConfig, DeliverPolicy
    from nats.js.errors import NotFoundError

    try:
        connection = await nats.connect(url, max_reconnect_attempts=3, connect_timeout=5, error_cb=_quiet)
    except (NoServersError, Error, OSError) as error:
        raise CommandError(f"NATS at {url} cannot be reached: {error}", code=UNREACHABLE) from error
    try:
        stream = connection.jetstream()
        config = ConsumerConfig(deliver_policy=DeliverPolicy.ALL)
        try:
            subscription = await stream.subscribe(
                f"exeunt.events.{namespace}.>", stream=STREAM, ordered_consumer=True, config=config
            )
            info = await subscription.consumer_info()
        except NotFoundError:
            raise CommandError(f"no events are kept at {url}: has a cluster run there?", code=UNREACHABLE) from None
        more = bool(info.num_pending or (info.delivered and info.delivered.consumer_seq))
        while follow or more:
            message = await subscription.next_msg(timeout=None if follow else 30)
            more = bool(message.metadata.num_pending)
            shown = _line(message.headers or {}, message.subject, message.data, workflow, as_json=as_json)
            if shown is not None:
                click.echo(shown)
    finally:
        await connection.close()
    return SUCCEEDED


def _line(headers: Mapping[str, str], subject: str, data: bytes, workflow: str, *, as_json: bool) -> str | None:
    attributes = {k.lower().removeprefix("ce-"): unquote(v) for k, v in headers.items() if k.lower().startswith("ce-")}
    try:
        body: Any = json.loads(data) if data else None
    except ValueError:
        body = data.decode(errors="replace")
    if workflow and attributes.get("source", "").rpartition("/")[2] != workflow:
        return None
    if as_json:
        return json.dumps({**attributes, "data": body}, ensure_ascii=False)
    kind = ".".join(subject.split(".")[4:])
    facts = body if isinstance(body, dict) else {}
    shown = [f"{key}={facts[key]}" for key in ("hook", "phase", "outcome", "error", "message") if facts.get(key)]
    name, about = attributes.get("source", "").rpartition("/")[2], attributes.get("subject", "")
    place = name if about in ("", name) else about if about.startswith(name) else f"{name} {about}"
    return " ".join([attributes.get("time", "")[11:23], f"{kind:<20}", place, *shown])


async def _quiet(error: Exception) -> None:
    """nats-py would print a stack trace for each failed attempt."""
