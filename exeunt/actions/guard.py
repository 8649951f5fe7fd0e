"""Which addresses actions may connect to: not to services of the machine itself, nor to a cloud's metadata."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Set
from contextvars import ContextVar

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import AddrInfoType
from aiohttp.resolver import ThreadedResolver

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Metadata and host services of clouds that no range below covers.
METADATA = frozenset(
    ipaddress.ip_address(a)
    for a in ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254")
)
REFUSAL = "actions do not go there unless the settings of the service that does them allow it"
"""What is said of an address that is refused, behind what it is."""
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


asked_for: ContextVar[str] = ContextVar("asked_for", default="")
"""The host that the request under way names, as it is written."""


class AddressRefused(OSError):  # noqa: N818 - it is an answer
    """An address that actions must not reach. The text is for people."""


class AddressGuard:
    """Decides on addresses. Hosts in `allow_hosts` (names or addresses) are always let through."""

    def __init__(
        self,
        allow_loopback: bool = False,
        allow_private: bool = True,
        allow_hosts: Set[str] = frozenset(),
        *,
        refusal: str = REFUSAL,
    ) -> None:
        self._refusal = refusal
        self.allow_loopback = allow_loopback
        self.allow_private = allow_private
        self.allow_hosts = frozenset(h.lower().strip("[]") for h in allow_hosts)

    def why_not(self, host: str, address: str) -> str | None:
        """Why `host`, which means `address`, must not be reached; None when it may be."""
        if host.lower().strip("[]") in self.allow_hosts or address in self.allow_hosts:
            return None
        try:
            ip = _plain(ipaddress.ip_address(address.partition("%")[0]))
        except ValueError:
            return f"{address!r} is no address"
        what = self._kind(ip)
        if what is None:
            return None
        return f"{_named(host, ip)} is {what}; {self._refusal}"

    def check(self, host: str, address: str) -> None:
        """Raises AddressRefused for an address that must not be reached."""
        why = self.why_not(host, address)
        if why is not None:
            raise AddressRefused(why)

    def check_literal(self, host: str) -> None:
        """Raises AddressRefused when `host` is an address that must not be reached; names are left to the resolver."""
        bare = host.strip("[]")
        try:
            ipaddress.ip_address(bare.partition("%")[0])
        except ValueError:
            return
        self.check(host, bare)

    def check_name(self, host: str) -> None:
        """Looks a host up; raises AddressRefused when an address of it is forbidden. Unknown hosts pass. Blocking."""
        self.check_literal(host)
        for address in self.addresses(host):
            self.check(host, address)

    @staticmethod
    def addresses(host: str) -> list[str]:
        """The addresses of a host now; none when it is unknown. Blocking."""
        try:
            return [str(where[0]) for *_, where in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
        except (OSError, UnicodeError):
            return []

    def _kind(self, ip: Address) -> str | None:
        if ip in METADATA:
            return "a metadata service"
        if ip.is_loopback:
            return None if self.allow_loopback else "a loopback address"
        if ip.is_link_local:
            return "a link-local address (metadata services live there)"
        if ip.is_unspecified or ip.is_multicast:
            return "no address of a single host"
        if ip.is_reserved:
            return "a reserved address"
        if ip.is_private and not self.allow_private:
            return "a private address"
        return None

    def socket(self, info: AddrInfoType) -> socket.socket:
        """Makes the socket for a connection to that address. Raises AddressRefused."""
        family, kind, protocol, _, address = info
        self.check(asked_for.get() or str(address[0]), str(address[0]))
        return socket.socket(family, kind, protocol)


class GuardedResolver(AbstractResolver):
    """Looks names up, and refuses those that lead to a forbidden address.

    What is checked are the very addresses that are connected to, so it does not help if a name means something else at
    the next lookup.
    """

    def __init__(self, guard: AddressGuard) -> None:
        self._guard = guard
        self._inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """As the system resolves it; raises AddressRefused."""
        found = await self._inner.resolve(host, port, family)
        for one in found:
            self._guard.check(host, one["host"])
        return found

    async def close(self) -> None:
        """Closes the system's resolver."""
        await self._inner.close()


def _plain(ip: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for (mapped, 6to4, NAT64), else the address itself."""
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return ip.ipv4_mapped
        if ip.sixtofour is not None:
            return ip.sixtofour
        if ip.teredo is not None:
            return ip.teredo[1]
        if ip in _NAT64:
            return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip


def _named(host: str, ip: Address) -> str:
    return f"{host} ({ip})" if host.strip("[]") != str(ip) else host
