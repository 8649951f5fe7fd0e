"""What a step's first process does: it builds the step's root, goes into it, and starts and awaits the program.

It is the first process (PID 1) of the step's own space, so all of the step ends when it does.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import struct
from typing import NoReturn

from exeunt.executor.runtime.sandbox import kernel
from exeunt.executor.runtime.sandbox.order import (
    RUN_BYTES,
    SHARED_MEMORY_BYTES,
    VIEW,
    SandboxOrder,
    ZygoteConfig,
)
from exeunt.executor.runtime.sandbox.plan import RootLayer, below

SCRIPT = "/argo/staging/script"
"""Where the text of a script lies, as Argo has it."""

CAPABILITIES = frozenset({0, 1, 3, 4, 5, 6, 7, 8, 10, 18, 29, 31})
"""Those of a container, without making device nodes and raw sockets: chown, dac_override, fowner, fsetid, kill, setgid,
setuid, setpcap, net_bind_service, sys_chroot, audit_write, setfcap."""

READ_ONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger")
COVERED = ("acpi", "kcore", "keys", "latency_stats", "scsi", "timer_list")
"""What of /proc belongs to the whole machine, and a step of the administrator may not write, or not see."""

RESTORED = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


class SetupFailed(Exception):  # noqa: N818 - it becomes the answer
    """What could not be done, and why."""

    def __init__(self, what: str, error: OSError) -> None:
        super().__init__(f"{what}: {error.strerror or error}")


class Root:
    """The root of one step, while it is built. `devices` is the zygote's /dev, `resolver` its resolv.conf."""

    def __init__(self, config: ZygoteConfig, mode: str, layers: list[RootLayer], devices: str, resolver: str) -> None:
        self._config = config
        self._user = mode == "user"
        self._layers = layers
        self._place = f"{config.data_dir}/root"
        self._devices = devices
        self._resolver = resolver

    def enter(self, order: SandboxOrder) -> None:
        """Builds it and goes into it. SetupFailed."""
        binds = [
            (self._bind(source, part, read_only), source, target) for source, part, target, read_only in order.binds
        ]
        os.chdir(order.own)
        if _made("tmp"):
            os.chmod("tmp", 0o1777)  # noqa: S103 - as /tmp is everywhere
        for layer in self._layers:
            self._lay(layer)
        devices = kernel.open_tree(self._devices, recursive=True)
        tmp = kernel.open_tree("tmp")
        kernel.restrict_mount(tmp, kernel.MOUNT_ATTR_NOSUID | kernel.MOUNT_ATTR_NODEV)
        system = self._system()
        resolver = kernel.open_tree(self._resolver) if self._resolver else -1
        machine = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        os.chdir(self._place)
        kernel.pivot_root(".", ".")
        os.chdir("/")
        self._fill(devices, tmp, system)
        self._hide()
        if resolver >= 0:
            _put(resolver, os.path.realpath("/etc/resolv.conf"), directory=False)
        for tree, source, target in binds:
            try:
                _put(tree, os.path.join("/", target), directory=os.path.isdir(f"/proc/self/fd/{tree}"))
            except OSError as error:
                raise SetupFailed(f"{source} cannot be put at {target}", error) from error
        os.fchdir(machine)
        kernel.unmount(".")
        os.chdir("/")
        os.close(machine)

    def _bind(self, source: str, part: str, read_only: bool) -> int:
        try:
            if part:
                tree = _tree_of_part(source, part, recursive=self._user)
            else:
                tree = kernel.open_tree(source, recursive=self._user)
            attributes = kernel.MOUNT_ATTR_NOSUID | kernel.MOUNT_ATTR_NODEV
            kernel.restrict_mount(
                tree, attributes | (kernel.MOUNT_ATTR_RDONLY if read_only else 0), recursive=self._user
            )
        except OSError as error:
            raise SetupFailed(f"{source} cannot be given to a sandbox", error) from error
        return tree

    def _lay(self, layer: RootLayer) -> None:
        target = f"{self._place}{layer.target}".rstrip("/")
        if layer.kind == "link":
            os.symlink(layer.source, target)
            return
        if layer.kind == "own" and layer.target != "/":
            os.mkdir(target)
            return
        if layer.kind != "bind":
            upper = f"u{layer.number}"
            _made(upper)
            if layer.kind == "own":
                kernel.mount(upper, target, None, kernel.MS_BIND)
                return
            _made(f"w{layer.number}")
        if self._user and layer.target != "/":
            if os.path.isdir(layer.source):
                os.mkdir(target)
            else:
                os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
        if layer.kind == "bind" or not os.path.isdir(layer.source):
            self._read_only(layer, target)
            return
        try:
            overlay(layer.source, upper, f"w{layer.number}", target, user=self._user)
        except OSError as error:
            if layer.target == "/":
                raise SetupFailed(f"no overlay can be laid over {layer.source}", error) from error
            self._read_only(layer, target)

    def _read_only(self, layer: RootLayer, target: str) -> None:
        """What cannot be laid over (another file system below it, or a file) is there to be read; else it is empty."""
        with contextlib.suppress(OSError):
            tree = kernel.open_tree(layer.source, recursive=self._user)
            kernel.restrict_mount(tree, kernel.MOUNT_ATTR_RDONLY, recursive=self._user)
            kernel.move_mount(tree, target)
            os.close(tree)

    def _system(self) -> int:
        try:
            tree = kernel.open_tree("/sys", recursive=self._user)
            kernel.restrict_mount(tree, kernel.MOUNT_ATTR_RDONLY, recursive=self._user)
        except OSError:
            return -1
        return tree

    def _fill(self, devices: int, tmp: int, system: int) -> None:
        _put(tmp, "/tmp")  # noqa: S108 - the step's own
        _put(devices, "/dev")
        options = f"size={SHARED_MEMORY_BYTES},mode=1777"
        kernel.mount("shm", "/dev/shm", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, options)  # noqa: S108
        kernel.mount("devpts", "/dev/pts", "devpts", kernel.MS_NOSUID | kernel.MS_NOEXEC, "mode=620,ptmxmode=666")
        for directory in ("/run", "/proc", "/sys"):
            os.makedirs(directory, exist_ok=True)
        kernel.mount("run", "/run", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, f"size={RUN_BYTES},mode=755")
        if system >= 0:
            _put(system, "/sys")
        quiet = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
        try:
            kernel.mount("proc", "/proc", "proc", quiet)
        except OSError as error:
            raise SetupFailed(
                "no new /proc can be mounted (is this a container with a masked /proc?)", error
            ) from error
        if not self._user:
            for name in READ_ONLY:
                self._cover(f"/proc/{name}", f"/proc/{name}", read_only=True)
            for name in COVERED:
                self._cover("/dev/null", f"/proc/{name}")

    def _cover(self, source: str, target: str, *, read_only: bool = False) -> None:
        if not os.path.lexists(target) or (source == "/dev/null" and os.path.isdir(target)):
            return
        tree = kernel.open_tree(source)
        if read_only:
            kernel.restrict_mount(tree, kernel.MOUNT_ATTR_RDONLY)
        kernel.move_mount(tree, target)
        os.close(tree)

    def _hide(self) -> None:
        for path in self._config.hidden:
            shims = self._config.shims and below(self._config.shims, (path,))
            if shims:
                os.makedirs(path, exist_ok=True)
            if os.path.isdir(path):
                kernel.mount("hidden", path, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "size=64k,mode=755")
                if shims:
                    os.makedirs(self._config.shims)
                    os.symlink(self._config.python, f"{self._config.shims}/python")
                flags = kernel.MS_BIND | kernel.MS_REMOUNT | kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV
                kernel.mount("", path, None, flags)
            elif os.path.exists(path):
                self._cover("/dev/null", path)


