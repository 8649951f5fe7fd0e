"""Artifacts by HTTP: a URL is read by GET and written by PUT, with the ways that Argo has to show who asks."""

from __future__ import annotations

import asyncio
import base64
import ssl
import tempfile
import time
from collections.abc import AsyncIterable, AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urljoin

import aiohttp
import msgspec
from yarl import URL

from exeunt.artifacts.stores import CHUNK, Store, StoreAccess, StoreError, shortened
from exeunt.language.places import ArtifactoryPlace, HTTPPlace, OAuth2Secrets

LIMITS = aiohttp.ClientTimeout(total=4 * 3600, connect=30, sock_connect=10, sock_read=60)
"""Seconds: a whole transfer, a connection with its queue, a connection, no byte."""
MOST_REDIRECTS = 10
RESUMES = 5
"""How often a read that broke off goes on from where it was."""
BACKOFF_SECONDS = 0.5
"""Before a broken read goes on; doubled each time."""
TOKEN_MARGIN_SECONDS = 30
"""A token is asked for anew this long before it ends."""
LONGEST_ANSWER = 64 << 10
"""Bytes of an answer that is not the artifact: a token, an error."""
_BROKEN = (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError, asyncio.TimeoutError, ConnectionError)


class WebStore(Store):
    """What HTTP and Artifactory have in common. The key is the URL."""

    def __init__(self, place: HTTPPlace | ArtifactoryPlace, access: StoreAccess) -> None:
        super().__init__(place, access)
        self._session: aiohttp.ClientSession | None = None

    def tls(self) -> ssl.SSLContext | bool:
        """How servers are checked, and the certificate that is shown to them."""
        return True

    async def headers(self, *, anew: bool = False) -> dict[str, str]:
        """What goes with a request; with `anew`, after it was refused."""
        return {}

    async def open(self, key: str) -> AsyncIterator[bytes]:
        at, tries, tag, size = 0, 0, "", -1
        while True:
            more = {"Range": f"bytes={at}-", "If-Range": tag} if at else {}
            try:
                async with await self._asked("GET", key, more) as found:
                    if at and found.status != 206:
                        raise self.failed(f"it broke off after {at} bytes and does not go on", key=key, temporary=True)
                    if not at:
                        size, tag = _size(found), _tag(found)
                    async for chunk in found.content.iter_chunked(CHUNK):
                        at += len(chunk)
                        yield chunk
                if size in (-1, at):
                    return
                raise self.failed(f"{at} of {size} bytes came", key=key, temporary=True)
            except (*_BROKEN, StoreError) as error:
                failure = error if isinstance(error, StoreError) else self.broken(error, key)
                if not failure.temporary or tries >= RESUMES or (at and not tag):
                    raise failure from error
                await asyncio.sleep(BACKOFF_SECONDS * 2**tries)
                tries += 1

    async def save(self, key: str, stream: AsyncIterable[bytes], size: int | None = None) -> int:
        count = 0

        async def counted() -> AsyncIterator[bytes]:
            nonlocal count
            async for chunk in stream:
                count += len(chunk)
                if size is not None and count > size:
                    break
                yield chunk
            if size is not None and count != size:
                raise self.failed(f"{count} bytes came to be kept, {size} were said", key=key)

        length = {} if size is None else {"Content-Length": str(size)}
        try:
            async with await self._asked("PUT", key, length, data=counted()):
                return count
        except _BROKEN as error:
            raise self.broken(error, key) from error

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def broken(self, error: Exception, key: str) -> StoreError:
        """The error of a connection that did not come about, or broke."""
        lasting = isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError)
        words = shortened(str(error)) or "nothing came in time"
        return self.failed(words, key=key, temporary=not lasting)

    async def _asked(self, method: str, url: str, more: dict[str, str], data: Any = None) -> aiohttp.ClientResponse:
        """The answer that is none of the ways elsewhere. Raises StoreError."""
        given = await self.headers()
        renewed = False
        for _ in range(MOST_REDIRECTS + 1):
            await self.may_ask(url)
            sent = {"Accept-Encoding": "identity", **given, **more}
            found = await self._client().request(method, url, headers=sent, data=data, allow_redirects=False)
            if found.status == 401 and data is None and not renewed:
                renewed = True
                fresh = await self.headers(anew=True)
                if fresh != given:
                    given = fresh
                    found.close()
                    continue
            target = found.headers.get("Location", "")
            if found.status not in (301, 302, 303, 307, 308) or not target:
                return await self._checked(found)
            found.close()
            if data is not None:
                raise self.failed(f"the server sends the upload elsewhere (status {found.status}); name that address")
            target = urljoin(url, target)
            if not _same_origin(url, target):
                given = {}  # what shows who asks is for the one that was named
                if URL(target).scheme != "https" and URL(url).scheme == "https":
                    raise self.failed("it leads from https to another scheme, which is not followed")
            url = target
        raise self.failed(f"more than {MOST_REDIRECTS} redirects, one behind the other")

    async def _checked(self, found: aiohttp.ClientResponse) -> aiohttp.ClientResponse:
        if 200 <= found.status < 300:
            return found
        status = found.status
        said = shortened((await found.content.read(512)).decode(errors="replace"))
        found.close()
        if status == 404:
            raise self.failed("there is nothing there (status 404)", missing=True)
        hint = "; look at the secrets of the place" if status in (401, 403) else ""
        temporary = status >= 500 or status in (408, 425, 429)
        raise self.failed(f"status {status}{hint}{f': {said}' if said else ''}", temporary=temporary)

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            guard = self.access.guard
            connector = aiohttp.TCPConnector(ssl=self.tls(), resolver=guard.resolver() if guard is not None else None)
            self._session = aiohttp.ClientSession(connector=connector, timeout=LIMITS, auto_decompress=False)
        return self._session


