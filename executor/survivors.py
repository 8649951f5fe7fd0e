"""Ends the processes of an executor that is gone. Also run as a program of its own: the guard beside each executor.

As a program (`python -I -S survivors.py OWNER GROUPS`) it waits until its standard input is closed, which the kernel
does at whatever end of the executor, then ends every process that carries the executor's mark. Only the standard
library is used, so that the guard starts in a few milliseconds and stays small.
"""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import sys
import time

MARK = "EXEUNT_OWNER"
"""The environment variable that each step carries: the mark of its executor, a slash, and a number for this life."""

GROUP = struct.Struct("<QQQ")
"""One place in the file of groups: the leader's pid, and between which clock ticks it was started; zeros when free."""

TICKS = os.sysconf("SC_CLK_TCK")

_ROUNDS = 40
_PAUSE = 0.025


def start_time(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None when there is none or only its remains (a zombie)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read()
    except OSError:
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def ticks_now() -> int:
    """The time that `start_time` is counted in."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) * TICKS // 1_000_000_000


def read_groups(path: str) -> list[tuple[int, int, int]]:
    """The groups in the file: pid, earliest and latest start time."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        return []
    whole = data[: len(data) // GROUP.size * GROUP.size]
    return [(pid, earliest, latest) for pid, earliest, latest in GROUP.iter_unpack(whole) if pid]


def marked(owner: str) -> list[int]:
    """The living processes that carry the mark. An owner that ends in a slash stands for all lives of an executor."""
    mark = f"{MARK}={owner}".encode()
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                variables = file.read().split(b"\0")
        except OSError:
            continue  # ended meanwhile, or somebody else's
        if any(v == mark or (owner.endswith("/") and v.startswith(mark)) for v in variables):
            found.append(int(name))
    return found


def end_survivors(owner: str, groups: str) -> int:
    """Kills the groups in the file and all that carry the mark, until none is left; how many processes were met.

    A process that cleared its environment is met by its group, one that left its group by its environment.
    """
    met: set[int] = set()
    for _ in range(_ROUNDS):
        left = False
        for pid, earliest, latest in read_groups(groups):
            start = start_time(pid)
            if start is not None and earliest <= start <= latest:  # and not a later process of the same number
                with contextlib.suppress(OSError):
                    os.killpg(pid, signal.SIGKILL)
                    met.add(pid)
                    left = True
        for pid in marked(owner):
            if pid != os.getpid():
                met.add(pid)
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
                    left = True
        if not left:
            break
        time.sleep(_PAUSE)  # a killed process needs a moment to vanish, and may have forked just before
    return len(met)


def _main(owner: str, groups: str) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends after the executor, whoever is told to stop
    os.chdir("/")
    while os.read(0, 4096):
        pass
    end_survivors(owner, groups)


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2])
