"""Values as text: JSON and Go's `%v`, to the letter where Argo shows it."""

from __future__ import annotations

import base64
import math
from datetime import datetime, tzinfo
from typing import Any, Final

from exeunt.language.expression.errors import ExpressionError
from exeunt.language.expression.limits import Budget
from exeunt.language.expression.semver import Version
from exeunt.language.expression.values import Duration, Function, type_name

_ESCAPES: Final = {
    **{code: f"\\u{code:04x}" for code in range(0x20)},
    ord('"'): '\\"', ord("\\"): "\\\\", ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t",
    0x08: "\\b", 0x0C: "\\f", 0x2028: "\\u2028", 0x2029: "\\u2029",
}  # fmt: skip
_HTML: Final = {**_ESCAPES, ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026"}
_UNITS: Final = ((3_600_000_000_000, "h"), (60_000_000_000, "m"))


def json_string(value: str, *, html: bool = True) -> str:
    """A JSON string as Go's encoding/json writes it: `<`, `>` and `&` are escaped unless `html` is false."""
    return f'"{value.translate(_HTML if html else _ESCAPES)}"'


def json_float(value: float) -> str:
    """A number as Go's encoding/json writes it."""
    if not math.isfinite(value):
        raise ExpressionError(f"json: unsupported value: {float_text(value)}")
    size = abs(value)
    if size != 0 and (size < 1e-6 or size >= 1e21):
        mantissa, exponent = repr_parts(value)
        return f"{mantissa}e{exponent:+d}"
    return plain_float(value)


def repr_parts(value: float) -> tuple[str, int]:
    """The shortest digits that give the float back, as `d.ddd`, and the exponent of ten."""
    sign, digits, exponent = "-" if math.copysign(1, value) < 0 else "", "", 0
    text = repr(abs(value))
    mantissa, _, tail = text.partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    exponent = int(tail or 0) + len(whole) - 1
    if whole.strip("0") == "":
        exponent = int(tail or 0) - (len(fraction) - len(fraction.lstrip("0"))) - 1
    digits = digits.rstrip("0") or "0"
    return f"{sign}{digits[0]}{'.' + digits[1:] if len(digits) > 1 else ''}", exponent


def plain_float(value: float) -> str:
    """A float without an exponent and without a needless `.0`."""
    if value == 0:
        return "-0" if math.copysign(1, value) < 0 else "0"
    mantissa, exponent = repr_parts(value)
    sign = "-" if mantissa.startswith("-") else ""
    digits = mantissa.lstrip("-").replace(".", "")
    if exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{digits}"
    if len(digits) <= exponent + 1:
        return sign + digits + "0" * (exponent + 1 - len(digits))
    return f"{sign}{digits[: exponent + 1]}.{digits[exponent + 1 :]}"


def float_text(value: float) -> str:
    """A float as Go's `%v` writes it: with an exponent below 1e-4 and from a million on."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if value != 0 and not 1e-4 <= abs(value) < 1e6:
        mantissa, exponent = repr_parts(value)
        return f"{mantissa}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"
    return plain_float(value)


def duration_text(duration: Duration) -> str:
    """A duration as Go writes it: `1h30m0s`, `1.5s`, `20ms`."""
    left = abs(duration.nanoseconds)
    sign = "-" if duration.nanoseconds < 0 else ""
    if left == 0:
        return "0s"
    if left < 1_000_000_000:
        for size, unit in ((1_000_000, "ms"), (1_000, "µs"), (1, "ns")):
            if left >= size:
                return f"{sign}{_broken(left, size)}{unit}"
    text = ""
    for size, unit in _UNITS:
        if left >= size or text:
            text += f"{left // size}{unit}"
            left %= size
    return f"{sign}{text}{_broken(left, 1_000_000_000)}s"


def _broken(value: int, size: int) -> str:
    whole, rest = divmod(value, size)
    return f"{whole}.{str(rest).zfill(len(str(size)) - 1).rstrip('0')}" if rest else str(whole)


def rfc3339(moment: datetime) -> str:
    """A date in JSON: RFC 3339 with as many decimals as it needs."""
    text = moment.strftime("%Y-%m-%dT%H:%M:%S").zfill(19)
    if moment.microsecond:
        text += f".{moment.microsecond:06d}".rstrip("0")
    return text + zone_offset(moment, ":", utc="Z")


def zone_offset(moment: datetime, separator: str, utc: str | None = None) -> str:
    """`+0100` or `+01:00`; `utc` stands for no offset where it is given."""
    offset = moment.utcoffset()
    seconds = int(offset.total_seconds()) if offset else 0
    if seconds == 0 and utc is not None:
        return utc
    hours, minutes = divmod(abs(seconds) // 60, 60)
    return f"{'-' if seconds < 0 else '+'}{hours:02d}{separator}{minutes:02d}"


def date_text(moment: datetime) -> str:
    """A date as Go's `%v` writes it."""
    text = moment.strftime("%Y-%m-%d %H:%M:%S").zfill(19)
    if moment.microsecond:
        text += f".{moment.microsecond:06d}".rstrip("0")
    offset = zone_offset(moment, "")
    name = moment.tzname() or offset
    return f"{text} {offset} {offset if name.startswith('UTC') and name != 'UTC' else name}"


def to_json(budget: Budget, value: Any, *, indent: str = "", html: bool = True) -> str:
    """A value as JSON, keys sorted, as Go's encoding/json writes it; `indent` as for MarshalIndent."""
    writer = _JsonWriter(budget, indent, html=html)
    writer.write(value, "\n" if indent else "")
    return budget.text("".join(writer.parts))


class _JsonWriter:
    def __init__(self, budget: Budget, indent: str, *, html: bool) -> None:
        self.budget = budget
        self.indent = indent
        self.html = html
        self.parts: list[str] = []

    def write(self, value: Any, line: str) -> None:
        """Add a value; `line` is the line break with the indent that it stands at."""
        self.budget.spend(1)
        match value:
            case list():
                self.items("[]", [("", item) for item in value], line)
            case dict():
                colon = ": " if self.indent else ":"
                self.items("{}", [(self.string(key) + colon, item) for key, item in _by_text(value)], line)
            case _:
                self.parts.append(self.scalar(value))

    def scalar(self, value: Any) -> str:
        match value:
            case None:
                return "null"
            case bool():
                return "true" if value else "false"
            case int():
                return str(value)
            case float():
                return json_float(value)
            case str() | Version():
                return self.string(str(value))
            case bytes():
                return f'"{base64.b64encode(value).decode()}"'
            case datetime():
                return f'"{rfc3339(value)}"'
            case Duration():
                return str(value.nanoseconds)
        raise ExpressionError(f"json: unsupported type: {type_name(value)}")

    def string(self, value: str) -> str:
        self.budget.allocate(len(value))
        return json_string(value, html=self.html)

    def items(self, marks: str, items: list[tuple[str, Any]], line: str) -> None:
        self.budget.spend(len(items))
        self.parts.append(marks[0])
        inner = line + self.indent
        for number, (name, item) in enumerate(items):
            self.parts.append(("," if number else "") + inner + name)
            self.budget.allocate(len(inner) + len(name) + 1)
            self.write(item, inner)
        self.parts.append((line if items else "") + marks[1])


def _by_text(value: dict[Any, Any]) -> list[tuple[str, Any]]:
    return sorted(
        ((key_text(key), item) for key, item in value.items()),
        key=lambda pair: pair[0].encode("utf-8", "surrogatepass"),
    )


def key_text(key: Any) -> str:
    """A map's key as a JSON key."""
    return key if isinstance(key, str) else format_value(Budget(), key)


def format_value(budget: Budget, value: Any) -> str:
    """A value as Go's `%v` writes it: `[1 2]`, `map[a:1 b:2]`, `<nil>`."""
    budget.spend(1)
    match value:
        case str():
            return value
        case None:
            return "<nil>"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return float_text(value)
        case bytes():
            return budget.text(f"[{' '.join(map(str, value))}]")
        case datetime():
            return date_text(value)
        case Duration():
            return duration_text(value)
        case list():
            return budget.text(f"[{' '.join([format_value(budget, item) for item in value])}]")
        case dict():
            pairs = [f"{key}:{format_value(budget, item)}" for key, item in _by_text(value)]
            return budget.text(f"map[{' '.join(pairs)}]")
        case tzinfo() | Version():
            return str(value)
        case Function():
            return value.name
        case _:
            return type_name(value)
