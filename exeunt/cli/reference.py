"""The page docs/settings.md, made from the settings classes: `python -m exeunt.cli.reference docs/settings.md`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from exeunt.cli.limits import limits
from exeunt.cli.serve import SERVICES
from exeunt.service.settings import ServiceSettings, Setting, describe

TOP = """\
# Settings

Each service is configured by variables and by flags of the same names: `EXEUNT_NATS_URL` is
`exeunt serve scheduler --nats-url`. A flag wins over its variable; a list is a repeated flag, or has commas.
OpenTelemetry is configured by the standard `OTEL_*` variables: traces and metrics go out when
`OTEL_EXPORTER_OTLP_ENDPOINT` is set, or `OTEL_TRACES_EXPORTER` or `OTEL_METRICS_EXPORTER` is `otlp`.

This page is made from the code: `python -m exeunt.cli.reference docs/settings.md`.
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


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(settings_page())
