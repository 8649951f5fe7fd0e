"""The executor's end of the zygote: starts it, hands it orders, and starts another one when it was killed."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from pathlib import Path

import exeunt.executor
from exeunt.executor.runtime import survivors
from exeunt.executor.runtime.sandbox.order import (
    ISOLATED,
    MOST_BYTES,
    SHARED,
    SandboxOrder,
    ZygoteConfig,
    ZygoteReady,
    pack,
    ready,
)
from exeunt.executor.runtime.sandbox.zygote import PID

ANSWER_SECONDS = 10.0
"""A zygote that has not answered by then is killed; it needs about a millisecond for an order, 50 to start."""

_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from exeunt.executor.runtime.sandbox.zygote import main; main()"
)
_PACKAGES = str(Path(exeunt.executor.__path__[0]).absolute().parents[1])


class NoSandbox(Exception):  # noqa: N818 - it is said to people
    """No sandbox can be made here, and why."""


class ZygoteProcess:
    """Everything happens in the thread that called `start`, whose children the steps become.

    `mark` is what its environment carries; `own` has the children that others leave alone.
    """

    def __init__(self, config: ZygoteConfig, mark: str, own: set[int]) -> None:
        self._config = config
        self._mark = mark
        self._own = own
        self._channel: socket.socket | None = None
        self.pid = 0
        self.ready = ZygoteReady("", [])

    def start(self) -> None:
        """Starts it; NoSandbox says why that cannot be, OSError when it ended or does not answer."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            null = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)]
            os.set_inheritable(theirs.fileno(), True)
            try:
                self.pid = os.posix_spawn(
                    sys.executable,
                    [sys.executable, "-I", "-S", "-c", _PROGRAM, _PACKAGES, str(theirs.fileno())],
                    {"PATH": os.defpath, survivors.MARK: self._mark},
                    file_actions=null,
                    setpgroup=0,
                    setsigmask=[],
                )
            finally:
                os.set_inheritable(theirs.fileno(), False)
        self._own.add(self.pid)
        ours.settimeout(ANSWER_SECONDS)
        self._channel = ours
        try:
            ours.send(pack(self._config))
            answer = ours.recv(MOST_BYTES)
            if not answer:
                raise ConnectionResetError("the sandbox's helper process ended before it was ready")
        except OSError:
            self.end()
            raise
        self.ready = ready(answer)
        if self.ready.problem:
            self.end()
            raise NoSandbox(self.ready.problem)

    def fork(self, order: SandboxOrder, out: int, err: int, status: int, *, isolated: bool) -> int:
        """Has the first process of a step started; its process id. OSError when it cannot be."""
        data = pack(order)
        if len(data) > MOST_BYTES:
            raise OSError(0, f"arguments and environment have {len(data)} bytes, more than {MOST_BYTES}")
        text = os.memfd_create("order", os.MFD_CLOEXEC)
        try:
            with open(text, "wb", closefd=False) as file:
                file.write(data)
            pid = self._ask([text, out, err, status], isolated=isolated)
        finally:
            os.close(text)
        if pid < 0:
            raise OSError(-pid, os.strerror(-pid))
        return pid

    def _ask(self, fds: list[int], *, isolated: bool) -> int:
        if self._channel is None:
            self.start()
        assert self._channel is not None
        try:
            socket.send_fds(self._channel, [ISOLATED if isolated else SHARED], fds)
            answer = self._channel.recv(PID.size)
            if len(answer) != PID.size:
                raise ConnectionResetError(0, "the sandbox's helper process was killed; the next step starts another")
        except OSError:
            self.end()
            raise
        return int(PID.unpack(answer)[0])

    def end(self) -> None:
        """Ends it; steps that run go on."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self.pid:
            with contextlib.suppress(OSError):
                os.kill(self.pid, signal.SIGKILL)
            with contextlib.suppress(OSError):
                os.waitpid(self.pid, 0)
            self._own.discard(self.pid)
            self.pid = 0
