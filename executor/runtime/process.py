"""The process runtime: a step is a process group on this machine, and sees the machine's files as they are.

Why it is done this way (posix_spawn, pidfd, the guard) stands in docs/decisions/0004-processes.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import signal
import stat
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from exeunt.executor import survivors
from exeunt.executor.guard import Groups
from exeunt.executor.runtime.base import Ended, Job, NotStarted, OnEnd, OnOutput, Unreadable
from exeunt.executor.runtime.environment import base_environment

_READ = 65536
_FILE_CLOCK = 5  # CLOCK_REALTIME_COARSE of Linux, which file times are taken from; Python has no name for it
_RESTORED = [signal.SIGPIPE, signal.SIGXFSZ]  # Python ignores these, and a program inherits what is ignored


class ProcessRuntime:
    """Starts processes from the event loop's thread. `mark` is one more variable (name, value) for each of them."""

    name = "process"

    def __init__(self, data_dir: Path, groups: Groups, mark: tuple[str, str], own: Mapping[str, str]) -> None:
        self._loop = asyncio.get_running_loop()
        self._work = data_dir / "work"
        self._scripts = data_dir / "scripts"
        for directory in (self._work, self._scripts):
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(parents=True)
        self._environment = base_environment(own, data_dir / "bin")
        self._environment[mark[0]] = mark[1]
        self._groups = groups
        self._sweeper = ThreadPoolExecutor(1, thread_name_prefix="sweeper")
        self._home = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._free: list[str] = []
        self._made = self._mode = 0
        self._found: dict[tuple[str, str], str] = {}

    def start(self, job: Job, on_output: OnOutput, on_end: OnEnd) -> Process:
        """Starts the program in a directory of its own (or its working directory), as leader of a process group."""
        environment = {**self._environment, **job.environment}
        key = hashlib.blake2b(job.id.encode(), digest_size=12).hexdigest()
        own = self._directory()
        script = None
        argv = job.command
        if job.source is not None:
            script = self._scripts / key
            _write_script(script, job.source)
            argv = [*argv, str(script)]
        since = time.clock_gettime_ns(_FILE_CLOCK)
        process = Process(self, own, script, since=since, on_output=on_output, on_end=on_end)
        try:
            process.directory = _directory(job.working_dir, own)
            self._spawn(process, argv, environment, process.directory, job.separate)
        except NotStarted:
            process.release()
            raise
        return process

    async def close(self) -> None:
        """Nothing runs any more."""
        await asyncio.to_thread(self._sweeper.shutdown)
        os.close(self._home)
        self._groups.close()

    def give_back(self, directory: str) -> None:
        """The attempt that had this directory is over: when it is as it was, the next one gets it."""
        try:
            pristine = os.stat(directory).st_mode == self._mode and not os.listdir(directory)
        except FileNotFoundError:
            return
        if pristine:
            self._free.append(directory)
        else:
            self._sweep(directory)

    def _directory(self) -> str:
        """An empty directory. They are used again: making and removing one waits for the file system's journal."""
        if self._free:
            return self._free.pop()
        self._made += 1
        directory = str(self._work / str(self._made))
        os.mkdir(directory, 0o755)
        self._mode = os.stat(directory).st_mode
        return directory

    def _sweep(self, directory: str) -> None:
        """Clears a directory away; it may be large, so elsewhere than in the event loop."""
        with contextlib.suppress(RuntimeError):  # closed: the data directory is cleared at the next start
            self._sweeper.submit(shutil.rmtree, directory, ignore_errors=True)

    def ended(self, pid: int) -> None:
        """The group is gone."""
        self._groups.remove(pid)

    def _spawn(self, process: Process, argv: list[str], env: dict[str, str], cwd: str, separate: bool) -> None:
        out_read, out_write = os.pipe2(os.O_CLOEXEC)
        err_read, err_write = os.pipe2(os.O_CLOEXEC) if separate else (-1, out_write)
        actions: list[tuple[int, int] | tuple[int, int, int] | tuple[int, int, str, int, int]] = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, out_write, 1),
            (os.POSIX_SPAWN_DUP2, err_write, 2),
        ]
        try:
            os.chdir(cwd)  # posix_spawn takes no directory; nothing else of this process looks at the current one
            program = self._find(argv[0], env["PATH"])
            since = survivors.ticks_now()
            pid = os.posix_spawn(
                program, argv, env, file_actions=actions, setpgroup=0, setsigmask=[], setsigdef=_RESTORED
            )
        except (OSError, ValueError) as error:
            self._found.pop((argv[0], env["PATH"]), None)
            for fd in {out_read, err_read} - {-1}:
                os.close(fd)
            raise _not_started(argv[0], error) from error
        finally:
            os.fchdir(self._home)
            for fd in {out_write, err_write}:
                os.close(fd)
        self._groups.add(pid, since)
        process.started(self._loop, pid, out_read, err_read)

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


