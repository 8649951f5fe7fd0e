"""The calls of Linux that Python 3.11 has no names for. Each raises OSError, as those of `os` do."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Iterable

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID = 0x00020000, 0x10000000, 0x20000000
CLONE_NEWIPC, CLONE_NEWNET, CLONE_PARENT = 0x08000000, 0x40000000, 0x00008000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE, MS_SLAVE = 32, 4096, 16384, 1 << 18, 1 << 19
MNT_DETACH = 2
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV = 1, 2, 4
RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH, RESOLVE_IN_ROOT = 2, 4, 8, 16

_AT_FDCWD, _AT_RECURSIVE, _AT_EMPTY_PATH = -100, 0x8000, 0x1000
_OPEN_TREE_CLONE, _OPEN_TREE_CLOEXEC = 1, os.O_CLOEXEC
_MOVE_MOUNT_F_EMPTY_PATH = 4
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 24, 38
_CAPABILITY_VERSION = 0x20080522
_SIGCHLD = 17
_OLD_CALLS = {"x86_64": (56, 155), "aarch64": (220, 41)}
_CLONE, _PIVOT_ROOT = _OLD_CALLS.get(platform.machine(), (-1, -1))
_CLOSE_RANGE, _OPENAT2, _OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 436, 437, 428, 429, 442  # the same on all machines

_libc = ctypes.CDLL(None, use_errno=True)


def _done(answer: int, what: str = "") -> int:
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what or None)
    return answer


def _call(number: int, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None, what: str = "") -> int:
    """Calls by number. Integers go as long: ctypes would pass them as 32 bits."""
    sent = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    return _done(_libc.syscall(ctypes.c_long(number), *sent), what)


def clone(flags: int) -> int:
    """Forks, as `os.fork`, with flags of clone(2); for a process with one thread only."""
    if _CLONE < 0:
        raise OSError(0, f"the sandbox does not know this kind of processor: {platform.machine()}")
    return _call(_CLONE, flags | _SIGCHLD, 0, 0, 0, 0)


def unshare(flags: int) -> None:
    """Moves this process into new namespaces."""
    _done(_libc.unshare(flags))


def mount(source: str, target: str, kind: str | None, flags: int = 0, options: str = "") -> None:
    """See mount(2)."""
    source_, target_, kind_ = os.fsencode(source), os.fsencode(target), os.fsencode(kind) if kind else None
    _done(_libc.mount(source_, target_, kind_, ctypes.c_ulong(flags), os.fsencode(options)), target)


def unmount(target: str) -> None:
    """Takes away what is mounted there, at once for who comes later."""
    _done(_libc.umount2(os.fsencode(target), MNT_DETACH), target)


def pivot_root(new: str, old: str) -> None:
    """Makes `new` the root of this process's namespace; the old one is then at `old`."""
    _call(_PIVOT_ROOT, os.fsencode(new), os.fsencode(old))


def open_tree(path: str, *, recursive: bool = False) -> int:
    """A copy of the mount at the path (and of those below it), not yet anywhere; a descriptor."""
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | (_AT_RECURSIVE if recursive else 0)
    return _call(_OPEN_TREE, _AT_FDCWD, os.fsencode(path), flags, what=path)


def move_mount(tree: int, target: str) -> None:
    """Puts what `open_tree` made at a path."""
    _call(_MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH, what=target)


def restrict_mount(tree: int, attributes: int, *, recursive: bool = False) -> None:
    """Adds attributes (MOUNT_ATTR_*) to a mount that a descriptor leads to, and to those below it."""
    wanted = struct.pack("<QQQQ", attributes, 0, 0, 0)
    flags = _AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0)
    _call(_MOUNT_SETATTR, tree, b"", flags, wanted, len(wanted))


def open_beneath(directory: int, path: str, flags: int, *, links: bool = False) -> int:
    """Opens a file below a directory, following no link on the way; with `links` those that stay below it.

    OSError: EXDEV where a link leads out.
    """
    resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | (0 if links else RESOLVE_NO_SYMLINKS)
    how = struct.pack("<QQQ", flags, 0, resolve)
    return _call(_OPENAT2, directory, os.fsencode(path), how, len(how), what=path)


def open_within(root: int, path: str, flags: int) -> int:
    """Opens what a process with this root sees at a path: links of any kind but those of /proc are followed in it."""
    how = struct.pack("<QQQ", flags, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
    return _call(_OPENAT2, root, os.fsencode(path), how, len(how), what=path)


def close_others(kept: Iterable[int]) -> None:
    """Closes all descriptors but 0, 1, 2 and these."""
    first = 3
    for each in sorted({fd for fd in kept if fd >= first}):
        if each > first:
            _call(_CLOSE_RANGE, first, each - 1, 0)
        first = each + 1
    _call(_CLOSE_RANGE, first, 0x7FFFFFFF, 0)


def bound_capabilities(kept: Iterable[int]) -> None:
    """No program that is executed from here on gets other capabilities than these, or new ones by its file."""
    with open("/proc/sys/kernel/cap_last_cap") as file:
        last = int(file.read())
    for each in set(range(last + 1)).difference(kept):
        _done(_libc.prctl(_PR_CAPBSET_DROP, each, 0, 0, 0))
    _done(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def set_capabilities(kept: Iterable[int]) -> None:
    """This process has these capabilities and no others."""
    bits = sum(1 << each for each in kept)
    low, high = bits & 0xFFFFFFFF, bits >> 32
    header = struct.pack("<Ii", _CAPABILITY_VERSION, 0)
    _done(_libc.capset(header, struct.pack("<6I", low, low, 0, high, high, 0)))
