"""Reads the arguments of an action, as they stand in a manifest, into a struct; what is wrong is said in its words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from exeunt.language.actions import ACTIONS, wrong
from exeunt.language.problems import show_path

S = TypeVar("S", bound=msgspec.Struct)


class BadArguments(ValueError):  # noqa: N818 - it is an answer
    """The manifest says something that the action does not understand. The text is for people."""


def read(action: str, value: Any, shape: type[S]) -> S:
    """The arguments as `shape`. Raises BadArguments, with the nearest name for an unknown field."""
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
    """One text with commas, or many texts, as a list without empty ones."""
    texts = value.split(",") if isinstance(value, str) else value
    return [text.strip() for text in texts if text.strip()]
