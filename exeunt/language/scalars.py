"""What an unquoted YAML scalar means: as Kubernetes reads it, YAML 1.1 without dates and base-60 numbers.

Kubernetes turns YAML into JSON first (sigs.k8s.io/yaml); these are its rules: `yes`, `on` and `y` are true, `010` is
eight, `1_000` is a thousand, `2020-01-01` and `1:30` are text, and what JSON has no number for is refused.
"""

from __future__ import annotations

import base64
import binascii
import math
import re

_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
}
_NOT_JSON = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_INTEGER = re.compile(r"[-+]?(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_DIGITS_START = frozenset("+-0123456789.")
_TAG = "tag:yaml.org,2002:"
Scalar = str | int | float | bool | None


class ScalarError(ValueError):
    """A scalar that has no meaning in JSON, or not the one its tag asks for."""


def plain(text: str) -> Scalar:
    """The value of an unquoted scalar without a tag. Raises ScalarError."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _DIGITS_START:
        return text
    if _NOT_JSON.fullmatch(text):
        raise ScalarError(f"{text} is no number that JSON knows; put it in quotes if it is meant as text")
    return _number(text)


def tagged(text: str, tag: str) -> Scalar:
    """The value of a scalar with a YAML tag (`!!str`, `!!int`, …). Raises ScalarError for others."""
    name = tag.removeprefix(_TAG)
    if tag in ("!", _TAG + "str", _TAG + "timestamp"):
        return text
    if tag == _TAG + "binary":
        try:
            return base64.b64decode("".join(text.split()), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError, ValueError):
            raise ScalarError("!!binary is no base64 of a text") from None
    wanted = {"int": int, "float": float, "bool": bool, "null": type(None)}.get(name) if tag.startswith(_TAG) else None
    if wanted is None:
        shown = f"!!{name}" if tag.startswith(_TAG) else tag
        raise ScalarError(f"the tag {shown[:60]} is not allowed; leave it out")
    value = plain(text)
    if wanted is float and type(value) is int:
        return float(value)
    if type(value) is not wanted:
        raise ScalarError(f"{text[:60]!r} is no !!{name}")
    return value


def key(value: Scalar) -> str:
    """A mapping key as JSON has it: a text. Raises ScalarError for null."""
    if value is None:
        raise ScalarError("a key is empty")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value == int(value):
        return str(int(value))
    return str(value)


def _number(text: str) -> Scalar:
    digits = text.replace("_", "") if text[0] != "." else text
    if _INTEGER.fullmatch(digits):
        return _integer(digits)
    if _FLOAT.fullmatch(digits):
        value = float(digits)
        if math.isinf(value):
            raise ScalarError(f"{text[:40]} is too big for a number; put it in quotes if it is meant as text")
        return value
    return text


def _integer(digits: str) -> Scalar:
    negative, magnitude = digits[0] == "-", digits.lstrip("+-").lower()
    if len(magnitude) > 400:
        raise ScalarError(f"{digits[:40]}… is too big for a number; put it in quotes if it is meant as text")
    if magnitude[:2] in ("0x", "0b", "0o"):
        value = int(magnitude, 0)
    elif magnitude[0] == "0":
        value = int(magnitude, 8)
    else:
        value = int(magnitude)
    value = -value if negative else value
    if -(2**63) <= value < 2**64:
        return value
    try:
        return float(value)
    except OverflowError:
        raise ScalarError(f"{digits[:40]}… is too big for a number; put it in quotes if it is meant as text") from None
