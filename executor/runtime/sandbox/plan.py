"""What a step's root is made of: layers over the directories of the machine, worked out once for all steps."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

MOST_LAYERS = 64
"""Each layer is a mount of its own in each step; a machine with more mounts than that needs `--rootfs`."""

DEEPEST = 3
"""So many directories down, those with file systems below are put together of their parts."""

APART = ("/proc", "/sys", "/dev", "/run", "/tmp", "/var/run")  # noqa: S108 - names only
"""What each step has of its own."""

NO_FILES = frozenset(
    "autofs binfmt_misc bpf cgroup cgroup2 configfs debugfs devpts devtmpfs efivarfs fusectl hugetlbfs mqueue nsfs "
    "proc pstore ramfs rpc_pipefs securityfs selinuxfs sysfs tracefs".split()
)
"""File systems that hold no files of people."""


class RootLayer(NamedTuple):
    """One part of a root, at `target`, of what is at `source`.

    `kind` is overlay (copied when written), own (an empty directory), link (a symbolic link to `source`), or bind (as
    it is, to be read only). The layer with `number` n writes to the directory `un` of the step, and has `wn` to work.
    """

    target: str
    source: str
    kind: str
    number: int


class MountLine(NamedTuple):
    """A mounted file system."""

    target: str
    kind: str
    read_only: bool = False


class TooManyLayers(ValueError):  # noqa: N818 - what is said to people
    """The machine has too many file systems to be put together for each step."""


def read_mounts(text: str) -> list[MountLine]:
    """The mounts that /proc/self/mountinfo tells of."""
    found = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        _, _, _, _, place, options = before.split()[:6]
        target = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), place)
        found.append(MountLine(target, after.split()[0], "ro" in options.split(",")))
    return found


def below(path: str, roots: Iterable[str]) -> bool:
    """Whether the path is one of these, or below one."""
    return any(path == root or path.startswith(root.rstrip("/") + "/") for root in roots)


def whole_root(mounts: Iterable[MountLine], hidden: Iterable[str]) -> list[RootLayer]:
    """For the administrator: an overlay over the root, and one over each further file system."""
    away = (*APART, *hidden)
    last = {each.target: each for each in mounts if each.kind not in NO_FILES and not below(each.target, away)}
    layers = [RootLayer("/", "/", "overlay", 0)]
    for target in sorted(set(last) - {"/"}):
        layers.append(RootLayer(target, target, "bind" if last[target].read_only else "overlay", len(layers)))
    return _few(layers)


def composed_root(
    mounts: Iterable[MountLine], hidden: Iterable[str], look: Callable[[str], list[tuple[str, str]]]
) -> list[RootLayer]:
    """For other users: an own root with an overlay for each directory in it.

    The kernel lets them lay no overlay over a directory with other mounts below it. `look` gives the entries of a
    directory: name, and the text of a link, "/" for a directory, "" for others.
    """
    targets = {each.target for each in mounts if each.target != "/"}
    away = (*APART, *hidden)
    layers = [RootLayer("/", "", "own", 0)]

    def add(path: str, kind: str, depth: int) -> None:
        if below(path, away):
            return
        if kind not in ("/", ""):
            layers.append(RootLayer(path, kind, "link", len(layers)))
        elif not kind:
            if path in targets or depth > 1:
                layers.append(RootLayer(path, path, "bind", len(layers)))
        elif not any(below(each, (path,)) and each != path for each in targets):
            empty = not look(path)  # or it cannot be looked into
            layers.append(RootLayer(path, path, "own" if empty else "overlay", len(layers)))
        elif depth >= DEEPEST:
            layers.append(RootLayer(path, path, "bind", len(layers)))
        else:
            layers.append(RootLayer(path, "", "own", len(layers)))
            for name, what in look(path):
                add(f"{path}/{name}", what, depth + 1)

    for name, what in look("/"):
        add(f"/{name}", what, 1)
    return _few(layers)


def given_root(rootfs: str) -> list[RootLayer]:
    """One overlay over a directory that was given."""
    return [RootLayer("/", rootfs, "overlay", 0)]


def entries(directory: str) -> list[tuple[str, str]]:
    """What `composed_root` asks for; nothing where the directory cannot be read."""
    found = []
    try:
        with os.scandir(directory) as listing:
            for each in listing:
                if each.is_symlink():
                    found.append((each.name, os.readlink(each.path)))
                else:
                    found.append((each.name, "/" if each.is_dir(follow_symlinks=False) else ""))
    except OSError:
        return []
    return sorted(found)


def _few(layers: list[RootLayer]) -> list[RootLayer]:
    if len(layers) > MOST_LAYERS:
        raise TooManyLayers(
            f"the machine's root has {len(layers)} parts, and a sandbox takes {MOST_LAYERS}: give it a directory with "
            "--rootfs"
        )
    return layers
