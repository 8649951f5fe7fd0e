"""Dates, durations and time zones: expr-lang's functions and the methods of Go's time package."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from exeunt.language.expression.errors import ExpressionError
from exeunt.language.expression.frame import Frame
from exeunt.language.expression.layout import format_date, parse_date, zone_name
from exeunt.language.expression.render import date_text, duration_text
from exeunt.language.expression.signature import Method, Registry, methods
from exeunt.language.expression.values import Duration, between, from_utc, shift, type_name

DATES: Final = Registry()

_LAYOUTS: Final = (
    "2006-01-02", "15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04:05Z07:00", "02 Jan 06 15:04 MST",
    "Monday, 02-Jan-06 15:04:05 MST", "Mon, 02 Jan 2006 15:04:05 MST",
)  # fmt: skip
_UNIT: Final = re.compile(r"([0-9]*)(?:\.([0-9]*))?(ns|us|µs|μs|ms|s|m|h)")
_NANOSECONDS: Final = {
    "ns": 1, "us": 1_000, "µs": 1_000, "μs": 1_000, "ms": 1_000_000, "s": 1_000_000_000,
    "m": 60_000_000_000, "h": 3_600_000_000_000,
}  # fmt: skip
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_DURATION: Final = (1 << 63) - 1


def parse_duration(text: str) -> Duration:
    """Go's time.ParseDuration: `1h30m`, `-1.5s`, `0`; raises ExpressionError."""
    sign = -1 if text.startswith("-") else 1
    rest = text[1:] if text[:1] in ("-", "+") else text
    if rest == "0":
        return Duration(0)
    total, place = 0, 0
    while place < len(rest):
        match = _UNIT.match(rest, place)
        if match is None or not (match[1] or match[2]) or len(match[1]) > 19:
            break
        size = _NANOSECONDS[match[3]]
        fraction = (match[2] or "")[:18]
        total += int(match[1] or 0) * size + int(fraction or 0) * size // 10 ** len(fraction)
        place = match.end()
    if not rest or place < len(rest) or total > _MAX_DURATION:
        raise ExpressionError(f'time: invalid duration "{text}"')
    return Duration(sign * total)


@lru_cache(maxsize=128)
def zone(name: str) -> tzinfo:
    """A time zone by its IANA name; raises ExpressionError."""
    if name in ("", "UTC", "Local"):
        return UTC  # an evaluation knows no local time
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ExpressionError(f"unknown time zone {name}") from None


@DATES.add("now", "*?")
def _now(frame: Frame, where: Any = UTC) -> datetime:
    if not isinstance(where, tzinfo):
        raise ExpressionError(f"cannot use {type_name(where)} as argument (type time.Location) to call now")
    return frame.moment().astimezone(where)


@DATES.add("duration", "s")
def _duration(_: Frame, text: str) -> Duration:
    return parse_duration(text)


@DATES.add("timezone", "s")
def _timezone(_: Frame, name: str) -> tzinfo:
    return zone(name)


@DATES.add("date", "*?***")
def _date(_: Frame, *given: Any) -> datetime:
    where: tzinfo = UTC
    if given and isinstance(given[0], tzinfo):
        where, given = given[0], given[1:]
    if not 1 <= len(given) <= 3:
        raise ExpressionError(f"invalid number of arguments for date (expected 1 to 3, got {len(given)})")
    for value in given:
        if not isinstance(value, str):
            raise ExpressionError(f"cannot use {type_name(value)} as argument (type string) to call date")
    if len(given) == 3:
        where = zone(given[2])
    if len(given) > 1:
        return parse_date(given[0], given[1], where)
    for layout in _LAYOUTS:
        try:
            return parse_date(given[0], layout, where)
        except ExpressionError:
            continue
    raise ExpressionError(f"invalid date {given[0]}")


def unix_nanoseconds(moment: datetime) -> int:
    """Nanoseconds since the epoch."""
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


def from_unix(seconds: int) -> datetime:
    """The moment so many seconds after the epoch, in UTC; raises ExpressionError outside the years 1 to 9999."""
    try:
        return _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        raise ExpressionError("the date is out of range (years 1 to 9999)") from None


