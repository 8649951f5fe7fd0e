"""Artifacts by HTTP: real servers, with every way to show who asks, redirects, and connections that break."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import encode_basic_auth, web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from exeunt.artifacts import http
from exeunt.artifacts.registry import store_for
from exeunt.artifacts.stores import MissingError, Store, StoreAccess, StoreError, from_mapping
from exeunt.language.places import place_of

BODY = bytes(range(256)) * 8192  # 2 MiB
SECRETS = {"s": {"user": "bot", "word": "pass-4711", "id": "client:1", "token": "word/2", "url": ""}}


def secret(key: str) -> dict[str, str]:
    return {"name": "s", "key": key}


class Server:
    """What it was asked, and what it answers."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.tokens = 0
        self.broken = 2

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.asked.append((request.method, request.path, dict(request.headers), body))
        match request.path:
            case "/token":
                self.tokens += 1
                if request.headers.get("Authorization") != encode_basic_auth("client%3A1", "word%2F2"):
                    return web.json_response({"error": "invalid_client"}, status=401)
                return web.json_response({"access_token": f"t{self.tokens}", "expires_in": 3600})
            case "/guarded":
                allowed = request.headers.get("Authorization") == "Bearer t2"
                return web.Response(body=BODY) if allowed else web.Response(status=401)
            case "/breaks":
                return await self._broken(request)
            case "/loop":
                return web.Response(status=302, headers={"Location": "/loop"})
            case "/away":
                return web.Response(status=302, headers={"Location": request.query["to"]})
            case "/moved":
                return web.Response(status=307, headers={"Location": "/file"})
            case "/ill":
                return web.Response(status=503, text="down for a while")
            case "/file":
                return web.Response(body=BODY)
        return web.Response(status=404)

    async def _broken(self, request: web.Request) -> web.StreamResponse:
        """Half of what is left, and then the end of the connection, as often as it is broken."""
        at = int(request.headers.get("Range", "bytes=0-")[6:-1])
        headers = {"ETag": '"1"', "Accept-Ranges": "bytes", "Content-Length": str(len(BODY) - at)}
        made = web.StreamResponse(status=206 if at else 200, headers=headers)
        await made.prepare(request)
        if not self.broken:
            await made.write(BODY[at:])
            return made
        self.broken -= 1
        await made.write(BODY[at : at + (len(BODY) - at) // 2])
        await asyncio.sleep(0.1)
        assert request.transport is not None
        request.transport.close()
        return made


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, str]]:
    known = Server()
    app = web.Application(client_max_size=1 << 26)
    app.router.add_route("*", "/{path:.*}", known.answer)
    async with TestServer(app) as made:
        yield known, f"http://127.0.0.1:{made.port}"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BACKOFF_SECONDS", 0.01)


def store(url: str, *, kind: str = "http", token_url: str = "", **more: Any) -> Store:
    secrets = {"s": {**SECRETS["s"], "url": token_url}}
    return store_for(place_of({kind: {"url": url, **more}}), StoreAccess(secret=from_mapping(secrets), artifact="page"))


async def read(kept: Store) -> bytes:
    try:
        return b"".join([chunk async for chunk in kept.open(kept.place.key)])
    finally:
        await kept.close()


async def test_headers_and_a_password_go_with_it(server: tuple[Server, str]) -> None:
    known, url = server
    basic = {"basicAuth": {"usernameSecret": secret("user"), "passwordSecret": secret("word")}}
    assert await read(store(f"{url}/file", headers=[{"name": "X-A", "value": "b"}], auth=basic)) == BODY
    sent = known.asked[0][2]
    assert sent["X-A"] == "b"
    assert sent["Authorization"] == encode_basic_auth("bot", "pass-4711")


async def test_artifactory_takes_a_stream(server: tuple[Server, str]) -> None:
    known, url = server
    kept = store(f"{url}/file", kind="artifactory", usernameSecret=secret("user"), passwordSecret=secret("word"))

    async def chunks() -> AsyncIterator[bytes]:
        yield BODY[:100]
        yield BODY[100:200]

    assert await kept.save(kept.place.key, chunks(), 200) == 200
    assert await kept.save(kept.place.key, chunks()) == 200
    with pytest.raises(StoreError, match="200 bytes came to be kept, 300 were said"):
        await kept.save(kept.place.key, chunks(), 300)
    await kept.close()
    assert [(method, body) for method, _, _, body in known.asked[:2]] == [("PUT", BODY[:200])] * 2
    assert known.asked[0][2]["Content-Length"] == "200"


