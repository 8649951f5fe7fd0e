"""One child process of a local cluster: started, waited for until ready, started again when it dies, ended in the end.

A child never outlives its supervisor: the kernel kills it when the supervisor dies, whatever it dies of.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from exeunt.service.program import READY_VARIABLE

_TIED = """\
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)
os.getppid() == int(sys.argv[1]) or os._exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Asks the kernel for SIGKILL at the parent's death (PR_SET_PDEATHSIG); then becomes the child."""

LOG_BYTES = 32 * 1024 * 1024
TAIL_LINES = 15


@dataclass
class Spec:
    """What to start. `command` is asked anew each time; `ready` finds the ready line among lines of output.

    Without `ready` the child gets a pipe named by EXEUNT_READY_FD and writes one line of JSON to it.
    `stuck` finds the line by which the child says that only a new start will help it; `mended` says whether it would.
    """

    name: str
    command: Callable[[], list[str]]
    environ: Mapping[str, str]
    log: Path
    ready: Callable[[bytes], bool] | None = None
    stuck: Callable[[bytes], bool] | None = None
    mended: Callable[[], bool] = lambda: True
    grace: float = 25.0  # seconds between SIGTERM and SIGKILL


@dataclass
class ChildProcess:
    """A running child. `facts` is what it said when it was ready."""

    spec: Spec
    pid: int
    facts: dict[str, Any] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = None
    _ended: asyncio.Event = field(default_factory=asyncio.Event)
    _ready: asyncio.Event = field(default_factory=asyncio.Event)
    _stuck: asyncio.Event = field(default_factory=asyncio.Event)
    _why_stuck: str = ""
    _descriptors: list[int] = field(default_factory=list)

    @property
    def is_ready(self) -> bool:
        """True once it has said so."""
        return self._ready.is_set()

    async def ready(self) -> bool:
        """Waits until it is ready (True) or has ended (False)."""
        waits = [asyncio.ensure_future(event.wait()) for event in (self._ready, self._ended)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return self._ready.is_set()

    async def stuck(self) -> str:
        """Waits until it says that only a new start will help it; how it said so."""
        await self._stuck.wait()
        return self._why_stuck

    async def ended(self) -> int:
        """Waits for its end; its exit status, negative for a signal."""
        await self._ended.wait()
        assert self._process is not None
        return self._process.returncode or 0

    def signal(self, number: int) -> None:
        """Sends it a signal."""
        if self._process is not None and not self._ended.is_set():
            self._process.send_signal(number)

    async def end(self) -> None:
        """SIGTERM, then SIGKILL when its grace is over; waits until it is gone."""
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(self.spec.grace):
                await self._ended.wait()
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self._ended.wait()
        except asyncio.CancelledError:
            self.signal(signal.SIGKILL)
            raise


def start(spec: Spec) -> ChildProcess:
    """Starts a child; the running loop watches it from then on."""
    loop = asyncio.get_running_loop()
    log = _open_log(spec.log)
    environ = dict(spec.environ)
    reading, writing = os.pipe()
    try:
        output: IO[bytes] | int = log
        passed: tuple[int, ...] = ()
        if spec.ready is None:
            environ[READY_VARIABLE] = str(writing)
            passed = (writing,)
        else:
            output = writing
        process = subprocess.Popen(  # noqa: S603 (our own programs)
            [sys.executable, "-I", "-S", "-c", _TIED, str(os.getpid()), *spec.command()],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=passed,
            process_group=0,  # Ctrl-C at the terminal is for the supervisor, which ends its children in order
        )
    except OSError:
        os.close(reading)
        log.close()
        raise
    finally:
        os.close(writing)
    child = ChildProcess(spec, process.pid, _process=process)
    lines = _Lines(child, reading, log if spec.ready is not None else None)
    if spec.ready is None:
        log.close()
    os.set_blocking(reading, False)
    loop.add_reader(reading, lines.read)
    descriptor = os.pidfd_open(process.pid)

    def gone() -> None:
        loop.remove_reader(descriptor)
        os.close(descriptor)
        process.wait()
        lines.read()
        lines.close()
        child._ended.set()

    loop.add_reader(descriptor, gone)
    return child


class _Lines:
    """Reads what comes through the pipe: the ready line, or a whole log of which one line says ready."""

    def __init__(self, child: ChildProcess, reading: int, log: IO[bytes] | None) -> None:
        self._child = child
        self._reading = reading
        self._log = log
        self._buffer = b""
        self._open = True

    def read(self) -> None:
        while self._open:
            try:
                data = os.read(self._reading, 65536)
            except BlockingIOError:
                return
            if not data:
                self.close()
                return
            if self._log is not None:
                with contextlib.suppress(OSError):  # a full disk: what is read still counts
                    self._log.write(data)
                    self._log.flush()
                if self._child.is_ready and self._child.spec.stuck is None:
                    continue
            *lines, self._buffer = (self._buffer + data).split(b"\n")
            for line in lines:
                self._line(line)

    def _line(self, line: bytes) -> None:
        find, stuck = self._child.spec.ready, self._child.spec.stuck
        if find is not None:
            if find(line):
                self._child._ready.set()
            if stuck is not None and stuck(line):
                self._child._why_stuck = line.decode(errors="replace")
                self._child._stuck.set()
            return
        with contextlib.suppress(ValueError):
            self._child.facts = json.loads(line)
            self._child._ready.set()

    def close(self) -> None:
        if self._open:
            self._open = False
            asyncio.get_running_loop().remove_reader(self._reading)
            os.close(self._reading)
            if self._log is not None:
                with contextlib.suppress(OSError):
                    self._log.close()


def _open_log(path: Path) -> IO[bytes]:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > LOG_BYTES:
        path.replace(path.with_suffix(".log.1"))
    return path.open("ab")


def tail(path: Path) -> str:
    """The last lines of a log, for the message that says why something did not start."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - 16384))
            lines = log.read().decode(errors="replace").splitlines()[-TAIL_LINES:]
    except OSError:
        return ""
    return "\n".join(map(_plain, lines))


def _plain(line: str) -> str:
    """A JSON log line as text; anything else as it is."""
    try:
        fields = json.loads(line)
        return f"{fields['level']}: {fields['message']}" + "".join(f"\n{e}" for e in [fields.get("exception")] if e)
    except (ValueError, TypeError, KeyError):
        return line