class Process:
    """One process group that runs, or has ended and whose files are not given back yet."""

    __slots__ = (
        "_err",
        "_loop",
        "_on_end",
        "_on_output",
        "_out",
        "_own",
        "_pidfd",
        "_runtime",
        "_script",
        "_since",
        "_timer",
        "directory",
        "pid",
    )

    def __init__(
        self,
        runtime: ProcessRuntime,
        own: str,
        script: Path | None,
        *,
        since: int,
        on_output: OnOutput,
        on_end: OnEnd,
    ) -> None:
        self.pid = 0
        self.directory = own
        self._runtime = runtime
        self._own = own
        self._script = script
        self._since = since
        self._on_output = on_output
        self._on_end = on_end
        self._timer: asyncio.TimerHandle | None = None

    def started(self, loop: asyncio.AbstractEventLoop, pid: int, out: int, err: int) -> None:
        """It runs; `out` and `err` are the ends to read its output from (`err` is -1 when both come through `out`)."""
        self.pid = pid
        self._loop = loop
        self._out = out
        self._err = err
        self._pidfd = os.pidfd_open(pid)
        for fd in (out, err):
            if fd >= 0:
                os.set_blocking(fd, False)
                loop.add_reader(fd, self._readable, fd)
        loop.add_reader(self._pidfd, self._exited)

    def end(self, grace: float) -> None:
        """See `Running.end`."""
        if not self.pid:
            return
        if self._timer is None:
            self._signal(signal.SIGTERM)
            self._timer = self._loop.call_later(grace, self.kill)
        elif self._timer.when() > self._loop.time() + grace:
            self._timer.cancel()
            self._timer = self._loop.call_later(grace, self.kill)

    def kill(self) -> None:
        """See `Running.kill`."""
        if self.pid:
            self._signal(signal.SIGKILL)

    def read(self, path: str, limit: int) -> bytes | None:
        """See `Running.read`. A file last written before the step began is not its output."""
        full = os.path.join(self.directory, path)
        try:
            # Non-blocking, since opening a FIFO would wait for a writer.
            fd = os.open(full, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise Unreadable(f"{path}: {error.strerror}") from error
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise Unreadable(f"{path}: not a regular file")
            if max(status.st_ctime_ns, status.st_mtime_ns) < self._since:
                return None
            if status.st_size > limit:
                raise Unreadable(
                    f"{path}: {status.st_size} bytes, which is more than the {limit} that a parameter may have; "
                    "pass it on as an artifact"
                )
            return os.read(fd, limit + 1)[:limit]
        finally:
            os.close(fd)

    def release(self) -> None:
        """See `Running.release`."""
        if self._script is not None:
            with contextlib.suppress(OSError):
                self._script.unlink()
        self._runtime.give_back(self._own)

    def _signal(self, number: int) -> None:
        assert self.pid > 0, "0 would be our own group"
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _readable(self, fd: int) -> None:
        try:
            data = os.read(fd, _READ)
        except BlockingIOError:
            return
        if data:
            self._on_output(data, fd == self._out)
        else:
            self._loop.remove_reader(fd)  # closed by the program, which may go on

    def _exited(self) -> None:
        pid = self.pid
        self._loop.remove_reader(self._pidfd)  # first: it stays readable, and whatever fails below must not come again
        # What the leader leaves behind ends with it, as in a container. The group's number is ours until waitpid.
        self._signal(signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        self.pid = 0
        self._runtime.ended(pid)
        if self._timer is not None:
            self._timer.cancel()
        os.close(self._pidfd)
        for fd in (self._out, self._err):
            if fd >= 0:
                self._drain(fd)
        code = os.waitstatus_to_exitcode(status)
        self._on_end(Ended(128 - code, -code) if code < 0 else Ended(code))

    def _drain(self, fd: int) -> None:
        """Reads what is there, and no more: somebody who left the group may hold the other end for ever."""
        self._loop.remove_reader(fd)
        for _ in range(64):  # a pipe holds 64 KB, or up to 1 MB where the program asked for that
            try:
                data = os.read(fd, _READ)
            except BlockingIOError:
                break
            if not data:
                break
            self._on_output(data, fd == self._out)
        os.close(fd)


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
    except OSError as error:
        raise NotStarted(f"the working directory {wanted} cannot be made: {error.strerror}") from error
    return directory


def _not_started(command: str, error: OSError | ValueError) -> NotStarted:
    """As Argo's emissary ends when it cannot start the command: exit code 64."""
    if isinstance(error, ValueError):
        return NotStarted(f"the command, its arguments or environment cannot be passed on: {error}")
    why = (error.strerror or str(error)).lower() if error.errno else "executable file not found in $PATH"
    prefix = "failed to find name in PATH: " if isinstance(error, FileNotFoundError) else ""
    return NotStarted(f'main: Error (exit code 64): {prefix}exec: "{command}": {why}', phase="Failed", exit_code=64)
