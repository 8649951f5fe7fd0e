"""What Argo's pages on volumes, sidecars, daemons and container sets promise, on the real services.

The manifests are our own; the pages are walk-through/volumes, sidecars and daemon-containers, and container-set-template.
"""

# ruff: noqa: E501 -- a manifest reads best as it is written

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from exeunt.executor.runtime.sandbox.probe import probe
from tests.e2e.cluster import Cluster, nodes
from tests.e2e.conftest import IMAGES

PROBLEM = probe().problem
pytestmark = [pytest.mark.services, pytest.mark.skipif(bool(PROBLEM), reason=f"no sandbox here: {PROBLEM}")]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    base = tmp_path_factory.mktemp("pages")
    (base / "images.yaml").write_text(IMAGES)
    (base / "existing").mkdir()
    cluster = Cluster(
        base / "data",
        arguments=["--runtime", "sandbox", "--slots", "8", "--images", str(base / "images.yaml")],
        environ={"EXEUNT_NAMED_CLAIMS": f"existing={base / 'existing'}"},
    )
    cluster.up()
    yield cluster
    cluster.down()


@pytest.fixture
def port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def ran(cluster: Cluster, templates: str, more: str = "") -> dict[str, Any]:
    text = f"apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nmetadata: {{generateName: page-}}\nspec:\n  entrypoint: main\n{more}  templates:\n{templates.strip(chr(10))}\n"
    [workflow] = cluster.run(text)
    return workflow


def succeeded(cluster: Cluster, templates: str, more: str = "") -> dict[str, Any]:
    workflow = ran(cluster, templates, more)
    wrong = [f"{name}: {node['message']}" for name, node in nodes(workflow).items() if node.get("message")]
    assert workflow["status"]["phase"] == "Succeeded", "\n".join(wrong)
    return workflow


def said(workflow: dict[str, Any], node: str) -> str:
    return str(nodes(workflow)[node]["outputs"]["parameters"][0]["value"])


SAID = "outputs: {parameters: [{name: said, valueFrom: {path: /tmp/said}}]}"

# --- volumes ----------------------------------------------------------------------------------------------------------

TWO_STEPS = f"""
  - name: main
    steps: [[{{name: write, template: write}}], [{{name: read, template: read}}]]
  - name: write
    container: {{image: busybox, command: [sh, -c, "echo from the volume > /mnt/vol/greeting"], volumeMounts: [{{name: dir, mountPath: /mnt/vol}}]}}
  - name: read
    container: {{image: busybox, command: [sh, -c, "cat /mnt/vol/greeting > /tmp/said"], volumeMounts: [{{name: dir, mountPath: /mnt/vol}}]}}
    {SAID}
"""
CLAIM = "  volumeClaimTemplates: [{metadata: {name: dir}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}]\n"


@pytest.mark.parametrize("volumes", [CLAIM, "  volumes: [{name: dir, persistentVolumeClaim: {claimName: existing}}]\n"])
def test_steps_share_a_volume_that_is_made_or_was_there(cluster: Cluster, volumes: str) -> None:
    assert said(succeeded(cluster, TWO_STEPS, volumes), "[1].read") == "from the volume"


def test_a_template_names_a_volume_by_a_parameter(cluster: Cluster) -> None:
    text = TWO_STEPS.replace(
        "template: read}",
        'template: read, arguments: {parameters: [{name: claim, value: "{{steps.choose.outputs.result}}"}]}}',
    )
    text = text.replace(
        "template: write}",
        'template: write, arguments: {parameters: [{name: claim, value: "{{steps.choose.outputs.result}}"}]}}',
    )
    text = text.replace("steps: [[", "steps: [[{name: choose, template: choose}], [")
    for name in ("write", "read"):
        text = text.replace(
            f"  - name: {name}\n",
            f'  - name: {name}\n    inputs: {{parameters: [{{name: claim}}]}}\n    volumes: [{{name: dir, persistentVolumeClaim: {{claimName: "{{{{inputs.parameters.claim}}}}"}}}}]\n',
        )
    text += "  - {name: choose, container: {image: busybox, command: [echo, existing]}}\n"
    assert said(succeeded(cluster, text), "[2].read") == "from the volume"
    wrong = ran(cluster, text.replace("[echo, existing]", "[echo, unknown]"))
    assert nodes(wrong)["[1].write"]["phase"] == "Error"
    assert "unknown" in nodes(wrong)["[1].write"]["message"]


# --- sidecars and init containers -------------------------------------------------------------------------------------


def test_a_sidecar_serves_while_the_step_runs_and_ends_with_it(cluster: Cluster, port: int) -> None:
    """The step asks until the server is there, as the page advises."""
    workflow = succeeded(
        cluster,
        f"""
  - name: main
    script:
      image: python
      command: [python]
      source: |
        import time, urllib.request
        while True:
            try:
                found = urllib.request.urlopen("http://127.0.0.1:{port}/etc/hostname").read()
                break
            except OSError:
                time.sleep(0.05)
        open("/tmp/said", "wb").write(b"it answered")
    sidecars:
    - {{name: web, image: python, command: [python, -m, http.server, "{port}", --bind, 127.0.0.1, --directory, /]}}
    {SAID}
""".replace("/etc/hostname", "/etc/passwd"),
    )
    assert said(workflow, "") == "it answered"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 5)


