"""Templates of several containers, and daemons, on the real services: YAML in, phases and outputs out."""

# ruff: noqa: E501 -- a manifest reads best as it is written

from __future__ import annotations

import os
import signal
import socket
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from exeunt.executor.runtime.sandbox.cgroups import clear_groups, find_groups
from exeunt.executor.runtime.sandbox.probe import probe
from tests.e2e.cluster import ARGO, Cluster, nodes
from tests.e2e.conftest import IMAGES

pytestmark = pytest.mark.services

HEAD = "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nmetadata: {generateName: w-}\n"


def written(spec: str, **values: object) -> str:
    text = HEAD + textwrap.dedent(spec).lstrip()
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    return text


def phases(workflow: dict[str, Any]) -> dict[str, str]:
    return {name: node["phase"] for name, node in nodes(workflow).items()}


def until(condition: Callable[[], Any], seconds: float = 60) -> None:
    """Waits for what no event tells of: files of a step, the view of a workflow."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.05)


@pytest.fixture
def port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


# --- sets, init containers, sidecars ----------------------------------------------------------------------------------

SET = """
    spec:
      entrypoint: main
      templates:
      - name: main
        steps:
        - - {name: set, template: set, onExit: handler}
        - - name: after
            template: echo
            arguments: {parameters: [{name: text, value: "{{steps.set.outputs.result}}"}]}
      - name: set
        initContainers:
        - {name: before, image: alpine, command: [sh, -c, "echo before > @directory@/log"]}
        sidecars:
        - {name: beside, image: alpine, command: [sh, -c, "while :; do sleep 0.1; done"]}
        containerSet:
          containers:
          - {name: one, image: alpine, command: [sh, -c, "echo one >> @directory@/log; exit @code@"]}
          - {name: two, image: alpine, command: [sh, -c, "echo two >> @directory@/log"], dependencies: [one]}
          - {name: main, image: alpine, command: [sh, -c, "cat @directory@/log"], dependencies: [one, two]}
      - name: echo
        inputs: {parameters: [{name: text}]}
        container: {image: alpine, command: [echo, "{{inputs.parameters.text}}"]}
      - name: handler
        container: {image: alpine, command: [echo, handled]}
    """


def test_a_set_with_all_that_goes_with_it(cluster: Cluster, tmp_path: Path) -> None:
    [workflow] = cluster.run(written(SET, directory=tmp_path, code=0))
    found = nodes(workflow)
    assert set(phases(workflow).values()) == {"Succeeded"}
    assert [found[f"[0].set.{name}"]["type"] for name in ("one", "two", "main")] == ["Container"] * 3
    assert found["[0].set"]["outputs"] == {"result": "before\none\ntwo", "exitCode": "0"}
    assert found["[1].after"]["inputs"]["parameters"][0]["value"] == "before\none\ntwo"
    assert workflow["status"]["progress"] == "6/6"


def test_a_container_of_a_set_that_fails_is_told_of_and_handled(cluster: Cluster, tmp_path: Path) -> None:
    [workflow] = cluster.run(written(SET, directory=tmp_path, code=3))
    found = nodes(workflow)
    assert workflow["status"]["phase"] == "Failed"
    assert (found["[0].set"]["phase"], found["[0].set"]["message"]) == ("Failed", "one: Error (exit code 3)")
    assert [found[f"[0].set.{name}"]["phase"] for name in ("one", "two", "main")] == ["Failed", "Error", "Error"]
    assert found["[0].set.onExit"]["phase"] == "Succeeded"
    assert (tmp_path / "log").read_text() == "before\none\n"


def test_logs_tell_the_containers_apart(cluster: Cluster) -> None:
    spec = """
        spec:
          entrypoint: main
          templates:
          - name: main
            initContainers: [{name: first, image: alpine, command: [echo, from the first]}]
            container: {image: alpine, command: [sh, -c, "sleep 0.3; echo from main"]}
            sidecars: [{name: side, image: alpine, command: [sh, -c, "echo from the side; sleep 60"]}]
        """
    [workflow] = cluster.run(written(spec))
    assert workflow["status"]["phase"] == "Succeeded"
    said = cluster.call("logs", workflow["metadata"]["name"]).stdout
    for line in ("first: from the first", "side: from the side", "from main"):
        assert line in said


@pytest.mark.skipif(not (ARGO / "examples").is_dir(), reason="Argo's examples are not beside this checkout")
@pytest.mark.parametrize("name", ["graph", "parallel", "sequence", "outputs-result"])
def test_argos_examples_of_sets_succeed(cluster: Cluster, name: str) -> None:
    text = (ARGO / "examples" / "container-set-template" / f"{name}-workflow.yaml").read_text()
    [workflow] = cluster.run(text)
    assert set(phases(workflow).values()) == {"Succeeded"}, workflow["status"]


@pytest.fixture(scope="module", params=["process", "sandbox"])
def with_volumes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster whose steps run in this runtime."""
    problem = probe().problem
    if request.param == "sandbox" and problem:
        pytest.skip(f"no sandbox here: {problem}")
    base = tmp_path_factory.mktemp("volumes")
    (base / "images.yaml").write_text(IMAGES)
    cluster = Cluster(base / "data", arguments=["--runtime", request.param, "--images", str(base / "images.yaml")])
    cluster.up()
    yield cluster
    cluster.down()


