"""Ends the processes of an executor that is gone. Also run as a program of its own: the guard beside each executor.

As a program (`python -I -S survivors.py OWNER GROUPS WORK`) it waits until its standard input is closed, which the
kernel does at whatever end of the executor, then ends every process that came of the executor's steps. Only the
standard library is used, so that the guard starts in a few milliseconds and stays small.
"""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import sys
import time
from typing import NamedTuple

MARK = "EXEUNT_OWNER"
"""The environment variable that each step carries: its executor's mark, a slash, a number for this life of the
executor, a slash, and a number for the step."""

GROUP = struct.Struct("<QQQ")
"""One place in the file of groups: the leader's pid, and between which clock ticks it was started; zeros when free."""

TICKS = os.sysconf("SC_CLK_TCK")

_ROUNDS = 40
_PAUSE = 0.025


class ProcessStatus(NamedTuple):
    """A process as /proc shows it. `start` is in clock ticks since boot; a zombie is what remains of one that ended."""

    zombie: bool
    parent: int
    group: int
    start: int


def look(pid: int) -> ProcessStatus | None:
    """The process; None when there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read()
    except OSError:
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()
    return ProcessStatus(fields[0] in (b"Z", b"X"), int(fields[1]), int(fields[2]), int(fields[19]))


def start_time(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None when there is none or only its remains (a zombie)."""
    seen = look(pid)
    return None if seen is None or seen.zombie else seen.start


def ticks_now() -> int:
    """The time that `start_time` is counted in."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) * TICKS // 1_000_000_000


def mark_of(pid: int) -> str:
    """The mark that the process carries; empty when it has none, or cleared its environment."""
    start = f"{MARK}=".encode()
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            variables = file.read().split(b"\0")
    except OSError:
        return ""  # ended meanwhile, or somebody else's
    return next((v[len(start) :].decode(errors="replace") for v in variables if v.startswith(start)), "")


def directory_of(pid: int) -> str:
    """Where the process is; empty when that cannot be seen."""
    try:
        return os.readlink(f"/proc/{pid}/cwd").removesuffix(" (deleted)")
    except OSError:
        return ""


def read_groups(path: str) -> list[tuple[int, int, int]]:
    """The groups in the file: pid, earliest and latest start time."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        return []
    whole = data[: len(data) // GROUP.size * GROUP.size]
    return [(pid, earliest, latest) for pid, earliest, latest in GROUP.iter_unpack(whole) if pid]


def survivors(owner: str, groups: str, work: str) -> set[int]:
    """The living processes that came of an executor's steps, and all that these started.

    Each is known by one of: its group is in the file, its mark begins with `owner`, or it is an orphan (whoever started
    it is gone) in a directory below `work`. What a process started is known by its parent, whatever it has cleared.
    """
    processes = {pid: seen for pid in _all() if (seen := look(pid)) is not None and not seen.zombie}
    leaders = set()
    for pid, earliest, latest in read_groups(groups):
        leader = processes.get(pid)
        if leader is not None and earliest <= leader.start <= latest:  # and not a later process of the same number
            leaders.add(pid)
    adopters = {1, os.getppid()}  # who has the orphans of an executor that is gone, has its guard
    found = {
        pid
        for pid, seen in processes.items()
        if seen.group in leaders
        or mark_of(pid).startswith(owner)
        or (seen.parent in adopters and directory_of(pid).startswith(f"{work}/"))
    }
    while more := {pid for pid, seen in processes.items() if seen.parent in found} - found:
        found |= more
    return found - {os.getpid()}


def end_survivors(owner: str, groups: str, work: str) -> int:
    """Kills the `survivors` until none is left; how many processes were met."""
    met: set[int] = set()
    for _ in range(_ROUNDS):
        living = survivors(owner, groups, work)
        if not living:
            break
        met |= living
        for pid in living:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_PAUSE)  # a killed process needs a moment to vanish, and may have forked just before
    return len(met)


def _all() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _main(owner: str, groups: str, work: str) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends after the executor, whoever is told to stop
    os.chdir("/")
    while os.read(0, 4096):
        pass
    end_survivors(owner, groups, work)


if __name__ == "__main__":
    _main(*sys.argv[1:4])
