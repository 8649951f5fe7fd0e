"""Whether sandboxes work on this machine: one is made, and a program runs in it."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from typing import NamedTuple

from exeunt.executor.runtime.sandbox.cgroups import clear_groups, find_groups
from exeunt.executor.runtime.sandbox.files import remove_tree
from exeunt.executor.runtime.sandbox.helper import NoSandbox, ZygoteProcess
from exeunt.executor.runtime.sandbox.order import SandboxOrder, ZygoteConfig


class SandboxSupport(NamedTuple):
    """`mode` is root or user, `problem` why there is no sandbox, `limits` what can be limited by control groups."""

    mode: str
    problem: str
    limits: tuple[str, ...] = ()


def probe(parent: str | None = None) -> SandboxSupport:
    """Tries it in a new directory of `parent`, None for where temporary files are."""
    directory = os.path.realpath(tempfile.mkdtemp(prefix="exeunt-", dir=parent))
    own: set[int] = set()
    zygote = ZygoteProcess(ZygoteConfig("", directory, "", "", [directory]), "", own)
    try:
        zygote.start()
        told = _try(zygote, f"{directory}/step")
        if told:
            return SandboxSupport("", str(json.loads(told)["said"]))
        groups = find_groups(f"exeunt-probe-{os.getpid()}")
        clear_groups(groups)
        return SandboxSupport(zygote.ready.mode, "", tuple(groups.roots))
    except (NoSandbox, OSError) as error:
        return SandboxSupport("", str(error))
    finally:
        zygote.end()
        remove_tree(directory)


def _try(zygote: ZygoteProcess, own: str) -> bytes:
    """What went wrong, nothing when a program ran."""
    os.mkdir(own)
    order = SandboxOrder(own, ["true"], {"PATH": os.environ.get("PATH", os.defpath)}, "/", None, [], [])
    null = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
    read, write = os.pipe2(os.O_CLOEXEC)
    with contextlib.ExitStack() as opened:
        opened.callback(os.close, read)
        try:
            pid = zygote.fork(order, null, null, write, isolated=False)
        finally:
            os.close(write)
            os.close(null)
        told = os.read(read, 65536)
        os.waitpid(pid, 0)
    return told
