"""Templates of several containers, and daemons: what is wrong with them is said at submission, with its place."""

# ruff: noqa: E501 -- a row of these tables reads best on one line

from __future__ import annotations

import msgspec
import pytest
import yaml

from exeunt.language.containers import Container
from exeunt.language.pod_fields import asked_of, in_units
from exeunt.language.resources import MOST_BYTES, MOST_CPUS, cpu_limit, memory_limit

from .manifests import HEAD, errors, warnings


def template(body: str) -> str:
    return f"{HEAD}spec:\n  entrypoint: main\n  templates:\n  - {{name: main, {body}}}\n"


def of_set(containers: str, more: str = "", beside: str = "") -> str:
    return template(f"containerSet: {{containers: [{containers}]{more}}}{beside}")


def beside(more: str) -> str:
    return template(f"container: {{image: a}}, {more}")


def daemon(probe: str, more: str = "") -> str:
    return beside("daemon: true").replace("{image: a}", f"{{image: a, readinessProbe: {probe}{more}}}")


def takes(resources: str) -> str:
    return template(f"container: {{image: a, resources: {{{resources}}}}}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (of_set(""), "containerSet.containers: must have at least one container"),
        (of_set("{image: a}"), "containerSet.containers[0]: has no name"),
        (of_set("{name: a b}"), "containerSet.containers[0].name: 'a b' must be letters"),
        (of_set("{name: a}, {name: a}"), "containerSet.containers[1].name: 'a' is not unique"),
        (of_set("{name: wait}"), "containerSet.containers[0].name: 'wait' is the name of one of Argo's own containers"),
        (of_set("{name: artifact-plugin-x}"), "is the name of one of Argo's own containers"),
        (of_set("{name: one, dependencies: [tow]}, {name: two}"), "containers[0].dependencies[0]: there is no container 'tow'"),
        (of_set("{name: a, dependencies: [b]}, {name: b, dependencies: [a]}, {name: c}"), "depend on each other"),
        (of_set("{name: a}", beside=", outputs: {parameters: [{name: o, valueFrom: {path: /o}}]}"), 'must have a container named "main"'),
        (of_set("{name: a}", ", retryStrategy: {retries: few}"), "retryStrategy.retries: must be a whole number"),
        (of_set("{name: a}", ", retryStrategy: {retries: 1, duration: soon}"), "retryStrategy.duration: 'soon' is no duration"),
        (of_set("{name: a}", beside=", sidecars: [{name: a}]"), "sidecars[0].name: 'a' is not unique"),
        (beside("sidecars: [{image: b}]"), "sidecars[0]: has no name"),
        (beside("sidecars: [{name: main}]"), "sidecars[0].name: 'main' is not unique"),
        (beside("sidecars: [{name: supervisor}]"), "'supervisor' is the name of one of Argo's own containers"),
        (beside("initContainers: [{name: a}], sidecars: [{name: a}]"), "sidecars[0].name: 'a' is not unique"),
        (daemon("{}"), "readinessProbe: must have one of exec, httpGet and tcpSocket"),
        (daemon("{exec: {command: [a]}, tcpSocket: {port: 1}}"), "readinessProbe: must have one of"),
        (daemon("{exec: {}}"), "readinessProbe.exec: has no command"),
        (daemon("{tcpSocket: {port: web}}"), "readinessProbe.tcpSocket.port: there is no port 'web'"),
        (daemon("{httpGet: {port: 123456}}"), "readinessProbe.httpGet.port: there is no port '123456'"),
        (daemon("{tcpSocket: {port: 1}, periodSeconds: often}"), "its numbers must be whole"),
        (takes("limits: {memory: much}"), "w.yaml:7: spec.templates[0].container.resources.limits.memory: 'much' is no quantity; write it as 500Mi or 1Gi"),
        (takes("limits: {cpu: half}"), "container.resources.limits.cpu: 'half' is no quantity; write it as 500m or 2"),
        (takes("requests: {memory: -1Gi}"), "container.resources.requests.memory: '-1Gi' is below 0"),
        (takes("requests: {cpu: 1}, limits: {cpu: 500m}"), "container.resources.requests.cpu: 1 is more than its limit, 500m"),
        (takes("limit: {cpu: 1}"), "container.resources.limit: unknown field"),
        (of_set("{name: a, resources: {limits: {cpu: x}}}"), "containerSet.containers[0].resources.limits.cpu: 'x' is no quantity"),
        (beside("sidecars: [{name: a, resources: {limits: {cpu: x}}}]"), "sidecars[0].resources.limits.cpu: 'x' is no quantity"),
        (beside("initContainers: [{name: a, resources: {limits: {cpu: x}}}]"), "initContainers[0].resources.limits.cpu: 'x' is no quantity"),
        (daemon("{httpGet: {prot: 1}}"), "readinessProbe.httpGet.prot: unknown field"),
        (of_set("{name: a, args: ['{{inputs.parameters.no}}']}"), "inputs.parameters.no"),
        (beside("sidecars: [{name: a, args: ['{{inputs.parameters.no}}']}]"), "inputs.parameters.no"),
    ],
)  # fmt: skip
def test_a_slip_is_told_with_its_place(text: str, said: str) -> None:
    found = errors(text)
    assert any(said in problem for problem in found), found


