"""Limits of memory, processor and processes through control groups, version 1 or 2, where they can be written."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from exeunt.executor.runtime.base import StepLimits

PERIOD_MICROSECONDS = 100_000
"""The time in which a share of the processors is counted, as Kubernetes has it."""


class LimitGroups(NamedTuple):
    """Where the groups of steps are made: a directory for each controller that can be used; for version 2 the same."""

    version: int
    roots: Mapping[str, Path]


def find_groups(name: str, root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> LimitGroups:
    """Makes the directory `name` for this executor's steps within its own groups. Without rights it has no roots."""
    lines = [line.split(":", 2) for line in own.read_text().splitlines()]
    roots: dict[str, Path] = {}
    for _, controllers, path in lines:
        for controller in controllers.split(","):
            if controller in ("memory", "cpu", "pids"):
                made = _made(root / controller / path.lstrip("/") / name)
                if made is not None:
                    roots[controller] = made
    if roots:
        return LimitGroups(1, roots)
    for _, controllers, path in lines:
        if not controllers and (root / "cgroup.controllers").exists():
            made = _made(root / path.lstrip("/") / name)
            if made is not None:
                with contextlib.suppress(OSError):
                    able = (made / "cgroup.controllers").read_text().split()
                    wanted = [each for each in ("memory", "cpu", "pids") if each in able]
                    (made / "cgroup.subtree_control").write_text(" ".join(f"+{each}" for each in wanted))
                    roots.update((each, made) for each in wanted)
    return LimitGroups(2, roots)


def make_group(groups: LimitGroups, name: str, limits: StepLimits) -> list[Path]:
    """The groups of one step, its limits set. What cannot be set here is left out; none when there is no limit."""
    made: dict[Path, None] = {}
    for controller, file, text in _settings(groups.version, limits):
        root = groups.roots.get(controller)
        if root is not None:
            with contextlib.suppress(OSError):
                (root / name).mkdir(exist_ok=True)
                (root / name / file).write_text(text)
                made[root / name] = None
    return list(made)


def out_of_memory(paths: list[Path]) -> bool:
    """Whether the kernel killed a process of these groups for their memory."""
    for path in paths:
        for file in ("memory.events", "memory.oom_control"):  # of version 2, of version 1
            with contextlib.suppress(OSError):
                told = dict(line.split() for line in (path / file).read_text().splitlines())
                if int(told.get("oom_kill", 0)):
                    return True
    return False


def remove_groups(paths: list[Path]) -> None:
    """Removes groups that nothing runs in any more."""
    for path in paths:
        with contextlib.suppress(OSError):
            path.rmdir()


def clear_groups(groups: LimitGroups) -> None:
    """Removes what steps have left, and the executor's own directories."""
    for root in set(groups.roots.values()):
        with contextlib.suppress(OSError):
            remove_groups([each for each in root.iterdir() if each.is_dir()])
        remove_groups([root])


def _settings(version: int, limits: StepLimits) -> list[tuple[str, str, str]]:
    """Controller, file and text of each limit."""
    found = []
    if limits.memory_bytes:
        names = {1: ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"), 2: ("memory.max",)}[version]
        found += [("memory", name, str(limits.memory_bytes)) for name in names]
        if version == 2:
            found += [("memory", "memory.swap.max", "0"), ("memory", "memory.oom.group", "1")]
    if limits.cpus:
        quota = max(1000, round(limits.cpus * PERIOD_MICROSECONDS))
        if version == 1:
            found.append(("cpu", "cpu.cfs_quota_us", str(quota)))
        else:
            found.append(("cpu", "cpu.max", f"{quota} {PERIOD_MICROSECONDS}"))
    if limits.processes:
        found.append(("pids", "pids.max", str(limits.processes)))
    return found


def _made(path: Path) -> Path | None:
    try:
        path.mkdir(exist_ok=True)
    except OSError:
        return None
    return path if os.access(path, os.W_OK) else None
