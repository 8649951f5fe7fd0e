"""One process group, from its start until its files are given back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from exeunt.executor.runtime.base import Ended, NotEnded, OnOutput, OutputTooLarge, Unreadable
from exeunt.executor.runtime.reaper import Reaper

_READ = 65536
_LEFT = 1024 * 1024
"""The most that a pipe holds: 64 KB, or what a program asked for; without privileges it gets up to this."""

UNKILLABLE_SECONDS = 30.0
"""A process that is there so long after SIGKILL is held by the kernel, as by a file system that does not answer."""


class Home(Protocol):
    """The runtime, as far as its processes need it."""

    reaper: Reaper
    reader: ThreadPoolExecutor

    def ended(self, pid: int) -> None: ...
    def give_back(self, directory: str) -> None: ...


class Process:
    """See `exeunt.executor.runtime.base.Running`. `own` is its own directory, `directory` where it runs."""

    __slots__ = (
        "_ended",
        "_err",
        "_home",
        "_loop",
        "_on_output",
        "_out",
        "_paused",
        "_pidfd",
        "_released",
        "_script",
        "_since",
        "_timer",
        "_wrong",
        "directory",
        "own",
        "pid",
    )

    def __init__(self, home: Home, own: str, script: Path | None, *, since: int, on_output: OnOutput) -> None:
        self.pid = 0
        self.own = self.directory = own
        self._home = home
        self._loop = asyncio.get_running_loop()
        self._script = script
        self._since = since
        self._on_output = on_output
        self._out = self._err = -1
        self._paused = self._released = False
        self._timer: asyncio.TimerHandle | None = None
        self._wrong: Exception | None = None
        self._ended: asyncio.Future[Ended] = self._loop.create_future()

    def started(self, pid: int, out: int, err: int) -> None:
        """It runs; `out` and `err` are the ends to read its output from. OSError when it cannot be watched."""
        self._pidfd = os.pidfd_open(pid)
        self.pid, self._out, self._err = pid, out, err
        for fd in (out, err):  # the kernel tells of them in the order in which they had something
            os.set_blocking(fd, False)
            self._loop.add_reader(fd, self._readable, fd)
        self._loop.add_reader(self._pidfd, self._exited)

    @property
    def pids(self) -> tuple[int, ...]:
        """See `RunningProgram.pids`."""
        return (self.pid,) if self.pid else ()

    async def wait(self) -> Ended:
        """See `RunningProgram.wait`."""
        return await self._ended

    def end(self, grace: float) -> None:
        """See `RunningProgram.end`."""
        if not self.pid:
            return
        if self._timer is None:
            self._signal(signal.SIGTERM)
            self._timer = self._loop.call_later(grace, self.kill)
        elif self._timer.when() > self._loop.time() + grace:
            self._timer.cancel()
            self._timer = self._loop.call_later(grace, self.kill)

    def kill(self) -> None:
        """See `RunningProgram.kill`."""
        if not self.pid:
            return
        self._signal(signal.SIGKILL)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(UNKILLABLE_SECONDS, self._stays)

    def pause(self) -> None:
        """See `RunningProgram.pause`."""
        if not self._paused:
            self._paused = True
            for fd in (self._out, self._err):
                if fd >= 0:
                    self._loop.remove_reader(fd)

    def resume(self) -> None:
        """See `RunningProgram.resume`."""
        if self._paused:
            self._paused = False
            for fd in (self._out, self._err):
                if fd >= 0:
                    self._loop.add_reader(fd, self._readable, fd)

    async def read(self, path: str, limit: int) -> bytes | None:
        """See `RunningProgram.read`. A file last written before the step began is not its output."""
        return await self._loop.run_in_executor(
            self._home.reader, _read, os.path.join(self.directory, path), path, limit, self._since
        )

    async def open(self, path: str) -> int | None:
        """See `RunningProgram.open`. A file last written before the step began is not its output."""
        return await self._loop.run_in_executor(
            self._home.reader, _opened, os.path.join(self.directory, path), path, self._since
        )

    def release(self) -> None:
        """See `RunningProgram.release`."""
        self._released = True
        if self.pid:
            return  # it is there: its files go when it does
        if self._script is not None:
            with contextlib.suppress(OSError):
                self._script.unlink()
        self._home.give_back(self.own)

    def _signal(self, number: int) -> None:
        assert self.pid > 0, "0 would be our own group"
        self._home.reaper.signal(self.pid, number)

    def _readable(self, fd: int) -> None:
        """Takes what can be read. After an error it is not called again: the error would come again and again."""
        try:
            data = os.read(fd, _READ)
            if data:
                self._on_output(data, fd == self._out)
            else:
                self._close(fd)  # closed by the program, which may go on
        except BlockingIOError:
            pass
        except Exception as error:  # noqa: BLE001 - it becomes the step's
            self._wrong = self._wrong or error
            self._loop.remove_reader(fd)
            self.kill()

    def _exited(self) -> None:
        self._loop.remove_reader(self._pidfd)  # first: it stays readable, and whatever fails below must not come again
        # What the leader leaves behind ends with it, as in a container. The group's number is ours until waitpid.
        try:
            self._home.reaper.clear(self.pid, self._cleared)
        except Exception as error:  # noqa: BLE001 - it becomes the step's
            self._wrong = self._wrong or error
            self._cleared()

    def _cleared(self) -> None:
        """Nothing of it runs any more."""
        pid, self.pid = self.pid, 0
        if self._timer is not None:
            self._timer.cancel()
        code = 0
        try:
            _, status = os.waitpid(pid, 0)
            code = os.waitstatus_to_exitcode(status)
            os.close(self._pidfd)
            self._home.ended(pid)
            for fd in (self._out, self._err):
                if fd >= 0:
                    self._drain(fd)
        except Exception as error:  # noqa: BLE001 - it becomes the step's
            self._wrong = self._wrong or error
        if self._ended.done():
            pass  # it was given up, or its executor ends
        elif self._wrong is not None:
            self._ended.set_exception(self._wrong)
        else:
            self._ended.set_result(Ended(128 - code, -code) if code < 0 else Ended(code))
        if self._released:
            self.release()

    def _drain(self, fd: int) -> None:
        """Reads what is there now, and no more: somebody else may have the other end of the pipe and write for ever."""
        with contextlib.suppress(BlockingIOError):
            for _ in range(_LEFT // _READ):
                data = os.read(fd, _READ)
                if not data:
                    break
                self._on_output(data, fd == self._out)
        self._close(fd)

    def _close(self, fd: int) -> None:
        self._loop.remove_reader(fd)
        os.close(fd)
        if fd == self._out:
            self._out = -1
        else:
            self._err = -1

    def _stays(self) -> None:
        if not self._ended.done():
            self._ended.set_exception(
                NotEnded(
                    f"process {self.pid} was killed {UNKILLABLE_SECONDS:g} s ago and is there all the same: the kernel "
                    "holds it (look at /proc/PID/stack); what it was doing may still happen"
                )
            )


def _read(full: str, path: str, limit: int, since: int) -> bytes | None:
    try:
        # Non-blocking, since opening a FIFO would wait for a writer.
        fd = os.open(full, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise Unreadable(f"{path!r}: {getattr(error, 'strerror', None) or error}") from error
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_dev == os.stat("/proc").st_dev:
            raise Unreadable(f"{path}: not a regular file")
        if max(status.st_ctime_ns, status.st_mtime_ns) < since:
            return None
        data = bytearray()
        while len(data) <= limit and (more := os.read(fd, limit + 1 - len(data))):
            data += more
        if len(data) > limit:
            raise OutputTooLarge(max(len(data), status.st_size))
        return bytes(data)
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}") from error
    finally:
        os.close(fd)


def _opened(full: str, path: str, since: int) -> int | None:
    try:
        fd = os.open(full, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise Unreadable(f"{path!r}: {getattr(error, 'strerror', None) or error}") from error
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode) and max(status.st_ctime_ns, status.st_mtime_ns) < since:
        os.close(fd)
        return None
    return fd
