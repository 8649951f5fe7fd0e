"""Other stores of objects, and what is sent to S3: Azurite where it is installed, a server of our own that looks."""

from __future__ import annotations

import asyncio
import datetime
import json
import shutil
import socket
import ssl
import subprocess
import sysconfig
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from exeunt.artifacts.registry import store_for
from exeunt.artifacts.s3 import customer_key
from exeunt.artifacts.stores import MissingError, Store, StoreAccess, StoreError, from_mapping
from exeunt.language.places import place_of
from tests.actions import servers

AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Of its only account; Azurite's documentation has it."""
MIB = 1 << 20


async def chunks(size: int) -> AsyncIterator[bytes]:
    while size:
        part = min(size, MIB)
        yield b"x" * part
        size -= part


async def length(store: Store, key: str) -> int:
    return sum([len(chunk) async for chunk in store.open(key)])


def store(tree: dict[str, Any], *, environment: bool = False, **secrets: str) -> Store:
    access = StoreAccess(secret=from_mapping({"s": secrets}), artifact="out", environment=environment)
    return store_for(place_of(tree), access)


def secret(key: str) -> dict[str, str]:
    return {"name": "s", "key": key}


@pytest.fixture(scope="module")
def azurite() -> Iterator[str]:
    """The address of the account, with a container `bucket`."""
    program = shutil.which("azurite-blob")
    if program is None:
        pytest.skip("azurite-blob is not installed (npm install -g azurite)")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    command = [program, "--inMemoryPersistence", "--skipApiVersionCheck", "--blobPort", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert any("successfully listens" in line for line in process.stdout)
            url = f"http://127.0.0.1:{port}/devstoreaccount1"
            rclone = Path(sysconfig.get_path("scripts"), "rclone")
            account = ["--azureblob-account=devstoreaccount1", f"--azureblob-key={AZURITE_KEY}"]
            options = ["--config=/dev/null", *account, f"--azureblob-endpoint={url}"]
            subprocess.run([rclone, "mkdir", *options, ":azureblob:bucket"], check=True, capture_output=True)
            yield url
        finally:
            process.kill()


async def test_azure_keeps_reads_lists_and_removes(azurite: str) -> None:
    place = {"endpoint": azurite, "container": "bucket", "blob": "d/a", "accountKeySecret": secret("key")}
    kept = store({"azure": place}, key=AZURITE_KEY)
    for key, size in (("d/a", 3), ("d/b", 20 * MIB + 1)):
        assert await kept.save(key, chunks(size), size) == size
        assert await length(kept, key) == size
    assert sorted([one async for one in kept.list("d")]) == [("d/a", 3), ("d/b", 20 * MIB + 1)]
    assert await kept.is_directory("d")
    await kept.delete("d/a")
    with pytest.raises(MissingError, match=r"artifact out, azure bucket/d/a at .*there is no such object"):
        await length(kept, "d/a")
    with pytest.raises(StoreError, match="there is no such bucket; create it"):
        await store({"azure": {**place, "container": "none"}}, key=AZURITE_KEY).save("k", chunks(1))


async def test_oss_by_the_interface_of_s3() -> None:
    with servers.s3() as server:
        await asyncio.to_thread((server.folder / "bucket").mkdir)
        pair = {"accessKeySecret": secret("id"), "secretKeySecret": secret("word")}
        place = {"endpoint": server.url, "bucket": "bucket", "key": "k", **pair}
        kept = store({"oss": place}, id=server.key_id, word=server.key)
        assert await kept.save("k", chunks(9 * MIB)) == 9 * MIB
        assert await length(kept, "k") == 9 * MIB
        await kept.delete("k")
        with pytest.raises(MissingError):
            await length(kept, "k")


class Looking:
    """A server that takes everything and remembers it."""

    def __init__(self) -> None:
        self.asked: list[web.Request] = []

    async def answer(self, request: web.Request) -> web.Response:
        await request.read()
        self.asked.append(request)
        return web.Response(headers={"ETag": '"1"'})

    def application(self) -> web.Application:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_route("*", "/{path:.*}", self.answer)
        return app


@pytest.fixture
async def looking() -> AsyncIterator[tuple[Looking, str]]:
    known = Looking()
    async with TestServer(known.application()) as made:
        yield known, f"127.0.0.1:{made.port}"


ENCRYPTED: list[tuple[dict[str, Any], dict[str, str]]] = [
    ({"enableEncryption": True}, {"x-amz-server-side-encryption": "AES256"}),
    (
        {"enableEncryption": True, "kmsKeyId": "key-1"},
        {"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-aws-kms-key-id": "key-1"},
    ),
    ({"kmsKeyId": "key-1"}, {}),
]


@pytest.mark.parametrize(("options", "expected"), ENCRYPTED)
async def test_s3_is_told_to_encrypt(
    looking: tuple[Looking, str], options: dict[str, Any], expected: dict[str, str]
) -> None:
    known, host = looking
    place = {"endpoint": host, "bucket": "bucket", "insecure": True, "key": "k", "encryptionOptions": options}
    await store({"s3": place}).save("k", chunks(1))
    sent = {name.lower(): value for name, value in known.asked[0].headers.items()}
    assert {name: value for name, value in sent.items() if "encryption" in name} == expected


def test_a_customers_key_is_not_sent_in_the_clear() -> None:
    options = {"enableEncryption": True, "serverSideCustomerKeySecret": secret("sse")}
    place = {"endpoint": "h", "bucket": "bucket", "insecure": True, "key": "k", "encryptionOptions": options}
    with pytest.raises(StoreError, match="keys are not sent over plain http"):
        store({"s3": place}, sse="word")
    assert len(customer_key("word", place_name="bucketkey")) == 32
    assert customer_key("word", place_name="bucketkey") != customer_key("word", place_name="bucketother")


async def test_credentials_of_the_environment_only_where_that_is_allowed(
    looking: tuple[Looking, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known, host = looking
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "word-of-the-environment")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    place = {"endpoint": host, "bucket": "bucket", "insecure": True, "key": "k", "sessionTokenSecret": secret("token")}
    pair = {"accessKeySecret": secret("id"), "secretKeySecret": secret("word")}
    await store({"s3": place}, token="").save("k", chunks(1))
    await store({"s3": place}, environment=True, token="").save("k", chunks(1))
    await store({"s3": {**place, **pair}}, environment=True, id="AKOWN", word="w", token="tok").save("k", chunks(1))
    anonymous, own, given = [request.headers for request in known.asked]
    assert "Authorization" not in anonymous
    assert "AKENV" in own["Authorization"]
    assert "AKOWN" in given["Authorization"]
    assert given["x-amz-security-token"] == "tok"


async def test_gcs_takes_the_key_of_a_service_account(looking: tuple[Looking, str]) -> None:
    known, host = looking
    word = {"gcs_base_url": f"http://{host}", "disable_oauth": True, "client_email": "e", "private_key": ""}
    place = {"bucket": "bucket", "key": "k", "serviceAccountKeySecret": secret("account")}
    kept = store({"gcs": place}, account=json.dumps({**word, "private_key_id": ""}))
    assert await kept.save("d/k", chunks(5), 5) == 5
    assert (known.asked[0].method, known.asked[0].raw_path) == ("PUT", "/bucket/d%2Fk")
    with pytest.raises(StoreError, match=r"gcs\.serviceAccountKeySecret: the JSON of a service account's key"):
        store({"gcs": place}, account="no json")


async def test_raw_is_the_text_itself() -> None:
    kept = store({"raw": {"data": "ü"}})
    assert [chunk async for chunk in kept.open("")] == ["ü".encode()]
    with pytest.raises(StoreError, match="artifact out, raw: an artifact of kind raw cannot be written"):
        await kept.save("", chunks(1))


def authority() -> tuple[str, str]:
    """The certificate of an authority, and what a server for localhost shows: its own with its key."""
    now = datetime.datetime.now(datetime.UTC)

    def signed(name: str, issuer: str, key: Any, by: Any, *, ca: bool) -> str:
        builder = x509.CertificateBuilder(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]),
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]),
            key.public_key(),
            x509.random_serial_number(),
        )
        builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
        made = builder.add_extension(names, critical=False).sign(by, hashes.SHA256())
        return made.public_bytes(serialization.Encoding.PEM).decode()

    above, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    form, bare = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    private = own.private_bytes(serialization.Encoding.PEM, form, bare).decode()
    return (
        signed("authority", "authority", above, above, ca=True),
        signed("localhost", "authority", own, above, ca=False) + private,
    )


async def test_an_authority_of_ones_own_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exeunt.artifacts.objects.RETRY", {"max_retries": 0})
    ca, shown = authority()
    (tmp_path / "pem").write_text(shown)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "pem")
    known = Looking()
    server = TestServer(known.application(), scheme="https")
    await server.start_server(ssl=context)
    try:
        place = {"endpoint": f"localhost:{server.port}", "bucket": "bucket", "key": "k"}
        await store({"s3": {**place, "caSecret": secret("ca")}}, ca=ca).save("k", chunks(1))
        assert len(known.asked) == 1
        with pytest.raises(StoreError):
            await store({"s3": place}).save("k", chunks(1))
        with pytest.raises(StoreError, match=r"s3\.caSecret: a certificate in PEM is expected"):
            store({"s3": {**place, "caSecret": secret("ca")}}, ca="no pem")
    finally:
        await server.close()
