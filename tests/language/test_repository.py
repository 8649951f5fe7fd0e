"""The repository of a workflow: what it names, what its namespace has, and what is wrong with either."""

from __future__ import annotations

from typing import Any

import pytest

from exeunt.language.decode import decode
from exeunt.language.load import load_documents
from exeunt.language.manifest import Artifact, ConfigMap, Workflow
from exeunt.language.repository import RepositoryError, files_problem, read_repository, repository_of
from exeunt.language.resolve import resolve

S3 = "s3: {endpoint: 'minio:9000', bucket: b, accessKeySecret: {name: s, key: a}, secretKeySecret: {name: s, key: k}}"
WITH_FILES = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {name: w}
spec:
  entrypoint: main
  REF
  templates:
  - name: main
    container: {image: alpine, command: [sh]}
    outputs: {artifacts: [{name: a, path: /a}]}
"""


def maps(**data: str) -> ConfigMap:
    return ConfigMap(metadata=_metadata("artifact-repositories", "first"), data=data)


def _metadata(name: str, default: str = "") -> Any:
    annotations = {"workflows.argoproj.io/default-artifact-repository": default} if default else {}
    return type(ConfigMap().metadata)(name=name, annotations=annotations)


def found(ref: str, *stored: ConfigMap) -> dict[str, Any] | None:
    workflow = decode(load_documents(WITH_FILES.replace("REF", ref))[0])
    assert isinstance(workflow, Workflow)
    by_name = {one.metadata.name: one for one in stored}
    return repository_of(resolve(workflow, lambda *_: None, lambda _, name: by_name.get(name)))


def test_the_default_of_the_namespace_is_the_key_that_its_annotation_names() -> None:
    made = found("", maps(first=S3, second="gcs: {bucket: other}"))
    assert made is not None
    assert made["s3"]["bucket"] == "b"
    assert made["s3"]["keyFormat"] == "{{workflow.name}}/{{pod.name}}"


def test_a_workflow_names_the_map_and_the_key() -> None:
    other = ConfigMap(metadata=_metadata("mine"), data={"two": "gcs: {bucket: g, keyFormat: 'x/{{pod.name}}'}"})
    made = found("artifactRepositoryRef: {configMap: mine, key: two}", maps(first=S3), other)
    assert made == {"gcs": {"bucket": "g", "keyFormat": "x/{{pod.name}}"}}


def test_without_any_it_is_left_to_the_cluster() -> None:
    assert found("") is None
    assert found("", ConfigMap(metadata=_metadata("artifact-repositories"), data={"first": S3})) is None


@pytest.mark.parametrize(
    ("ref", "said"),
    [
        ("artifactRepositoryRef: {configMap: gone}", "there is no ConfigMap 'gone'"),
        ("artifactRepositoryRef: {key: gone}", "has no key 'gone'"),
    ],
)
def test_what_is_named_has_to_be_there(ref: str, said: str) -> None:
    with pytest.raises(RepositoryError, match=said):
        found(ref, maps(first=S3))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("s3: {bucket: b}", "s3.endpoint: it is missing"),
        ("s3: {endpoint: e, bucket: b, buckett: c}", "s3: object contains unknown field `buckett`"),
        ("hdfs: {path: /x}", "hdfs: there is no client"),
        ("git: {repo: r}", "'git' is not known"),
        ("[]", "a mapping is expected"),
        ("s3: {a: b", "it is no YAML"),
        ("{}", "one of s3, gcs"),
    ],
)
def test_what_is_wrong_with_a_repository_is_said(text: str, said: str) -> None:
    with pytest.raises(RepositoryError) as caught:
        read_repository(text)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("azure: {endpoint: 'https://a', container: c, blobNameFormat: 'n/{{pod.name}}'}", "n/{{pod.name}}"),
        ("s3: {endpoint: e, bucket: b, keyPrefix: p}", "p/{{workflow.name}}/{{pod.name}}"),
        ("gcs: {bucket: b}\narchiveLogs: true", "{{workflow.name}}/{{pod.name}}"),
    ],
)
def test_each_kind_says_its_keys_in_its_own_way(text: str, made: str) -> None:
    tree = read_repository(text)
    (place,) = (tree[kind] for kind in tree if kind != "archiveLogs")
    assert place["keyFormat"] == made
    assert bool(tree.get("archiveLogs")) == ("archiveLogs" in text)


@pytest.mark.parametrize(
    ("artifact", "said"),
    [
        (Artifact(s3={"key": "k"}), ""),
        (Artifact(s3={"bucket": "b", "key": "k"}), "s3.endpoint: it is missing"),
        (Artifact(s3={"endpoint": "{{workflow.name}}/x", "bucket": "b", "key": "k"}), ""),
        (Artifact(http={"url": "ftp://x"}), "http.url: an address with http"),
        (Artifact(git={"repo": "https://x", "depht": 1}), "git: object contains unknown field `depht`"),
        (Artifact(raw={"data": "x"}, s3={"key": "k"}), "raw: it cannot stand beside s3"),
    ],
)
def test_a_place_is_checked_when_it_is_submitted(artifact: Artifact, said: str) -> None:
    assert files_problem(artifact).startswith(said)
    assert bool(files_problem(artifact)) == bool(said)