async def test_a_token_is_asked_for_and_renewed(server: tuple[Server, str]) -> None:
    known, url = server
    token = {
        "clientIDSecret": secret("id"),
        "clientSecretSecret": secret("token"),
        "tokenURLSecret": secret("url"),
        "scopes": ["a", "b"],
        "endpointParams": [{"key": "audience", "value": "x y"}],
    }
    assert await read(store(f"{url}/guarded", token_url=f"{url}/token", auth={"oauth2": token})) == BODY
    assert known.tokens == 2  # the first was refused
    assert known.asked[0][3] == b"grant_type=client_credentials&audience=x+y&scope=a+b"
    wrong = {**token, "clientSecretSecret": secret("word")}
    with pytest.raises(StoreError, match=r"no token was given \(status 401\); look at the client's id"):
        await read(store(f"{url}/guarded", token_url=f"{url}/token", auth={"oauth2": wrong}))


async def test_a_read_that_breaks_goes_on(server: tuple[Server, str]) -> None:
    known, url = server
    assert await read(store(f"{url}/breaks")) == BODY
    assert [headers.get("If-Range") for _, _, headers, _ in known.asked] == [None, '"1"', '"1"']


async def test_redirects_are_bounded_and_take_no_secret_elsewhere(server: tuple[Server, str]) -> None:
    known, url = server
    assert await read(store(f"{url}/moved")) == BODY
    with pytest.raises(StoreError, match="more than 10 redirects"):
        await read(store(f"{url}/loop"))
    headers = [{"name": "Authorization", "value": "Bearer 4711"}, {"name": "X-Key", "value": "4711"}]
    other = url.replace("127.0.0.1", "localhost")
    assert await read(store(f"{url}/away?to={other}/file", headers=headers)) == BODY
    assert "4711" in str(known.asked[-2])
    assert "4711" not in str(known.asked[-1])


async def test_errors_say_what_happened(server: tuple[Server, str]) -> None:
    _, url = server
    with pytest.raises(MissingError, match=r"artifact page, http http://127.*/none: there is nothing there"):
        await read(store(f"{url}/none?token=4711"))
    with pytest.raises(StoreError, match=r"status 401; look at the secrets") as denied:
        await read(store(f"{url}/guarded"))
    assert not denied.value.temporary
    with pytest.raises(StoreError, match=r"status 503: down for a while") as ill:
        await read(store(f"{url}/ill"))
    assert ill.value.temporary
    with pytest.raises(StoreError) as gone:
        await read(store("http://127.0.0.1:1/x"))
    assert gone.value.temporary


async def test_an_upload_is_not_sent_elsewhere(server: tuple[Server, str]) -> None:
    _, url = server
    kept = store(f"{url}/moved")

    async def chunks() -> AsyncIterator[bytes]:
        yield b"x"

    with pytest.raises(StoreError, match=r"sends the upload elsewhere .*name that address"):
        await kept.save(kept.place.key, chunks())
    await kept.close()


def certificate() -> tuple[str, str]:
    """A certificate for localhost that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8
    private = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    return made.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


async def test_a_certificate_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crt, key = certificate()
    (tmp_path / "crt").write_text(crt)
    (tmp_path / "key").write_text(key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tmp_path / "crt"))
    context.load_cert_chain(tmp_path / "crt", tmp_path / "key")
    context.verify_mode = ssl.CERT_REQUIRED
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "crt"))
    monkeypatch.setattr(http, "RESUMES", 0)

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=BODY)

    app = web.Application()
    app.router.add_get("/", answer)
    known = {"s": {"crt": crt, "key": key}}
    server = TestServer(app, scheme="https")
    await server.start_server(ssl=context)
    try:
        place: dict[str, Any] = {"url": f"https://localhost:{server.port}/"}
        pair = {"clientCertSecret": secret("crt"), "clientKeySecret": secret("key")}
        with_it = place_of({"http": {**place, "auth": {"clientCert": pair}}})
        assert await read(store_for(with_it, StoreAccess(secret=from_mapping(known)))) == BODY
        with pytest.raises(StoreError):
            await read(store_for(place_of({"http": place}), StoreAccess(secret=from_mapping(known))))
    finally:
        await server.close()