def test_containers_of_a_step_share_its_volumes(with_volumes: Cluster) -> None:
    """A set's own `volumeMounts`, and `mirrorVolumeMounts` of an init container and a sidecar."""
    spec = """
        spec:
          entrypoint: main
          volumes: [{name: space, emptyDir: {}}]
          templates:
          - name: main
            initContainers:
            - {name: first, image: alpine, command: [sh, -c, "echo first > /exeunt-space/first"], mirrorVolumeMounts: true}
            sidecars:
            - {name: side, image: alpine, command: [sh, -c, "echo side > /exeunt-space/side; sleep 60"], mirrorVolumeMounts: true}
            containerSet:
              volumeMounts: [{name: space, mountPath: /exeunt-space}]
              containers:
              - {name: one, image: alpine, command: [sh, -c, "cat /exeunt-space/first > /exeunt-space/one"]}
              - name: main
                image: alpine
                command: [sh, -c, "until [ -s /exeunt-space/side ]; do sleep 0.05; done; cat /exeunt-space/one /exeunt-space/side > /exeunt-space/all"]
                dependencies: [one]
            outputs: {parameters: [{name: all, valueFrom: {path: /exeunt-space/all}}]}
        """
    [workflow] = with_volumes.run(written(spec))
    assert set(phases(workflow).values()) == {"Succeeded"}, workflow["status"]
    assert nodes(workflow)[""]["outputs"]["parameters"] == [{"name": "all", "value": "first\nside"}]


@pytest.mark.skipif(not (ARGO / "examples").is_dir(), reason="Argo's examples are not beside this checkout")
@pytest.mark.parametrize("name", ["container-set-template/workspace-workflow", "init-container"])
def test_argos_examples_with_volumes_succeed(with_volumes: Cluster, name: str) -> None:
    [workflow] = with_volumes.run((ARGO / "examples" / f"{name}.yaml").read_text())
    assert set(phases(workflow).values()) == {"Succeeded"}, workflow["status"]


HUNGRY = """
    spec:
      entrypoint: main
      templates:
      - name: main
        steps:
        - - {name: one, template: one, continueOn: {failed: true}}
          - {name: set, template: set, continueOn: {failed: true}}
          - {name: init, template: init, continueOn: {failed: true}}
          - {name: enough, template: enough}
      - name: one
        container: &hungry
          image: python
          command: [python, -c, "print(len(b'x' * (200 << 20)))"]
          resources: {limits: {memory: 64Mi, cpu: 500m}}
      - name: set
        containerSet: {containers: [{<<: *hungry, name: eater}]}
      - name: init
        initContainers: [{<<: *hungry, name: eater}]
        container: {image: alpine, command: ["true"]}
      - name: enough
        container: {<<: *hungry, resources: {limits: {memory: 1Gi}, requests: {memory: 128Mi}}}
    """


