"""Threads in which other people's code sends messages: where it connects to is guarded, what it logs is overheard."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Iterator
from typing import Any

from exeunt.actions.guard import Guard, Refused

SHOWN = 300  # characters of a log line that stand in a message

_here = threading.local()
_preparing = threading.Lock()
_prepared = False


class Said:
    """What Apprise logged in this thread."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def last(self) -> str:
        """The last line, as it fits into a message; empty when there was none."""
        return " ".join(self.lines[-1].split())[:SHOWN] if self.lines else ""


class _Ear(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        said: Said | None = getattr(_here, "said", None)
        if said is not None:
            said.lines.append(record.getMessage())


@contextlib.contextmanager
def overheard() -> Iterator[Said]:
    """Collects what Apprise says in this thread; it reports failures only in its log."""
    _prepare()
    said = Said()
    _here.said = said
    try:
        yield said
    finally:
        _here.said = None


class Watch:
    """Where this thread may connect to; `refusal` says where it was kept from."""

    def __init__(self, guard: Guard) -> None:
        self.refusal = ""
        self._guard = guard
        self._allowed: frozenset[str] = frozenset()

    def allow(self, host: str) -> None:
        """Lets through the addresses of a host, if the settings name that host. Blocking."""
        if host.lower() in self._guard.allow_hosts:
            self._allowed |= frozenset(self._guard.addresses(host))

    def check(self, address: object) -> None:
        """Raises Refused for an address of a socket that must not be connected to."""
        try:
            if not isinstance(address, tuple):
                raise Refused("this is a socket of the exit handler's own machine; targets must be on the network")
            host = str(address[0])
            if host not in self._allowed:
                self._guard.check_name(host)
        except Refused as error:
            self.refusal = str(error)
            raise


@contextlib.contextmanager
def guarded(guard: Guard) -> Iterator[Watch]:
    """Within, no socket of this thread connects to where the guard says no; this holds for redirects too."""
    _prepare()
    watch = Watch(guard)
    _here.watch = watch
    try:
        yield watch
    finally:
        _here.watch = None


def _prepare() -> None:
    global _prepared  # noqa: PLW0603 - audit hooks are for the whole process and cannot be taken back
    with _preparing:
        if _prepared:
            return
        _prepared = True
        apprise_log = logging.getLogger("apprise")
        apprise_log.addHandler(_Ear(logging.WARNING))
        apprise_log.propagate = False  # its lines may hold parts of target URLs
        logging.getLogger("urllib3").setLevel(logging.INFO)  # at debug level it writes paths
        sys.addaudithook(_audit)


def _audit(event: str, args: tuple[Any, ...]) -> None:
    """Python's own word before a socket connects (its library reference, "Audit events table")."""
    if event not in {"socket.connect", "socket.sendto"}:
        return
    watch: Watch | None = getattr(_here, "watch", None)
    if watch is not None:
        watch.check(args[1])
