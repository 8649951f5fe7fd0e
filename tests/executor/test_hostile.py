"""What a step does wrong is its own Error, and nobody else feels it."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exeunt.executor.runtime import group, process, survivors
from exeunt.executor.runtime.reaper import Reaper, descendants
from exeunt.internal.v1 import step_pb2 as pb
from tests.executor.conftest import WITHIN, Scheduler, Service, inside, shell, step, vanished

SECONDS = 100_000 + os.getpid()
LONG = f"sleep {SECONDS}"  # its like is not started by anybody else


def output(path: str, **more: Any) -> list[pb.OutputParameter]:
    return [pb.OutputParameter(name="o", path=path, **more)]


@pytest.mark.usefixtures("executor")
class TestOddValues:
    """Paths, names and directories that no file system takes."""

    @pytest.mark.parametrize("directory", ["/tmp/a\0b", "/proc/1/no", "x" * 5000, "/dev/null/x"])
    async def test_a_directory_that_cannot_be(self, scheduler: Scheduler, directory: str) -> None:
        [result] = await scheduler.run(step("a", "true", working_dir=directory))
        assert result.phase == "Error"
        assert "working directory" in result.message
        await still_there(scheduler)

    @pytest.mark.parametrize(
        ("path", "words"),
        [
            ("/proc/self/mem", "not a regular file"),
            ("/proc/self/environ", "not a regular file"),
            ("/proc/kmsg", "/proc/kmsg"),
            ("a\0b", "embedded null byte"),
            ("x" * 5000, "File name too long"),
            (".", "not a regular file"),
            ("link", "not a regular file"),
        ],
    )
    async def test_an_output_that_cannot_be_read(self, scheduler: Scheduler, path: str, words: str) -> None:
        [result] = await scheduler.run(shell("a", "ln -s /proc/self/environ link", outputs=output(path)))
        assert result.phase == "Error"
        assert "output parameter o" in result.message
        assert words in result.message
        await still_there(scheduler)

    @pytest.mark.parametrize(
        "changes",
        [
            {"command": ["echo", "a\0b"]},
            {"command": ["/bin/ec\0ho"]},
            {"command": ["./" + "y" * 5000]},
            {"command": ["/tmp"]},
            {"env": {"A=B": "1"}},
            {"env": {"": "1"}},
            {"env": {"N\0": "1"}},
            {"env": {"PATH": "/nowhere\0"}},
            {"env": {"A": "x" * 300_000}},
        ],
    )
    async def test_a_command_that_cannot_be_started(self, scheduler: Scheduler, changes: dict[str, Any]) -> None:
        [result] = await scheduler.run(step("a", *changes.pop("command", ["true"]), **changes))
        assert result.phase in ("Failed", "Error")
        assert result.message
        await still_there(scheduler)

    async def test_a_step_that_takes_its_own_directory_away(self, scheduler: Scheduler) -> None:
        first = "d=$(pwd); cd /; rm -rf $d; mkdir -p /tmp/exeunt-empty; ln -s /tmp/exeunt-empty $d"
        results = await scheduler.run(shell("a", first), shell("b", "rm -rf ../*"))
        assert {r.phase for r in results} == {"Succeeded"}
        results = await scheduler.run(*(shell(f"n{i}", "pwd", result=True) for i in range(6)))
        assert {r.phase for r in results} == {"Succeeded"}
        assert not [r.result for r in results if not r.result.startswith("/") or "exeunt-empty" in r.result]


async def still_there(scheduler: Scheduler) -> None:
    """The executor goes on, on the same stream."""
    [result] = await scheduler.run(step("after", "true"))
    assert result.phase == "Succeeded"
    assert len(scheduler.hellos) == 1


class TestNoRoom:
    """The machine has nothing left."""

    async def test_no_free_file_descriptor_is_an_error_of_the_step(self, scheduler: Scheduler, tmp_path: Path) -> None:
        async with Service(scheduler, tmp_path / "e") as service:
            await scheduler.run(step("before", "true"))
            in_use = len(os.listdir(f"/proc/{service.pid}/fd"))
            limits = resource.prlimit(service.pid, resource.RLIMIT_NOFILE)
            for free in range(6):  # what needs one is another thing each time
                resource.prlimit(service.pid, resource.RLIMIT_NOFILE, (in_use + free, limits[1]))
                [result] = await scheduler.run(
                    shell(f"n{free}", "echo x > o", script=True, source="echo", result=True, outputs=output("o"))
                )
                assert result.phase == "Succeeded" or "Too many open files" in result.message
                assert free or result.phase == "Error"
            resource.prlimit(service.pid, resource.RLIMIT_NOFILE, limits)
            await still_there(scheduler)
            assert len(os.listdir(f"/proc/{service.pid}/fd")) <= in_use

    async def test_a_full_disk_is_an_error_of_the_step(self, scheduler: Scheduler, small_disk: Path) -> None:
        async with Service(scheduler, small_disk) as service:
            await scheduler.run(step("before", "true"))
            ballast = small_disk / "ballast"
            with ballast.open("wb", buffering=0) as file:
                while True:
                    try:
                        file.write(bytes(4096))
                    except OSError:
                        break
            source = "#" * 100_000
            results = await scheduler.run(*(step(f"n{i}", "sh", script=True, source=source) for i in range(5)))
            assert {r.phase for r in results} == {"Error"}
            assert all("No space left on device" in r.message or "cannot write" in r.message for r in results)
            ballast.unlink()
            await still_there(scheduler)
            assert await service.end(signal.SIGTERM) == 0

    @pytest.fixture
    def small_disk(self, tmp_path: Path) -> Iterator[Path]:
        """A file system of 1 MB for the executor's data."""
        folder = tmp_path / "small"
        folder.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
        )
        if mounted.returncode:
            pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
        yield folder
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.usefixtures("executor")
class TestTheUnforeseen:
    """What nobody thought of."""

    @pytest.mark.parametrize(
        ("module", "name"),
        [
            (process, "_write_script"),
            (group.Process, "started"),
            (group.Process, "_close"),
            (Reaper, "clear"),
            (group, "_read"),
            (process.ProcessRuntime, "give_back"),
        ],
    )
    async def test_an_exception_anywhere_is_that_steps_error(
        self, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch, module: Any, name: str
    ) -> None:
        await scheduler.ready()

        def fail(*_: Any) -> None:
            raise ZeroDivisionError("nobody thought of this")

        source = "true & echo x > o; echo out; exec >&- 2>&-; sleep 0.2"
        with monkeypatch.context() as patch:
            patch.setattr(module, name, fail)
            [result] = await scheduler.run(step("a", "sh", script=True, source=source, outputs=output("o")))
        assert result.phase == "Error"
        assert "nobody thought of this" in result.message
        await still_there(scheduler)


