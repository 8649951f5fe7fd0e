"""Ends a step that takes too much memory, before the kernel ends this executor with all that it runs.

Where an executor has a limit (a container's, as on Kubernetes), the kernel may kill everything within it at once when
that is reached. So the step that has taken most is ended a little earlier, and so is one above its own limit. Since an
unprivileged process is not notified of what others take, this looks at intervals.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from exeunt.executor.attempt import LocalAttempt
from exeunt.executor.runtime.reaper import descendants

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.25
FULL = 0.92
"""The part of the executor's memory that may be taken before the step that has most of it is ended."""

_PAGE = os.sysconf("SC_PAGE_SIZE")
_FILES = (
    ("memory.max", "memory.current", "inactive_file"),  # version 2, then 1
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


class Room(NamedTuple):
    """Bytes that the executor and its steps may take, and those that they have taken."""

    limit: int
    used: int


def judge(taken: Sequence[tuple[str, int]], each: int, room: Room | None) -> tuple[str, str] | None:
    """Which step is to be ended, by its id, and why. `each`: the limit of one, 0 for none."""
    if not taken:
        return None
    id, most = max(taken, key=lambda one: one[1])
    if each and most > each:
        return id, f"the step took {_size(most)}, and it may have {_size(each)} (EXEUNT_STEP_MEMORY_BYTES)"
    if room is not None and room.used > FULL * room.limit:
        why = f"the executor has {_size(room.limit)}, {_size(room.used)} were taken"
        return id, f"{why}, by this step most ({_size(most)})"
    return None


class MemoryWatch:
    """Looks at the steps that run.

    `each` is the limit of one step in bytes, 0 for none; `groups` are the control groups of this process.
    """

    def __init__(self, running: Callable[[], Iterable[LocalAttempt]], each: int, groups: Iterable[Path] = ()) -> None:
        self._running = running
        self._each = each
        self._groups = list(groups)

    async def keep(self) -> None:
        """Looks until it is cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            steps = {a.id: pids for a in self._running() if a.running is not None and (pids := a.running.pids)}
            if steps and (self._each or self._groups):
                found = await asyncio.to_thread(self._look, steps)
                if found is not None:
                    self._end(*found)

    def _look(self, steps: dict[str, tuple[int, ...]]) -> tuple[str, str] | None:
        room = _room(self._groups)
        if not self._each and (room is None or room.used <= FULL * room.limit):
            return None
        return judge([(id, sum(map(_taken, pids))) for id, pids in steps.items()], self._each, room)

    def _end(self, id: str, why: str) -> None:
        for attempt in self._running():
            if attempt.id == id and attempt.running is not None and not attempt.hungry:
                log.warning("ended a step for its memory: %s", why, extra={"attempt": id})
                attempt.hungry = why
                attempt.running.kill()


def own_groups() -> list[Path]:
    """The control groups that may bound the memory of this process: its own, and those above it."""
    found: list[Path] = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        root = Path("/sys/fs/cgroup")
        if controllers == "memory":
            root /= "memory"
        elif controllers:
            continue
        group = root / path.lstrip("/")
        found += [each for each in (group, *group.parents) if each.is_relative_to(root)]
    return [group for group in found if any((group / limit).exists() for limit, _, _ in _FILES)]


def most_memory() -> int:
    """The bytes that this process may take with all that it runs: those of its groups, or of the machine."""
    machine = os.sysconf("SC_PHYS_PAGES") * _PAGE
    rooms = (_read(group, *names) for group in own_groups() for names in _FILES)
    return min([machine, *(room.limit for room in rooms if room is not None)])


def _room(groups: Iterable[Path]) -> Room | None:
    """The room of the group that is nearest to its limit. File pages that can be given up at once do not count."""
    rooms = [room for group in groups for names in _FILES if (room := _read(group, *names)) is not None]
    return max(rooms, key=lambda room: room.used / room.limit, default=None)


def _read(group: Path, limit: str, used: str, inactive: str) -> Room | None:
    with contextlib.suppress(OSError, ValueError):
        bound = int((group / limit).read_text())  # "max" where there is none
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        if 0 < bound < 1 << 60:
            return Room(bound, int((group / used).read_text()) - int(stat.get(inactive, 0)))
    return None


def _taken(leader: int) -> int:
    """The bytes of memory of a step's processes, without pages of files."""
    total = 0
    for pid in [leader, *descendants(leader)]:
        with contextlib.suppress(OSError):
            _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text().split()
            total += (int(resident) - int(shared)) * _PAGE
    return total


def _size(count: int) -> str:
    return f"{count / (1 << 20):,.0f} MB"
