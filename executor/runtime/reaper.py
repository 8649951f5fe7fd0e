"""Ends all that a step leaves behind, also what left its process group, its session and its parent (`setsid`, daemons).

The executor is the subreaper of its steps: whatever they start and no longer wait for becomes a child of the executor,
so that looking at one's own children is enough to find it. Whose it is follows from its process group, from the mark in
its environment, from its working directory, from the step's pipes that it holds, or from when it was started.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
from collections.abc import Callable, Iterator
from typing import NamedTuple

from exeunt.executor.runtime import survivors
from exeunt.executor.runtime.survivors import ProcessStatus

log = logging.getLogger(__name__)

_PR_SET_CHILD_SUBREAPER = 36
_PATIENCE = 10.0
"""Seconds to wait until what was killed is gone; it goes at once unless the kernel holds it."""


_TOGETHER = 0.1
"""Seconds in which orphans that have ended are gathered, to be reaped together."""


class StepProcesses(NamedTuple):
    """What the processes of a step are known by.

    `leader` is the pid of its first one, which gives the group its number, `since` when that was started, in clock
    ticks; `mark` and `directory` are its own, `pipes` the names of those that its output comes through.
    """

    leader: int
    mark: str
    directory: str
    since: int
    pipes: frozenset[str]


class Reaper:
    """One for the whole process, as the adoption of orphans is. Everything happens in the event loop's thread."""

    def __init__(self) -> None:
        self.own: set[int] = set()
        """Children that somebody else in this process waits for: they are left alone."""
        self._loop = asyncio.get_running_loop()
        self._since = survivors.ticks_now()
        self._group = os.getpgrp()
        self._steps: dict[int, StepProcesses] = {}
        self._ending: dict[int, tuple[Callable[[], None], asyncio.TimerHandle]] = {}
        self._soon: asyncio.TimerHandle | None = None

    def started(self, step: StepProcesses) -> None:
        """The step runs. Its leader is not reaped here."""
        self.own.add(step.leader)
        self._steps[step.leader] = step

    def signal(self, leader: int, number: int) -> None:
        """Sends a signal to the step's group and to all whose parents lead to it."""
        strayed = [pid for pid in descendants(leader) if (seen := survivors.look(pid)) and seen.group != leader]
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, number)
        for pid in strayed:
            with contextlib.suppress(OSError):
                os.kill(pid, number)

    def clear(self, leader: int, then: Callable[[], None]) -> None:
        """Kills what is left of the step, whose leader has ended and was not waited for yet; then calls `then`."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, signal.SIGKILL)
        if self._left(self._steps[leader]):
            self._ending[leader] = then, self._loop.call_later(_PATIENCE, self._give_up, leader)
        else:
            then()

    def ended(self, leader: int) -> None:
        """The leader was waited for."""
        self._steps.pop(leader, None)
        self.own.discard(leader)

    def changed(self) -> None:
        """A child has ended (SIGCHLD). When nobody waits for it, several are looked at together, a little later."""
        if self._ending:
            self._look()
        elif self._soon is None:
            self._soon = self._loop.call_later(_TOGETHER, self._look)

    def _look(self) -> None:
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        self._strays()
        for leader, (then, timer) in list(self._ending.items()):
            if not self._left(self._steps[leader]):
                timer.cancel()
                del self._ending[leader]
                then()

    def close(self) -> None:
        """Nothing is waited for any more."""
        if self._soon is not None:
            self._soon.cancel()
        for _, timer in self._ending.values():
            timer.cancel()

    def _give_up(self, leader: int) -> None:
        then, _ = self._ending.pop(leader)
        log.warning("what a step left behind was killed %g s ago and is not gone", _PATIENCE, extra={"leader": leader})
        then()

    def _left(self, step: StepProcesses) -> bool:
        """Kills what is left of the step; answers whether anything was."""
        left = False
        for pid, seen in self._strays():
            if self._is_of(pid, seen, step):
                left = True
                for each in [*descendants(pid), pid]:
                    with contextlib.suppress(OSError):
                        os.kill(each, signal.SIGKILL)
        return left

    def _strays(self) -> list[tuple[int, ProcessStatus]]:
        """Children that were adopted and live. Those that have ended are reaped: their own are ours then, too."""
        strays: list[tuple[int, ProcessStatus]] = []
        again = True
        while again:
            again = False
            strays.clear()
            for pid in children():
                seen = survivors.look(pid) if pid not in self.own else None
                if seen is None or seen.group == self._group:
                    continue  # in our own group: somebody's in this process who waits for it
                if seen.zombie:
                    with contextlib.suppress(ChildProcessError):
                        again |= os.waitpid(pid, os.WNOHANG)[0] == pid
                else:
                    strays.append((pid, seen))
        return strays

    def _is_of(self, pid: int, seen: ProcessStatus, step: StepProcesses) -> bool:
        if seen.group in self._steps:
            return seen.group == step.leader
        mark = survivors.mark_of(pid)
        if mark and any(mark == each.mark for each in self._steps.values()):
            return mark == step.mark
        if survivors.directory_of(pid) == step.directory or not step.pipes.isdisjoint(_open(pid)):
            return True
        # Nothing tells whose it is. When no other step is old enough to have started it, somebody's it was, now over.
        others = (each.since for each in self._steps.values() if each.leader != step.leader)
        return seen.start >= self._since and not any(since <= seen.start for since in others)


def children() -> list[int]:
    """The children of this process, those that it adopted included: orphans go to the main thread."""
    with open(f"/proc/self/task/{os.getpid()}/children", "rb") as file:
        return [int(pid) for pid in file.read().split()]


def descendants(pid: int) -> list[int]:
    """All whose parents lead to this process."""
    found = [pid]
    for each in found:
        with contextlib.suppress(OSError):  # it has ended
            for thread in os.listdir(f"/proc/{each}/task"):
                with open(f"/proc/{each}/task/{thread}/children", "rb") as file:
                    found += [int(child) for child in file.read().split()]
    return found[1:]


def _open(pid: int) -> set[str]:
    names = set()
    with contextlib.suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                names.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return names


_shared: list[Reaper] = []
"""The reaper of this process, once for each of its users."""


@contextlib.contextmanager
def adopting() -> Iterator[Reaper]:
    """Makes this process adopt orphans, and yields the reaper that ends them."""
    reaper = _shared[0] if _shared else Reaper()
    _shared.append(reaper)
    if len(_shared) == 1:
        _subreaper(True)
        with contextlib.suppress(ValueError, RuntimeError):  # not in the main thread: then `_PATIENCE` ends what waits
            asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, reaper.changed)
    try:
        yield reaper
    finally:
        _shared.remove(reaper)
        if not _shared:
            reaper.close()
            with contextlib.suppress(ValueError, RuntimeError):
                asyncio.get_running_loop().remove_signal_handler(signal.SIGCHLD)
            _subreaper(False)


def _subreaper(on: bool) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0)
