"""Steps in sandboxes: true paths, a space of their own, and all that the process runtime promises."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exeunt.executor.runtime.base import (
    Bind,
    Ended,
    NotStarted,
    OutputTooLarge,
    ProgramSpec,
    RuntimeContext,
    StepLimits,
    Unreadable,
)
from exeunt.executor.runtime.sandbox import plan
from exeunt.executor.runtime.sandbox.files import SeenPlace, locate
from exeunt.executor.runtime.sandbox.probe import probe
from exeunt.executor.runtime.sandbox.runtime import SandboxedProcess, SandboxRuntime, open_runtime
from tests.executor.conftest import WITHIN, Scheduler, Service, inside, shell, step, vanished

PROBLEM = probe()
works = pytest.mark.skipif(bool(PROBLEM.problem), reason=f"no sandbox here: {PROBLEM.problem}")
needs_root = pytest.mark.skipif(PROBLEM.mode != "root", reason="needs an administrator")
REPO = Path(__file__).parents[2]


class Done:
    """What came of a program."""

    def __init__(self, ended: Ended, output: str, process: SandboxedProcess) -> None:
        self.ended = ended
        self.code = ended.exit_code
        self.output = output
        self.process = process


async def run(runtime: SandboxRuntime, text: str, **more: object) -> Done:
    """Runs a line of shell to its end."""
    got: list[bytes] = []
    spec = ProgramSpec(id="a", image="", command=["sh", "-c", text], **more)  # type: ignore[arg-type]
    process = await runtime.start(spec, lambda data, _: got.append(data))
    async with asyncio.timeout(WITHIN):
        ended = await process.wait()
    return Done(ended, b"".join(got).decode(), process)


def there(*paths: str) -> bool:
    """Whether any of these is on the machine."""
    return any(os.path.lexists(path) for path in paths)


def text_of(path: str) -> str:
    """What the machine has in a file."""
    return Path(path).read_text() if os.path.exists(path) else ""


def children(pid: int) -> list[int]:
    """The processes that this one started."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def tiny_root(rootfs: Path) -> None:
    """A root with nothing but a shell."""
    for each in ("bin", "lib", "lib64", "usr"):
        (rootfs / each).mkdir(parents=True)
    sh = Path(shutil.which("sh") or "/bin/sh").resolve()
    for each in [sh, *(Path(word) for word in subprocess.getoutput(f"ldd {sh}").split() if word.startswith("/"))]:
        target = rootfs / each.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(each.resolve(), target)
    shutil.copy(sh, rootfs / "bin/sh")


@pytest.fixture
async def runtime(tmp_path: Path) -> AsyncIterator[SandboxRuntime]:
    """A runtime of its own."""
    directory = tmp_path / "data"
    directory.mkdir()
    async with open_runtime(RuntimeContext(directory, str(tmp_path), {})) as opened:
        yield opened


