"""The process runtime: a step is a process group on this machine, and sees the machine's files as they are.

Why it is done this way (posix_spawn, pidfd, the guard, the reaper) stands in docs/decisions, 0004 and 0013.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from exeunt.executor.images import NoCommand, command_line
from exeunt.executor.runtime import survivors
from exeunt.executor.runtime.base import NotStarted, OnOutput, ProgramSpec, RuntimeContext
from exeunt.executor.runtime.environment import base_environment
from exeunt.executor.runtime.group import Process
from exeunt.executor.runtime.guard import Groups
from exeunt.executor.runtime.reaper import Reaper, StepProcesses
from exeunt.executor.runtime.watched import watched

_FILE_CLOCK = 5  # CLOCK_REALTIME_COARSE of Linux, which file times are taken from; Python has no name for it
_RESTORED = [signal.SIGPIPE, signal.SIGXFSZ]  # Python ignores these, and a program inherits what is ignored


class ProcessRuntime:
    """Starts processes from the event loop's thread. `owner` is the beginning of the mark that they carry."""

    own_files = False

    def __init__(self, context: RuntimeContext, groups: Groups, reaper: Reaper, owner: str) -> None:
        data_dir = context.data_dir
        self.reaper = reaper
        self._images = context.images
        self._work = data_dir / "work"
        self._scripts = data_dir / "scripts"
        for directory in (self._work, self._scripts):
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(parents=True)
        self._environment = base_environment(os.environ, data_dir / "bin")
        self._owner = owner
        self._groups = groups
        self._sweeper = ThreadPoolExecutor(1, thread_name_prefix="sweeper")
        self.reader = ThreadPoolExecutor(4, thread_name_prefix="reader")  # a file system may not answer
        self._home = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._free: list[str] = []
        self._made = self._mode = self._started = 0
        self._found: dict[tuple[str, str], str] = {}

    async def start(self, spec: ProgramSpec, on_output: OnOutput) -> Process:
        """Starts the program in a directory of its own (or its working directory), as leader of a process group."""
        argv = self._command_line(spec)
        self._started += 1
        mark = f"{self._owner}/{self._started}"
        environment = {**self._environment, **spec.environment, survivors.MARK: mark}
        own = self._directory()
        script = None
        if spec.source is not None:
            script = self._scripts / hashlib.blake2b(spec.id.encode(), digest_size=12).hexdigest()
            argv = [*argv, str(script)]
        process = Process(self, own, script, since=time.clock_gettime_ns(_FILE_CLOCK), on_output=on_output)
        try:
            if script is not None and spec.source is not None:
                _write_script(script, spec.source)
            process.directory = _directory(spec.working_dir, own)
            self._spawn(process, argv, environment, mark)
        except BaseException:
            process.release()
            raise
        return process

    async def close(self) -> None:
        """Gives back threads and files; nothing runs any more."""
        self.reader.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._sweeper.shutdown)
        os.close(self._home)
        self._groups.close()

    def give_back(self, directory: str) -> None:
        """The attempt that had this directory is over: when it is as it was, the next one gets it."""
        try:
            pristine = os.lstat(directory).st_mode == self._mode and not os.listdir(directory)
        except FileNotFoundError:
            return
        except OSError:
            pristine = False
        if pristine:
            self._free.append(directory)
        else:
            self._sweep(directory)

    def _command_line(self, spec: ProgramSpec) -> list[str]:
        try:
            return command_line(spec.image, spec.command, spec.args, self._images)
        except NoCommand as error:
            raise NotStarted(str(error)) from None

    def _directory(self) -> str:
        """An empty directory. They are used again: making and removing one waits for the file system's journal."""
        while self._free:
            directory = self._free.pop()
            if os.path.isdir(directory):  # another step may have removed it
                return directory
        self._made += 1
        directory = str(self._work / str(self._made))
        os.mkdir(directory, 0o755)
        self._mode = os.stat(directory).st_mode
        return directory

    def _sweep(self, directory: str) -> None:
        """Removes a directory, in a thread, since it may be large."""
        with contextlib.suppress(RuntimeError):  # closed: the data directory is cleared at the next start
            self._sweeper.submit(_remove, directory)

    def ended(self, pid: int) -> None:
        """The group is gone."""
        self._groups.remove(pid)
        self.reaper.ended(pid)

    def _spawn(self, process: Process, argv: list[str], env: dict[str, str], mark: str) -> None:
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            out, write = new_pipe(ours, theirs)
            err, write_err = new_pipe(ours, theirs)
            actions: list[tuple[int, int] | tuple[int, int, int] | tuple[int, int, str, int, int]] = [
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, write, 1),
                (os.POSIX_SPAWN_DUP2, write_err, 2),
            ]
            pipes = frozenset(f"pipe:[{os.fstat(fd).st_ino}]" for fd in (out, err))
            since = survivors.ticks_now()
            try:
                os.chdir(process.directory)  # posix_spawn takes none; nothing else of this process looks at the current
                program = self._find(argv[0], env["PATH"])
                pid = os.posix_spawn(
                    program, argv, env, file_actions=actions, setpgroup=0, setsigmask=[], setsigdef=_RESTORED
                )
            except (OSError, ValueError) as error:
                self._found.pop((argv[0], env["PATH"]), None)
                raise not_started(argv[0], error) from error
            finally:
                os.fchdir(self._home)
            self.reaper.started(StepProcesses(pid, mark, process.own, since, pipes))
            self._groups.add(pid, since)
            try:
                process.started(pid, out, err)
            except BaseException:
                os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                self.ended(pid)
                process.pid = 0
                raise
            ours.pop_all()

    def _find(self, command: str, path: str) -> str:
        if "/" in command:
            os.stat(command)  # says which of both is missing: the program, or the interpreter in its first line
            return command
        found = self._found.get((command, path))
        if found is None:
            found = shutil.which(command, path=path)
            if found is None:
                raise FileNotFoundError
            if found.startswith("/"):
                self._found[command, path] = found
        return found


