"""The executor's side of the sandbox: starts steps through the zygote, and gives their directories back.

A step's first process is a child of the executor, so that guard, reaper and survivors serve here as they do for the
process runtime. It is PID 1 of the step's space: when it is gone, so is all that it started.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from exeunt.executor.images import NoCommand, command_line
from exeunt.executor.runtime import survivors
from exeunt.executor.runtime.base import Bind, Ended, NotStarted, OnOutput, ProgramSpec, RuntimeContext, Unreadable
from exeunt.executor.runtime.environment import base_environment
from exeunt.executor.runtime.group import Process
from exeunt.executor.runtime.guard import Groups
from exeunt.executor.runtime.process import new_pipe, not_started
from exeunt.executor.runtime.reaper import Reaper, StepProcesses
from exeunt.executor.runtime.sandbox import cgroups, kernel
from exeunt.executor.runtime.sandbox.files import SeenPlace, read_file, remove_tree, renewed
from exeunt.executor.runtime.sandbox.helper import NoSandbox, ZygoteProcess
from exeunt.executor.runtime.sandbox.order import VIEW, SandboxOrder, ZygoteConfig
from exeunt.executor.runtime.sandbox.plan import RootLayer, below
from exeunt.executor.runtime.watched import watched
from exeunt.service.program import ProgramError

SETUP_SECONDS = 30.0
"""How long a step's root may take to be built; it takes milliseconds unless a file system does not answer."""

MOST_FREE = 64
"""Directories that are kept to be used again."""

_STATUS_BYTES = 65536


class SandboxedProcess(Process):
    """A step in its sandbox. `places` is what it saw where, `groups` are its control groups.

    `view`: its root and its namespace of mounts, as descriptors; empty unless its files are kept.
    """

    __slots__ = ("groups", "places", "view")

    places: list[SeenPlace]
    groups: list[Path]
    view: list[int]

    async def wait(self) -> Ended:
        """See `RunningProgram.wait`."""
        ended = await super().wait()
        if ended.exit_code and cgroups.out_of_memory(self.groups):
            ended.reason = "OOMKilled"
        return ended

    async def read(self, path: str, limit: int) -> bytes | None:
        """See `RunningProgram.read`."""
        return await self._loop.run_in_executor(self._home.reader, read_file, path, self.directory, self.places, limit)

    async def open(self, path: str) -> int | None:
        """See `RunningProgram.open`."""
        return await self._loop.run_in_executor(self._home.reader, self._open, path)

    def _open(self, path: str) -> int | None:
        try:
            return kernel.open_within(self.view[0], os.path.join("/", self.directory, path), os.O_PATH | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise Unreadable(f"{path!r}: {getattr(error, 'strerror', None) or error}") from error

    def release(self) -> None:
        """See `RunningProgram.release`."""
        if not self.pid:
            for fd in self.view:
                os.close(fd)
            self.view = []
        super().release()
        if not self.pid:
            cgroups.remove_groups(self.groups)


class SandboxRuntime:
    """Starts steps from the event loop's thread. `owner` is the beginning of the mark that they carry."""

    own_files = True

    def __init__(self, context: RuntimeContext, groups: Groups, reaper: Reaper, owner: str) -> None:
        data_dir = Path(os.path.realpath(context.data_dir))
        self.reaper = reaper
        self.reader = ThreadPoolExecutor(4, thread_name_prefix="reader")
        self._sweeper = ThreadPoolExecutor(1, thread_name_prefix="sweeper")
        self._images = context.images
        self._groups = groups
        self._owner = owner
        self._work = data_dir / "work"
        remove_tree(str(self._work))
        self._work.mkdir(parents=True)
        self._started = 0
        self._free: list[str] = []
        self._environment = base_environment(os.environ, data_dir / "bin")
        if below(self._environment["HOME"], (str(data_dir),)):
            self._environment["HOME"] = "/tmp"  # noqa: S108 - the step's own
        self._shared = [os.path.realpath(each) for each in context.shared]
        shims = data_dir / "bin"
        config = ZygoteConfig(
            rootfs=os.path.realpath(context.rootfs) if context.rootfs else "",
            data_dir=str(data_dir),
            shims=str(shims) if shims.is_dir() else "",
            python=os.path.realpath(shims / "python"),
            hidden=_outermost([str(data_dir), *(os.path.realpath(each) for each in context.hidden)]),
        )
        self._hidden = config.hidden
        self._zygote = ZygoteProcess(config, f"{owner}/zygote", reaper.own)
        self._limits = cgroups.find_groups(f"exeunt-{os.path.basename(owner)}")

    def open(self) -> None:
        """Starts the zygote; NoSandbox, OSError."""
        self._zygote.start()

    async def start(self, spec: ProgramSpec, on_output: OnOutput) -> SandboxedProcess:
        """Starts the program in a root of its own; see `Runtime.start`."""
        try:
            argv = command_line(spec.image, spec.command, spec.args, self._images)
        except NoCommand as error:
            raise NotStarted(str(error)) from None
        self._started += 1
        mark, own = f"{self._owner}/{self._started}", self._directory()
        process = SandboxedProcess(self, own, None, since=time.clock_gettime_ns(5), on_output=on_output)
        process.directory = spec.working_dir
        process.view = []
        process.groups = cgroups.make_group(self._limits, str(self._started), spec.limits)
        binds = [(each, "", each, False) for each in self._shared]
        binds += [(each.root or each.source, each.part, each.target, each.read_only) for each in spec.binds]
        process.places = self._places(own, spec.binds)
        order = SandboxOrder(
            own=own,
            argv=argv,
            environment={**self._environment, **spec.environment, survivors.MARK: mark},
            working_dir=spec.working_dir,
            source=spec.source,
            binds=binds,
            groups=[str(group / "cgroup.procs") for group in process.groups],
            kept=spec.kept,
        )
        try:
            status = self._fork(process, order, mark, isolated=spec.isolated)
            try:
                told = await _told(status, process.view)
            except BaseException:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
                raise
            if told:
                await process.wait()
                raise _refused(told, argv[0])
        except BaseException:
            process.release()  # its files go when it does
            raise
        return process

    async def close(self) -> None:
        """Gives back threads and files; nothing runs any more."""
        self._zygote.end()
        self.reader.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._sweeper.shutdown)
        cgroups.clear_groups(self._limits)
        self._groups.close()

    def ended(self, pid: int) -> None:
        """The step is gone."""
        self._groups.remove(pid)
        self.reaper.ended(pid)

    def give_back(self, directory: str) -> None:
        """The attempt that had this directory is over."""
        with contextlib.suppress(RuntimeError):  # closed: the data directory is cleared at the next start
            self._sweeper.submit(self._clear, directory)

    def _clear(self, directory: str) -> None:
        """In a thread: makes it ready to be used again, or removes it. Both wait for the file system's journal."""
        if len(self._free) < MOST_FREE and renewed(directory):
            self._free.append(directory)
        else:
            remove_tree(directory)

    def _directory(self) -> str:
        """An empty one, or one that is as an earlier step found it."""
        if self._free:
            return self._free.pop()
        own = str(self._work / str(self._started))
        os.mkdir(own, 0o755)
        return own

    def _fork(self, process: SandboxedProcess, order: SandboxOrder, mark: str, *, isolated: bool) -> socket.socket:
        """Has the first process started and watches it; the socket at which it says what goes wrong in it."""
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            out, write = new_pipe(ours, theirs)
            err, write_err = new_pipe(ours, theirs)
            status, write_status = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.callback(status.close)
            theirs.callback(write_status.close)
            pipes = frozenset(f"pipe:[{os.fstat(fd).st_ino}]" for fd in (out, err))
            since = survivors.ticks_now()
            try:
                pid = self._zygote.fork(order, write, write_err, write_status.fileno(), isolated=isolated)
            except (OSError, NoSandbox) as error:
                raise NotStarted(f"the sandbox could not be started: {error}") from error
            self.reaper.started(StepProcesses(pid, mark, process.own, since, pipes))
            self._groups.add(pid, since)
            try:
                process.started(pid, out, err)
            except BaseException:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                self.ended(pid)
                process.pid = 0
                raise
            ours.pop_all()
        return status

    def _places(self, own: str, binds: list[Bind]) -> list[SeenPlace]:
        """What a step sees where, as far as files can be read from it; the last counts."""
        layers = self._zygote.ready.layers
        places = [_place(own, layer) for layer in layers if layer.kind in ("overlay", "bind") or layer.target == "/"]
        places.append(SeenPlace("/tmp", f"{own}/tmp"))  # noqa: S108 - the step's own
        places += [SeenPlace(target, "") for target in ("/dev", "/proc", "/sys", "/run", *self._hidden)]
        places += [SeenPlace(each, each) for each in self._shared]
        return places + [SeenPlace(os.path.normpath(os.path.join("/", each.target)), each.source) for each in binds]


