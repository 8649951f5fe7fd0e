"""Durations as Argo reads them: whole seconds, or Go's form `1h30m`, `500ms` (Argo: ParseStringToDuration); and times
as it says them.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from exeunt.engine.facts.problem import NodeError
from exeunt.language.variables import text

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_WHOLE = re.compile(r"[+-]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|ms|s|m|h))+")


def seconds(value: object) -> float:
    """Raises NodeError for what is no duration."""
    written = text(value).strip()
    if re.fullmatch(r"[+-]?\d+", written):
        return float(int(written))
    if not _WHOLE.fullmatch(written):
        raise NodeError(f'unable to parse {written} as a duration: time: invalid duration "{written}"')
    total = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(written))
    return -total if written.startswith("-") else total


def spoken(length: float) -> str:
    """A duration for people, as Argo says it in messages: `2 minutes 5 seconds`."""
    whole = int(length)
    parts = []
    for size, name in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        count, whole = divmod(whole, size)
        if count:
            parts.append(f"{count} {name}{'s' if count != 1 else ''}")
    return " ".join(parts[:2]) or "0 seconds"


def spoken_time(seconds: float) -> str:
    """A time as Argo says it in messages: `2026-01-02 03:04:15 +0000 UTC`."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%d %H:%M:%S +0000 UTC")
