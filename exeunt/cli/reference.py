"""Pages that are made from the code: `python -m exeunt.cli.reference docs/settings.md docs/commands.md`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from exeunt.cli.failure import MEANINGS
from exeunt.cli.limits import limits
from exeunt.cli.main import cli
from exeunt.cli.serve import SERVICES
from exeunt.service.settings import ServiceSettings, Setting, describe

TOP = """\
# Settings

Each service is configured by variables and by flags of the same names: `EXEUNT_NATS_URL` is
`exeunt serve scheduler --nats-url`. A flag wins over its variable; a list is a repeated flag, or has commas.
`exeunt up` and `exeunt run` hand the variables on to their services, but for those that the cluster sets itself:
addresses, names, tokens, directories, `EXEUNT_REPLICAS` and `EXEUNT_SHUTDOWN_SECONDS`.
OpenTelemetry is configured by the standard `OTEL_*` variables: traces and metrics go out when
`OTEL_EXPORTER_OTLP_ENDPOINT` is set, or `OTEL_TRACES_EXPORTER` or `OTEL_METRICS_EXPORTER` is `otlp`.

This page is made from the code: `python -m exeunt.cli.reference docs/settings.md`.
"""

COMMANDS_TOP = """\
# Commands and exit codes

`exeunt COMMAND --help` says the same. A command asks the scheduler at `--server` or `EXEUNT_SERVER`. Without them it
asks the local cluster of yours that was started last. `exits` asks the exit handler of the same local cluster, or the
one at `--exit-server` or `EXEUNT_EXIT_SERVER`. Both options may stand anywhere on the line. Elsewhere than on a local
cluster of yours, `EXEUNT_TOKEN` has to hold the token of the services.

Standard output has what was asked for, standard error the messages.

This page is made from the code: `python -m exeunt.cli.reference docs/commands.md`.
"""

LIMITS = """\
Nothing is without a bound. 1 KB is 1,024 bytes; texts are counted in UTF-8.
"""


def settings_page() -> str:
    """The whole page."""
    common = describe(ServiceSettings)
    known = {setting.name for setting in common}
    parts = [TOP, "## Every service\n", _table(common)]
    for name, summary in SERVICES.items():
        settings = describe(importlib.import_module(f"exeunt.{name}.settings").Settings)
        own = [setting for setting in settings if setting.name not in known]
        parts += [f"## {name}\n", f"{summary}.\n", _table(own)]
    parts += ["## Limits\n", LIMITS, "| what | how much | above it |\n|---|---|---|"]
    parts += [f"| {limit.what} | {limit.amount} | {limit.above} |" for limit in limits()]
    return "\n".join(parts) + "\n"


def _table(settings: list[Setting]) -> str:
    lines = ["| variable | what it says | default |", "|---|---|---|"]
    for setting in settings:
        choices = f" ({', '.join(f'`{choice}`' for choice in setting.choices)})" if setting.choices else ""
        unit = f", in {setting.unit}" if setting.unit and setting.unit != "HOST:PORT" else ""
        bounds = f"; {setting.bounds}" if setting.bounds else ""
        computed = " " in setting.default
        default = setting.default if computed or not setting.default else f"`{setting.default}`"
        lines.append(f"| `{setting.variable}` | {setting.help}{unit}{choices}{bounds} | {default} |")
    return "\n".join(lines) + "\n"


def commands_page() -> str:
    """Every command with its options, and what exit codes say."""
    parts = [COMMANDS_TOP, "## Exit codes\n", "| code | says |\n|---|---|"]
    parts += [f"| {code} | {meaning} |" for code, meaning in MEANINGS.items()]
    parts.append("")
    root = click.Context(cli, info_name="exeunt")
    parts += ["## exeunt\n", "Options of all commands.\n", _options(root), ""]
    for context in _commands(root):
        pieces = " ".join([context.command_path, *context.command.collect_usage_pieces(context)])
        told = [" ".join(text.split()) for text in (context.command.help or "").split("\n\n")]
        parts += [f"## {context.command_path}\n", f"    {pieces}\n", "\n\n".join(told) + "\n"]
        if context.command_path.startswith("exeunt serve"):
            parts.append(f"Its flags are the [settings](settings.md#{context.info_name}).\n")
        elif options := _options(context):
            parts.append(options + "\n")
    return "\n".join(parts).rstrip() + "\n"


def _commands(context: click.Context) -> Iterator[click.Context]:
    """All commands below a group, in their order; a group has none of its own."""
    group = context.command
    assert isinstance(group, click.Group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        inner = click.Context(command, parent=context, info_name=name)
        if isinstance(command, click.Group):
            yield from _commands(inner)
        elif not command.hidden:
            yield inner


def _options(context: click.Context) -> str:
    """The options as a table; empty where there are none but --help."""
    rows = []
    for parameter in context.command.get_params(context):
        record = parameter.get_help_record(context) if isinstance(parameter, click.Option) else None
        if record is None or "--help" in parameter.opts:
            continue
        names, told = record
        variable = f" (`{parameter.envvar}`)" if parameter.envvar else ""
        cells = (f"`{names}`", f"{told}{variable}")
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(["| option | says |", "|---|---|", *rows]) if rows else ""


PAGES = {"settings.md": settings_page, "commands.md": commands_page}


if __name__ == "__main__":
    for page in map(Path, sys.argv[1:]):
        page.write_text(PAGES[page.name]())
