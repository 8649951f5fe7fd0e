"""Files from step to step, on the real services, in both runtimes of one machine: YAML in, files and phases out."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.actions import servers
from tests.e2e.cluster import Cluster, nodes
from tests.e2e.conftest import IMAGES

pytestmark = [pytest.mark.services]


@pytest.fixture(scope="module", params=["process", "sandbox"])
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    base = tmp_path_factory.mktemp("cluster")
    (base / "images.yaml").write_text(IMAGES)
    arguments = ["--images", str(base / "images.yaml"), "--slots", "8", "--runtime", request.param]
    cluster = Cluster(base / "data", arguments=arguments)
    cluster.up()
    try:
        yield cluster
    finally:
        cluster.down()


@pytest.fixture
def here(tmp_path: Path) -> str:
    """A directory name that nothing else on this machine has, for the absolute paths of manifests."""
    return f"/tmp/exeunt-{tmp_path.name}-{id(tmp_path)}"


def cat(cluster: Cluster, workflow: str, *names: str) -> str:
    done = cluster.call("artifacts", "cat", workflow, *names)
    assert done.returncode == 0, done.stderr
    return done.stdout


PASSING = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: passing-}
spec:
  entrypoint: main
  onExit: handler
  templates:
  - name: main
    steps:
    - - {name: make, template: make}
    - - name: take
        template: take
        arguments:
          artifacts:
          - {name: file, from: "{{steps.make.outputs.artifacts.file}}"}
          - {name: plain, from: "{{steps.make.outputs.artifacts.plain}}"}
          - {name: zipped, from: "{{steps.make.outputs.artifacts.zipped}}"}
          - {name: folder, from: "{{steps.make.outputs.artifacts.folder}}"}
          - {name: files, from: "{{steps.make.outputs.artifacts.files}}"}
          - {name: part, from: "{{steps.make.outputs.artifacts.files}}", subPath: two}
          - {name: text, raw: {data: "the text itself"}}
  - name: make
    container:
      image: busybox
      command: [sh, -c]
      args:
      - |
        mkdir -p HERE/out/sub && cd HERE/out
        echo one > one; echo two > sub/two; chmod 750 sub/two; ln -s one three
        printf plain > HERE/plain; echo alone > HERE/alone
    outputs:
      artifacts:
      - {name: file, path: HERE/alone, globalName: kept}
      - {name: plain, path: HERE/plain, archive: {none: {}}}
      - {name: zipped, path: HERE/out/one, archive: {zip: {}}}
      - {name: folder, path: HERE/out, archive: {tar: {compressionLevel: 9}}}
      - {name: files, path: HERE/out/sub, archive: {none: {}}, s3: {key: "{{workflow.name}}/here/sub"}}
      - {name: maybe, path: HERE/never, optional: true}
  - name: take
    inputs:
      artifacts:
      - {name: file, path: HERE-in/file}
      - {name: plain, path: HERE-in/plain, archive: {none: {}}}
      - {name: zipped, path: HERE-in/zipped, archive: {zip: {}}}
      - {name: folder, path: HERE-in/folder}
      - {name: files, path: HERE-in/files}
      - {name: part, path: HERE-in/part, mode: 448}
      - {name: text, path: HERE-in/text}
      - {name: none, path: HERE-in/none, optional: true}
    container:
      image: busybox
      command: [sh, -c]
      args:
      - |
        cd HERE-in
        cat file plain; echo; cat zipped folder/one folder/sub/two folder/three files/two part text; echo
        stat -L -c %a folder/sub/two part; test ! -e none && echo no none
  - name: handler
    inputs:
      artifacts:
      - {name: last, path: HERE-in/last}
    container: {image: busybox, command: [cat, HERE-in/last]}
  hooks: {}
"""


def test_files_go_from_step_to_step_and_to_the_handler(cluster: Cluster, here: str) -> None:
    text = (
        PASSING.replace("HERE", here)
        .replace("  onExit: handler\n", "")
        .replace(
            "hooks: {}",
            "hooks: {exit: {template: handler, arguments: {artifacts: "
            '[{name: last, from: "{{workflow.outputs.artifacts.kept}}"}]}}}',
        )
    )
    (workflow,) = cluster.run(text)
    assert workflow["status"]["phase"] == "Succeeded", workflow["status"]
    name = workflow["metadata"]["name"]
    lines = cluster.call("logs", name).stdout
    printed = [
        line.partition(": ")[2] for line in lines.splitlines() if ".take:" in line or "take" in line.split(":")[0]
    ]
    assert printed == [
        "alone",
        "plain",
        "one",
        "one",
        "two",
        "one",
        "two",
        "two",
        "the text itself",
        "750",
        "700",
        "no none",
    ]
    assert any(line.endswith(": alone") and "onExit" in line for line in lines.splitlines())
    made = {one["name"]: one for one in nodes(workflow)["[0].make"]["outputs"]["artifacts"]}
    assert set(made) == {"file", "plain", "zipped", "folder", "files"}
    assert made["plain"]["content"] == {"size": 5, "sha256": hashlib.sha256(b"plain").hexdigest()}
    assert made["files"]["content"] == {"size": 4, "files": 1}
    assert cat(cluster, name, "plain") == "plain"


