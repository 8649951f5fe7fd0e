"""What a container's readinessProbe asks for. It counts for daemons only (Kubernetes: core/v1 Probe)."""

from __future__ import annotations

from exeunt.engine.facts.problem import NodeError
from exeunt.engine.facts.work import Probe
from exeunt.language.containers import Container, Scalar
from exeunt.language.variables import text

MOST_SECONDS = 86_400.0
"""The longest time that a probe may name."""


def probe_of(container: Container) -> Probe | None:
    """How the container says that it is ready; None where it has no such probe. Raises NodeError."""
    asked = container.readiness_probe
    if asked is None:
        return None
    probe = Probe(
        delay_seconds=_number("initialDelaySeconds", asked.initial_delay_seconds, 0.0),
        period_seconds=max(1.0, _number("periodSeconds", asked.period_seconds, 10.0)),
        timeout_seconds=max(1.0, _number("timeoutSeconds", asked.timeout_seconds, 1.0)),
        successes=max(1, int(_number("successThreshold", asked.success_threshold, 1.0))),
    )
    if asked.exec_ is not None and asked.exec_.command:
        probe.command = asked.exec_.command
    elif asked.http_get is not None:
        http = asked.http_get
        probe.port, probe.host, probe.path = _port(container, http.port), http.host, http.path or "/"
        probe.https = http.scheme.upper() == "HTTPS"
        probe.headers = [(one.name, one.value) for one in http.http_headers]
    elif asked.tcp_socket is not None:
        probe.port, probe.host = _port(container, asked.tcp_socket.port), asked.tcp_socket.host
    else:
        raise NodeError("readinessProbe: exec, httpGet or tcpSocket is expected")
    return probe


def _number(field: str, value: Scalar, usual: float) -> float:
    if value in (None, "", 0):
        return usual
    try:
        return min(max(0.0, float(text(value))), MOST_SECONDS)
    except ValueError:
        raise NodeError(f"readinessProbe.{field}: {value} is no number") from None


def _port(container: Container, port: Scalar) -> int:
    """A port by its number, or by the name that it has among the container's."""
    known = {str(one.get("name")): str(one.get("containerPort")) for one in container.ports if one.get("name")}
    number = known.get(text(port), text(port))
    if not number.isdecimal() or not 0 < int(number[:6]) < 65536:
        raise NodeError(f"readinessProbe: there is no port {text(port)}")
    return int(number)
