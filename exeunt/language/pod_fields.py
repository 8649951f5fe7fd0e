"""What a variable can have of its own pod: fields and resources (Kubernetes: core/v1 EnvVarSource)."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from exeunt.language.containers import Container
from exeunt.language.problems import nearest, quoted_list, shorten
from exeunt.language.quantity import amount
from exeunt.language.report import Place, Report
from exeunt.language.variables import OPEN, text
from exeunt.language.volume_rules import field_key
from exeunt.language.volumes import FieldReference, ResourceReference

OF_EXECUTORS = ("spec.nodeName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs")
"""Fields that only the executor knows that has the step."""
FIELDS = ("metadata.name", "metadata.namespace", "metadata.uid", "spec.serviceAccountName", *OF_EXECUTORS)
RESOURCES = ("limits.cpu", "limits.memory", "requests.cpu", "requests.memory")
_UNITS = ("1", *(f"1{unit}" for unit in ("k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")))
DIVISORS = {"cpu": ("1", "1m"), "memory": _UNITS}


def check_field(source: FieldReference, place: Place, report: Report) -> None:
    """A `fieldRef` of a variable."""
    path = source.field_path
    if not path:
        report.add(place, "has no fieldPath")
    elif OPEN not in path and not has_value(path):
        can = quoted_list((*FIELDS, "metadata.labels['x']", "metadata.annotations['x']"))
        report.add(place.at("fieldPath"), f"{shorten(path)!r} cannot be known here; {can} can")


def check_resource(source: ResourceReference, place: Place, report: Report) -> None:
    """A `resourceFieldRef` of a variable, but for the name of its container."""
    if OPEN in source.resource:
        return
    if source.resource not in RESOURCES:
        can = f"{quoted_list(RESOURCES)} can{nearest(source.resource, RESOURCES)}"
        report.add(place.at("resource"), f"{shorten(source.resource)!r} cannot be known here; {can}")
        return
    divisor, units = text(source.divisor), DIVISORS[source.resource.partition(".")[2]]
    if divisor not in ("", "0", *units) and OPEN not in divisor:
        report.add(place.at("divisor"), f"{shorten(divisor)!r} is none of {quoted_list(units, len(units))}")


def check_containers_named(
    containers: Iterable[tuple[tuple[str | int, ...], Container]], place: Place, report: Report
) -> None:
    """The containers whose resources the variables of others name. Paths begin at the template."""
    found = list(containers)
    names = {name_of(path, container) for path, container in found}
    for path, container in found:
        for at, variable in enumerate(container.env):
            source = variable.value_from.resource_field_ref if variable.value_from is not None else None
            name = source.container_name if source is not None else ""
            if name and OPEN not in name and name not in names:
                where = place.at(*path, "env", at, "valueFrom", "resourceFieldRef", "containerName")
                report.add(where, f"there is no container {shorten(name)!r}{nearest(name, names)}")


def name_of(path: tuple[str | int, ...], container: Container) -> str:
    """What a container is called in its pod; the one of a container or script template is `main`."""
    return "main" if path[0] in ("container", "script") else container.name


def has_value(path: str) -> bool:
    """Whether a variable can have this field."""
    return path in FIELDS or bool(field_key(path)[0])


def asked_of(container: Container, resource: str) -> Decimal | None:
    """What a container may take (`limits.x`) or asks for (`requests.x`, else its limit). None for as much as there is.

    Raises ValueError for what is no quantity.
    """
    kind, _, name = resource.partition(".")
    given = container.resources
    limits = given.limits if given is not None else {}
    value = limits.get(name) if kind == "limits" or given is None else given.requests.get(name, limits.get(name))
    if value is None:
        return None if kind == "limits" else Decimal(0)
    found = amount(text(value))
    return found if found or kind == "requests" else None


def in_units(found: Decimal, resource: str, divisor: str) -> str:
    """An amount in units of the divisor, rounded up, as Kubernetes writes it. Raises ValueError."""
    unit = amount(divisor or "1")
    if resource.endswith(".cpu"):  # counted in thousandths, whole ones
        found, unit = _up(found * 1000), _up(unit * 1000)
    else:
        found, unit = _up(found), _up(unit)
    return str(int(_up(found / (unit or Decimal(1000 if resource.endswith(".cpu") else 1)))))


def _up(number: Decimal) -> Decimal:
    return number.to_integral_value(rounding="ROUND_CEILING")
