"""The rules for templates of several containers, and for daemons (Argo: workflow/validate; Validate of a containerSet).

Beyond Argo's, what Kubernetes would refuse when the pod is made is refused at submission: names that are missing or
not unique, probes that ask for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from exeunt.language.containers import Container, ContainerSet, ReadinessProbe, UserContainer
from exeunt.language.manifest import Template
from exeunt.language.pod_fields import check_containers_named
from exeunt.language.problems import nearest, quoted_list, shorten
from exeunt.language.report import Place, Report
from exeunt.language.resources import check_resources
from exeunt.language.rules import field_name, whole_number

RESERVED = ("wait", "supervisor", "init")
RESERVED_PREFIX = "artifact-plugin-"
"""Names that Argo's own containers have in a pod."""

_NUMBERS = (
    "initial_delay_seconds", "period_seconds", "timeout_seconds", "success_threshold", "failure_threshold",
)  # fmt: skip
_DURATION = re.compile(r"([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+|0")


def containers_of(template: Template) -> Iterator[tuple[tuple[str | int, ...], Container]]:
    """All that a template has a program of, each with its path."""
    if template.container is not None:
        yield ("container",), template.container
    if template.script is not None:
        yield ("script",), template.script
    if template.container_set is not None:
        for at, one in enumerate(template.container_set.containers):
            yield ("containerSet", "containers", at), one
    for field, beside in (("initContainers", template.init_containers), ("sidecars", template.sidecars)):
        for at, other in enumerate(beside):
            yield (field, at), other


def check_pod(template: Template, place: Place, report: Report) -> None:
    """The containers of a template: their names, what they depend on, and what they may take."""
    taken: set[str] = set()
    if template.container_set is not None:
        _set(template, template.container_set, place.at("containerSet"), report)
        taken = {one.name for one in template.container_set.containers}
    elif template.container is not None or template.script is not None:
        taken = {"main"}
    for field, beside in (("initContainers", template.init_containers), ("sidecars", template.sidecars)):
        _named(beside, taken, place.at(field), report)
    if template.daemon:
        for path, container in containers_of(template):
            if container.readiness_probe is not None and path[0] != "initContainers":
                _probe(container.readiness_probe, container, place.at(*path, "readinessProbe"), report)
    for path, container in containers_of(template):
        check_resources(container, place.at(*path), report)
    check_containers_named(containers_of(template), place, report)


def _set(template: Template, whole: ContainerSet, place: Place, report: Report) -> None:
    there = place.at("containers")
    if not whole.containers:
        report.add(there, "must have at least one container")
    _named(whole.containers, set(), there, report)
    names = [one.name for one in whole.containers]
    for at, one in enumerate(whole.containers):
        for number, name in enumerate(one.dependencies):
            if name not in names:
                where = there.at(at, "dependencies", number)
                report.add(where, f"there is no container {shorten(name)!r}{nearest(name, names)}")
    if circle := _circle(whole):
        report.add(there, f"{quoted_list(circle)} depend on each other: none of them could begin")
    wants_main = template.inputs.artifacts or template.outputs.parameters or template.outputs.artifacts
    if wants_main and "main" not in names:
        report.add(there, 'must have a container named "main" for inputs and outputs')
    retry = whole.retry_strategy
    if retry is not None:
        if retry.retries is not None and not whole_number(retry.retries):
            report.add(place.at("retryStrategy", "retries"), "must be a whole number")
        if retry.duration and "{{" not in retry.duration and not _DURATION.fullmatch(retry.duration):
            report.add(place.at("retryStrategy", "duration"), f"{shorten(retry.duration)!r} is no duration, as 10s is")


def _named(containers: Iterable[Container], taken: set[str], place: Place, report: Report) -> None:
    for at, one in enumerate(containers):
        where = place.at(at, "name")
        if not one.name:
            report.add(place.at(at), "has no name")
        elif wrong := field_name(one.name):
            report.add(where, wrong)
        elif one.name in RESERVED or one.name.startswith(RESERVED_PREFIX):
            report.add(where, f"{one.name!r} is the name of one of Argo's own containers; take another")
        elif one.name in taken:
            report.add(where, f"{one.name!r} is not unique; another container of the template has the same name")
        taken.add(one.name)


def _circle(whole: ContainerSet) -> list[str]:
    """The containers that could never begin, since they wait for each other or for such."""
    names = {one.name for one in whole.containers}
    left = {one.name: {name for name in one.dependencies if name in names} for one in whole.containers}
    while ready := [name for name, needs in left.items() if not needs & left.keys()]:
        for name in ready:
            del left[name]
    return list(left)


def _probe(probe: ReadinessProbe, container: Container, place: Place, report: Report) -> None:
    if probe.grpc is not None:
        return  # see `unsupported`
    asked = [name for name, one in (("exec", probe.exec_), ("httpGet", probe.http_get), ("tcpSocket", probe.tcp_socket))
             if one is not None]  # fmt: skip
    if len(asked) != 1:
        report.add(place, "must have one of exec, httpGet and tcpSocket")
        return
    if probe.exec_ is not None and not probe.exec_.command:
        report.add(place.at("exec"), "has no command")
    target = probe.http_get or probe.tcp_socket
    if target is not None and "{{" not in str(target.port):
        known = [str(one.get("name")) for one in container.ports if one.get("name")]
        number = str(target.port)
        if not (number.isdecimal() and 0 < int(number[:6]) < 65536) and number not in known:
            report.add(place.at(asked[0], "port"), f"there is no port {shorten(number)!r}")
    for name in _NUMBERS:
        if not whole_number(getattr(probe, name)):
            report.add(place, f"{name.partition('_')[0]}…: its numbers must be whole")


def unsupported(template: Template, place: Place, report: Report) -> None:
    """What of these templates is not built yet."""
    for field, beside in (("initContainers", template.init_containers), ("sidecars", template.sidecars)):
        for at, one in enumerate(beside):
            _user_container(one, place.at(field, at), report)
    if template.resource is not None:
        given = {"sidecars": template.sidecars, "initContainers": template.init_containers, "daemon": template.daemon}
        for field, value in given.items():
            if value:
                report.add(place.at(field), f"{field} of resource templates is not supported yet")
    for path, container in containers_of(template):
        probe, there = container.readiness_probe, place.at(*path, "readinessProbe")
        if probe is not None and not (template.daemon and path[0] != "initContainers"):
            report.add(there, "has an effect for daemons only", warning=True)
        elif probe is not None and probe.grpc is not None:
            report.add(there.at("grpc"), "gRPC probes are not supported yet; exec, httpGet and tcpSocket are")


def _user_container(one: UserContainer, place: Place, report: Report) -> None:
    if one.restart_policy:
        report.add(place.at("restartPolicy"), "restartPolicy of containers is not supported yet")