class ArtifactoryStore(WebStore):
    """A file in Artifactory."""

    def __init__(self, place: ArtifactoryPlace, access: StoreAccess) -> None:
        super().__init__(place, access)
        self._who = _basic(self.secret(place.username_secret), self.secret(place.password_secret))

    async def headers(self, *, anew: bool = False) -> dict[str, str]:
        return {"Authorization": self._who}


class HTTPStore(WebStore):
    """What a URL answers."""

    def __init__(self, place: HTTPPlace, access: StoreAccess) -> None:
        super().__init__(place, access)
        self._headers = {one.name: one.value for one in place.headers}
        auth = place.auth
        self._token: _ClientToken | None = None
        self._certificate = ("", "")
        if auth is None:
            return
        user, word = self.secret(auth.basic_auth.username_secret), self.secret(auth.basic_auth.password_secret)
        if user and word:
            self._headers["Authorization"] = _basic(user, word)
        if auth.oauth2.token_url_secret is not None:
            self._token = _ClientToken(self, auth.oauth2)
        cert = auth.client_cert
        self._certificate = (self.secret(cert.client_cert_secret), self.secret(cert.client_key_secret))

    def tls(self) -> ssl.SSLContext | bool:
        certificate, key = self._certificate
        if not certificate:
            return True
        context = ssl.create_default_context()
        with tempfile.TemporaryDirectory(prefix="exeunt-") as folder:  # the library reads them from files only
            one, other = Path(folder, "crt"), Path(folder, "key")
            other.touch(0o600)
            one.write_text(certificate)
            other.write_text(key)
            try:
                context.load_cert_chain(one, other)
            except (ssl.SSLError, ValueError) as error:
                raise self.failed("http.auth.clientCert: a certificate and its key in PEM are expected") from error
        return context

    async def headers(self, *, anew: bool = False) -> dict[str, str]:
        if self._token is None:
            return self._headers
        return {**self._headers, "Authorization": await self._token.value(self._client(), anew=anew)}


class _ClientToken:
    """A token by client credentials, kept until it ends."""

    def __init__(self, store: HTTPStore, wanted: OAuth2Secrets) -> None:
        self._store = store
        self._url = store.secret(wanted.token_url_secret).strip()
        self._id, self._word = store.secret(wanted.client_id_secret), store.secret(wanted.client_secret_secret)
        self._form = [("grant_type", "client_credentials"), *((one.key, one.value) for one in wanted.endpoint_params)]
        if wanted.scopes:
            self._form.append(("scope", " ".join(wanted.scopes)))
        self._value, self._until = "", 0.0

    async def value(self, session: aiohttp.ClientSession, *, anew: bool) -> str:
        """What the header Authorization says. Raises StoreError."""
        if anew or time.monotonic() >= self._until:
            who = {"Authorization": _basic(quote_plus(self._id), quote_plus(self._word))}
            status, answer = await self._ask(session, self._form, who)
            if status in (400, 401):  # some servers want it in the form
                form = [*self._form, ("client_id", self._id), ("client_secret", self._word)]
                status, answer = await self._ask(session, form, {})
            token = answer.get("access_token") if isinstance(answer, dict) else None
            if status != 200 or not isinstance(token, str):
                raise self._store.failed(
                    f"http.auth.oauth2: no token was given (status {status}); look at the client's id and secret",
                    temporary=status >= 500,
                )
            lasts = answer.get("expires_in")
            lasts = float(lasts) if isinstance(lasts, int | float | str) and str(lasts).isdigit() else 3600.0
            self._value, self._until = f"Bearer {token}", time.monotonic() + lasts - TOKEN_MARGIN_SECONDS
        return self._value

    async def _ask(self, session: aiohttp.ClientSession, form: Any, who: dict[str, str]) -> tuple[int, Any]:
        await self._store.may_ask(self._url)
        try:
            async with session.post(self._url, data=form, headers=who, allow_redirects=False) as found:
                text = await found.content.read(LONGEST_ANSWER)
                try:
                    return found.status, msgspec.json.decode(text)
                except msgspec.DecodeError:
                    return found.status, None
        except (*_BROKEN, aiohttp.InvalidURL) as error:
            raise self._store.failed(f"http.auth.oauth2: {shortened(str(error))}", temporary=True) from error


def _basic(user: str, word: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{word}'.encode()).decode()}"


def _same_origin(one: str, other: str) -> bool:
    return URL(one).origin() == URL(other).origin()


def _size(found: aiohttp.ClientResponse) -> int:
    length = found.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else -1


def _tag(found: aiohttp.ClientResponse) -> str:
    """What says that it is the same when a read goes on; empty where it cannot."""
    tag = found.headers.get("ETag", "")
    strong = tag if not tag.startswith("W/") else ""
    return strong if found.headers.get("Accept-Ranges") == "bytes" else ""