def limits_memory() -> bool:
    """Whether control groups of memory can be written here."""
    groups = find_groups("exeunt-asked-for-by-a-test")
    clear_groups(groups)
    return "memory" in groups.roots


def test_a_container_above_its_memory_limit_is_ended(with_volumes: Cluster) -> None:
    if "sandbox" not in with_volumes.arguments or not limits_memory():
        wanted = dict.fromkeys(("one", "set", "init", "enough"), ("Succeeded", None))
    else:
        wanted = {
            "one": ("Failed", "main: OOMKilled (exit code 137)"),
            "set": ("Failed", "eater: OOMKilled (exit code 137)"),
            "init": ("Failed", "eater: OOMKilled (exit code 137)"),
            "enough": ("Succeeded", None),
        }
    [workflow] = with_volumes.run(written(HUNGRY))
    found = nodes(workflow)
    got = {name: (found[f"[0].{name}"]["phase"], found[f"[0].{name}"].get("message") or None) for name in wanted}
    assert got == wanted


KNOWN = """
    metadata: {generateName: w-, labels: {team: blue}}
    spec:
      entrypoint: main
      serviceAccountName: runner
      podMetadata: {labels: {tier: "{{workflow.parameters.tier}}"}}
      arguments: {parameters: [{name: tier, value: "$(upper)"}]}
      templates:
      - name: main
        metadata: {annotations: {note: a $(NAME) b}}
        container:
          image: alpine
          command: [sh, -c, "env | grep ^F_ | sort"]
          resources: {limits: {memory: 64Mi}, requests: {cpu: 250m}}
          env:
          - {name: NAME, value: never}
          - {name: F_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
          - {name: F_SPACE, valueFrom: {fieldRef: {apiVersion: v1, fieldPath: metadata.namespace}}}
          - {name: F_UID, valueFrom: {fieldRef: {fieldPath: metadata.uid}}}
          - {name: F_TIER, valueFrom: {fieldRef: {fieldPath: "metadata.labels['tier']"}}}
          - {name: F_FLOW, valueFrom: {fieldRef: {fieldPath: "metadata.labels['workflows.argoproj.io/workflow']"}}}
          - {name: F_NONE, valueFrom: {fieldRef: {fieldPath: "metadata.labels['none']"}}}
          - {name: F_NOTE, valueFrom: {fieldRef: {fieldPath: "metadata.annotations['note']"}}}
          - {name: F_NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
          - {name: F_AS, valueFrom: {fieldRef: {fieldPath: spec.serviceAccountName}}}
          - {name: F_POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
          - {name: F_HOST_IP, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}
          - {name: F_AT, value: "$(F_POD_IP):80"}
          - {name: F_MEMORY, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
          - {name: F_ASKED, valueFrom: {resourceFieldRef: {resource: requests.cpu, divisor: 1m}}}
          - {name: F_CPUS, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}
          - {name: F_SIDE, valueFrom: {resourceFieldRef: {containerName: side, resource: limits.cpu}}}
        sidecars: [{name: side, image: alpine, command: [sleep, "60"], resources: {limits: {cpu: 3}}}]
    """


