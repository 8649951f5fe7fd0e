"""What Argo's pages on artifacts promise, on the real services: YAML in, phases, files and messages out.

The manifests are our own; the pages are walk-through/artifacts, hardwired-artifacts, conditional-artifacts-parameters,
artifact-repository-ref and key-only-artifacts.
"""

# ruff: noqa: E501 -- a manifest reads best as it is written

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exeunt.executor.runtime.sandbox.probe import probe
from tests.conformance.stand_ins import StandIns, stand_ins
from tests.e2e.cluster import Cluster, nodes
from tests.e2e.conftest import IMAGES

PROBLEM = probe().problem
pytestmark = [pytest.mark.services, pytest.mark.skipif(bool(PROBLEM), reason=f"no sandbox here: {PROBLEM}")]


REPOSITORIES = ("first", "second", "third")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    base = tmp_path_factory.mktemp("pages")
    (base / "images.yaml").write_text(IMAGES)
    cluster = Cluster(
        base / "data", arguments=["--runtime", "sandbox", "--slots", "8", "--images", str(base / "images.yaml")]
    )
    cluster.up()
    yield cluster
    cluster.down()


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIns]:
    """Servers for http, git and S3, with what the tests take from there."""
    with stand_ins(tmp_path_factory.mktemp("served") / "files") as found:
        for bucket in ("sources", *REPOSITORIES):
            (found.s3.folder / bucket).mkdir()
        (found.s3.folder / "sources" / "folder" / "deep").mkdir(parents=True)
        (found.s3.folder / "sources" / "folder" / "one").write_text("one")
        (found.s3.folder / "sources" / "folder" / "deep" / "two").write_text("two")
        yield found


@pytest.fixture(scope="module")
def secrets(cluster: Cluster, there: StandIns) -> None:
    cluster.submit(secret(there))


def manifest(templates: str, more: str = "", kind: str = "Workflow") -> str:
    return f"apiVersion: argoproj.io/v1alpha1\nkind: {kind}\nmetadata: {{generateName: page-}}\nspec:\n  entrypoint: main\n{more}  templates:\n{templates.strip(chr(10))}\n"


def succeeded(cluster: Cluster, templates: str, more: str = "", *arguments: str) -> dict[str, Any]:
    [workflow] = cluster.run(manifest(templates, more), *arguments)
    wrong = [f"{name}: {node['message']}" for name, node in nodes(workflow).items() if node.get("message")]
    assert workflow["status"]["phase"] == "Succeeded", "\n".join(wrong)
    return workflow


def result(workflow: dict[str, Any], node: str) -> str:
    """The output parameter `said` of a node."""
    found = {one["name"]: one["value"] for one in nodes(workflow)[node]["outputs"]["parameters"]}
    return str(found["said"])


