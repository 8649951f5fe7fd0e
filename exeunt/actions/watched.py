"""Runs other people's code (Apprise, smtplib, drivers of databases) in threads that are watched.

The guard decides where it connects to, what Apprise logs is collected, answers that are read with `requests` have a
bound, and connections can be ended from outside.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from exeunt.actions.guard import AddressGuard, AddressRefused

SHOWN = 300  # characters of a log line that stand in a message

_here = threading.local()
_preparing = threading.Lock()
_prepared = False


class Said:
    """What Apprise logged in this thread."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def last(self) -> str:
        """The last line, cut for a message; empty when there was none."""
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
    """Where a thread may connect to, and how much it may read.

    `refusal` says what it was kept from; empty for nothing. `answer_bytes` bounds each answer that is read with
    `requests`; 0 is no bound.
    """

    def __init__(self, guard: AddressGuard, answer_bytes: int = 0) -> None:
        self.refusal = ""
        self.answer_bytes = answer_bytes
        self._guard = guard
        self._allowed: frozenset[str] = frozenset()
        self._copies: list[socket.socket] = []  # of what it has opened: the originals are the thread's own to close
        self._over = False
        self._lock = threading.Lock()

    def allow(self, host: str) -> None:
        """Allows the addresses of a host if the settings allow the host. Blocking."""
        if host.lower() in self._guard.allow_hosts:
            self._allowed |= frozenset(self._guard.addresses(host))

    def check(self, address: object) -> None:
        """Raises AddressRefused when a socket must not connect to this address."""
        try:
            if not isinstance(address, tuple):
                raise AddressRefused(
                    "this is a socket of the exit handler's own machine; targets must be on the network"
                )
            host = str(address[0])
            if host not in self._allowed:
                self._guard.check_name(host)
        except AddressRefused as error:
            self.refusal = str(error)
            raise

    def opened(self, connection: socket.socket) -> None:
        """The thread opens a connection. Raises AddressRefused when it has been ended."""
        with self._lock:
            if self._over:
                raise AddressRefused("the time for it is over")
            if connection.type & socket.SOCK_STREAM:
                self._copies.append(connection.dup())

    def end(self) -> None:
        """Ends the thread's connections, from any thread: whoever waits on one gets an error."""
        with self._lock:
            self._over = True
            copies, self._copies = self._copies, []
        for copy in copies:
            with contextlib.suppress(OSError):
                copy.shutdown(socket.SHUT_RDWR)
            copy.close()


@contextlib.contextmanager
def guarded(watch: Watch) -> Iterator[Watch]:
    """Keeps this thread from connecting to forbidden addresses within the block; this holds for redirects too."""
    _prepare()
    _here.watch = watch
    try:
        yield watch
    finally:
        _here.watch = None
        watch.end()


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
        _bound_answers()
        sys.addaudithook(_audit)


def _bound_answers() -> None:
    """Makes `requests`, which has no setting for it, read no more of an answer than the thread's watch allows."""
    import requests.adapters
    import requests.sessions

    class Bounded(requests.adapters.HTTPAdapter):
        def build_response(self, req: Any, resp: Any) -> Any:
            watch: Watch | None = getattr(_here, "watch", None)
            if watch is not None and watch.answer_bytes:
                resp.stream = _bounded(resp.stream, watch)
            return super().build_response(req, resp)

    sessions: Any = requests.sessions
    sessions.HTTPAdapter = Bounded


def _bounded(stream: Callable[..., Iterator[bytes]], watch: Watch) -> Callable[..., Iterator[bytes]]:
    def read(*args: Any, **more: Any) -> Iterator[bytes]:
        size = 0
        for piece in stream(*args, **more):
            size += len(piece)
            if size > watch.answer_bytes:
                watch.refusal = f"its answer is larger than {watch.answer_bytes} bytes (EXEUNT_ANSWER_BYTES)"
                raise OSError(watch.refusal)
            yield piece

    return read


def _audit(event: str, args: tuple[Any, ...]) -> None:
    """Is called by Python before a socket connects (its library reference, "Audit events table")."""
    if event not in {"socket.connect", "socket.sendto"}:
        return
    watch: Watch | None = getattr(_here, "watch", None)
    if watch is not None:
        watch.check(args[1])
        watch.opened(args[0])
