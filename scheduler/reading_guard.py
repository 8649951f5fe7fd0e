"""Which hosts a scheduler reads artifacts from: manifests name them, and it stands inside of a network.

Executors are not asked: their steps reach what their machine reaches anyway.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from aiohttp import DefaultResolver
from aiohttp.abc import AbstractResolver

from exeunt.actions.guard import AddressGuard, AddressRefused, GuardedResolver

SETTING = "artifact-hosts"
_CLOUDS = re.compile(
    r"(.+\.)?s3(\.dualstack)?([.-][a-z]{2}-[a-z-]+-\d)?\.amazonaws\.com(\.cn)?|storage\.googleapis\.com"
    r"|[^.]+\.blob\.core\.windows\.net|(.+\.)?oss-[a-z0-9-]+\.aliyuncs\.com"
)
"""The clouds' own stores. No machines or web sites of their customers, which could lead a client elsewhere."""


class ReadingGuard:
    """By the rules of actions for what is asked over HTTP; object stores only where they are known (a `HostGuard`)."""

    def __init__(self, hosts: Iterable[str] = ()) -> None:
        self._hosts = frozenset(host.lower().strip("[]") for host in hosts)
        refusal = f"a scheduler reads nothing there unless its setting {SETTING} names it"
        self._any = "*" in self._hosts
        self._addresses = AddressGuard(allow_hosts=self._hosts, refusal=refusal)

    def resolver(self) -> AbstractResolver:
        """See HostGuard."""
        return DefaultResolver() if self._any else GuardedResolver(self._addresses)

    def why_not(self, host: str) -> str:
        """See HostGuard."""
        if self._any:
            return ""
        try:
            self._addresses.check_name(host)
        except AddressRefused as error:
            return str(error)
        return ""

    def why_no_store(self, host: str) -> str:
        """See HostGuard. obstore's client follows redirects wherever they lead: the host has to be one to rely on."""
        if self._any or host.lower() in self._hosts or _CLOUDS.fullmatch(host.lower()):
            return ""
        return f"{host or 'no host'} is none of the stores that a scheduler reads; name it in its setting {SETTING}"


def host_of_repository(repository: Mapping[str, Any]) -> list[str]:
    """The host of the operator's own repository, which is relied on; none for a cloud's, or NATS."""
    found = []
    for place in repository.values():
        address = str(place.get("endpoint") or place.get("url") or "") if isinstance(place, dict) else ""
        host = urlsplit(address if "://" in address else f"//{address}").hostname
        found += [host] if host else []
    return found
