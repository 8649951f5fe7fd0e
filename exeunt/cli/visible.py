"""What a command prints: text of others cannot steer the terminal."""

from __future__ import annotations

from typing import Any

import click

from exeunt.visible import visible


def echo(text: Any = "", *, nl: bool = True, err: bool = False) -> None:
    """As click.echo, of visible text."""
    click.echo(visible(str(text)), nl=nl, err=err)
