"""The guard beside an executor: a small process that ends the executor's steps when the executor is killed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import mmap
import os
import sys
from pathlib import Path

from exeunt.executor.runtime import survivors
from exeunt.executor.runtime.reaper import Reaper

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 5.0
"""Seconds before a guard that is gone is replaced, doubled while that cannot be done."""


class Groups:
    """The running process groups, in a file that outlives this process.

    The file is mapped into memory: noting a group is a store, and what was stored is seen by others after a SIGKILL.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._file, 0)
        self._map: mmap.mmap | None = None
        self._free: list[int] = []
        self._places: dict[int, int] = {}
        self._grow(64)

    def add(self, pid: int, since: int) -> None:
        """Notes the group that `pid` leads, started after `since` (clock ticks) and before now."""
        assert self._map is not None
        if not self._free:
            self._grow(2 * len(self._map) // survivors.GROUP.size)
        place = self._places[pid] = self._free.pop()
        survivors.GROUP.pack_into(self._map, place, pid, since, survivors.ticks_now())

    def remove(self, pid: int) -> None:
        """The group has ended. After `close` there is nobody left who would want to know."""
        if self._map is None:
            return
        place = self._places.pop(pid)
        survivors.GROUP.pack_into(self._map, place, 0, 0, 0)
        self._free.append(place)

    def close(self) -> None:
        """Gives the memory and the file back; the file stays."""
        if self._map is not None:
            self._map.close()
            self._map = None
            os.close(self._file)

    def _grow(self, count: int) -> None:
        old = len(self._map) if self._map is not None else 0
        size = count * survivors.GROUP.size
        os.ftruncate(self._file, size)
        if self._map is not None:
            self._map.close()
        self._map = mmap.mmap(self._file, size)
        self._free.extend(range(size - survivors.GROUP.size, old - 1, -survivors.GROUP.size))


class GuardProcess:
    """Starts the guard process, and starts it again when it is killed. `arguments` are those of `survivors`."""

    def __init__(self, reaper: Reaper, *arguments: str) -> None:
        self._reaper = reaper
        self._arguments = arguments
        self._pid = 0
        self._pidfd = -1
        self._lifeline = -1
        self._closing = False

    @property
    def pid(self) -> int:
        """The guard's process id, 0 when there is none."""
        return self._pid

    def start(self) -> None:
        """Starts the guard. It lives in a session of its own: what ends the executor does not end it.

        OSError when it cannot be started.
        """
        read, write = os.pipe2(os.O_CLOEXEC)
        try:
            pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", survivors.__file__, *self._arguments],
                {"PATH": os.defpath},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, read, 0),
                    (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),  # whoever reads our output waits for our end
                    (os.POSIX_SPAWN_DUP2, 1, 2),
                ],
                setsid=True,
                setsigmask=[],
            )
        except OSError:
            os.close(write)
            raise
        finally:
            os.close(read)
        self._reaper.own.add(pid)
        try:
            self._pidfd = os.pidfd_open(pid)
        except OSError:
            os.close(write)  # it ends by itself, and is reaped
            self._reaper.own.discard(pid)
            raise
        self._pid, self._lifeline = pid, write
        asyncio.get_running_loop().add_reader(self._pidfd, self._ended)

    def _ended(self) -> None:
        self._forget()
        if not self._closing:
            log.warning("the guard process was killed; starting another")
            asyncio.get_running_loop().call_later(FIRST_PAUSE, self._again, FIRST_PAUSE)

    def _again(self, pause: float) -> None:
        if self._closing:
            return
        try:
            self.start()
        except OSError as error:
            log.error("the guard process cannot be started (%s); trying again", error)  # noqa: TRY400 - it says all
            pause = min(LONGEST_PAUSE, 2 * pause)
            asyncio.get_running_loop().call_later(pause, self._again, pause)

    def _forget(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, os.WNOHANG)
        os.close(self._pidfd)
        os.close(self._lifeline)
        self._reaper.own.discard(self._pid)
        self._pid = 0

    async def close(self) -> None:
        """Has the guard end what may still run, and waits for its own end."""
        self._closing = True
        if not self._pid:
            return
        pid, self._pid = self._pid, 0
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        os.close(self._lifeline)
        await asyncio.to_thread(os.waitpid, pid, 0)
        self._reaper.own.discard(pid)