HIDDEN = {
    "session": f"setsid {LONG}",
    "no environment": f"env -i setsid {LONG}",
    "family": f"setsid sh -c '{LONG} & {LONG} & wait'",
    "daemon": f"sh -c 'cd /; setsid env -i sh -c \"{LONG} >/dev/null 2>&1 </dev/null &\" &'",
}


@pytest.mark.usefixtures("executor")
class TestWhatLeavesItsStep:
    """Whatever a step starts ends with it, however it hides."""

    @pytest.mark.parametrize("hidden", HIDDEN)
    @pytest.mark.parametrize("end", ["itself", "deadline", "cancel", "forget"])
    async def test_at_any_end(self, scheduler: Scheduler, tmp_path: Path, hidden: str, end: str) -> None:
        await scheduler.ready()
        text = f"{HIDDEN[hidden]} & until [ -e {tmp_path}/go ]; do sleep 0.05; done"
        timeout = 5.0 if end == "deadline" else 0.0
        await scheduler.say(dispatches=[shell("a", text, timeout_seconds=timeout, grace_seconds=0.1)])
        started = await sleeping(2 if hidden == "family" else 1)
        if end == "itself":
            (tmp_path / "go").touch()
        if end == "cancel":
            await scheduler.say(cancels=["u1/a/0"])
        if end == "forget":
            await scheduler.say(forgotten=["u1/a/0"])
            await vanished(*started)
        else:
            await scheduler.until(lambda: "u1/a/0" in scheduler.results)
        assert not [pid for pid in started if survivors.start_time(pid)], "they end before the result is told"

    async def test_those_of_other_steps_go_on(self, scheduler: Scheduler, tmp_path: Path) -> None:
        await scheduler.ready()
        text = f"for h in '' 'env -i'; do $h setsid {LONG} & done; until [ -e {tmp_path}/go ]; do sleep 0.05; done"
        await scheduler.say(dispatches=[shell("long", f"{text}; (setsid {LONG} &); {LONG}")])
        await sleeping(2)
        (tmp_path / "go").touch()
        kept = await sleeping(4)
        await scheduler.run(shell("short", text))
        assert sleepers() == kept
        await scheduler.say(forgotten=["u1/long/0"])
        await vanished(*kept)

    async def test_orphans_that_end_leave_no_remains(self, scheduler: Scheduler) -> None:
        await scheduler.ready()
        await scheduler.say(
            dispatches=[shell("a", "for i in $(seq 50); do (setsid true &); done; sleep 0.5; echo up; sleep 500")]
        )
        await scheduler.until(lambda: scheduler.output("u1/a/0") == "up\n")
        zombies = [
            pid for pid in survivors._all() if (s := survivors.look(pid)) and s.zombie and s.parent == os.getpid()
        ]
        assert len(zombies) < 5
        await scheduler.say(forgotten=["u1/a/0"])


async def sleeping(count: int) -> list[int]:
    """Waits until so many sleep."""
    async with asyncio.timeout(WITHIN):
        while len(found := sleepers()) < count:  # noqa: ASYNC110 - nothing tells of a process that starts
            await asyncio.sleep(0.05)
    return found


def command_of(pid: int) -> bytes:
    """Its words, each with a NUL behind it."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def sleepers() -> list[int]:
    """All processes that sleep as long."""
    found = []
    for pid in survivors._all():
        if command_of(pid) == f"sleep\0{SECONDS}\0".encode() and survivors.start_time(pid):
            found.append(pid)
    return found


@pytest.mark.faults
@pytest.mark.parametrize("guarded", [True, False])
async def test_what_left_its_step_does_not_outlive_a_killed_executor(
    scheduler: Scheduler, tmp_path: Path, guarded: bool
) -> None:
    """The guard ends it, and where that was killed too, the executor's next life."""
    async with Service(scheduler, tmp_path / "e") as service:
        await scheduler.ready()
        ways = " ".join(f"{HIDDEN[way]} >/dev/null 2>&1 &" for way in ("session", "no environment", "family"))
        await scheduler.say(dispatches=[shell("a", f"{ways} (env -i setsid {LONG} &) ; {LONG}")])
        started = await sleeping(6)
        if not guarded:
            [guard] = [pid for pid in descendants(service.pid) if b"survivors.py" in command_of(pid)]
            os.kill(service.pid, signal.SIGSTOP)
            os.kill(guard, signal.SIGKILL)
        await service.end(signal.SIGKILL)
    if guarded:
        await vanished(*started)
    async with inside(scheduler, tmp_path / "e"):
        await scheduler.until(lambda: len(scheduler.hellos) == 2)
        assert not sleepers()
