"""What a runtime is: it starts programs, ends them, and reads the files that they left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from exeunt.executor.images import Image


@dataclass(frozen=True, slots=True)
class Bind:
    """A file or directory of the executor, `source`, that a program finds at `target`.

    Of a part of a directory that others may change, `source` is a descriptor that the executor holds open. Another
    process goes by `root` and `part`, and by no link that leads out of `root`.
    """

    source: str
    target: str
    read_only: bool = False
    root: str = ""
    part: str = ""


@dataclass(frozen=True, slots=True)
class StepLimits:
    """What one program may take with all its children: bytes, processors, processes; 0 for as much as there is."""

    memory_bytes: int = 0
    cpus: float = 0.0
    processes: int = 0


@dataclass(slots=True)
class ProgramSpec:
    """One program to run.

    `id` is the attempt's id. As in a container, `command` takes the place of the image's entrypoint and `args` that of
    its arguments, where they are given. `environment` is what the step adds to the runtime's own. `source` is the text
    of a script, which becomes a file and the last argument; None for no script. A runtime whose programs see the
    machine's files as they are has no use for `binds`, `limits` and `isolated` (a network of its own). Only with `kept`
    can its files be opened when it has ended.
    """

    id: str
    image: str
    command: list[str]
    args: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    working_dir: str = ""
    source: str | None = None
    binds: list[Bind] = field(default_factory=list)
    limits: StepLimits = StepLimits()
    isolated: bool = False
    kept: bool = False


@dataclass(slots=True)
class Ended:
    """How a program ended: its exit code as a shell counts it (128 + n when signal n ended it).

    `reason` is Kubernetes' word for an end with another code than 0: OOMKilled when the kernel killed something of it
    for its memory, else Error.
    """

    exit_code: int
    signal: int = 0
    reason: str = "Error"


class NotStarted(Exception):  # noqa: N818 - it is an answer that becomes the step's result
    """The program could not be started.

    The step ends in `phase`: Failed (with an exit code) where Argo's container would have failed, Error where the step
    cannot run here at all.
    """

    def __init__(self, message: str, *, phase: str = "Error", exit_code: int | None = None) -> None:
        super().__init__(message)
        self.phase = phase
        self.exit_code = exit_code


class Unreadable(Exception):  # noqa: N818 - it is an answer that becomes the step's result
    """An output file is there but cannot be taken: a directory, no permission."""


class OutputTooLarge(Unreadable):
    """An output file has `size` bytes (at least), which is more than was asked for."""

    def __init__(self, size: int) -> None:
        super().__init__(f"{size} bytes")
        self.size = size


class NotEnded(Exception):  # noqa: N818 - it is an answer that becomes the step's result
    """The program was killed and is there all the same."""


OnOutput = Callable[[bytes, bool], None]
"""Called with each piece of output, as it is read; True when it came from standard output, else from standard error."""


class RunningProgram(Protocol):
    """A program that was started.

    What it is told by a method that does not wait happens soon, not at once.
    """

    @property
    def pids(self) -> tuple[int, ...]:
        """The first process of each of its programs that runs on this machine."""

    async def wait(self) -> Ended:
        """Waits until it has ended, with all that it started, and its last piece of output is out; NotEnded."""

    def end(self, grace: float) -> None:
        """Asks it to end (SIGTERM), and kills it with its children after so many seconds; the shortest counts."""

    def kill(self) -> None:
        """Kills it with all its children now."""

    def pause(self) -> None:
        """Takes no more output of it, so that it waits when it writes; until `resume`, or its end."""

    def resume(self) -> None:
        """Takes its output again."""

    async def read(self, path: str, limit: int) -> bytes | None:
        """An output file of at most so many bytes: None when this attempt wrote none; Unreadable, OutputTooLarge."""

    async def open(self, path: str) -> int | None:
        """A descriptor (O_PATH) of what it left at a path, links followed as it saw them; None where nothing is.

        Whoever asks closes it. Raises Unreadable.
        """

    def release(self) -> None:
        """Nothing of it is needed any more: its files may go."""


class Runtime(Protocol):
    """Runs programs in one kind of surroundings. `own_files`: what one program writes, others do not see."""

    own_files: bool

    async def start(self, spec: ProgramSpec, on_output: OnOutput) -> RunningProgram:
        """Starts the program; NotStarted when it cannot be. When it is cancelled meanwhile, nothing of it is left."""


@dataclass(frozen=True, slots=True)
class RuntimeContext:
    """What a runtime gets from its executor.

    `mark` is this executor's alone, and the same in all its lives. `images` has the programs of images, for a runtime
    that has no images itself. Where programs have a root of their own, `rootfs` is a directory that takes the place of
    the machine's, `hidden` are files and directories that they must not see, and `shared` those that stay real.
    """

    data_dir: Path
    mark: str
    images: Mapping[str, Image]
    rootfs: str = ""
    hidden: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()


OpenRuntime = Callable[[RuntimeContext], AbstractAsyncContextManager[Runtime]]
"""Opens a runtime. What an earlier life left running in it is ended first; it is closed when nothing runs any more."""
