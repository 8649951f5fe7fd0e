"""Removes objects by prefix from S3, Google Cloud Storage, Azure Blob Storage, or a directory.

With credentials from secrets that the manifest names, anything that they allow can be removed; with the credentials of
the service, only what lies below the URLs in its settings.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from exeunt.actions.arguments import BadArguments
from exeunt.actions.cleanup_paths import remove_all
from exeunt.actions.cleanup_report import CleanupReport
from exeunt.actions.context import Context
from exeunt.actions.secrets import secret
from exeunt.language.actions import Objects

BATCH = 1000  # objects that are listed and removed at once
CREDENTIALS = {
    "s3": frozenset({"access_key_id", "secret_access_key", "session_token"}),
    "gs": frozenset({"service_account_key"}),
    "az": frozenset({"account_key", "sas_key"}),
}
OPTIONS = {
    "s3": frozenset({"region", "endpoint", "virtual_hosted_style_request"}),
    "gs": frozenset[str](),
    "az": frozenset({"account_name"}),
}
_NEEDED = {
    "s3": "access_key_id and secret_access_key",
    "gs": "service_account_key",
    "az": "account_key or sas_key",
}
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,62}")
_WORD = re.compile(r"[A-Za-z0-9-]{1,64}")


class ObjectPrefix(NamedTuple):
    """A bucket (in Azure: a container), and the prefix of the objects to remove from it."""

    scheme: str
    bucket: str
    prefix: str

    @property
    def url(self) -> str:
        """As people write it."""
        return f"{self.scheme}://{self.bucket}/{self.prefix}"


async def objects(at: int, given: str | Objects, context: Context) -> CleanupReport:
    """Removes the object of that name and all below it; says how many. Raises BadArguments."""
    wanted = Objects(url=given) if isinstance(given, str) else given
    where = f"plugin.cleanup.objects[{at}]"
    if wanted.url.startswith("file://"):
        return await _directory(wanted.url, where, context)
    place = place_of(wanted.url, where)
    options = await _options(place, wanted, where, context)
    own = not set(options) & CREDENTIALS[place.scheme]
    if own:
        _declared(place, options, where, context)
    else:
        _complete(place, options, where)
        await _endpoint(options.get("endpoint", ""), where, context)
    report = CleanupReport()
    try:
        store = _store(place, options)
        count, size = await _remove(store, place.prefix)
    except Exception as error:  # noqa: BLE001 - obstore raises of each store's own, and says all in the text
        report.wrong(place.url, _words(error))
        return report
    report.note(f"{place.url} ({count} objects, {size} bytes)" if count else place.url, count > 0)
    return report


def place_of(url: str, where: str) -> ObjectPrefix:
    """Reads `s3://BUCKET/PREFIX`; a whole bucket is never meant. Raises BadArguments."""
    try:
        parts = urlsplit(url)
        bucket, prefix = parts.netloc, unquote(parts.path).strip("/")
    except ValueError:
        bucket, prefix = "", ""
        parts = urlsplit("")
    if parts.scheme not in CREDENTIALS or parts.query or parts.fragment:
        raise BadArguments(f"{where}.url: s3://, gs://, az:// or file:// with a bucket and a prefix is expected")
    if not _BUCKET.fullmatch(bucket):
        raise BadArguments(f"{where}.url: {bucket!r} is no name of a bucket")
    if not prefix or any(part in {"", ".", ".."} for part in prefix.split("/")):
        raise BadArguments(f"{where}.url: a prefix is expected behind the bucket, of names with / between")
    return ObjectPrefix(parts.scheme, bucket, prefix)


async def _options(place: ObjectPrefix, wanted: Objects, where: str, context: Context) -> dict[str, str]:
    known = CREDENTIALS[place.scheme] | OPTIONS[place.scheme]
    for field, names in (("options", wanted.options), ("optionsFrom", wanted.options_from)):
        for name in names:
            if name not in known:
                raise BadArguments(
                    f"{where}.{field}: there is no option {name!r}; there are {', '.join(sorted(known))}"
                )
    bare = sorted(set(wanted.options) & CREDENTIALS[place.scheme] - {"access_key_id"})
    if bare:
        raise BadArguments(f"{where}.options: {bare[0]} is a secret; name it in optionsFrom")
    options = dict(wanted.options)
    for name, source in wanted.options_from.items():
        options[name] = (await secret(source, f"{where}.optionsFrom.{name}", context)).strip()
    for name in ("region", "account_name"):
        if name in options and not _WORD.fullmatch(options[name]):
            raise BadArguments(f"{where}.options.{name}: {options[name]!r} cannot be one")
    return options


def _declared(place: ObjectPrefix, options: dict[str, str], where: str, context: Context) -> None:
    """The service's own credentials are only for what its settings name."""
    if "endpoint" in options:
        raise BadArguments(f"{where}.options.endpoint: goes with credentials of the manifest's own (optionsFrom)")
    for root in context.settings.cleanup_objects:
        below = root.rstrip("/")
        if place.url == below or place.url.startswith(f"{below}/"):
            return
    declared = ", ".join(context.settings.cleanup_objects)
    raise BadArguments(
        f"{where}.url: {place.url} does not lie below what the setting cleanup-objects declares "
        f"({declared or 'nothing'}); or name credentials in optionsFrom"
    )


