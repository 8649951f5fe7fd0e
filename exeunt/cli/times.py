"""Times as people read and write them."""

from __future__ import annotations

import calendar
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from google.protobuf.timestamp_pb2 import Timestamp


def seconds(text: str | None) -> float | None:
    """Seconds since the epoch of `2026-11-23T10:00:00Z` (with or without a fraction); None for nothing."""
    if not text:
        return None
    whole, _, fraction = text.rstrip("Z").partition(".")
    try:
        base = float(calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")))
        return base + (float(f"0.{fraction}") if fraction else 0.0)
    except ValueError:
        return None


def since(text: str) -> datetime:
    """A time ago (`90s`, `30m`, `2h`, `1d`), or a moment (`2026-11-23T10:00:00Z`). Raises ValueError."""
    ago = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if ago:
        return datetime.now(UTC) - timedelta(seconds=float(ago[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[ago[2]])
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def of_proto(stamp: Timestamp) -> float | None:
    """Seconds since the epoch; None for an unset timestamp."""
    return stamp.ToNanoseconds() / 1e9 if stamp.seconds or stamp.nanos else None


def iso(at: float | None) -> str | None:
    """`2026-11-23T10:00:00Z`; None for nothing."""
    return None if at is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def duration(length: float) -> str:
    """`12s`, `3m5s`, `2h10m`, `4d3h`: two units at most."""
    left = max(0, int(length))
    days, left = divmod(left, 86400)
    hours, left = divmod(left, 3600)
    minutes, secs = divmod(left, 60)
    if days:
        return f"{days}d{hours}h" if hours else f"{days}d"
    if hours:
        return f"{hours}h{minutes}m" if minutes else f"{hours}h"
    if minutes:
        return f"{minutes}m{secs}s" if secs else f"{minutes}m"
    return f"{secs}s"


class Moment(click.ParamType[Any]):
    """An option's value: a time, or so long ago."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return since(value)
        except ValueError:
            self.fail(f"{value!r}: 30m, 2h or 1d ago is expected, or a time as 2026-11-23T10:00:00Z", param, ctx)