def test_init_containers_run_one_after_the_other_before_the_step(cluster: Cluster) -> None:
    templates = f"""
  - name: main
    volumes: [{{name: shared, emptyDir: {{}}}}]
    initContainers:
    - {{name: one, image: busybox, mirrorVolumeMounts: true, command: [sh, -c, "sleep 0.2; echo one >> /shared/log"]}}
    - {{name: two, image: busybox, mirrorVolumeMounts: true, command: [sh, -c, "echo two >> /shared/log; exit CODE"]}}
    container:
      image: busybox
      command: [sh, -c, "tr '\\\\n' ' ' < /shared/log > /tmp/said; echo main >> /tmp/said"]
      volumeMounts: [{{name: shared, mountPath: /shared}}]
    {SAID}
"""
    assert said(succeeded(cluster, templates.replace("CODE", "0")), "") == "one two main"
    failed = ran(cluster, templates.replace("CODE", "3"))["status"]
    assert failed["phase"] in ("Failed", "Error")
    assert "two" in failed["message"]
    assert "exit code 3" in failed["message"]


# --- daemons ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["steps", "tasks"])
def test_a_daemon_serves_several_steps_with_the_files_it_was_given(cluster: Cluster, port: int, scope: str) -> None:
    """Its first attempt dies before it is ready; retryStrategy brings another one."""
    ask = f'{{name: NAME, template: ask, DEPENDS arguments: {{parameters: [{{name: at, value: "{{{{{scope}.server.ip}}}}"}}]}}}}'
    asked = [
        ask.replace("NAME", name).replace("DEPENDS", "depends: server," * (scope == "tasks")) for name in ("one", "two")
    ]
    server = "{name: server, template: server, arguments: {artifacts: [{name: page, raw: {data: welcome}}]}}"
    body = (
        f"steps: [[{server}], [{', '.join(asked)}]]"
        if scope == "steps"
        else f"dag: {{tasks: [{server}, {', '.join(asked)}]}}"
    )
    workflow = succeeded(
        cluster,
        f"""
  - name: main
    {body}
  - name: server
    daemon: true
    retryStrategy: {{limit: 3}}
    inputs: {{artifacts: [{{name: page, path: /srv/www/page}}]}}
    container:
      image: python
      command: [sh, -c, "test {{{{retries}}}} = 1 && exec python3 -m http.server {port} --directory /srv/www"]
      readinessProbe: {{httpGet: {{path: /page, port: {port}}}, periodSeconds: 1}}
  - name: ask
    inputs: {{parameters: [{{name: at}}]}}
    script:
      image: python
      command: [python]
      source: |
        import urllib.request
        open("/tmp/said", "wb").write(urllib.request.urlopen("http://{{{{inputs.parameters.at}}}}:{port}/page").read())
    {SAID}
""",
    )
    names = ("[1].one", "[1].two") if scope == "steps" else (".one", ".two")
    assert [said(workflow, name) for name in names] == ["welcome", "welcome"]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 5)


# --- container sets ---------------------------------------------------------------------------------------------------


def test_a_set_takes_and_leaves_files_by_its_workspace(cluster: Cluster) -> None:
    """Inputs lie in the volume that all containers have, and what they leave there is kept, a parameter besides."""
    workflow = succeeded(
        cluster,
        """
  - name: main
    steps:
    - - {name: set, template: set, arguments: {artifacts: [{name: given, raw: {data: "given "}}]}}
    - - {name: take, template: take, arguments: {artifacts: [{name: text, from: "{{steps.set.outputs.artifacts.made}}"}]}}
  - name: set
    volumes: [{name: workspace, emptyDir: {}}]
    inputs: {artifacts: [{name: given, path: /workspace/given}]}
    containerSet:
      volumeMounts: [{name: workspace, mountPath: /workspace}]
      containers:
      - {name: a, image: busybox, command: [sh, -c, "cat /workspace/given > /workspace/a; echo from a >> /workspace/a"]}
      - {name: b, image: busybox, command: [sh, -c, "echo from b > /workspace/b"]}
      - {name: main, image: busybox, command: [sh, -c, "cat /workspace/a /workspace/b > /workspace/made"], dependencies: [a, b]}
    outputs:
      parameters: [{name: said, valueFrom: {path: /workspace/made}}]
      artifacts: [{name: made, path: /workspace/made}]
  - name: take
    inputs: {artifacts: [{name: text, path: /tmp/text}]}
    container: {image: busybox, command: [cp, /tmp/text, /tmp/said]}
    """
        + SAID,
    )
    assert said(workflow, "[0].set") == "given from a\nfrom b"
    assert said(workflow, "[1].take") == "given from a\nfrom b"


def test_a_set_tries_its_containers_again_where_they_stand(cluster: Cluster) -> None:
    """Its own retryStrategy makes no new nodes, and keeps the container's files; one that succeeded runs once."""
    workflow = succeeded(
        cluster,
        """
  - name: main
    volumes: [{name: workspace, emptyDir: {}}]
    containerSet:
      retryStrategy: {retries: "5", duration: 10ms}
      volumeMounts: [{name: workspace, mountPath: /workspace}]
      containers:
      - {name: fine, image: busybox, command: [sh, -c, "echo x >> /workspace/fine"]}
      - {name: main, image: busybox, dependencies: [fine], command: [sh, -c, "echo x >> /workspace/tries; test $(wc -l < /workspace/tries) = 3 && cat /workspace/fine /workspace/tries > /workspace/said"]}
    outputs: {parameters: [{name: said, valueFrom: {path: /workspace/said}}]}
""",
    )
    assert said(workflow, "").split() == ["x"] * 4
    assert sorted(nodes(workflow)) == ["", ".fine", ".main"]
