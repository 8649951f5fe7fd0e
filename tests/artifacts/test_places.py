"""Places of artifacts: what Argo's manifests say is read, what is wrong is named by its field."""

from __future__ import annotations

from typing import Any

import pytest

from exeunt.artifacts.registry import STORES
from exeunt.language.containers import KeySelector
from exeunt.language.place_parts import PlaceError, selectors
from exeunt.language.places import PLACES, GitPlace, S3Place, place_of

SECRET = {"name": "n", "key": "k"}


def test_every_kind_has_a_store() -> None:
    assert set(STORES) == set(PLACES)


def test_a_place_of_s3_is_read_with_all_that_argo_has() -> None:
    tree = {
        "endpoint": "minio:9000",
        "bucket": "b",
        "region": "eu-west-1",
        "insecure": True,
        "accessKeySecret": SECRET,
        "secretKeySecret": SECRET,
        "sessionTokenSecret": SECRET,
        "useSDKCreds": False,
        "createBucketIfNotPresent": {"objectLocking": False},
        "encryptionOptions": {"enableEncryption": True, "serverSideCustomerKeySecret": {"name": "n", "key": "sse"}},
        "caSecret": SECRET,
        "addressingStyle": "path",
        "key": "a/b",
    }
    place = place_of({"name": "out", "path": "/tmp/out", "s3": tree})
    assert isinstance(place, S3Place)
    assert (place.key, place.shown) == ("a/b", "s3 b/a/b at minio:9000")
    found = dict(selectors(place))
    assert found["encryptionOptions.serverSideCustomerKeySecret"] == KeySelector(name="n", key="sse")
    assert len(found) == 5


def test_a_place_of_git_is_read() -> None:
    tree = {"repo": "https://u:p@example.com/r?x=1", "revision": "v1", "depth": 1, "insecureSkipTLS": True}
    place = place_of({"git": tree})
    assert isinstance(place, GitPlace)
    assert place.insecure_skip_tls
    assert place.shown == "git https://example.com/r at v1"


S3 = {"endpoint": "e", "bucket": "b", "key": "k"}
WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "it has no place; one of s3, gcs, azure"),
    ({"s3": S3, "raw": {"data": ""}}, "s3 and raw exclude each other"),
    ({"hdfs": {"path": "/x"}}, "hdfs: there is no client of HDFS here"),
    ({"plugin": {"name": "x"}}, "plugin: Argo's artifact plugins are not run here; use s3"),
    ({"s3": {**S3, "roleARN": "arn:x"}}, "s3.roleARN: roles are not assumed"),
    ({"s3": {**S3, "bukket": "b"}}, "s3: object contains unknown field `bukket`"),
    ({"s3": {**S3, "bucket": 3}}, "s3.bucket: expected `str`"),
    ({"s3": {**S3, "bucket": ""}}, "s3.bucket: it is missing"),
    ({"s3": {**S3, "endpoint": "https://e"}}, "s3.endpoint: 'https://e' is no host; leave the scheme out"),
    ({"s3": {**S3, "accessKeySecret": SECRET}}, "s3.accessKeySecret and secretKeySecret: they go together"),
    ({"s3": {**S3, "addressingStyle": "odd"}}, "s3.addressingStyle: 'odd' is neither"),
    ({"s3": {**S3, "encryptionOptions": {"kmsEncryptionContext": "{}"}}}, "s3.encryptionOptions.kmsEncryptionContext:"),
    ({"s3": {**S3, "key": "ü" * 600}}, "s3.key: it has more than 1024 bytes"),
    ({"oss": {**S3, "lifecycleRule": {"markDeletionAfterDays": 1}}}, "oss.lifecycleRule: set it at the bucket"),
    ({"azure": {"endpoint": "x", "container": "c", "blob": "b"}}, "azure.endpoint: an address with http:// or"),
    ({"http": {"url": "ftp://x"}}, "http.url: an address with http:// or https:// is expected"),
    (
        {"http": {"url": "http://x/", "auth": {"oauth2": {"clientIDSecret": SECRET}}}},
        "http.auth.oauth2: clientIDSecret,",
    ),
    (
        {"http": {"url": "http://x/", "auth": {"clientCert": {"clientKeySecret": SECRET}}}},
        "http.auth.clientCert: client",
    ),
    ({"artifactory": {"url": "http://x/"}}, "artifactory.usernameSecret: it is missing"),
    ({"git": {"repo": "--upload-pack=x"}}, "git.repo: an address of a repository is expected"),
    ({"git": {"repo": "https://x/r", "revision": "--force"}}, "git.revision: '--force' cannot be the name"),
    ({"git": {"repo": "https://x/r", "singleBranch": True}}, "git.branch: it is missing"),
    ({"git": {"repo": "https://x/r", "depth": -1}}, "git.depth: a number of commits"),
]


@pytest.mark.parametrize(("tree", "said"), WRONG)
def test_what_is_wrong_is_named_by_its_field(tree: dict[str, Any], said: str) -> None:
    with pytest.raises(PlaceError) as error:
        place_of(tree)
    assert str(error.value).startswith(said)