def _tree_of_part(source: str, part: str, *, recursive: bool) -> int:
    """Of what lies below a directory: no link leads out of it, whoever changes it meanwhile."""
    top = os.open(source, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    found = kernel.open_beneath(top, part, os.O_PATH | os.O_CLOEXEC, links=True)
    tree = kernel.open_tree(f"/proc/self/fd/{found}", recursive=recursive)
    os.close(found)
    os.close(top)
    return tree


def _made(directory: str) -> bool:
    """Whether the directory had to be made: one that an earlier step has left as it was is used again."""
    try:
        os.mkdir(directory, 0o755)
    except FileExistsError:
        return False
    return True


def overlay(lower: str, upper: str, work: str, target: str, *, user: bool) -> None:
    """Mounts an overlay; relative paths begin in the current directory. Nothing of it is synced to the disk."""
    escaped = lower.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")
    options = f"lowerdir={escaped},upperdir={upper},workdir={work},volatile,"
    options += "userxattr" if user else "redirect_dir=off,metacopy=off"
    kernel.mount("overlay", target, "overlay", kernel.MS_NODEV, options)


def _put(tree: int, target: str, *, directory: bool = True) -> None:
    """Puts a mount at a place, which is made where there is none."""
    if directory:
        os.makedirs(target, exist_ok=True)
    elif not os.path.lexists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
    kernel.move_mount(tree, target)
    os.close(tree)


def live(root: Root, order: SandboxOrder, out: int, err: int, status: int, *, isolated: bool) -> NoReturn:
    """All of the first process's life. What goes wrong before the program runs is written to `status`."""
    code = 1
    try:
        os.setsid()
        os.umask(0o022)
        kernel.close_others((out, err, status))
        for group in order.groups:
            with open(group, "w") as file:
                file.write("0")
        root.enter(order)
        if isolated:
            _loopback_up()
        if order.kept:
            _hand_out(status)
        argv = order.argv
        if order.source is not None:
            _write_script(order.source)
            argv = [*argv, SCRIPT]
        _go_to(order.working_dir)
        kernel.set_capabilities(CAPABILITIES)
        program = os.fork()
        if not program:
            _execute(argv, order.environment, out, err, status)
        for fd in (out, err, status):
            os.close(fd)
        code = _await(program)
    except SetupFailed as error:
        _tell(status, str(error), 0)
    except OSError as error:
        _tell(status, f"the sandbox cannot be set up: {error}", 0)
    except BaseException as error:  # noqa: BLE001 - nothing may go on in the zygote's code
        _tell(status, f"the sandbox cannot be set up: {type(error).__name__}: {error}", 0)
    os._exit(code)


def _hand_out(status: int) -> None:
    """Gives the executor what this step sees. A mount lives as long as its namespace, which a descriptor keeps."""
    view = [os.open("/", os.O_PATH | os.O_CLOEXEC), os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)]
    with socket.socket(fileno=os.dup(status)) as channel:
        socket.send_fds(channel, [VIEW], view)
    for fd in view:
        os.close(fd)


