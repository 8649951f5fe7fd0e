"""The zygote: a small process beside the executor, with one thread, that forks the first process of each step.

It enters its namespaces once, lays out what all steps have alike, and then waits for orders at its socket. What it
forks is a child of the executor (CLONE_PARENT). `exeunt.executor.runtime.sandbox.helper` starts it as a program, with
nothing but the standard library; it ends when its socket is closed.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import struct
import sys

from exeunt.executor.runtime.sandbox import inside, kernel, plan
from exeunt.executor.runtime.sandbox.order import (
    ISOLATED,
    MOST_BYTES,
    SandboxOrder,
    ZygoteConfig,
    ZygoteReady,
    pack,
    unpack,
)

NO_NAMESPACES = (
    "namespaces are not allowed here; look at the sysctls kernel.unprivileged_userns_clone, "
    "user.max_user_namespaces and kernel.apparmor_restrict_unprivileged_userns, or in a container at its seccomp rules"
)
PID = struct.Struct("<i")
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}


def main() -> None:
    """Reads the configuration from standard input and serves at the socket that the argument names."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # who ends with the executor, ends by its socket
    os.chdir("/")
    channel = socket.socket(fileno=int(sys.argv[1]))
    config = ZygoteConfig(**unpack(channel.recv(MOST_BYTES)))
    try:
        ready = prepare(config)
        devices = _devices(config)
    except (OSError, ValueError) as error:
        ready = ZygoteReady("", [], str(error))
    channel.send(pack(ready))
    if ready.problem:
        return
    root = inside.Root(config, ready.mode, ready.layers, devices, _resolver())
    gc.disable()
    gc.freeze()
    with contextlib.suppress(ConnectionError):
        serve(channel, root)


def serve(channel: socket.socket, root: inside.Root) -> None:
    """Forks for each order until the socket is closed. An order comes with four descriptors: its text, the ends to
    write standard output, standard error and what went wrong to."""
    while True:
        message, fds, _, _ = socket.recv_fds(channel, 16, 4)
        if not message:
            return
        isolated = message == ISOLATED
        flags = kernel.CLONE_PARENT | kernel.CLONE_NEWNS | kernel.CLONE_NEWPID | kernel.CLONE_NEWIPC
        try:
            pid = kernel.clone(flags | (kernel.CLONE_NEWNET if isolated else 0))
        except OSError as error:
            pid = -(error.errno or 1)
        if pid == 0:
            _step(root, fds, isolated=isolated)
        for fd in fds:
            os.close(fd)
        channel.send(PID.pack(pid))


def _step(root: inside.Root, fds: list[int], *, isolated: bool) -> None:
    try:
        text, out, err, status = fds
        order = SandboxOrder(**unpack(os.pread(text, os.fstat(text).st_size, 0)))
        inside.live(root, order, out, err, status, isolated=isolated)
    finally:
        os._exit(1)


def prepare(config: ZygoteConfig) -> ZygoteReady:
    """Enters the namespaces that all steps start from. OSError, ValueError."""
    user, group = os.geteuid(), os.getegid()
    with open("/proc/self/mountinfo", errors="surrogateescape") as file:
        mounts = plan.read_mounts(file.read())
    try:
        kernel.unshare(kernel.CLONE_NEWNS)
        mode = "root"
    except PermissionError:
        mode = "user"
        try:
            kernel.unshare(kernel.CLONE_NEWUSER | kernel.CLONE_NEWNS)
            for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
                with open(f"/proc/self/{name}", "w") as file:
                    file.write(text)
        except OSError as error:
            raise OSError(error.errno, f"{error.strerror}: {NO_NAMESPACES}") from error
    kernel.mount("none", "/", None, kernel.MS_REC | (kernel.MS_PRIVATE if mode == "root" else kernel.MS_SLAVE))
    kernel.bound_capabilities(inside.CAPABILITIES)
    if config.rootfs:
        return ZygoteReady(mode, plan.given_root(config.rootfs))
    if mode == "root":
        return ZygoteReady(mode, plan.whole_root(mounts, config.hidden))
    return ZygoteReady(mode, plan.composed_root(mounts, config.hidden, plan.entries))


def _devices(config: ZygoteConfig) -> str:
    """A small /dev, to be read only, that each step sees."""
    place = f"{config.data_dir}/devices"
    os.makedirs(f"{config.data_dir}/root", exist_ok=True)  # where each step's root is mounted, in its own namespace
    os.makedirs(place, exist_ok=True)
    kernel.mount("devices", place, "tmpfs", kernel.MS_NOSUID | kernel.MS_NOEXEC, "size=64k,mode=755")
    for name in _DEVICES:
        if os.path.exists(f"/dev/{name}"):
            os.close(os.open(f"{place}/{name}", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o666))
            kernel.mount(f"/dev/{name}", f"{place}/{name}", None, kernel.MS_BIND)
    for name, target in _LINKS.items():
        os.symlink(target, f"{place}/{name}")
    for name in ("shm", "pts"):
        os.mkdir(f"{place}/{name}")
    flags = kernel.MS_BIND | kernel.MS_REMOUNT | kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NOEXEC
    kernel.mount("", place, None, flags)
    return place


def _resolver() -> str:
    """Where resolv.conf lies, when a step would not see it: below /run."""
    real = os.path.realpath("/etc/resolv.conf")
    return real if plan.below(real, plan.APART) and os.path.isfile(real) else ""
