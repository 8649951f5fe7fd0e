"""A network namespace with a cable to it that can be cut: what is sent while it is cut is lost, and nobody is told."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator

import pytest


class Namespace:
    """One namespace. `host` is its address; `within` is the command that runs something there."""

    def __init__(self, number: int) -> None:
        self.name = f"exeunt-{number:x}"
        self.host = f"10.213.{number % 250 + 1}.2"
        self.within = ("ip", "netns", "exec", self.name)
        self._near, self._far = f"ex{number:x}n", f"ex{number:x}f"  # the ends of the cable

    def make(self) -> None:
        """Makes it, with its cable. Skips the test where that is not permitted."""
        try:
            _ip("netns", "add", self.name)
            _ip("link", "add", self._near, "type", "veth", "peer", "name", self._far, "netns", self.name)
            _ip("addr", "add", self.host.removesuffix("2") + "1/24", "dev", self._near)
            _ip("link", "set", self._near, "up")
            _ip("-n", self.name, "addr", "add", f"{self.host}/24", "dev", self._far)
            _ip("-n", self.name, "link", "set", "lo", "up")
            _ip("-n", self.name, "link", "set", self._far, "up")
        except (OSError, subprocess.CalledProcessError) as error:
            self.remove()
            pytest.skip(f"no network namespace can be made here (root and iproute2 are needed): {_told(error)}")

    def cut(self) -> None:
        """Nothing goes through any more, in either direction."""
        _ip("-n", self.name, "link", "set", self._far, "down")

    def mend(self) -> None:
        """All is as before."""
        _ip("-n", self.name, "link", "set", self._far, "up")

    def remove(self) -> None:
        """It is gone, and its cable."""
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            _ip("netns", "del", self.name)


@contextlib.contextmanager
def namespace() -> Iterator[Namespace]:
    """A namespace for as long as the block lasts."""
    made = Namespace(os.getpid() % 0xFFFF)
    made.make()
    try:
        yield made
    finally:
        made.remove()


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], capture_output=True, text=True, check=True)


def _told(error: OSError | subprocess.CalledProcessError) -> str:
    return error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else str(error)
