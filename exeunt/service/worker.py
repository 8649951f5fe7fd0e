"""Work outside of the loop: small processes that do one piece at a time, within bounds of time and memory.

What is sent to one is input of strangers. Whatever it does to the process, the service goes on: a process that takes
too long is ended, one that asks for too much memory does not get it, and the next piece of work has a new process.

Time is the processor time of the process itself, so that a busy machine refuses nothing that an idle one takes. What
only waits costs others nothing, and is ended much later.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import resource
import signal
import struct
import sys
import traceback
from collections.abc import Callable

log = logging.getLogger(__name__)

_HEAD = struct.Struct(">cQ")
_DONE, _FAILED, _MEMORY = b"d", b"f", b"m"
_PASSED_ON = ("PATH", "HOME", "LANG", "TZ", "VIRTUAL_ENV")  # nothing secret
_NICE = 5  # the loop comes first
_PATIENCE = 20
"""A piece of work may be under way so many times as long as it may use the processor."""
_PR_SET_PDEATHSIG = 1


class TooMuchWorkError(Exception):
    """The work took too long, or too much memory. The text says which bound it met."""


class WorkFailedError(Exception):
    """The work itself failed: a fault of the program's. The text is for the log."""


class Workers:
    """Processes that run `module`, which calls `serve`. At most `count` of them, started when they are needed."""

    def __init__(self, module: str, *, count: int, seconds: float, memory: int) -> None:
        """`seconds` (of processor time) and `memory` (bytes of address space) bound each piece of work."""
        self._module = module
        self._seconds = seconds
        self._wait_seconds = _PATIENCE * seconds
        self._memory = memory
        self._places = asyncio.Semaphore(count)
        self._idle: list[asyncio.subprocess.Process] = []

    async def __call__(self, data: bytes) -> bytes:
        """What the work gives. Raises TooMuchWorkError or WorkFailedError. Waits while all processes are at work."""
        async with self._places:
            process = self._idle.pop() if self._idle else await self._start()
            outcome = b""
            try:
                async with asyncio.timeout(self._wait_seconds):
                    outcome, answer = await _ask(process, data)
            except TimeoutError:
                raise TooMuchWorkError(f"it is not done after {self._wait_seconds:g} s") from None
            except (OSError, EOFError):
                if await process.wait() == -signal.SIGPROF:
                    said = f"it takes longer than {self._seconds:g} s of processor time"
                else:
                    said = "the process that did it was ended"
                raise TooMuchWorkError(said) from None
            finally:
                if outcome == _DONE:
                    self._idle.append(process)
                else:
                    await _end(process)
        if outcome == _MEMORY:
            raise TooMuchWorkError(f"it takes more than {self._memory // 2**20} MB of memory")
        if outcome == _FAILED:
            raise WorkFailedError(answer.decode(errors="replace"))
        return answer

    @property
    def idle(self) -> int:
        """Processes that wait for work."""
        return len(self._idle)

    async def warm(self) -> None:
        """Starts a first process, so that nobody waits for that."""
        async with self._places:
            if not self._idle:
                self._idle.append(await self._start())

    async def close(self) -> None:
        """Ends the processes that are idle; those at work end with whoever waits for them."""
        while self._idle:
            await _end(self._idle.pop())

    async def _start(self) -> asyncio.subprocess.Process:
        passed_on = {k: v for k, v in os.environ.items() if k in _PASSED_ON or k.startswith(("PYTHON", "LC_"))}
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self._module,
            str(self._memory),
            str(self._seconds),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=passed_on,
        )


async def _ask(process: asyncio.subprocess.Process, data: bytes) -> tuple[bytes, bytes]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(_HEAD.pack(_DONE, len(data)))
    process.stdin.write(data)
    await process.stdin.drain()
    outcome, size = _HEAD.unpack(await process.stdout.readexactly(_HEAD.size))
    return outcome, await process.stdout.readexactly(size)


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await asyncio.shield(process.wait())


# --- in the process ---------------------------------------------------------------------------------------------------


def serve(work: Callable[[bytes], bytes]) -> None:
    """Does the work that comes on standard input until that ends."""
    memory, seconds = int(sys.argv[1]), float(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the service, which ends us
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.nice(_NICE)
    given, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints
    while head := given.read(_HEAD.size):
        size = _HEAD.unpack(head)[1]
        data = given.read(size)
        signal.setitimer(signal.ITIMER_PROF, seconds)  # SIGPROF ends the process
        outcome, answer = _done(work, data)
        signal.setitimer(signal.ITIMER_PROF, 0)
        answers.write(_HEAD.pack(outcome, len(answer)))
        answers.write(answer)
        answers.flush()


def _done(work: Callable[[bytes], bytes], data: bytes) -> tuple[bytes, bytes]:
    try:
        return _DONE, work(data)
    except MemoryError:
        return _MEMORY, b""
    except Exception:  # noqa: BLE001 - the service logs it
        return _FAILED, traceback.format_exc().encode(errors="replace")