def test_variables_of_the_pod_have_what_can_be_known(cluster: Cluster) -> None:
    [workflow] = cluster.run(written(KNOWN).replace("metadata: {generateName: w-}\n", "", 1))
    [node] = nodes(workflow).values()
    assert node["phase"] == "Succeeded", node
    said = dict(
        line.partition("=")[::2] for line in cluster.call("logs", workflow["metadata"]["name"]).stdout.splitlines()
    )
    got = {name.rpartition(" ")[2]: value for name, value in said.items() if "F_" in name}
    assert len(got.pop("F_UID")) == 36
    assert got == {
        "F_NAME": workflow["metadata"]["name"],
        "F_SPACE": "default",
        "F_TIER": "$(upper)",
        "F_FLOW": workflow["metadata"]["name"],
        "F_NONE": "",
        "F_NOTE": "a $(NAME) b",
        "F_NODE": node["hostNodeName"],
        "F_AS": "runner",
        "F_POD_IP": "127.0.0.1",
        "F_HOST_IP": "127.0.0.1",
        "F_AT": "127.0.0.1:80",
        "F_MEMORY": "64",
        "F_ASKED": "250",
        "F_CPUS": str(len(os.sched_getaffinity(0))),
        "F_SIDE": "3",
    }


PROGRESS = """
    spec:
      entrypoint: main
      templates:
      - name: main
        steps:
        - - {name: says, template: says}
          - {name: begins, template: begins, continueOn: {failed: true}}
          - {name: silent, template: silent}
      - name: says
        container:
          image: alpine
          command: [sh, -c, "echo 25/100 > $ARGO_PROGRESS_FILE; until [ -e @directory@/go ]; do sleep 0.1; done; echo 60/100 > $ARGO_PROGRESS_FILE; exit @code@"]
      - name: begins
        metadata: {annotations: {workflows.argoproj.io/progress: 0/10}}
        container: {image: alpine, command: [sh, -c, "until [ -e @directory@/go ]; do sleep 0.1; done; exit 1"]}
      - name: silent
        container: {image: alpine, command: ["true"]}
    """


@pytest.mark.parametrize(("code", "kept", "whole"), [(0, "100/100", "101/111"), (1, "60/100", "61/111")])
def test_progress_is_told_while_a_step_runs_and_kept(
    cluster: Cluster, tmp_path: Path, code: int, kept: str, whole: str
) -> None:
    [name] = cluster.submit(written(PROGRESS, directory=tmp_path, code=code))
    until(lambda: nodes(cluster.get(name)).get("[0].says", {}).get("progress") == "25/100")
    workflow = cluster.get(name)
    assert nodes(workflow)["[0].says"]["phase"] == "Running"
    assert nodes(workflow)["[0].begins"]["progress"] == "0/10"
    until(lambda: cluster.get(name)["status"]["progress"] == "26/111")
    (tmp_path / "go").touch()
    workflow = cluster.wait(name)
    found = nodes(workflow)
    assert (found["[0].says"]["progress"], found["[0].begins"]["progress"]) == (kept, "0/10")
    assert "progress" not in found["[0].silent"]
    assert workflow["status"]["progress"] == whole


# --- daemons ----------------------------------------------------------------------------------------------------------

SERVER = """
      - name: server
        daemon: true
        container:
          image: python
          command: [python, -m, http.server, "@port@", --directory, "@directory@"]
          ports: [{name: web, containerPort: @port@}]
          readinessProbe: {httpGet: {path: /, port: web}, periodSeconds: 1}
      - name: client
        inputs: {parameters: [{name: at}]}
        script:
          image: python
          command: [python]
          source: |
            import urllib.request
            print(urllib.request.urlopen("http://{{inputs.parameters.at}}:@port@/page").read().decode())
"""
STEPS = (
    """
    spec:
      entrypoint: main
      templates:
      - name: main
        steps:
        - - {name: server, template: server, onExit: handler}
        - - {name: client, template: client, arguments: {parameters: [{name: at, value: "{{steps.server.ip}}"}]}}
        - - {name: echo, template: echo, arguments: {parameters: [{name: at, value: "{{steps.client.outputs.result}}"}]}}
      - name: echo
        inputs: {parameters: [{name: at}]}
        container: {image: alpine, command: [echo, "{{inputs.parameters.at}}"]}
      - name: handler
        container: {image: alpine, command: [echo, handled]}
    """.rstrip(" ")
    + SERVER
)