def _await(program: int) -> int:
    """Waits for the program, and for whatever else has become a child of this process; the code as a shell has it."""
    while True:
        pid, status = os.wait()
        if pid == program:
            code = os.waitstatus_to_exitcode(status)
            return 128 - code if code < 0 else code


def _execute(argv: list[str], environment: dict[str, str], out: int, err: int, status: int) -> NoReturn:
    try:
        for number in RESTORED:
            signal.signal(number, signal.SIG_DFL)
        null = os.open("/dev/null", os.O_RDONLY)
        for fd, place in ((null, 0), (out, 1), (err, 2)):
            os.dup2(fd, place)
        kernel.close_others((status,))
        os.set_inheritable(status, False)
        os.execvpe(argv[0], argv, environment)  # noqa: S606 - the step's program
    except ValueError as error:
        _tell(status, str(error), -1)
    except OSError as error:
        _tell(status, error.strerror or str(error), error.errno or 0, command=True)
    except BaseException as error:  # noqa: BLE001 - as above
        _tell(status, f"{type(error).__name__}: {error}", 0)
    os._exit(127)


def _tell(status: int, said: str, number: int, *, command: bool = False) -> None:
    with contextlib.suppress(OSError):
        os.write(status, json.dumps({"said": said[:2000], "errno": number, "command": command}).encode())


def _write_script(source: str) -> None:
    os.makedirs(os.path.dirname(SCRIPT), exist_ok=True)
    fd = os.open(SCRIPT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o755)
    with open(fd, "wb") as file:
        file.write(source.encode(errors="surrogateescape"))


def _go_to(directory: str) -> None:
    place = os.path.join("/", directory)
    try:
        os.makedirs(place, exist_ok=True)  # as a container runtime makes it
        os.chdir(place)
    except OSError as error:
        raise SetupFailed(f"the working directory {directory!r} cannot be made", error) from error


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        asked = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(control, _SIOCGIFFLAGS, asked))[1]
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))
