"""Dates by Go's layouts, where `2006-01-02 15:04:05` stands for the form of a date."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Final

from exeunt.language.expression.errors import ExpressionError
from exeunt.language.expression.render import zone_offset

MONTHS: Final = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

_ELEMENT: Final = re.compile(
    r"January|Jan(?![a-z])|Monday|Mon(?![a-z])|MST|2006|__2|002|_2(?!006)|01|02|03|04|05|06|15|PM|pm"
    r"|Z07:00:00|Z070000|Z07:00|Z0700|Z07|-07:00:00|-070000|-07:00|-0700|-07|[.,](?:0+|9+)(?![0-9])|[12345]"
)
_SHORT_MONTHS: Final = tuple(name[:3] for name in MONTHS)
_SHORT_DAYS: Final = tuple(name[:3] for name in DAYS)
_MAX_LAYOUT: Final = 256


@lru_cache(maxsize=256)
def _parts(layout: str) -> tuple[tuple[str, bool], ...]:
    """The layout cut into (text, whether it is an element)."""
    if len(layout) > _MAX_LAYOUT:
        raise ExpressionError(f"the layout of a date is longer than {_MAX_LAYOUT} characters")
    parts: list[tuple[str, bool]] = []
    end = 0
    for match in _ELEMENT.finditer(layout):
        if match.start() > end:
            parts.append((layout[end : match.start()], False))
        parts.append((match.group(), True))
        end = match.end()
    if end < len(layout):
        parts.append((layout[end:], False))
    return tuple(parts)


def _hour12(moment: datetime) -> int:
    return moment.hour % 12 or 12


def zone_name(moment: datetime) -> str:
    """`CET`; an offset such as `+0530` where the zone has no name."""
    name = moment.tzname() or "UTC"
    return (
        "UTC" if name == "UTC+00:00" else zone_offset(moment, "") if name.startswith("UTC") and name != "UTC" else name
    )


_FORMATS: Final[dict[str, Callable[[datetime], str]]] = {
    "January": lambda moment: MONTHS[moment.month - 1],
    "Jan": lambda moment: _SHORT_MONTHS[moment.month - 1],
    "Monday": lambda moment: DAYS[moment.weekday()],
    "Mon": lambda moment: _SHORT_DAYS[moment.weekday()],
    "MST": zone_name,
    "2006": lambda moment: f"{moment.year:04d}",
    "06": lambda moment: f"{moment.year % 100:02d}",
    "01": lambda moment: f"{moment.month:02d}",
    "1": lambda moment: str(moment.month),
    "02": lambda moment: f"{moment.day:02d}",
    "_2": lambda moment: f"{moment.day:2d}",
    "2": lambda moment: str(moment.day),
    "002": lambda moment: f"{moment.timetuple().tm_yday:03d}",
    "__2": lambda moment: f"{moment.timetuple().tm_yday:3d}",
    "15": lambda moment: f"{moment.hour:02d}",
    "03": lambda moment: f"{_hour12(moment):02d}",
    "3": lambda moment: str(_hour12(moment)),
    "04": lambda moment: f"{moment.minute:02d}",
    "4": lambda moment: str(moment.minute),
    "05": lambda moment: f"{moment.second:02d}",
    "5": lambda moment: str(moment.second),
    "PM": lambda moment: "PM" if moment.hour >= 12 else "AM",
    "pm": lambda moment: "pm" if moment.hour >= 12 else "am",
}


def format_date(moment: datetime, layout: str) -> str:
    """A date in the form of a layout."""
    return "".join(_format_one(moment, part) if element else part for part, element in _parts(layout))


def _format_one(moment: datetime, element: str) -> str:
    if element[0] in ".,":
        digits = f"{moment.microsecond:06d}000"[: len(element) - 1].ljust(len(element) - 1, "0")
        if element[1] == "0":
            return element[0] + digits
        kept = digits.rstrip("0")
        return element[0] + kept if kept else ""
    if "07" in element:
        text = zone_offset(moment, ":" if ":" in element else "", utc="Z" if element[0] == "Z" else None)
        if element[1:] == "07" and text != "Z":
            return text[:3]
        seconds = ":00" if element.endswith(":00:00") else "00" if element.endswith("070000") else ""
        return text if text == "Z" else text + seconds
    return _FORMATS[element](moment)


_NUMBERS: Final = {
    "2006": r"(?P<year>\d{4})", "06": r"(?P<short_year>\d\d)", "01": r"(?P<month>\d\d)", "1": r"(?P<month>\d\d?)",
    "02": r"(?P<day>\d\d)", "_2": r"(?P<day> ?\d\d?)", "2": r"(?P<day>\d\d?)", "002": r"(?P<year_day>\d{3})",
    "__2": r"(?P<year_day> {0,2}\d{1,3})", "15": r"(?P<hour>\d\d?)", "03": r"(?P<hour>\d\d)", "3": r"(?P<hour>\d\d?)",
    "04": r"(?P<minute>\d\d)", "4": r"(?P<minute>\d\d?)", "05": r"(?P<second>\d\d)(?P<fraction>[.,]\d+)?",
    "5": r"(?P<second>\d\d?)(?P<fraction>[.,]\d+)?", "PM": r"(?P<half>AM|PM)", "pm": r"(?P<half>am|pm)",
    "MST": r"(?P<zone>[A-Z]{3,5}|[+-]\d\d(?:\d\d)?)", "January": rf"(?P<month_name>(?i:{'|'.join(MONTHS)}))",
    "Jan": rf"(?P<month_name>(?i:{'|'.join(_SHORT_MONTHS)}))", "Monday": f"(?i:{'|'.join(DAYS)})",
    "Mon": f"(?i:{'|'.join(_SHORT_DAYS)})",
}  # fmt: skip


@lru_cache(maxsize=256)
def _pattern(layout: str) -> re.Pattern[str]:
    parts = _parts(layout)
    pieces: list[str] = []
    for place, (part, element) in enumerate(parts):
        if not element:
            pieces.append(re.escape(part))
        elif part[0] in ".,":
            count = len(part) - 1
            pieces.append(rf"(?P<fraction>[.,]\d{{{count}}})" if part[1] == "0" else r"(?P<fraction>[.,]\d*)?")
        elif "07" in part:
            pieces.append(_offset_pattern(part))
        elif part in ("05", "5") and place + 1 < len(parts) and parts[place + 1][1] and parts[place + 1][0][0] in ".,":
            pieces.append(_NUMBERS[part].split("(?P<fraction>")[0])
        else:
            pieces.append(_NUMBERS[part])
    try:
        return re.compile("".join(pieces))
    except re.error:
        raise ExpressionError(f'the layout "{layout}" names a part of a date twice') from None


def _offset_pattern(element: str) -> str:
    colon = ":" if ":" in element else ""
    minutes = "" if element[1:] == "07" else rf"{colon}\d\d"
    seconds = rf"{colon}\d\d" if element.endswith((":00:00", "070000")) else ""
    pattern = rf"[+-]\d\d{minutes}{seconds}"
    return f"(?P<offset>Z|{pattern})" if element[0] == "Z" else f"(?P<offset>{pattern})"


def parse_date(text: str, layout: str, zone: tzinfo = UTC) -> datetime:
    """A date read by a layout, in `zone` where the text names none; raises ExpressionError.

    What the layout leaves out is the first of January, midnight, and the year 1 (Go has a year 0, Python has not).
    """
    match = _pattern(layout).fullmatch(text)
    if match is None:
        raise ExpressionError(f'parsing time "{text}" as "{layout}": cannot parse')
    found = {name: value for name, value in match.groupdict().items() if value is not None}
    try:
        return _built(found, zone)
    except (ValueError, OverflowError) as error:
        raise ExpressionError(f'parsing time "{text}": {error}') from None


def _built(found: dict[str, str], zone: tzinfo) -> datetime:
    year = int(found.get("year", 1))
    if "short_year" in found:
        short = int(found["short_year"])
        year = short + (1900 if short >= 69 else 2000)
    month = int(found.get("month", 1))
    if "month_name" in found:
        month = _SHORT_MONTHS.index(found["month_name"][:3].capitalize()) + 1
    hour = int(found.get("hour", 0))
    if found.get("half", "").lower() == "pm" and hour < 12:
        hour += 12
    elif found.get("half", "").lower() == "am" and hour == 12:
        hour = 0
    micro = int(found.get("fraction", ".0")[1:7].ljust(6, "0") or 0)
    moment = datetime(
        max(year, 1), month, int(found.get("day", 1)), hour, int(found.get("minute", 0)), int(found.get("second", 0)),
        micro, tzinfo=_zone(found, zone),
    )  # fmt: skip
    if "year_day" in found:
        moment = moment.replace(month=1, day=1) + timedelta(days=int(found["year_day"]) - 1)
    return moment


def _zone(found: dict[str, str], zone: tzinfo) -> tzinfo:
    if "offset" in found:
        text = found["offset"].replace(":", "")
        if text == "Z" or not int(text[1:]):
            return UTC
        size = timedelta(hours=int(text[1:3]), minutes=int(text[3:5] or 0), seconds=int(text[5:7] or 0))
        return timezone(-size if text[0] == "-" else size)
    name = found.get("zone")
    if name is None or name == "UTC":
        return zone if name is None else UTC
    # a short name says nothing certain about the offset: Go too takes it as a name with no offset
    return timezone(timedelta(), name)