@contextlib.asynccontextmanager
async def open_runtime(context: RuntimeContext) -> AsyncIterator[SandboxRuntime]:
    """The runtime, with zygote and guard beside it and with orphans adopted; see `OpenRuntime`. ProgramError."""
    async with watched(context) as watch:
        runtime = SandboxRuntime(context, watch.groups, watch.reaper, watch.owner)
        try:
            runtime.open()
            yield runtime
        except NoSandbox as error:
            raise ProgramError(f"--runtime sandbox: {error}; or use --runtime process") from error
        finally:
            await runtime.close()


def _outermost(paths: list[str]) -> list[str]:
    """Those that lie below no other one."""
    found: list[str] = []
    for path in sorted(set(paths)):
        if not below(path, found):
            found.append(path)
    return found


def _place(own: str, layer: RootLayer) -> SeenPlace:
    if layer.kind == "bind":
        return SeenPlace(layer.target, "", layer.source)
    return SeenPlace(layer.target, f"{own}/u{layer.number}", layer.source)


async def _told(status: socket.socket, view: list[int]) -> dict[str, Any]:
    """What went wrong before the program ran; empty when it runs. Takes what it hands out; closes the socket."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(status, readable.set)
    try:
        async with asyncio.timeout(SETUP_SECONDS):
            while True:
                await readable.wait()
                readable.clear()
                data, fds, _, _ = socket.recv_fds(status, _STATUS_BYTES, 2)
                view += fds
                if data != VIEW:
                    return dict(json.loads(data)) if data else {}
    except TimeoutError:
        raise NotStarted(
            f"the sandbox was not set up after {SETUP_SECONDS:g} s; does a file system not answer?"
        ) from None
    finally:
        loop.remove_reader(status)
        status.close()


def _refused(told: dict[str, Any], command: str) -> NotStarted:
    if told["command"]:
        missing = told["errno"] == 2 and "/" not in command
        return not_started(command, FileNotFoundError() if missing else OSError(told["errno"], told["said"]))
    return not_started(command, ValueError(told["said"])) if told["errno"] < 0 else NotStarted(told["said"])