FAILING = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: failing-}
spec:
  entrypoint: main
  templates:
  - name: main
    steps:
    - - name: broken
        template: broken
        hooks:
          exit:
            template: look
            arguments: {artifacts: [{name: report, from: "{{steps.broken.outputs.artifacts.report}}"}]}
  - name: broken
    retryStrategy: {limit: 1}
    container:
      image: busybox
      command: [sh, -c]
      args: ["mkdir -p HERE; echo attempt {{retries}} > HERE/report; exit 3"]
    outputs:
      artifacts: [{name: report, path: HERE/report}]
  - name: look
    inputs: {artifacts: [{name: report, path: HERE-in/report}]}
    container: {image: busybox, command: [cat, HERE-in/report]}
"""


def test_a_handler_sees_what_the_last_attempt_of_a_failed_step_left(cluster: Cluster, here: str) -> None:
    (workflow,) = cluster.run(FAILING.replace("HERE", here))
    assert workflow["status"]["phase"] == "Failed"
    lines = cluster.call("logs", workflow["metadata"]["name"]).stdout.splitlines()
    assert any(line.endswith(": attempt 1") for line in lines), lines
    (record,) = cluster.exits("--workflow", workflow["metadata"]["name"])
    assert record["state"] == "succeeded"


ONE = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: one-}
spec:
  entrypoint: main
  archiveLogs: LOGS
  templates:
  - name: main
    INPUTS
    container: {image: busybox, command: [sh, -c, 'COMMAND']}
    OUTPUTS
"""


def one(command: str, *, inputs: str = "", outputs: str = "", logs: str = "false") -> str:
    text = ONE.replace("COMMAND", command).replace("LOGS", logs)
    text = text.replace("INPUTS", f"inputs: {{artifacts: [{inputs}]}}" if inputs else "inputs: {}")
    return text.replace("OUTPUTS", f"outputs: {{artifacts: [{outputs}]}}" if outputs else "outputs: {}")


def test_what_a_step_printed_is_an_artifact(cluster: Cluster) -> None:
    (workflow,) = cluster.run(one("echo out; echo err >&2; seq 3", logs="true"))
    name = workflow["metadata"]["name"]
    assert sorted(cat(cluster, name, "main-logs").splitlines()) == ["1", "2", "3", "err", "out"]


OF_SET = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: set-}
spec:
  entrypoint: main
  archiveLogs: true
  templates:
  - name: main
    inputs: {artifacts: [{name: given, path: HERE-in/given, raw: {data: "what is given"}}]}
    containerSet:
      containers:
      - {name: one, image: busybox, command: [sh, -c, "cat HERE-in/given; echo; printf no-end >&2"]}
      - name: main
        image: busybox
        command: [sh, -c, "mkdir -p HERE; cat HERE-in/given | tee HERE/out; echo"]
        dependencies: [one]
    sidecars: [{name: side, image: busybox, command: [sh, -c, "echo aside; sleep 60"]}]
    outputs: {artifacts: [{name: out, path: HERE/out}]}
"""


def test_containers_of_a_set_find_the_inputs_and_have_logs_of_their_own(cluster: Cluster, here: str) -> None:
    [workflow] = cluster.run(OF_SET.replace("HERE", here))
    name = workflow["metadata"]["name"]
    assert workflow["status"]["phase"] == "Succeeded", workflow["status"]
    kept = {one["name"] for one in nodes(workflow)[""]["outputs"]["artifacts"]}
    assert kept == {"out", "one-logs", "main-logs"}
    assert cat(cluster, name, "out") == "what is given"
    assert cat(cluster, name, "main-logs") == "what is given\n"
    assert sorted(cat(cluster, name, "one-logs").splitlines()) == ["no-end", "what is given"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"outputs": "{name: a, path: HERE/never}"}, "wait: Error (exit code 1): artifact a: HERE/never: no such file"),
        (
            {"inputs": "{name: a, path: HERE/a, s3: {key: never}}"},
            "init: Error (exit code 1): artifact a, nats never: there is none of this key",
        ),
        (
            {"inputs": "{name: a, path: HERE/a, raw: {data: x}, archive: {tar: {}}}"},
            "init: Error (exit code 1): artifact a: the archive ends in the midst",
        ),
        ({"outputs": "{name: a, path: /dev/null}"}, "artifact a: /dev/null is a character device"),
    ],
)
def test_what_cannot_be_had_or_kept_is_an_error_that_says_it(
    cluster: Cluster, here: str, given: dict[str, str], said: str
) -> None:
    given = {name: value.replace("HERE", here) for name, value in given.items()}
    (workflow,) = cluster.run(one("exit 0", **given))
    assert workflow["status"]["phase"] == "Error", workflow["status"]
    assert said.replace("HERE", here) in workflow["status"]["message"]


def test_a_repository_in_s3_is_used_with_its_secrets(cluster: Cluster, here: str) -> None:
    with servers.s3() as s3:
        (s3.folder / "bucket").mkdir()
        cluster.submit(f"""
