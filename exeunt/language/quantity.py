"""Amounts as Kubernetes writes them: `1Gi`, `500M`, `0.5`, `1e3`, `250m` (its resource.Quantity)."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

_FORM = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(m|[kMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,2})?")
_DECIMAL = {"m": Decimal("0.001"), **{unit: Decimal(1000) ** at for at, unit in enumerate("kMGTPE", 1)}}
_BINARY = {f"{unit}i": Decimal(1024) ** at for at, unit in enumerate("KMGTPE", 1)}
MOST_CHARACTERS = 40


def amount(text: str) -> Decimal:
    """The number that a quantity stands for. ValueError for a text that is none."""
    found = _FORM.fullmatch(text) if len(text) <= MOST_CHARACTERS else None
    if found is None:
        raise ValueError(f"{text[:MOST_CHARACTERS]!r} is no quantity; write it as 500Mi or 1Gi")
    number, unit = found[1], found[2] or ""
    try:
        if unit[:1] in ("e", "E") and len(unit) > 1 and unit != "Ei":
            return Decimal(number + unit)
        return Decimal(number) * {**_DECIMAL, **_BINARY, "": Decimal(1)}[unit]
    except InvalidOperation as error:
        raise ValueError(f"{text!r} is no quantity") from error


def bytes_of(text: str) -> int:
    """The bytes that a quantity stands for, rounded up. ValueError for a text that is none, or below 0."""
    number = amount(text)
    if number < 0:
        raise ValueError(f"{text!r} is below 0")
    return int(number.to_integral_value(rounding="ROUND_CEILING"))