def test_a_client_reaches_a_daemon_which_ends_when_the_steps_do(cluster: Cluster, tmp_path: Path, port: int) -> None:
    (tmp_path / "page").write_text("welcome")
    [workflow] = cluster.run(written(STEPS, directory=tmp_path, port=port))
    found = nodes(workflow)
    assert set(phases(workflow).values()) == {"Succeeded"}
    assert found["[2].echo"]["inputs"]["parameters"][0]["value"] == "welcome"
    assert found["[0].server.onExit"]["phase"] == "Succeeded"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 5)


def test_a_daemon_serves_inside_of_an_exit_handler(cluster: Cluster, tmp_path: Path, port: int) -> None:
    (tmp_path / "page").write_text("good bye")
    text = written(STEPS, directory=tmp_path, port=port).replace(
        "entrypoint: main", "entrypoint: handler\n  onExit: main"
    )
    [workflow] = cluster.run(text)
    found = nodes(workflow)
    assert set(phases(workflow).values()) == {"Succeeded"}
    assert found[".onExit[2].echo"]["inputs"]["parameters"][0]["value"] == "good bye"


LONG = """
    spec:
      entrypoint: main
      onExit: handler
      templates:
      - name: main
        dag:
          tasks:
          - {name: server, template: server, onExit: handler}
          - {name: client, template: client, depends: server}
      - name: server
        daemon: true
        container: {image: alpine, command: [sh, -c, "echo $$ > @directory@/pid; exec sleep 600"]}
      - name: client
        container: {image: alpine, command: [sh, -c, "until [ -e @directory@/go ]; do sleep 0.1; done"]}
      - name: handler
        container: {image: alpine, command: [echo, handled]}
    """


def started(cluster: Cluster, directory: Path) -> str:
    """A workflow whose client waits for the file `go`."""
    [name] = cluster.submit(written(LONG, directory=directory))
    until(lambda: nodes(cluster.get(name)).get(".client", {}).get("phase") == "Running")
    server = nodes(cluster.get(name))[".server"]
    assert (server["phase"], server["daemoned"]) == ("Running", True)
    return name


def test_a_stop_ends_a_daemon_and_its_handlers_run(cluster: Cluster, tmp_path: Path) -> None:
    name = started(cluster, tmp_path)
    assert cluster.call("stop", name).returncode == 0
    workflow = cluster.wait(name)
    found = phases(workflow)
    assert (workflow["status"]["phase"], found[".client"], found[".server"]) == ("Failed", "Failed", "Succeeded")
    assert (found[".server.onExit"], found[".onExit"]) == ("Succeeded", "Succeeded")
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.mark.faults
def test_a_daemon_outlives_the_scheduler_and_not_its_executor(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "cluster" / "data")
    cluster.up()
    try:
        (tmp_path / "a").mkdir()
        name = started(cluster, tmp_path / "a")
        pid = int((tmp_path / "a" / "pid").read_text())
        before = cluster.pids("scheduler")
        cluster.signal("scheduler", signal.SIGKILL)
        until(lambda: cluster.pids("scheduler") not in ([], before))
        cluster.environ["EXEUNT_SERVER"] = cluster.facts()["scheduler"]["address"]
        until(lambda: cluster.call("get", name).returncode == 0)
        assert nodes(cluster.get(name))[".server"]["daemoned"]
        os.kill(pid, 0)
        (tmp_path / "a" / "go").touch()
        assert set(phases(cluster.wait(name)).values()) == {"Succeeded"}

        (tmp_path / "b").mkdir()
        name = started(cluster, tmp_path / "b")
        cluster.signal("executor", signal.SIGKILL)
        found = phases(cluster.wait(name, seconds=100))
        assert (found[".server"], found[".client"]) == ("Error", "Error")
        assert (found[".server.onExit"], found[".onExit"]) == ("Succeeded", "Succeeded")
    finally:
        cluster.down()
