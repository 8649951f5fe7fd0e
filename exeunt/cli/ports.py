"""Ports for the services of a local cluster: free ones, and the same ones after a restart."""

from __future__ import annotations

import random
import socket
from pathlib import Path

LOWEST = 15_000


def free_port(taken: set[int]) -> int:
    """A free loopback port below those that the kernel gives to outgoing connections.

    A service keeps its port over restarts. While it is away its clients try again and again; with a port of the
    kernel's range one of these tries would some day connect to itself and keep the port for good.
    """
    try:
        ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        ephemeral = 32_768
    highest = ephemeral - 1 if ephemeral > LOWEST + 1_000 else 65_535
    for _ in range(1_000):
        port = random.randint(LOWEST, highest)
        if port not in taken and is_free(port):
            taken.add(port)
            return port
    raise OSError("no free port was found on 127.0.0.1")


def is_free(port: int) -> bool:
    """True when a service could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