@contextlib.asynccontextmanager
async def open_runtime(context: RuntimeContext) -> AsyncIterator[ProcessRuntime]:
    """The runtime, with the guard beside it and with orphans adopted; see `OpenRuntime`."""
    async with watched(context) as watch:
        runtime = ProcessRuntime(context, watch.groups, watch.reaper, watch.owner)
        try:
            yield runtime
        finally:
            await runtime.close()


def _write_script(path: Path, source: str) -> None:
    # Written and closed in the thread that spawns: a file open for writing anywhere cannot be executed.
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o755)
    try:
        data = source.encode(errors="surrogateescape")
        while data:
            data = data[os.write(fd, data) :]
    finally:
        os.close(fd)


def _directory(wanted: str, own: str) -> str:
    if not wanted:
        return own
    directory = os.path.join(own, wanted)
    try:
        os.makedirs(directory, exist_ok=True)  # as a container runtime makes it
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise NotStarted(f"the working directory {wanted!r} cannot be made: {why}") from error
    return directory


def new_pipe(ours: contextlib.ExitStack, theirs: contextlib.ExitStack) -> tuple[int, int]:
    """The end to read and the end to write; each is closed with its stack."""
    read, write = os.pipe2(os.O_CLOEXEC)
    ours.callback(os.close, read)
    theirs.callback(os.close, write)
    return read, write


def _remove(directory: str) -> None:
    with contextlib.suppress(OSError):
        if os.path.islink(directory):
            os.unlink(directory)
    shutil.rmtree(directory, ignore_errors=True)


def not_started(command: str, error: OSError | ValueError) -> NotStarted:
    """As Argo's emissary ends when it cannot start the command: exit code 64."""
    if isinstance(error, ValueError):
        return NotStarted(f"the command, its arguments or environment cannot be passed on: {error}")
    why = (error.strerror or str(error)).lower() if error.errno else "executable file not found in $PATH"
    prefix = "failed to find name in PATH: " if isinstance(error, FileNotFoundError) else ""
    return NotStarted(f'main: Error (exit code 64): {prefix}exec: "{command}": {why}', phase="Failed", exit_code=64)