def _truncated(moment: datetime, step: int, *, half: bool) -> datetime:
    """A moment at a multiple of a step since the year 1, as Go's Truncate and Round count."""
    if step <= 0:
        return moment
    start = datetime(1, 1, 1, tzinfo=UTC)
    since = (moment - start) // timedelta(microseconds=1) * 1000
    rest = since % step
    move = step - rest if half and rest * 2 >= step else -rest
    return shift(moment, timedelta(microseconds=move // 1000))


def _add_date(moment: datetime, years: int, months: int, days: int) -> datetime:
    try:
        carried = moment.year * 12 + moment.month - 1 + years * 12 + months
        start = moment.replace(year=carried // 12, month=carried % 12 + 1, day=1)
        return start + timedelta(days=moment.day - 1 + days)
    except (ValueError, OverflowError):
        raise ExpressionError("the date is out of range (years 1 to 9999)") from None


def _in(moment: datetime, where: tzinfo) -> datetime:
    return from_utc(moment.astimezone(UTC).replace(tzinfo=None), where)


def _zone_pair(moment: datetime) -> list[Any]:
    offset = moment.utcoffset() or timedelta()
    return [zone_name(moment), int(offset.total_seconds())]


def _compare(left: datetime, right: datetime) -> int:
    return (left > right) - (left < right)


_DATE: Final[dict[str, tuple[str, Method]]] = {
    "Year": ("", lambda t: t.year),
    "Month": ("", lambda t: t.month),
    "Day": ("", lambda t: t.day),
    "Hour": ("", lambda t: t.hour),
    "Minute": ("", lambda t: t.minute),
    "Second": ("", lambda t: t.second),
    "Nanosecond": ("", lambda t: t.microsecond * 1000),
    "Weekday": ("", lambda t: t.isoweekday() % 7),
    "YearDay": ("", lambda t: t.timetuple().tm_yday),
    "ISOWeek": ("", lambda t: list(t.isocalendar()[:2])),
    "Unix": ("", lambda t: unix_nanoseconds(t) // 1_000_000_000),
    "UnixMilli": ("", lambda t: unix_nanoseconds(t) // 1_000_000),
    "UnixMicro": ("", lambda t: unix_nanoseconds(t) // 1_000),
    "UnixNano": ("", unix_nanoseconds),
    "UTC": ("", lambda t: t.astimezone(UTC)),
    "Local": ("", lambda t: t.astimezone(UTC)),
    "In": ("z", _in),
    "Location": ("", lambda t: t.tzinfo),
    "Zone": ("", _zone_pair),
    "IsZero": ("", lambda t: t == datetime(1, 1, 1, tzinfo=UTC)),
    "Format": ("s", format_date),
    "String": ("", date_text),
    "Add": ("d", lambda t, d: shift(t, d.delta)),
    "AddDate": ("iii", _add_date),
    "Sub": ("t", between),
    "After": ("t", lambda t, other: t > other),
    "Before": ("t", lambda t, other: t < other),
    "Equal": ("t", lambda t, other: t == other),
    "Compare": ("t", _compare),
    "Truncate": ("d", lambda t, d: _truncated(t, d.nanoseconds, half=False)),
    "Round": ("d", lambda t, d: _truncated(t, d.nanoseconds, half=True)),
}


def _rounded(duration: Duration, step: Duration) -> Duration:
    if step.nanoseconds <= 0:
        return duration
    size, rest = divmod(abs(duration.nanoseconds), step.nanoseconds)
    total = (size + (rest * 2 >= step.nanoseconds)) * step.nanoseconds
    return Duration(-total if duration.nanoseconds < 0 else total)


def _cut(duration: Duration, step: Duration) -> Duration:
    if step.nanoseconds <= 0:
        return duration
    total = abs(duration.nanoseconds) // step.nanoseconds * step.nanoseconds
    return Duration(-total if duration.nanoseconds < 0 else total)


def _whole(size: int) -> Method:
    return lambda d: d.nanoseconds // size if d.nanoseconds >= 0 else -(-d.nanoseconds // size)


_DURATION: Final[dict[str, tuple[str, Method]]] = {
    "Hours": ("", lambda d: d.nanoseconds / 3_600_000_000_000),
    "Minutes": ("", lambda d: d.nanoseconds / 60_000_000_000),
    "Seconds": ("", lambda d: d.nanoseconds / 1_000_000_000),
    "Milliseconds": ("", _whole(1_000_000)),
    "Microseconds": ("", _whole(1_000)),
    "Nanoseconds": ("", lambda d: d.nanoseconds),
    "String": ("", duration_text),
    "Abs": ("", lambda d: Duration(abs(d.nanoseconds))),
    "Round": ("d", _rounded),
    "Truncate": ("d", _cut),
}


DATE_METHODS: Final = methods(_DATE)
DURATION_METHODS: Final = methods(_DURATION)
