"""Who gives a command, and why: options of all that changes something, read by people in events and in the ledger."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Callable
from typing import Any, TypeVar

import click

from exeunt.service.bounds import BY_CHARACTERS

F = TypeVar("F", bound=Callable[..., Any])


def whoami() -> str:
    """Who gives this command."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a number without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"[:BY_CHARACTERS]


by_option = click.option("--by", default=whoami, metavar="NAME", help="Who; shown to people.  [default: USER@HOST]")


def word_options(function: F) -> F:
    """Both of them."""
    return by_option(click.option("--message", "-m", default="", help="Why; shown to people.")(function))
