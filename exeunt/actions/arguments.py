"""Reads the arguments of an action from a manifest into a struct; errors name the fields as the manifest has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from exeunt.language.action_check import wrong
from exeunt.language.actions import ACTIONS
from exeunt.language.problems import show_path

S = TypeVar("S", bound=msgspec.Struct)


class BadArguments(ValueError):  # noqa: N818 - it is an answer
    """The manifest says something that the action does not understand. The text is for people."""


def read(action: str, value: Any, shape: type[S]) -> S:
    """The arguments as `shape`. Raises BadArguments; for an unknown field it names the most similar one."""
    assert ACTIONS[action].fields is shape
    problems = wrong(action, value)
    if problems:
        said = "; ".join(f"{show_path(('plugin', action, *p.path))}: {p.message}" for p in problems)
        raise BadArguments(said)
    try:
        return msgspec.convert({} if value is None else value, shape, strict=False)
    except msgspec.ValidationError as error:
        raise BadArguments(f"plugin.{action}: {error}") from None


def listed(value: str | Sequence[str]) -> list[str]:
    """The texts of a list, or of one text with commas between them; empty ones are left out."""
    texts = value.split(",") if isinstance(value, str) else value
    return [text.strip() for text in texts if text.strip()]