def _complete(place: ObjectPrefix, options: dict[str, str], where: str) -> None:
    have = set(options)
    good = {
        "s3": {"access_key_id", "secret_access_key"} <= have,
        "gs": True,
        "az": "account_name" in have,
    }[place.scheme]
    if not good:
        needed = "account_name" if place.scheme == "az" else _NEEDED[place.scheme]
        raise BadArguments(f"{where}: {needed} is missing among the options")


async def _endpoint(endpoint: str, where: str, context: Context) -> None:
    """Only hosts that the operator allows: the store's client looks names up by itself and follows redirects."""
    if not endpoint:
        return
    try:
        parts = urlsplit(endpoint)
        host = parts.hostname or ""
    except ValueError:
        host = ""
    if not host or parts.scheme not in {"http", "https"}:
        raise BadArguments(f"{where}.options.endpoint: https://HOST:PORT is expected")
    guard = context.tools.guard
    if host.lower() in guard.allow_hosts:
        return
    if guard.allow_loopback and _loopback(host):
        return
    raise BadArguments(
        f"{where}.options.endpoint: {host} is not among the hosts that the setting allow-hosts names, as object stores "
        "have to be"
    )


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _store(place: ObjectPrefix, options: dict[str, str]) -> Any:
    from obstore.store import AzureStore, GCSStore, S3Store

    client: Any = {"timeout": "30s", "connect_timeout": "10s"}
    if options.get("endpoint", "").startswith("http://"):
        client["allow_http"] = True
    retry: Any = {"max_retries": 2}
    config: Any = {name: value for name, value in options.items() if name not in CREDENTIALS["s3"]}
    if place.scheme == "s3":
        provider: Any = None
        if "access_key_id" in options:
            # A provider, and not the config: nothing of the service's own environment is mixed in.
            found = {
                "access_key_id": options["access_key_id"],
                "secret_access_key": options["secret_access_key"],
                "token": options.get("session_token"),
                "expires_at": None,
            }
            provider = lambda: found  # noqa: E731 - what obstore asks for is a function
        return S3Store(
            place.bucket, config=config, client_options=client, retry_config=retry, credential_provider=provider
        )
    if place.scheme == "gs":
        return GCSStore(place.bucket, config=config, client_options=client, retry_config=retry)
    return AzureStore(place.bucket, config=config, client_options=client, retry_config=retry)


async def _remove(store: Any, prefix: str) -> tuple[int, int]:
    import obstore

    count = size = 0
    try:
        found = await obstore.head_async(store, prefix)
        await obstore.delete_async(store, prefix)
        count, size = 1, int(found["size"])
    except FileNotFoundError:
        pass
    async for batch in obstore.list(store, prefix, chunk_size=BATCH):
        await obstore.delete_async(store, [one["path"] for one in batch])
        count += len(batch)
        size += sum(int(one["size"]) for one in batch)
    return count, size


def _words(error: Exception) -> str:
    """What obstore says, without the debugging output that it adds."""
    return " ".join(str(error).partition("Debug source:")[0].split()).rstrip(": ")[:500]


async def _directory(url: str, where: str, context: Context) -> CleanupReport:
    parts = urlsplit(url)
    if parts.netloc not in {"", "localhost"}:
        raise BadArguments(f"{where}.url: file:///PATH is expected")
    path = unquote(parts.path)
    return await asyncio.get_running_loop().run_in_executor(
        context.tools.threads, remove_all, [path], context.settings.cleanup_roots
    )