@works
class TestRoot:
    """A step finds the machine's files, and leaves none there."""

    async def test_two_steps_write_the_same_paths_and_do_not_meet(self, runtime: SandboxRuntime) -> None:
        write = "ls /tmp /out 2>/dev/null; echo {0} >/tmp/x; echo {0} >/out; mkdir -p /mnt/vol; echo {0} >/mnt/vol/y"
        one, two = await asyncio.gather(run(runtime, write.format("one")), run(runtime, write.format("two")))
        for done, text in ((one, b"one\n"), (two, b"two\n")):
            assert (done.code, done.output) == (0, "/tmp:\n")
            for path in ("/tmp/x", "/out", "out", "/mnt/vol/y", "/mnt/../mnt/./vol/y"):
                assert await done.process.read(path, 100) == text
            done.process.release()
        assert not there("/out", "/mnt/vol/y")

    async def test_what_is_there_can_be_changed_and_is_not(self, runtime: SandboxRuntime) -> None:
        before = text_of("/etc/hostname")
        done = await run(runtime, "rm -f /etc/hostname && ls /usr/bin/env && ! ls /etc/hostname")
        assert done.code == 0
        assert await done.process.read("/etc/hostname", 100) is None
        assert text_of("/etc/hostname") == before

    async def test_the_working_directory_is_made(self, runtime: SandboxRuntime) -> None:
        done = await run(runtime, "pwd; echo x >here", working_dir="/src/deep")
        assert done.output == "/src/deep\n"
        assert await done.process.read("here", 10) == b"x\n"
        assert not there("/src/deep")

    async def test_scripts(self, runtime: SandboxRuntime) -> None:
        got: list[bytes] = []
        spec = ProgramSpec(id="a", image="", command=["sh"], source="echo $0; id -u")
        process = await runtime.start(spec, lambda data, _: got.append(data))
        assert (await process.wait()).exit_code == 0
        assert b"".join(got) == b"/argo/staging/script\n0\n"

    async def test_binds(self, runtime: SandboxRuntime, tmp_path: Path) -> None:
        volume, file = tmp_path / "volume", tmp_path / "file"
        volume.mkdir()
        file.write_text("given\n")
        binds = [Bind(str(volume), "/mnt/vol"), Bind(str(file), "/in/file", read_only=True)]
        text = "cat /in/file; echo x >/mnt/vol/x; echo no >/in/file"
        done = await run(runtime, text, binds=binds)
        assert (done.code, done.output.splitlines()[0]) == (2, "given")
        assert (volume / "x").read_text() == "x\n"
        assert file.read_text() == "given\n"
        assert await done.process.read("/mnt/vol/x", 10) == b"x\n"

    async def test_a_bind_does_not_follow_a_link_of_the_root_out_of_it(
        self, runtime: SandboxRuntime, tmp_path: Path
    ) -> None:
        file = tmp_path / "file"
        file.write_text("given\n")
        done = await run(runtime, "cat /run/x/y", binds=[Bind(str(file), "/var/run/x/y")])
        assert done.code == 0
        assert not there("/run/x")

    async def test_a_bind_that_is_not_there_is_said(self, runtime: SandboxRuntime) -> None:
        with pytest.raises(NotStarted, match="/nowhere cannot be given to a sandbox: No such file"):
            await run(runtime, "true", binds=[Bind("/nowhere", "/x")])

    async def test_a_root_that_is_given(self, tmp_path: Path) -> None:
        rootfs, data = tmp_path / "rootfs", tmp_path / "data"
        data.mkdir()
        tiny_root(rootfs)
        async with open_runtime(RuntimeContext(data, str(tmp_path), {}, rootfs=str(rootfs))) as runtime:
            done = await run(runtime, "echo /*; echo x >/new")
            assert [each for each in done.output.split() if each != "/var"] == [
                "/bin",
                "/dev",
                "/lib",
                "/lib64",
                "/proc",
                "/run",
                "/sys",
                "/tmp",
                "/usr",
            ]
            assert not (rootfs / "new").exists()
            with pytest.raises(NotStarted, match="executable file not found"):
                await runtime.start(ProgramSpec(id="a", image="", command=["ls"]), lambda *_: None)


