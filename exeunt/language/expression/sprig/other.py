"""Sprig's functions for dates, paths, addresses, patterns and versions."""

from __future__ import annotations

import re
from datetime import UTC, datetime, tzinfo
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

from exeunt.language.expression.dates import from_unix, parse_duration, unix_nanoseconds, zone
from exeunt.language.expression.errors import ExpressionError
from exeunt.language.expression.frame import Frame
from exeunt.language.expression.layout import format_date, parse_date
from exeunt.language.expression.regex import expanded, matches, search
from exeunt.language.expression.render import duration_text
from exeunt.language.expression.semver import Version, satisfies
from exeunt.language.expression.signature import Registry
from exeunt.language.expression.values import Duration, between, is_integer, shift, type_name

OTHER: Final = Registry()
_sprig = OTHER.add
_twice = OTHER.twice
_SPECIAL: Final = re.compile(r"[\\.+*?()|\[\]{}^$]")
_YEAR: Final = 365 * 24 * 3600
_ROUND_UNITS: Final = (
    (_YEAR, "y"), (30 * 24 * 3600, "mo"), (24 * 3600, "d"), (3600, "h"), (60, "m"), (1, "s"),
)  # fmt: skip
_BEGINNING: Final = datetime(1, 1, 1, tzinfo=UTC)


# dates


def _moment(frame: Frame, value: Any) -> datetime:
    """A date, seconds since the epoch, or else now, as Sprig takes dates."""
    if isinstance(value, datetime):
        return value
    return from_unix(value) if is_integer(value) else frame.moment()


def _zone_or_utc(name: str) -> tzinfo:
    try:
        return zone(name)
    except ExpressionError:
        return UTC


@_sprig("now")
def _now(frame: Frame) -> datetime:
    return frame.moment()


@_sprig("date", "s*")
def _date(frame: Frame, layout: str, value: Any) -> str:
    return frame.text(format_date(_moment(frame, value).astimezone(UTC), layout))


@_sprig("dateInZone", "s*s")
@_sprig("date_in_zone", "s*s")
def _date_in_zone(frame: Frame, layout: str, value: Any, name: str) -> str:
    return frame.text(format_date(_moment(frame, value).astimezone(_zone_or_utc(name)), layout))


@_sprig("htmlDate", "*")
def _html_date(frame: Frame, value: Any) -> str:
    return format_date(_moment(frame, value).astimezone(UTC), "2006-01-02")


@_sprig("htmlDateInZone", "*s")
def _html_date_in_zone(frame: Frame, value: Any, name: str) -> str:
    return format_date(_moment(frame, value).astimezone(_zone_or_utc(name)), "2006-01-02")


@_sprig("dateModify", "st")
@_sprig("date_modify", "st")
def _date_modify(_: Frame, text: str, moment: datetime) -> datetime:
    try:
        return shift(moment, parse_duration(text).delta)
    except ExpressionError:
        return moment


@_sprig("mustDateModify", "st")
@_sprig("must_date_modify", "st")
def _must_date_modify(_: Frame, text: str, moment: datetime) -> datetime:
    return shift(moment, parse_duration(text).delta)


@_sprig("ago", "*")
def _ago(frame: Frame, value: Any) -> str:
    nanoseconds = between(frame.moment(), _moment(frame, value)).nanoseconds
    seconds, rest = divmod(abs(nanoseconds), 1_000_000_000)
    seconds += rest * 2 >= 1_000_000_000
    return duration_text(Duration((-seconds if nanoseconds < 0 else seconds) * 1_000_000_000))


@_sprig("duration", "*")
def _duration(_: Frame, value: Any) -> str:
    seconds = int(value) if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,10}", value) else 0
    return duration_text(Duration(seconds * 1_000_000_000))


@_sprig("durationRound", "*")
def _duration_round(frame: Frame, value: Any) -> str:
    nanoseconds = 0
    if isinstance(value, datetime):
        nanoseconds = between(frame.moment(), value).nanoseconds
    elif isinstance(value, str):
        try:
            nanoseconds = parse_duration(value).nanoseconds
        except ExpressionError:
            nanoseconds = 0
    for seconds, unit in _ROUND_UNITS:
        if abs(nanoseconds) > seconds * 1_000_000_000:
            return f"{abs(nanoseconds) // (seconds * 1_000_000_000)}{unit}"
    return "0s"


@_sprig("toDate", "ss")
def _to_date(_: Frame, layout: str, text: str) -> datetime:
    try:
        return parse_date(text, layout)
    except ExpressionError:
        return _BEGINNING


@_sprig("mustToDate", "ss")
def _must_to_date(_: Frame, layout: str, text: str) -> datetime:
    return parse_date(text, layout)