apiVersion: v1
kind: Secret
metadata: {{name: store}}
stringData: {{id: "{s3.key_id}", word: "{s3.key}"}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: my-repositories}}
data:
  there: |
    s3:
      endpoint: {s3.url.removeprefix("http://")}
      insecure: true
      bucket: bucket
      keyFormat: "all/{{{{workflow.name}}}}/{{{{pod.name}}}}"
      accessKeySecret: {{name: store, key: id}}
      secretKeySecret: {{name: store, key: word}}
""")
        text = one(f"mkdir -p {here}; echo kept > {here}/a", outputs=f"{{name: a, path: {here}/a}}")
        text = text.replace(
            "  entrypoint", "  artifactRepositoryRef: {configMap: my-repositories, key: there}\n  entrypoint"
        )
        (workflow,) = cluster.run(text)
        assert workflow["status"]["phase"] == "Succeeded", workflow["status"]
        name = workflow["metadata"]["name"]
        (kept,) = (s3.folder / "bucket" / "all" / name).rglob("*.tgz")
        with tarfile.open(fileobj=io.BytesIO(kept.read_bytes())) as tar:
            member = tar.extractfile("a")
            assert member is not None
            assert member.read() == b"kept\n"
        done = cluster.call("get", name, "-o", "json")
        assert s3.key not in done.stdout


def test_a_missing_repository_is_refused_at_submission(cluster: Cluster) -> None:
    text = one("true", outputs="{name: a, path: /a}").replace(
        "  entrypoint", "  artifactRepositoryRef: {configMap: nowhere}\n  entrypoint"
    )
    done = cluster.call("submit", "-", stdin=text)
    assert done.returncode in {1, 2}
    assert "-:6: spec.artifactRepositoryRef: there is no ConfigMap 'nowhere'" in done.stderr


def test_a_deleted_workflow_takes_its_artifacts_along(cluster: Cluster, here: str) -> None:
    text = one(
        f"mkdir -p {here}; echo kept > {here}/a", outputs=f"{{name: a, path: {here}/a, archive: {{none: {{}}}}}}"
    )
    (workflow,) = cluster.run(text)
    name = workflow["metadata"]["name"]
    assert cat(cluster, name, "a") == "kept\n"
    assert cluster.call("delete", name).returncode == 0
    assert cluster.call("artifacts", "cat", name, "a").returncode != 0


LISTING = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: listing-}
spec:
  entrypoint: main
  templates:
  - name: main
    steps:
    - - {name: make, template: make}
    - - {name: list, template: list}
    - - name: each
        template: each
        withParam: "{{steps.list.outputs.result}}"
        arguments:
          parameters: [{name: key, value: "{{item}}"}]
          artifacts: [{name: file, s3: {key: "{{item}}"}}]
  - name: make
    container:
      image: busybox
      command: [sh, -c, "mkdir -p HERE/sub; cd HERE; echo a > a.log; echo b > sub/b.log; echo c > c.txt"]
    outputs: {artifacts: [{name: all, path: HERE, archive: {none: {}}, s3: {key: "listed"}}]}
  - name: list
    data:
      source: {artifactPaths: {name: all, s3: {key: listed}}}
      transformation:
      - expression: 'filter(data, {# endsWith ".log"})'
  - name: each
    inputs: {parameters: [{name: key}], artifacts: [{name: file, path: HERE-in/x/f}]}
    container: {image: busybox, command: [cat, HERE-in/x/f]}
"""


def test_a_data_template_lists_what_lies_somewhere(cluster: Cluster, here: str) -> None:
    (workflow,) = cluster.run(LISTING.replace("HERE", here))
    assert workflow["status"]["phase"] == "Succeeded", workflow["status"]
    found = nodes(workflow)
    assert found["[1].list"]["outputs"]["result"] == '["listed/a.log","listed/sub/b.log"]'
    lines = cluster.call("logs", workflow["metadata"]["name"]).stdout.splitlines()
    assert sorted(line.partition(": ")[2] for line in lines) == ["a", "b"]


def test_what_a_data_template_cannot_list_or_work_out_is_an_error(cluster: Cluster) -> None:
    text = (
        LISTING.partition("  - name: main")[0]
        + """
  - name: main
    data:
      source: {artifactPaths: {name: all, s3: {key: nothing}}}
      transformation: [{expression: "data + 1"}]
"""
    )
    (workflow,) = cluster.run(text)
    assert workflow["status"]["phase"] == "Error"
    assert workflow["status"]["message"].startswith("unable to process data transformation: ")