@works
class TestReading:
    """Links of a step lead within its root."""

    async def test_links_never_lead_out(self, runtime: SandboxRuntime, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.write_text("secret")
        done = await run(
            runtime, f"ln -s {secret} /a; mkdir /d; ln -s ../../../../etc /d/up; ln -s / /d/top; ln -s l /l"
        )
        for path in ("/a", "/d/up/passwd", "/d/top/etc/passwd", f"/d/top{secret}"):
            assert await done.process.read(path, 10_000) is None, path
        with pytest.raises(Unreadable, match="symbolic links"):
            await done.process.read("/l", 10)

    async def test_links_within_are_followed(self, runtime: SandboxRuntime) -> None:
        done = await run(
            runtime, "mkdir -p /d /e; echo x >/e/x; ln -s ../e /d/e; ln -s /d/e/x /tmp/link; echo y >/bin/y"
        )
        assert await done.process.read("/tmp/link", 10) == b"x\n"
        if PROBLEM.mode == "root":
            assert await done.process.read("/bin/y", 10) == b"y\n"

    async def test_what_is_no_file_or_too_large(self, runtime: SandboxRuntime) -> None:
        done = await run(runtime, "mkfifo /tmp/f; echo 12345 >/tmp/x")
        with pytest.raises(Unreadable, match="not a regular file"):
            await done.process.read("/tmp/f", 10)
        with pytest.raises(OutputTooLarge):
            await done.process.read("/tmp/x", 3)
        assert await done.process.read("/proc/self/environ", 1000) is None

    def test_a_layer_above_hides_one_below(self, tmp_path: Path) -> None:
        upper, lower = tmp_path / "u", tmp_path / "l"
        (upper / "a").mkdir(parents=True)
        lower.mkdir()
        (lower / "a").symlink_to("/elsewhere")
        (lower / "b").symlink_to("/mnt")
        places = [SeenPlace("/", str(upper), str(lower)), SeenPlace("/mnt", "/volume")]
        assert locate("/a/x", "", places) == (str(upper), "a/x")
        assert locate("b/x", "/", places) == ("/volume", "x")
        assert locate("../../b/../y", "/q", places) == (str(upper), "y")


@works
class TestSpace:
    """What a step sees of others, and may do."""

    async def test_it_sees_no_other_process(self, runtime: SandboxRuntime) -> None:
        done = await run(runtime, "echo $$; ls /proc | grep -c '^[0-9]'; kill -9 1; readlink /proc/1/root; echo still")
        lines = done.output.split()
        assert int(lines[0]) == 2
        assert int(lines[1]) <= 5
        assert lines[-1] == "still"

    async def test_files_and_environment_of_the_executor_are_hidden(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        base = Path("/var/tmp") / f"exeunt-{os.getpid()}-{tmp_path.name}"
        data, secret = base / "data", base / "secret"
        data.mkdir(parents=True)
        (data / "attempts").write_text("private")
        secret.write_text("private")
        monkeypatch.setenv("EXEUNT_TOKEN", "private")
        try:
            async with open_runtime(RuntimeContext(data, str(tmp_path), {}, hidden=(str(secret),))) as runtime:
                look = f"ls -A {data}; cat {secret}; env; cat /proc/*/environ; ls -l /proc/1/fd; echo >{data}/x"
                done = await run(runtime, look)
                assert "private" not in done.output
                assert "socket:" not in done.output
                assert not (data / "x").exists()
                done.process.release()
        finally:
            shutil.rmtree(base, ignore_errors=True)

    async def test_it_has_no_rights_over_the_machine(self, runtime: SandboxRuntime) -> None:
        tries = [
            "umount /tmp",
            "mount -t tmpfs x /mnt",
            "echo x >/proc/sys/kernel/core_pattern",
            "echo b >/proc/sysrq-trigger",
        ]
        tries += [
            "mknod /tmp/disk b 254 0 && cat /tmp/disk",
            "touch /sys/x",
            "touch /dev/x",
            "echo 1 >/sys/kernel/mm/ksm/run",
        ]
        for each in tries:
            done = await run(runtime, f"({each}) 2>/dev/null")
            assert done.code != 0, each
        done = await run(runtime, "grep NoNewPrivs /proc/self/status")
        assert done.output.split() == ["NoNewPrivs:", "1"]

    async def test_a_network_of_its_own(self, runtime: SandboxRuntime) -> None:
        done = await run(runtime, "cat /proc/net/dev", isolated=True)
        assert [line.split(":")[0].strip() for line in done.output.splitlines()[2:]] == ["lo"]

    @needs_root
    async def test_limits(self, runtime: SandboxRuntime) -> None:
        if "pids" not in runtime._limits.roots:
            pytest.skip("no control groups can be written here")
        limits = StepLimits(memory_bytes=64 << 20, cpus=0.5, processes=10)
        done = await run(runtime, "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done; true", limits=limits)
        assert "fork" in done.output.lower()
        many = "import sys; sys.stdout.write(str(len(b'x' * (200 << 20))))"
        done = await run(runtime, f'{sys.executable} -c "{many}"', limits=limits)
        assert (done.code, done.ended.reason, done.output.startswith("2")) == (137, "OOMKilled", False)
        assert (await run(runtime, "kill -9 $$", limits=limits)).ended.reason == "Error"
        done.process.release()
        assert not any(group.exists() for group in done.process.groups)


@works
class TestEnding:
    """As the process runtime."""

    async def test_codes(self, runtime: SandboxRuntime) -> None:
        assert [(await run(runtime, text)).code for text in ("exit 7", "kill -9 $$", "true")] == [7, 137, 0]
        with pytest.raises(NotStarted, match=r"exit code 64.*executable file not found in") as caught:
            await runtime.start(ProgramSpec(id="a", image="", command=["nowhere"]), lambda *_: None)
        assert (caught.value.phase, caught.value.exit_code) == ("Failed", 64)

    async def test_end_kill_and_what_is_left_behind(self, runtime: SandboxRuntime) -> None:
        for text, grace, code in (
            ("sleep 1000", 1000.0, 143),
            ("trap '' TERM; echo; sleep 1000; sleep 1000", 0.2, 137),
        ):
            heard = asyncio.Event()
            spec = ProgramSpec(id="a", image="", command=["sh", "-c", f"{text if grace < 1 else 'exec ' + text}"])
            process = await runtime.start(spec, lambda *_, heard=heard: heard.set())  # type: ignore[misc]
            if grace < 1:
                await heard.wait()
            process.end(grace)
            async with asyncio.timeout(WITHIN):
                assert (await process.wait()).exit_code == code
        done = await run(runtime, "setsid sleep 1000 >/dev/null 2>&1 & (sleep 1000 &) ; echo done")
        assert (done.code, done.output) == (0, "done\n")

    async def test_a_helper_that_is_killed_is_replaced(self, runtime: SandboxRuntime) -> None:
        spec = ProgramSpec(id="a", image="", command=["sleep", "1000"])
        long = await runtime.start(spec, lambda *_: None)
        os.kill(runtime._zygote.pid, signal.SIGKILL)
        with contextlib.suppress(NotStarted):
            await run(runtime, "true")
        assert (await run(runtime, "true")).code == 0
        long.kill()
        assert (await long.wait()).exit_code == 137

    async def test_a_directory_is_used_again_only_as_it_was(self, runtime: SandboxRuntime) -> None:
        for text in (
            "true",
            "chmod 700 /",
            "echo x >/tmp/x",
            "chown 1 /tmp 2>/dev/null; true",
            "rm -rf /etc/passwd",
            "true",
        ):
            done = await run(runtime, f"ls -ld / /tmp | cut -c1-10; ls /tmp; ls /etc/passwd; {text}")
            assert done.output.split() == ["drwxr-xr-x", "drwxrwxrwt", "/etc/passwd"]
            done.process.release()
            await asyncio.to_thread(runtime._sweeper.submit(lambda: None).result)
        assert len(runtime._free) == (1 if PROBLEM.mode == "root" else 0)

    async def test_nothing_is_left_of_directories(self, runtime: SandboxRuntime) -> None:
        for _ in range(3):
            done = await run(runtime, "mkdir -p /d/e; echo x >/d/e/f; chmod 0 /d/e")
            done.process.release()
        await asyncio.to_thread(runtime._sweeper.submit(lambda: None).result)
        assert list(runtime._work.iterdir()) == []


@works
class TestService:
    """Through an executor."""

    async def test_a_hundred_steps_at_once(self, scheduler: Scheduler, tmp_path: Path) -> None:
        async with inside(scheduler, tmp_path, runtime="sandbox", slots=100):
            steps = [shell(f"n{i}", f"echo {i} >/tmp/x; sleep 0.2; cat /tmp/x; echo {i} >/out") for i in range(100)]
            for each in steps:
                each.outputs.add(name="o", path="/out")
            results = await scheduler.run(*steps)
            assert [(r.phase, r.message) for r in results if r.phase != "Succeeded"] == []
            assert [r.parameters[0].value for r in results] == [str(i) for i in range(100)]
            assert {r.log_tail[0] for r in results} == {str(i) for i in range(100)}
        assert not there("/out")

    async def test_timeouts(self, scheduler: Scheduler, tmp_path: Path) -> None:
        async with inside(scheduler, tmp_path, runtime="sandbox"):
            [result] = await scheduler.run(step("a", "sleep", "1000", timeout_seconds=0.3))
            assert (result.phase, result.message.startswith("Pod was active")) == ("Failed", True)

    async def test_much_output_waits_for_its_reader(self, scheduler: Scheduler, tmp_path: Path) -> None:
        async with inside(scheduler, tmp_path, runtime="sandbox", step_log_bytes=64 * 1024):
            [result] = await scheduler.run(
                shell("a", "head -c 3000000 /dev/zero | tr '\\0' x | fold -w 99; echo; echo end")
            )
            assert (result.phase, result.log_tail[-1]) == ("Succeeded", "end")

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
    async def test_steps_do_not_outlive_their_executor(
        self, scheduler: Scheduler, tmp_path: Path, number: signal.Signals
    ) -> None:
        async with Service(scheduler, tmp_path, runtime="sandbox") as service:
            await scheduler.ready()
            await scheduler.say(dispatches=[shell("a", "echo up; (setsid sleep 1000 &); sleep 1000")])
            await scheduler.until(lambda: scheduler.output("u1/a/0") == "up\n")
            started = children(service.pid)
            assert len(started) == 3  # guard, zygote, and the step
            await service.end(number)
            await vanished(*started)

    async def test_the_next_life_ends_what_the_guard_could_not(self, scheduler: Scheduler, tmp_path: Path) -> None:
        async with Service(scheduler, tmp_path, runtime="sandbox") as service:
            await scheduler.ready()
            await scheduler.say(dispatches=[shell("a", "echo up; (setsid sleep 1000 &); sleep 1000")])
            await scheduler.until(lambda: scheduler.output("u1/a/0") == "up\n")
            guard, zygote, first = children(service.pid)
            os.kill(guard, signal.SIGSTOP)
            await service.end(signal.SIGKILL)
            os.kill(guard, signal.SIGKILL)
            await vanished(zygote)
            assert there(f"/proc/{first}")
            async with inside(scheduler, tmp_path, runtime="sandbox"):
                await vanished(first)
                [result] = await scheduler.run(shell("b", "echo fine"))
                assert list(result.log_tail) == ["fine"]


@works
@needs_root
def test_as_an_ordinary_user(tmp_path: Path) -> None:
    """The same tests as somebody without rights, who can have namespaces of their own."""
    if os.environ.get("EXEUNT_TEST_USER"):
        pytest.skip("this is it")
    python, setpriv = Path("/usr/bin/python3"), shutil.which("setpriv")
    if setpriv is None or not python.exists():
        pytest.skip("no setpriv, or no python for everybody")
    same = f"import sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
    if subprocess.run([python, "-c", same], check=False).returncode:
        pytest.skip("the python for everybody is another one")
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    env = {"PATH": os.defpath, "HOME": "/tmp", "PYTHONPATH": f"{REPO}:{packages}", "EXEUNT_TEST_USER": "1"}
    folder = Path("/var/tmp") / f"exeunt-user-{os.getpid()}"
    command = [setpriv, "--reuid", "65534", "--regid", "65534", "--clear-groups", str(python), "-m", "pytest", "-q"]
    command += ["-n", "0", "-p", "no:cacheprovider", f"--basetemp={folder}", str(Path(__file__))]
    command += [str(Path(__file__).with_name("test_volumes.py"))]
    command += ["-k", "TestRoot or TestReading or TestSpace or TestEnding or test_read_only_is"]
    try:
        done = subprocess.run(command, check=False, env=env, capture_output=True, text=True, cwd=REPO, timeout=110)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
        assert "..." in done.stdout
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class TestPlan:
    """How a root is put together."""

    MOUNTS = plan.read_mounts(
        "22 27 0:21 / /proc rw - proc proc rw\n27 1 254:0 / / rw - ext4 /dev/vda rw\n"
        "28 27 0:9 / /srv/a\\040b rw shared:1 - xfs /dev/vdb rw\n29 27 0:9 / /data/x rw - ext4 /dev/vdc rw\n"
    )

    def test_for_the_administrator(self) -> None:
        layers = plan.whole_root(self.MOUNTS, ["/data"])
        assert [(each.target, each.kind) for each in layers] == [("/", "overlay"), ("/srv/a b", "overlay")]

    def test_for_others(self) -> None:
        tree = {
            "/": [
                ("bin", "usr/bin"),
                ("data", "/"),
                ("file", ""),
                ("srv", "/"),
                ("tmp", "/"),
                ("usr", "/"),
                ("z", "/"),
            ],
            "/z": [],
            "/srv": [("a b", "/"), ("f", "")],
        }
        layers = plan.composed_root(self.MOUNTS, ["/data"], lambda path: tree.get(path, [("x", "")]))
        assert [(each.target, each.kind) for each in layers] == [
            ("/", "own"),
            ("/bin", "link"),
            ("/srv", "own"),
            ("/srv/a b", "overlay"),
            ("/srv/f", "bind"),
            ("/usr", "overlay"),
            ("/z", "own"),
        ]

    def test_too_many(self) -> None:
        mounts = [plan.MountLine(f"/m{i}", "ext4") for i in range(plan.MOST_LAYERS)]
        with pytest.raises(plan.TooManyLayers, match="65 parts"):
            plan.whole_root(mounts, [])