@pytest.mark.parametrize(
    "text",
    [
        of_set("{name: a, image: i}, {name: main, image: i, dependencies: [a]}", ", retryStrategy: {retries: '2', duration: 10s}"),
        of_set("{name: a}", ", retryStrategy: {retries: '{{workflow.parameters.times}}'}").replace("spec:", "spec:\n  arguments: {parameters: [{name: times, value: 1}]}"),
        beside("initContainers: [{name: a, image: b}, {name: c, image: b}], sidecars: [{name: d, image: b, mirrorVolumeMounts: true}]"),
        daemon("{tcpSocket: {port: web}, initialDelaySeconds: 1}", ", ports: [{name: web, containerPort: 80}]"),
        daemon("{httpGet: {port: '{{inputs.parameters.p}}', scheme: HTTPS, httpHeaders: [{name: a, value: b}]}}").replace("name: main,", "name: main, inputs: {parameters: [{name: p, value: 1}]},"),
    ],
)  # fmt: skip
def test_what_is_right_passes(text: str) -> None:
    assert errors(text, support=True) == []
    assert warnings(text, support=True) == []


def test_a_probe_of_what_is_no_daemon_has_no_effect() -> None:
    text = daemon("{tcpSocket: {port: 1}}").replace(", daemon: true", "")
    assert errors(text, support=True) == []
    assert any("has an effect for daemons only" in problem for problem in warnings(text, support=True))


@pytest.mark.parametrize("wanted", ["steps.d.ip", "steps.e.ip"])
def test_only_a_daemon_has_an_address(wanted: str) -> None:
    text = f"""{HEAD}spec:
  entrypoint: main
  templates:
  - name: main
    steps:
    - [{{name: d, template: serve}}, {{name: e, template: ask, arguments: {{parameters: [{{name: at, value: x}}]}}}}]
    - - {{name: c, template: ask, arguments: {{parameters: [{{name: at, value: "{{{{{wanted}}}}}"}}]}}}}
  - {{name: serve, daemon: true, container: {{image: a}}}}
  - {{name: ask, inputs: {{parameters: [{{name: at}}]}}, container: {{image: a}}}}
"""
    assert bool(errors(text)) == (wanted == "steps.e.ip")


@pytest.mark.parametrize(
    ("given", "memory", "cpus"),
    [
        ("{}", 0, 0.0),
        ("{limits: {memory: 128Mi, cpu: 500m}}", 128 << 20, 0.5),
        ("{limits: {memory: 1500m, cpu: 2}}", 2, 2.0),
        ("{limits: {memory: 1e3, cpu: 0.25}, requests: {memory: 1k, cpu: 250m}}", 1000, 0.25),
        ("{limits: {memory: 100E, cpu: 5E, nvidia.com/gpu: 1}}", MOST_BYTES, MOST_CPUS),
        ("{requests: {memory: 1Gi}}", 0, 0.0),
        ("{limits: {memory: '{{workflow.parameters.much}}'}}", None, None),
    ],
)
def test_limits_are_counted_as_kubernetes_does(given: str, memory: int | None, cpus: float | None) -> None:
    text = template(f"container: {{image: a, resources: {given}}}")
    assert not [one for one in errors(text) if "resources" in one and "workflow.parameters.much" not in one]
    container = msgspec.convert({"resources": yaml.safe_load(given)}, Container, strict=False)
    if memory is None:
        with pytest.raises(ValueError, match="is no quantity"):
            memory_limit(container)
    else:
        assert (memory_limit(container), cpu_limit(container)) == (memory, cpus)


@pytest.mark.parametrize(
    ("given", "resource", "divisor", "shown"),
    [
        ("{limits: {cpu: 500m}}", "limits.cpu", "", "1"),
        ("{limits: {cpu: 1500m}}", "limits.cpu", "1m", "1500"),
        ("{limits: {cpu: 1500m}}", "requests.cpu", "1", "2"),
        ("{limits: {cpu: 2}, requests: {cpu: 0.1}}", "requests.cpu", "1m", "100"),
        ("{limits: {memory: 128Mi}}", "limits.memory", "", "134217728"),
        ("{limits: {memory: 128Mi}}", "limits.memory", "1Mi", "128"),
        ("{limits: {memory: 100M}}", "limits.memory", "1Mi", "96"),
        ("{}", "requests.memory", "1Mi", "0"),
        ("{limits: {cpu: 3}}", "limits.cpu", "0", "3"),
        ("{requests: {cpu: 3}}", "limits.cpu", "", None),
        ("{limits: {memory: 0}}", "limits.memory", "", None),
    ],
)
def test_what_a_container_may_take_is_shown_in_units_of_its_divisor(
    given: str, resource: str, divisor: str, shown: str | None
) -> None:
    container = msgspec.convert({"resources": yaml.safe_load(given)}, Container, strict=False)
    found = asked_of(container, resource)
    assert (None if found is None else in_units(found, resource, divisor)) == shown
