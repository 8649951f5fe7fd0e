"""Removes streams, key-value buckets and object stores from a NATS server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import Error as JetStreamError
from nats.js.errors import NotFoundError

from exeunt.actions.arguments import BadArguments
from exeunt.actions.cleanup_report import CleanupReport
from exeunt.actions.context import Context
from exeunt.actions.guard import AddressRefused
from exeunt.actions.masking import shown_url
from exeunt.actions.secrets import secret
from exeunt.language.actions import NatsThings
from exeunt.natspy import whole

CONNECT_SECONDS = 10
OURS = "EXEUNT_"
_DEFAULT_PORT = 4222


async def nats_things(at: int, wanted: NatsThings, context: Context) -> CleanupReport:
    """Deletes what is named; says what became of each. Raises BadArguments."""
    where = f"plugin.cleanup.nats[{at}]"
    names = [(name, f"stream {name}") for name in wanted.streams]
    names += [(f"KV_{name}", f"bucket {name}") for name in wanted.buckets]
    names += [(f"OBJ_{name}", f"object store {name}") for name in wanted.object_stores]
    if not names:
        raise BadArguments(f"{where}: name streams, buckets or objectStores to remove")
    for stream, shown in names:
        if not stream.isascii() or not stream.replace("-", "").replace("_", "").isalnum():
            raise BadArguments(f"{where}: {shown!r} is no name; letters, digits, - and _ are")
        if stream.split("_", 1)[-1].startswith(OURS) or stream.startswith(OURS):
            raise BadArguments(f"{where}: {shown} is one of Exeunt's own")
    report = CleanupReport()
    url = wanted.url or context.settings.cleanup_nats_url
    if not url:
        raise BadArguments(f"{where}.url: name a server (nats://HOST:4222), or set cleanup-nats-url")
    try:
        async with _connected(url, wanted, where, context) as client:
            manager = client.jsm(timeout=15)
            for stream, shown in names:
                try:
                    report.note(shown, await manager.delete_stream(stream))
                except NotFoundError:
                    report.note(shown, False)
                except (JetStreamError, NatsError, TimeoutError) as error:
                    report.wrong(shown, str(error) or "no answer")
    except (NatsError, OSError, TimeoutError) as error:
        report.unsent = isinstance(error, AddressRefused)
        report.wrong(shown_url(url), str(error) or "no answer")
    return report


@contextlib.asynccontextmanager
async def _connected(url: str, wanted: NatsThings, where: str, context: Context) -> AsyncIterator[Client]:
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORT
    except ValueError:
        raise BadArguments(f"{where}.url: nats://HOST:PORT is expected") from None
    if parts.scheme not in {"nats", "tls"} or not parts.hostname:
        raise BadArguments(f"{where}.url: nats://HOST:PORT or tls://HOST:PORT is expected")
    options: dict[str, Any] = {}
    host = parts.hostname
    if wanted.url:
        host = await _address(host, context)
        options["tls_hostname"] = parts.hostname if parts.scheme == "tls" else None
    if parts.password:
        context.masker.add(parts.password)
        options |= {"user": unquote(parts.username or ""), "password": unquote(parts.password)}
    elif parts.username:
        context.masker.add(parts.username)
        options["token"] = unquote(parts.username)
    with contextlib.ExitStack() as stack:
        if wanted.credentials_from is not None:
            text = await secret(wanted.credentials_from, f"{where}.credentialsFrom", context)
            options["user_credentials"] = stack.enter_context(_file(text))
        address = f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}"
        # Other servers that this one tells of have passed no guard: so no reconnecting.
        client = await whole(
            nats.connect(
                address,
                connect_timeout=CONNECT_SECONDS,
                allow_reconnect=False,
                error_cb=_quiet,
                name="exeunt clean-up",
                **{name: value for name, value in options.items() if value is not None},
            )
        )
        try:
            yield client
        finally:
            await whole(client.close())


async def _address(host: str, context: Context) -> str:
    """An address of the host that the guard lets through: the very one that is connected to. Raises OSError."""
    guard = context.tools.guard
    guard.check_literal(host)
    loop = asyncio.get_running_loop()
    found = await loop.run_in_executor(context.tools.threads, guard.addresses, host)
    if not found:
        raise OSError(f"{host}: there is no such host")
    for address in found:
        guard.check(host, address)
    return found[0]


@contextlib.contextmanager
def _file(text: str) -> Iterator[str]:
    """A file that only we can read, for as long as connecting takes: nats-py reads credentials from files."""
    handle, path = tempfile.mkstemp(prefix="exeunt-")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
        yield path
    finally:
        os.unlink(path)


async def _quiet(error: Exception) -> None:
    """Errors of the connection are not logged: the calls that fail because of them say what is wrong."""
    del error
