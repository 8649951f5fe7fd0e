"""A scheduler that reads artifacts for people is not to be pointed at what stands in its network."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from exeunt.artifacts.registry import store_for
from exeunt.artifacts.stores import StoreAccess, StoreError
from exeunt.language.places import place_of
from exeunt.scheduler.reading_guard import ReadingGuard, host_of_repository


class _Server(http.server.BaseHTTPRequestHandler):
    """Sends what is asked for below /away to `localhost`, and answers everything else."""

    def do_GET(self) -> None:
        away = self.path.startswith("/away")
        self.send_response(302 if away else 200)
        if away:
            self.send_header("Location", f"http://localhost:{self.server.server_address[1]}/secret")
        self.send_header("Content-Length", "0" if away else "6")
        self.end_headers()
        self.wfile.write(b"" if away else b"secret")

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


async def read(tree: dict[str, Any], *hosts: str, key: str = "word") -> bytes:
    place = place_of({"name": "a", **tree})
    access = StoreAccess(secret=lambda *_: key, artifact="a", environment=False, guard=ReadingGuard(hosts))
    store = store_for(place, access)
    try:
        return b"".join([piece async for piece in store.open(place.key)])
    finally:
        await store.close()


async def test_a_web_server_on_loopback_is_asked_only_where_it_is_named(port: int) -> None:
    for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "169.254.169.254"):
        with pytest.raises(StoreError, match="setting artifact-hosts") as caught:
            await read({"http": {"url": f"http://{host}:{port}/x"}})
        assert not caught.value.temporary
    assert await read({"http": {"url": f"http://127.0.0.1:{port}/x"}}, "127.0.0.1") == b"secret"


async def test_a_server_that_may_be_asked_cannot_lead_to_one_that_may_not(port: int) -> None:
    url = f"http://127.0.0.1:{port}/away"
    assert await read({"http": {"url": url}}, "127.0.0.1", "localhost") == b"secret"
    with pytest.raises(StoreError, match=r"localhost .* is a loopback address"):
        await read_with_only_the_first(url)


async def read_with_only_the_first(url: str) -> bytes:
    """127.0.0.1 is let through by what it is called, and `localhost` is not."""

    class OnlyTheFirst(ReadingGuard):
        def why_not(self, host: str) -> str:
            return "" if host == "127.0.0.1" else super().why_not(host)

    place = place_of({"name": "a", "http": {"url": url}})
    store = store_for(place, StoreAccess(secret=lambda *_: "", artifact="a", guard=OnlyTheFirst()))
    try:
        return b"".join([piece async for piece in store.open(place.key)])
    finally:
        await store.close()


async def test_where_tokens_come_from_is_no_way_around(port: int) -> None:
    secret = {"name": "s", "key": "k"}
    auth = {"oauth2": {"tokenURLSecret": secret, "clientIDSecret": secret, "clientSecretSecret": secret}}
    with pytest.raises(StoreError, match="loopback address"):
        await read({"http": {"url": "http://192.0.2.1/x", "auth": auth}}, key=f"http://127.0.0.1:{port}/token")


SECRET = {"name": "s", "key": "k"}
KEYS = {"accessKeySecret": SECRET, "secretKeySecret": SECRET}


AZURE = {"endpoint": "http://minio.example/a", "container": "c", "blob": "k", "accountKeySecret": SECRET}
GCS = {"bucket": "b", "key": "k", "serviceAccountKeySecret": SECRET}


@pytest.mark.parametrize(
    ("tree", "key"),
    [
        ({"s3": {"endpoint": "minio.example:9000", "bucket": "b", "key": "k", **KEYS}}, "word"),
        ({"oss": {"endpoint": "http://minio.example", "bucket": "b", "key": "k", **KEYS}}, "word"),
        ({"azure": AZURE}, "d29yZA=="),
        ({"gcs": GCS}, json.dumps({"gcs_base_url": "http://minio.example"})),
    ],
)
async def test_an_object_store_has_to_be_a_clouds_or_named(tree: dict[str, Any], key: str) -> None:
    with pytest.raises(StoreError, match=r"minio\.example is none of the stores that a scheduler reads"):
        await read(tree, key=key)


@pytest.mark.parametrize(
    "host",
    [
        "s3.amazonaws.com",
        "bucket.s3.amazonaws.com",
        "s3.eu-west-1.amazonaws.com",
        "my.bucket.s3-eu-west-1.amazonaws.com",
        "s3.cn-north-1.amazonaws.com.cn",
        "storage.googleapis.com",
        "account.blob.core.windows.net",
        "bucket.oss-cn-zhangjiakou.aliyuncs.com",
        "MinIO.internal",
    ],
)
def test_stores_that_are_relied_on(host: str) -> None:
    assert ReadingGuard(["minio.internal"]).why_no_store(host) == ""


@pytest.mark.parametrize(
    "host",
    [
        "",
        "127.0.0.1",
        "minio",
        "ec2-1-2-3-4.compute-1.amazonaws.com",
        "bucket.s3-website-us-east-1.amazonaws.com",
        "bucket.s3-website.eu-west-3.amazonaws.com",
        "s3.amazonaws.com.example.org",
        "evils3.amazonaws.com",
        "a.b.blob.core.windows.net",
    ],
)
def test_stores_that_could_be_anybodys(host: str) -> None:
    assert "artifact-hosts" in ReadingGuard().why_no_store(host)


def test_the_operators_own_repository_is_relied_on() -> None:
    assert host_of_repository({"s3": {"endpoint": "minio:9000", "bucket": "b"}, "archiveLogs": True}) == ["minio"]
    assert host_of_repository({"azure": {"endpoint": "https://a.example/acc"}}) == ["a.example"]
    assert host_of_repository({"gcs": {"bucket": "b"}}) == []