def members(packed: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        return archive.getnames()


SAID = "outputs: {parameters: [{name: said, valueFrom: {path: /tmp/said}}]}"
TAKE = f"""
  - name: take
    inputs: {{artifacts: [{{name: text, path: /tmp/in/text}}]}}
    container: {{image: busybox, command: [sh, -c, "cat /tmp/in/text > /tmp/said"]}}
    {SAID}
"""
MAKE = """
  - name: make
    inputs: {parameters: [{name: word, value: hello}]}
    container: {image: busybox, command: [sh, -c, "echo {{inputs.parameters.word}} > /tmp/made"]}
    outputs: {artifacts: [{name: made, path: /tmp/made}]}
"""


@pytest.mark.parametrize("kind", ["steps", "tasks"])
def test_a_step_takes_what_another_one_made(cluster: Cluster, kind: str) -> None:
    take = f'{{name: take, template: take, DEPENDS arguments: {{artifacts: [{{name: text, from: "{{{{{kind}.make.outputs.artifacts.made}}}}"}}]}}}}'
    main = (
        f"steps: [[{{name: make, template: make}}], [{take}]]"
        if kind == "steps"
        else f"dag: {{tasks: [{{name: make, template: make}}, {take}]}}"
    ).replace("DEPENDS", "depends: make," if kind == "tasks" else "")
    workflow = succeeded(cluster, f"  - name: main\n    {main}{MAKE}{TAKE}")
    assert result(workflow, "[1].take" if kind == "steps" else ".take") == "hello"


def test_archive_says_how_a_file_is_kept(cluster: Cluster, tmp_path: Path) -> None:
    workflow = succeeded(
        cluster,
        """
  - name: main
    container: {image: busybox, command: [sh, -c, "seq 1000 > /tmp/made"]}
    outputs:
      artifacts:
      - {name: usual, path: /tmp/made}
      - {name: plain, path: /tmp/made, archive: {none: {}}}
      - {name: loose, path: /tmp/made, archive: {tar: {compressionLevel: 0}}}
      - {name: zipped, path: /tmp/made, archive: {zip: {}}}
""",
    )
    name, text = workflow["metadata"]["name"], "".join(f"{n}\n" for n in range(1, 1001)).encode()
    packed: dict[str, bytes] = {}
    for one in ("usual", "plain", "loose", "zipped"):
        for packing in ([], ["--packed"]):
            to = tmp_path / f"{one}{len(packing)}"
            done = cluster.call("artifacts", "get", name, one, "-o", str(to), *packing)
            assert done.returncode == 0, done.stderr
            packed[one] = to.read_bytes()
        assert (tmp_path / f"{one}0").read_bytes() == text
    assert packed["plain"] == text
    assert len(packed["usual"]) < len(text) < len(packed["loose"])
    assert gzip.decompress(packed["usual"])[:4] == b"made"
    assert members(packed["loose"]) == ["made"]
    assert packed["zipped"][:2] == b"PK"
    keys = {one["name"]: one["nats"]["key"] for one in nodes(workflow)[""]["outputs"]["artifacts"]}
    assert keys == {
        "usual": f"{name}/{name}/usual.tgz",
        "plain": f"{name}/{name}/made",
        "loose": f"{name}/{name}/loose.tgz",
        "zipped": f"{name}/{name}/zipped.zip",
    }


@pytest.mark.usefixtures("secrets")
def test_hardwired_places_with_their_modes(cluster: Cluster, there: StandIns) -> None:
    workflow = succeeded(
        cluster,
        f"""
  - name: main
    inputs:
      artifacts:
      - {{name: source, path: /src, git: {{repo: "{there.git}", revision: v2.1.1}}}}
      - {{name: program, path: /usr/local/bin/fetched, mode: 0755, http: {{url: "{there.web}/fetched"}}}}
      - name: objects
        path: /s3
        mode: 0700
        recurseMode: true
        s3:
          endpoint: {there.s3.url.removeprefix("http://")}
          insecure: true
          bucket: sources
          key: folder
          accessKeySecret: {{name: store, key: id}}
          secretKeySecret: {{name: store, key: word}}
    container:
      image: debian
      command: [sh, -ec]
      args:
      - |
        test -d /src/.git
        fetched first > /tmp/said
        cat /s3/one /s3/deep/two >> /tmp/said
        stat -c ' %a' /usr/local/bin/fetched /s3/one /s3/deep /s3/deep/two >> /tmp/said
    {SAID}
""",
    )
    assert result(workflow, "").split() == "a program from the net: first onetwo 755 700 700 700".split()


FLIP = """
  - name: flip
    inputs: {parameters: [{name: side}]}
    script: {image: busybox, command: [sh], source: "echo {{inputs.parameters.side}}"}
"""


@pytest.mark.parametrize("side", ["heads", "tails"])
@pytest.mark.parametrize("scope", ["steps", "tasks"])
def test_an_expression_chooses_the_artifact_and_the_parameter(cluster: Cluster, side: str, scope: str) -> None:
    flip = "{name: flip, template: flip, arguments: {parameters: [{name: side, value: SIDE}]}}"
    branches = [
        f'{{name: {one}, template: make, when: "{{{{{scope}.flip.outputs.result}}}} == {one}", DEPENDS '
        f'arguments: {{parameters: [{{name: word, value: "it was {one}"}}]}}}}'
        for one in ("heads", "tails")
    ]
    body = (
        f"steps: [[{flip}], [{', '.join(branches)}]]"
        if scope == "steps"
        else f"dag: {{tasks: [{flip}, {', '.join(branches)}]}}"
    )
    body = body.replace("SIDE", side).replace("DEPENDS", "depends: flip," if scope == "tasks" else "")
    chosen = f"{scope}.flip.outputs.result == 'heads' ? {scope}.heads.outputs.KIND : {scope}.tails.outputs.KIND"
    workflow = succeeded(
        cluster,
        f"""
  - name: main
    steps:
    - - {{name: coin, template: coin}}
    - - {{name: take, template: take, arguments: {{artifacts: [{{name: text, from: "{{{{steps.coin.outputs.artifacts.chosen}}}}"}}]}}}}
  - name: coin
    {body}
    outputs:
      artifacts: [{{name: chosen, fromExpression: "{chosen.replace("KIND", "artifacts.made")}"}}]
      parameters: [{{name: word, valueFrom: {{expression: "{chosen.replace("KIND", "parameters.word")}"}}}}]
{MAKE.rstrip()[:-1]}, parameters: [{{name: word, value: "{{{{inputs.parameters.word}}}}"}}]}}
{FLIP}{TAKE}""",
    )
    assert result(workflow, "[1].take") == f"it was {side}"
    assert nodes(workflow)["[0].coin"]["outputs"]["parameters"] == [{"name": "word", "value": f"it was {side}"}]


def secret(there: StandIns) -> str:
    return f"apiVersion: v1\nkind: Secret\nmetadata: {{name: store}}\nstringData: {{id: {there.s3.key_id}, word: {there.s3.key}}}\n"


def repository(there: StandIns, bucket: str) -> str:
    return (
        f"    s3: {{endpoint: '{there.s3.url.removeprefix('http://')}', insecure: true, bucket: {bucket}, "
        "accessKeySecret: {name: store, key: id}, secretKeySecret: {name: store, key: word}}\n"
    )


KEYED = (
    """
  - name: main
    dag: {tasks: [{name: make, template: make}, {name: take, template: take, depends: make}]}
"""
    + MAKE.replace("path: /tmp/made}", "path: /tmp/made, s3: {key: my-file.tgz}}").strip("\n")
    + TAKE.replace("path: /tmp/in/text}", "path: /tmp/in/text, s3: {key: my-file.tgz}}")
)


def test_repositories_of_a_config_map_and_artifacts_with_only_a_key(cluster: Cluster, there: StandIns) -> None:
    """The default by its name, the one of the annotation, the one that is named; a key alone lies in each of them."""
    annotation = "metadata: {name: NAME, annotations: {workflows.argoproj.io/default-artifact-repository: second}}\n"
    maps = "---\n".join(
        f"apiVersion: v1\nkind: ConfigMap\n{annotation.replace('NAME', name)}data:\n"
        + "".join(f"  {one}: |\n{repository(there, one)}" for one in REPOSITORIES)
        for name in ("artifact-repositories", "others")
    ).replace("workflows.argoproj.io/default-artifact-repository: second", "x: y", 1)
    maps = maps.replace("  first: |", "  default-v1: |", 1).replace(
        "x: y", "workflows.argoproj.io/default-artifact-repository: default-v1", 1
    )
    cluster.submit(f"{maps}---\n{secret(there)}", "--namespace", "repositories")
    for reference, bucket in (
        ("", "first"),
        ("  artifactRepositoryRef: {configMap: others}\n", "second"),
        ("  artifactRepositoryRef: {configMap: others, key: third}\n", "third"),
    ):
        workflow = succeeded(cluster, KEYED, reference, "--namespace", "repositories")
        assert result(workflow, ".take") == "hello"
        [made] = nodes(workflow)[".make"]["outputs"]["artifacts"]
        assert (made["s3"]["bucket"], made["s3"]["key"]) == (bucket, "my-file.tgz")
    done = cluster.call(
        "submit", "-", "--namespace", "repositories", stdin=manifest(KEYED, "  artifactRepositoryRef: {key: fourth}\n")
    )
    assert "has no key 'fourth'" in done.stderr


def test_a_key_alone_lies_in_the_embedded_store_too(cluster: Cluster) -> None:
    assert result(succeeded(cluster, KEYED), ".take") == "hello"


# --- what the pages show in passing, and manifests rely on ------------------------------------------------------------


def test_outputs_of_steps_and_dags_hand_artifacts_on(cluster: Cluster) -> None:
    workflow = succeeded(
        cluster,
        """
  - name: main
    steps:
    - - {name: outer, template: outer}
    - - {name: take, template: take, arguments: {artifacts: [{name: text, from: "{{steps.outer.outputs.artifacts.out}}"}]}}
      - {name: last, template: take, arguments: {artifacts: [{name: text, from: "{{workflow.outputs.artifacts.for-all}}"}]}}
  - name: outer
    steps: [[{name: inner, template: inner}]]
    outputs: {artifacts: [{name: out, from: "{{steps.inner.outputs.artifacts.out}}", globalName: for-all}]}
  - name: inner
    dag: {tasks: [{name: make, template: make}]}
    outputs: {artifacts: [{name: out, from: "{{tasks.make.outputs.artifacts.made}}"}]}
"""
        + MAKE.strip("\n")
        + TAKE,
    )
    assert (result(workflow, "[1].take"), result(workflow, "[1].last")) == ("hello", "hello")
    [shown] = [one["name"] for one in workflow["status"]["outputs"]["artifacts"]]
    assert shown == "for-all"


def test_each_turn_of_a_loop_has_its_own(cluster: Cluster) -> None:
    workflow = succeeded(
        cluster,
        """
  - name: main
    steps: [[{name: both, template: both, withItems: [one, two, three], arguments: {parameters: [{name: word, value: "{{item}}"}]}}]]
  - name: both
    inputs: {parameters: [{name: word}]}
    steps:
    - - {name: make, template: make, arguments: {parameters: [{name: word, value: "{{inputs.parameters.word}}"}]}}
    - - {name: take, template: take, arguments: {artifacts: [{name: text, from: "{{steps.make.outputs.artifacts.made}}"}]}}
"""
        + MAKE.strip("\n")
        + TAKE,
    )
    for at, word in enumerate(("one", "two", "three")):
        assert result(workflow, f"[0].both({at}:{word})[1].take") == word


OPTIONAL = (
    """
  - name: main
    BODY
"""
    + MAKE.strip("\n")
    + TAKE.replace("path: /tmp/in/text", "path: /tmp/in/text, optional: true").replace(
        "cat /tmp/in/text > /tmp/said", "test -e /tmp/in/text; echo $? > /tmp/said"
    )
)
"""`take` says whether it was given a file: 1 when not."""


def test_an_optional_input_of_a_skipped_task_is_done_without(cluster: Cluster) -> None:
    tasks = """dag:
      tasks:
      - {name: make, template: make, when: "1 == 2"}
      - {name: take, template: take, depends: make, arguments: {artifacts: [{name: text, from: "{{tasks.make.outputs.artifacts.made}}", optional: true}]}}
      - {name: alone, template: take}"""
    workflow = succeeded(cluster, OPTIONAL.replace("BODY", tasks))
    assert (result(workflow, ".take"), result(workflow, ".alone")) == ("1", "1")


def test_that_of_a_skipped_step_is_missing_as_in_argo(cluster: Cluster) -> None:
    """Argo gives the step an artifact without a place, which has lost its `optional`."""
    steps = """steps:
    - - {name: make, template: make, when: "1 == 2"}
    - - {name: take, template: take, arguments: {artifacts: [{name: text, from: "{{steps.make.outputs.artifacts.made}}", optional: true}]}}"""
    [workflow] = cluster.run(manifest(OPTIONAL.replace("BODY", steps)))
    taken = nodes(workflow)["[1].take"]
    assert (taken["phase"], taken["message"]) == (
        "Error",
        "init: Error (exit code 1): required artifact 'text' not supplied",
    )


def test_a_referenced_template_brings_its_artifacts(cluster: Cluster) -> None:
    library = manifest(MAKE + TAKE.strip("\n"), kind="WorkflowTemplate").replace("generateName: page-", "name: library")
    cluster.submit(library.replace("  entrypoint: main\n", ""))
    workflow = succeeded(
        cluster,
        """
  - name: main
    steps:
    - - {name: make, templateRef: {name: library, template: make}}
    - - {name: take, templateRef: {name: library, template: take}, arguments: {artifacts: [{name: text, from: "{{steps.make.outputs.artifacts.made}}"}]}}
""",
    )
    assert result(workflow, "[1].take") == "hello"


@pytest.mark.usefixtures("secrets")
def test_arguments_of_the_workflow_and_paths_as_variables(cluster: Cluster, there: StandIns) -> None:
    place = repository(there, "sources").strip().removesuffix("}") + ", key: folder/one}"
    workflow = succeeded(
        cluster,
        """
  - name: main
    inputs: {artifacts: [{name: one, path: /tmp/one}, {name: two, path: /tmp/two}, {name: three, path: /tmp/three}]}
    script:
      image: python
      command: [python]
      source: |
        one, two, three = (open(path).read() for path in
            ["{{inputs.artifacts.one.path}}", "{{inputs.artifacts.two.path}}", "{{inputs.artifacts.three.path}}"])
        import os
        os.makedirs("/tmp/out")
        open("{{outputs.artifacts.all.path}}", "w").write(one + three)
        open("{{outputs.parameters.said.path}}", "w").write(f"{one} {'program' in two} {three}")
    outputs:
      artifacts: [{name: all, path: /tmp/out/all}]
      parameters: [{name: said, valueFrom: {path: /tmp/out/said}}]
""",
        f"""  arguments:
    artifacts:
    - {{name: one, raw: {{data: first}}}}
    - {{name: two, http: {{url: "{there.web}/program"}}}}
    - {{name: three, {place}}}
""",
    )
    assert result(workflow, "") == "first True one"
    assert cluster.call("artifacts", "cat", workflow["metadata"]["name"], "all").stdout == "firstone"


def test_artifacts_within_each_other_and_within_volumes(cluster: Cluster) -> None:
    """What a step leaves at or below the path of an input; inputs below inputs; both in a directory that is mounted."""
    workflow = succeeded(
        cluster,
        """
  - name: main
    steps:
    - - {name: make, template: tree}
    - - {name: change, template: change, arguments: {artifacts: [{name: tree, from: "{{steps.make.outputs.artifacts.tree}}"}, {name: leaf, raw: {data: leaf}}]}}
    - - {name: look, template: look, arguments: {artifacts: [
          {name: tree, from: "{{steps.change.outputs.artifacts.tree}}"},
          {name: new, from: "{{steps.change.outputs.artifacts.new}}"}]}}
  - name: tree
    container: {image: busybox, command: [sh, -c, "mkdir -p /data/tree/below && echo kept > /data/tree/below/kept && echo old > /data/tree/old"]}
    outputs: {artifacts: [{name: tree, path: /data/tree}]}
  - name: change
    inputs: {artifacts: [{name: tree, path: /data}, {name: leaf, path: /data/below/leaf}]}
    container: {image: busybox, command: [sh, -ec, "cd /data; rm old; cat below/leaf > new"]}
    outputs: {artifacts: [{name: tree, path: /data}, {name: new, path: /data/new, archive: {none: {}}}]}
  - name: look
    volumes: [{name: space, emptyDir: {}}]
    inputs: {artifacts: [{name: tree, path: /space/tree}, {name: new, path: /space/deep/new}]}
    container:
      image: busybox
      command: [sh, -ec]
      args: ["cd /space; find . -type f | sort | tr '\\n' ' ' > /tmp/list; cat /tmp/list deep/new > made"]
      volumeMounts: [{name: space, mountPath: /space}]
    outputs: {parameters: [{name: said, valueFrom: {path: /space/made}}], artifacts: [{name: made, path: /space/made}]}
""",
    )
    said = result(workflow, "[2].look")
    assert said == "./deep/new ./tree/below/kept ./tree/below/leaf ./tree/new leaf"
    assert cluster.call("artifacts", "cat", workflow["metadata"]["name"], "made").stdout == said
