"""What a container may take and asks for: quantities of memory and processors, as Kubernetes counts them."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from exeunt.language.containers import Container, Scalar
from exeunt.language.problems import shorten
from exeunt.language.quantity import amount
from exeunt.language.report import Place, Report
from exeunt.language.variables import OPEN, text

MOST_BYTES = 1 << 62
MOST_CPUS = 1_000_000.0
"""What is more counts as this much: more than any machine has."""


def check_resources(container: Container, place: Place, report: Report) -> None:
    """Quantities that are none, or below 0, and requests above their limit: Kubernetes would make no pod of them."""
    resources = container.resources
    if resources is None:
        return
    known: dict[str, dict[str, Decimal]] = {"requests": {}, "limits": {}}
    for field, given in (("requests", resources.requests), ("limits", resources.limits)):
        for name, value in given.items():
            if OPEN in text(value):
                continue
            try:
                known[field][name] = _amount(name, value)
            except ValueError as error:
                report.add(place.at("resources", field, name), str(error))
    for name, asked in known["requests"].items():
        if name in known["limits"] and asked > known["limits"][name]:
            told = f"{shorten(text(resources.requests[name]))} is more than its limit, {text(resources.limits[name])}"
            report.add(place.at("resources", "requests", name), told)


def memory_limit(container: Container) -> int:
    """The bytes that a container may take, rounded up; 0 for no limit. ValueError for what is no quantity."""
    found = _of(container.resources.limits if container.resources else {}, "memory")
    return int(min(found.to_integral_value(rounding="ROUND_CEILING"), Decimal(MOST_BYTES)))


def cpu_limit(container: Container) -> float:
    """The processors that a container may take; 0 for no limit. ValueError for what is no quantity."""
    return min(float(_of(container.resources.limits if container.resources else {}, "cpu")), MOST_CPUS)


def _of(given: Mapping[str, Scalar], name: str) -> Decimal:
    return _amount(name, given[name]) if name in given else Decimal(0)


def _amount(name: str, value: Scalar) -> Decimal:
    """A quantity of something. ValueError says what is wrong with it."""
    try:
        found = amount(text(value))
    except ValueError as error:
        told, _, hint = str(error).partition("; ")
        hint = "write it as 500m or 2" if name == "cpu" else hint
        raise ValueError(f"{told}; {hint}" if hint else told) from None
    if found < 0:
        raise ValueError(f"{text(value)!r} is below 0")
    return found
