"""`exeunt serve X`: one service in this process, configured by EXEUNT_* variables and flags of the same names."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

import click

from exeunt.cli.failure import WRONG_INPUT, CommandError
from exeunt.service.program import READY_VARIABLE, ProgramError
from exeunt.service.settings import ServiceSettings, Setting, SettingsError, describe, load

SERVICES = {
    "scheduler": "Workflows: their API, their runs, and the dispatch of their steps",
    "exithandler": "Exit runs: what happens when something ends, and the ledger of it",
    "executor": "Runs steps for schedulers",
}


class _Services(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(SERVICES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return service_command(cmd_name, SERVICES[cmd_name]) if cmd_name in SERVICES else None


@click.group("serve", cls=_Services)
def serve_command() -> None:
    """Runs one service until SIGTERM or SIGINT.

    Each flag has a variable of the same name: --nats-url is EXEUNT_NATS_URL.
    """


def service_command(name: str, summary: str) -> click.Command:
    """The command of one service, with a flag for each of its settings."""
    settings: type[ServiceSettings] = importlib.import_module(f"exeunt.{name}.settings").Settings
    return click.Command(
        name,
        params=[_option(one) for one in describe(settings)],
        help=f"{summary}. Each flag has a variable of the same name: --nats-url is EXEUNT_NATS_URL.",
        callback=_callback(name, settings),
    )


def _option(one: Setting) -> click.Option:
    default = f" [{one.default}]" if one.default else ""
    unit = f" ({one.unit})" if one.unit and one.unit != "HOST:PORT" else ""
    metavar = "|".join(one.choices) or one.unit.upper() if one.unit == "HOST:PORT" else "|".join(one.choices)
    return click.Option(
        [one.flag, one.name],
        help=f"{one.help}{unit}.{default}",
        multiple=one.repeated,
        metavar=metavar or {"flag": "true|false", "integer": "N", "number": "X", "path": "DIR"}.get(one.kind, "TEXT"),
    )


def _callback(name: str, settings: type[ServiceSettings]) -> Callable[..., int]:
    def run(**given: Any) -> int:
        try:
            loaded = load(settings, os.environ, {key: value or None for key, value in given.items()})
        except SettingsError as error:
            raise CommandError("\n".join(error.problems), code=WRONG_INPUT) from error
        return _serve(name, loaded)

    return run


def _serve(name: str, settings: ServiceSettings) -> int:
    from exeunt.service import logs, telemetry

    ready = os.environ.get(READY_VARIABLE, "")
    if ready.isdigit():
        os.set_inheritable(int(ready), False)  # for us, not for the steps and servers that we start
    logs.configure(name, settings.replica, settings.log_level, settings.log_format)
    if name == "scheduler" and "ws" not in settings.nats_url:
        _import_nats_alone()
    serve = importlib.import_module(f"exeunt.{name}.main").serve
    running = telemetry.start(name, settings.replica, settings.metrics, os.environ)
    try:
        asyncio.run(serve(settings))
    except ProgramError as error:
        logging.getLogger(__name__).critical("%s", error)
        return 1
    except SettingsError as error:
        raise CommandError("\n".join(error.problems), code=WRONG_INPUT) from error
    finally:
        running.close()
    return 0


def _import_nats_alone() -> None:
    """nats-py loads aiohttp for WebSocket addresses: a fifth of a second that a scheduler's restart can do without."""
    if "aiohttp" in sys.modules:
        return
    sys.modules["aiohttp"] = None  # type: ignore[assignment]  # how Python is told that an import shall fail
    try:
        importlib.import_module("nats.aio.transport")
    finally:
        del sys.modules["aiohttp"]
