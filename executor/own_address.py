"""The address by which this machine is reached from where its scheduler is: that of daemons which run here."""

from __future__ import annotations

import asyncio
import socket

LOOPBACK = "127.0.0.1"


async def own_address(towards: str) -> str:
    """The address from which packets to HOST:PORT would come. No packet is sent; without a way there, the loopback."""
    host, _, port = towards.rpartition(":")
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host.strip("[]") or LOOPBACK, int(port or 0) or 1, type=socket.SOCK_DGRAM
        )
        family, kind, _, _, there = found[0]
        with socket.socket(family, kind) as probe:
            probe.connect(there)
            return str(probe.getsockname()[0])
    except (OSError, ValueError):
        return LOOPBACK