@_sprig("unixEpoch", "t")
def _unix_epoch(_: Frame, moment: datetime) -> str:
    return str(unix_nanoseconds(moment) // 1_000_000_000)


# paths


def clean_path(path: str) -> str:
    """The shortest path that means the same (Go's path.Clean)."""
    parts: list[str] = []
    for part in path.split("/"):
        if part in ("", "."):
            continue
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part != ".." or not path.startswith("/"):
            parts.append(part)
    return ("/" if path.startswith("/") else "") + "/".join(parts) or "."


def _base(_: Frame, path: str) -> str:
    if path == "":
        return "."
    return path.rstrip("/").rpartition("/")[2] or "/"


def _directory(_: Frame, path: str) -> str:
    head, slash, _end = path.rpartition("/")
    return clean_path(head + slash)


def _extension(_: Frame, path: str) -> str:
    _name, dot, end = path.rpartition("/")[2].rpartition(".")
    return dot + end if dot else ""


for _prefix in ("", "os"):
    for _name, _run in {
        "base": _base,
        "dir": _directory,
        "ext": _extension,
        "clean": lambda _, path: clean_path(path),
        "isAbs": lambda _, path: path.startswith("/"),
    }.items():
        _sprig(_prefix + (_name[0].upper() + _name[1:] if _prefix else _name), "s")(_run)


# addresses


@_sprig("urlParse", "s")
def _url_parse(_: Frame, text: str) -> dict[str, Any]:
    try:
        parts = urlsplit(text)
        host = parts.netloc.rpartition("@")[2]
        hostname = re.sub(r":[0-9]*$", "", host).strip("[]")
    except ValueError as error:
        raise ExpressionError(f"unable to parse url: {error}") from None
    opaque = bool(parts.scheme) and not parts.netloc and not parts.path.startswith("/")
    return {
        "scheme": parts.scheme,
        "host": host,
        "hostname": hostname,
        "path": "" if opaque else unquote(parts.path),
        "query": parts.query,
        "opaque": parts.path if opaque else "",
        "fragment": unquote(parts.fragment),
        "userinfo": parts.netloc.rpartition("@")[0],
    }


@_sprig("urlJoin", "m")
def _url_join(frame: Frame, parts: dict[str, Any]) -> str:
    for key, value in parts.items():
        if not isinstance(value, str):
            raise ExpressionError(f"unable to parse {key} key, must be of type string, but {type_name(value)} found")
    made = f"{parts['scheme']}:" if parts.get("scheme") else ""
    if parts.get("opaque"):
        made += parts["opaque"]
    else:
        host, user, path = parts.get("host", ""), parts.get("userinfo", ""), parts.get("path", "")
        if host or user:
            made += f"//{user}@{host}" if user else f"//{host}"
            path = f"/{path}" if path and not path.startswith("/") else path
        made += quote(path, safe="/$&+,:;=@!*'()~-._")
    made += f"?{parts['query']}" if parts.get("query") else ""
    made += f"#{quote(parts['fragment'], safe='!$&()*+,;=:@/?~-._')}" if parts.get("fragment") else ""
    return frame.text(made)


# patterns


@_sprig("regexMatch", "ss")
def _regex_match(frame: Frame, pattern: str, text: str) -> bool:
    try:
        return search(frame, pattern, text)
    except ExpressionError as error:
        if error.message.startswith("error parsing regexp"):
            return False  # so it is in Sprig; mustRegexMatch says what is wrong
        raise


@_sprig("mustRegexMatch", "ss")
def _must_regex_match(frame: Frame, pattern: str, text: str) -> bool:
    return search(frame, pattern, text)


@_twice("regexFind", "ss")
def _regex_find(frame: Frame, pattern: str, text: str) -> str:
    found = matches(frame, pattern, text, 1)
    return found[0].group() if found else ""


@_twice("regexFindAll", "ssi")
def _regex_find_all(frame: Frame, pattern: str, text: str, most: int) -> list[str] | None:
    return [match.group() for match in matches(frame, pattern, text, most)] or None


@_twice("regexReplaceAll", "sss")
def _regex_replace_all(frame: Frame, pattern: str, text: str, new: str) -> str:
    return _replaced(frame, pattern, text, lambda match: expanded(match, new))


@_twice("regexReplaceAllLiteral", "sss")
def _regex_replace_all_literal(frame: Frame, pattern: str, text: str, new: str) -> str:
    return _replaced(frame, pattern, text, lambda _: new)


def _replaced(frame: Frame, pattern: str, text: str, new: Any) -> str:
    parts: list[str] = []
    end = 0
    for match in matches(frame, pattern, text):
        made = new(match)
        frame.allocate(len(made))
        parts += (text[end : match.start()], made)
        end = match.end()
    return frame.text("".join([*parts, text[end:]]))


@_twice("regexSplit", "ssi")
def _regex_split(frame: Frame, pattern: str, text: str, most: int) -> list[str] | None:
    if most == 0:
        return None
    if pattern and text == "":
        return [""]
    parts: list[str] = []
    start = end = 0
    for match in matches(frame, pattern, text):
        if most > 0 and len(parts) == most - 1:
            break
        if match.end() == 0:
            continue
        end = match.start()
        parts.append(text[start:end])
        start = match.end()
    if end != len(text):
        parts.append(text[start:])
    return parts


@_sprig("regexQuoteMeta", "s")
def _regex_quote_meta(frame: Frame, text: str) -> str:
    return frame.text(_SPECIAL.sub(lambda match: f"\\{match.group()}", text))


# versions


@_sprig("semver", "s")
def _semver(_: Frame, text: str) -> Version:
    return Version.read(text)


@_sprig("semverCompare", "ss")
def _semver_compare(_: Frame, constraint: str, version: str) -> bool:
    return satisfies(Version.read(version), constraint)
