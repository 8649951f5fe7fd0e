"""Steps of several programs, on both local runtimes: init containers, sidecars, containers of a set, daemons."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from exeunt.executor import progress
from exeunt.executor.pod import Pod, PodPlan, PodProgram
from exeunt.executor.pod_end import ContainerEnded, judge
from exeunt.executor.runtime.base import Ended, OnOutput, ProgramSpec
from exeunt.internal.v1 import step_pb2 as pb
from tests.executor.conftest import Scheduler, inside, shell, step
from tests.executor.test_sandbox import there, works

RUNTIMES = ["process", pytest.param("sandbox", marks=works)]


@pytest.fixture(params=RUNTIMES, autouse=True)
async def executor(request: pytest.FixtureRequest, scheduler: Scheduler, tmp_path: Path) -> AsyncIterator[None]:
    """An executor of this runtime; the test's own directory is the same for all of its programs."""
    shared = tmp_path / "shared"
    shared.mkdir()
    async with inside(scheduler, tmp_path / "executor", runtime=request.param, share=(str(shared),)):
        await scheduler.ready()
        yield


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    return tmp_path / "shared"


def container(name: str, text: str, *after: str, **more: Any) -> pb.NamedContainer:
    """A container that runs a line of shell."""
    return pb.NamedContainer(
        name=name, work=pb.ContainerWork(command=["sh", "-c", text], **more), dependencies=list(after)
    )


def container_set(name: str, *containers: pb.NamedContainer, **more: Any) -> pb.Step:
    fields = {key: more.pop(key) for key in ("tries", "pause_seconds") if key in more}
    made = step(name, **more)
    made.container_set.CopyFrom(pb.ContainerSetWork(containers=containers, **fields))
    return made


def ends(result: pb.StepResult) -> dict[str, tuple[str, str]]:
    return {one.name: (one.phase, one.message) for one in result.containers}


# --- progress ---------------------------------------------------------------------------------------------------------


async def test_what_a_program_says_of_its_progress_is_told_while_it_runs_and_kept(
    scheduler: Scheduler, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "FIRST_SECONDS", 0.05)
    wait = "until [ -e {0}/{1} ]; do sleep 0.02; done"
    text = f"""
        echo 1/4 > $ARGO_PROGRESS_FILE; {wait.format(shared, "one")}
        echo 9/4 > $ARGO_PROGRESS_FILE; {wait.format(shared, "two")}
        echo 3/4 > $ARGO_PROGRESS_FILE; exit 1
    """
    await scheduler.ready()
    await scheduler.say(dispatches=[shell("a", text), shell("b", "true")])
    await scheduler.until(lambda: "1/4" in scheduler.progress.get("u1/a/0", []))
    (shared / "one").touch()
    (shared / "two").touch()
    await scheduler.until(lambda: {"u1/a/0", "u1/b/0"} <= scheduler.results.keys())
    assert "9/4" not in scheduler.progress["u1/a/0"]
    assert [scheduler.results[f"u1/{name}/0"].progress for name in ("a", "b")] == ["3/4", ""]
    assert not there(progress.file_of("u1/a/0"))


# --- init containers --------------------------------------------------------------------------------------------------


async def test_init_containers_run_one_after_the_other_and_before_the_work(scheduler: Scheduler, shared: Path) -> None:
    init = [container(name, f"sleep 0.05; echo {name} >> {shared}/f; echo I am here") for name in ("one", "two")]
    [result] = await scheduler.run(shell("a", f"cat {shared}/f", init_containers=init, result=True))
    assert (result.phase, result.exit_code, result.result) == ("Succeeded", 0, "one\ntwo")
    assert scheduler.output("u1/a/0") == "one: I am here\ntwo: I am here\none\ntwo\n"
    assert not result.containers


async def test_an_init_container_that_fails_fails_the_step_and_nothing_else_begins(scheduler: Scheduler) -> None:
    init = [container("one", "exit 3"), container("two", "echo never")]
    side = [container("side", "echo never")]
    [result] = await scheduler.run(shell("a", "echo never", init_containers=init, sidecars=side))
    assert (result.phase, result.message) == ("Failed", "one: Error (exit code 3)")
    assert not result.HasField("exit_code")
    assert scheduler.output("u1/a/0") == ""


async def test_an_init_container_that_is_not_there(scheduler: Scheduler) -> None:
    init = [pb.NamedContainer(name="one", work=pb.ContainerWork(command=["no-such-thing"]))]
    [result] = await scheduler.run(shell("a", "true", init_containers=init))
    assert result.phase == "Failed"
    assert result.message.startswith("one: Error (exit code 64): failed to find name in PATH")


# --- sidecars ---------------------------------------------------------------------------------------------------------


async def test_a_sidecar_runs_beside_the_work_and_is_ended_with_it(scheduler: Scheduler, shared: Path) -> None:
    side = [
        container("side", f"trap 'touch {shared}/asked; exit 0' TERM; touch {shared}/up; while :; do sleep 0.02; done")
    ]
    text = f"until [ -e {shared}/up ]; do sleep 0.02; done; echo done"
    [result] = await scheduler.run(shell("a", text, sidecars=side, result=True))
    assert (result.phase, result.exit_code, result.result) == ("Succeeded", 0, "done")
    assert (shared / "asked").exists()


async def test_a_sidecar_that_was_killed_has_done_its_work(scheduler: Scheduler) -> None:
    side = [container("side", "trap '' TERM; echo up; while :; do sleep 0.02; done")]
    [result] = await scheduler.run(shell("a", "sleep 0.2", sidecars=side, grace_seconds=0.2))
    assert (result.phase, result.message) == ("Succeeded", "")


async def test_a_sidecar_that_fails_fails_the_step_when_the_work_is_over(scheduler: Scheduler) -> None:
    [result] = await scheduler.run(shell("a", "sleep 0.2; echo done", sidecars=[container("side", "exit 4")]))
    assert (result.phase, result.message, result.exit_code) == ("Failed", "side: Error (exit code 4)", 0)
    assert scheduler.output("u1/a/0") == "done\n"


async def test_the_work_s_failure_comes_first(scheduler: Scheduler) -> None:
    [result] = await scheduler.run(shell("a", "sleep 0.2; exit 2", sidecars=[container("side", "exit 4")]))
    assert (result.phase, result.message, result.exit_code) == ("Failed", "main: Error (exit code 2)", 2)


async def test_lines_of_several_stay_whole(scheduler: Scheduler, shared: Path) -> None:
    side = [container("side", f"for i in $(seq 200); do echo $i; done; touch {shared}/done")]
    wait = f"until [ -e {shared}/done ]; do sleep 0.02; done"
    text = f"for i in $(seq 200); do printf 'half '; echo $i; done; {wait}; printf end"
    [result] = await scheduler.run(shell("a", text, sidecars=side, result=True))
    lines = scheduler.output("u1/a/0").splitlines()
    assert [line for line in lines if line.startswith("side: ")] == [f"side: {i}" for i in range(1, 201)]
    own = [f"half {i}" for i in range(1, 201)] + ["end"]
    assert [line for line in lines if not line.startswith("side: ")] == own
    assert result.result == "\n".join(own)


# --- sets -------------------------------------------------------------------------------------------------------------


async def test_containers_of_a_set_begin_when_those_before_have_gone_well(scheduler: Scheduler, shared: Path) -> None:
    made = container_set(
        "a",
        container("main", f"cat {shared}/f; echo hello", "one", "two"),
        container("two", f"echo two >> {shared}/f", "one"),
        container("one", f"sleep 0.05; echo one >> {shared}/f"),
        result=True,
    )
    [result] = await scheduler.run(made)
    assert (result.phase, result.message, result.exit_code, result.result) == ("Succeeded", "", 0, "one\ntwo\nhello")
    assert ends(result) == dict.fromkeys(("main", "two", "one"), ("Succeeded", ""))


async def test_one_that_fails_ends_the_others(scheduler: Scheduler) -> None:
    made = container_set(
        "a",
        container("one", "sleep 0.1; exit 3"),
        container("two", "exec sleep 60"),
        container("three", "echo never", "one"),
        container("main", "echo never", "two"),
    )
    [result] = await scheduler.run(made)
    assert (result.phase, result.message, result.exit_code) == ("Failed", "one: Error (exit code 3)", 64)
    assert ends(result) == {
        "one": ("Failed", "one: Error (exit code 3)"),
        "two": ("Failed", "two: Error (exit code 143)"),
        "three": ("Error", 'three: Error (exit code 64): dependency "one" exited with non-zero code: 3'),
        "main": ("Error", 'main: Error (exit code 64): dependency "two" exited with non-zero code: 143'),
    }
    assert scheduler.output("u1/a/0") == ""


async def test_a_set_without_main_has_no_exit_code(scheduler: Scheduler) -> None:
    [result] = await scheduler.run(container_set("a", container("one", "echo hello")))
    assert result.phase == "Succeeded"
    assert not result.HasField("exit_code")
    assert scheduler.output("u1/a/0") == "one: hello\n"


async def test_each_is_tried_again_as_often_as_the_set_says(scheduler: Scheduler, shared: Path) -> None:
    text = f"echo x >> {shared}/f; [ $(wc -l < {shared}/f) = 3 ]"
    well, badly = container("main", text), container("main", f"echo x >> {shared}/g; exit 5")
    [result] = await scheduler.run(container_set("a", well, tries=3, pause_seconds=0.01))
    assert result.phase == "Succeeded"
    [result] = await scheduler.run(container_set("b", badly, tries=3))
    assert (result.phase, result.exit_code, (shared / "g").read_text()) == ("Failed", 5, "x\n" * 3)


async def test_outputs_are_those_of_main(scheduler: Scheduler) -> None:
    made = container_set("a", container("one", "echo one > /tmp/o-$$; true"), container("main", "echo two > o; pwd"))
    made.outputs.add(name="o", path="o")
    made.container_set.containers[1].work.working_dir = "/tmp"
    [result] = await scheduler.run(made)
    assert (result.phase, result.message) == ("Succeeded", "")
    assert [(one.name, one.value) for one in result.parameters] == [("o", "two")]


async def test_a_cancelled_set_ends_with_all_that_it_runs(scheduler: Scheduler, shared: Path) -> None:
    wait = f"touch {shared}/$NAME; exec sleep 60"
    names = [container(name, wait, env=[pb.EnvironmentVariable(name="NAME", value=name)]) for name in ("one", "main")]
    made = container_set("a", *names)
    await scheduler.say(dispatches=[made])
    await scheduler.until(lambda: all((shared / name).exists() for name in ("one", "main")) or scheduler.results)
    await scheduler.say(cancels=[made.id])
    await scheduler.until(lambda: made.id in scheduler.results)
    result = scheduler.results[made.id]
    assert (result.phase, result.message) == ("Failed", "one: Error (exit code 143)")
    assert ends(result)["main"] == ("Failed", "main: Error (exit code 143)")


async def test_a_timeout_reaches_all(scheduler: Scheduler) -> None:
    made = container_set("a", container("one", "exec sleep 60"), container("two", "exec sleep 60"), timeout_seconds=0.3)
    [result] = await scheduler.run(made)
    assert (result.phase, result.message[:14]) == ("Failed", "Pod was active")


# --- daemons ----------------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


SERVER = """
import http.server, sys, threading, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/ok" else 500)
        self.end_headers()
    def log_message(self, *args): pass
time.sleep(0.2)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


async def ready(scheduler: Scheduler, made: pb.Step) -> str:
    await scheduler.say(dispatches=[made])
    await scheduler.until(lambda: made.id in scheduler.daemons or made.id in scheduler.results)
    assert made.id not in scheduler.results, scheduler.results[made.id]
    return scheduler.daemons[made.id]


async def ended(scheduler: Scheduler, made: pb.Step) -> pb.StepResult:
    await scheduler.say(cancels=[made.id])
    await scheduler.until(lambda: made.id in scheduler.results)
    return scheduler.results[made.id]


async def test_a_daemon_without_a_probe_is_ready_when_it_runs_and_ends_when_it_is_told(scheduler: Scheduler) -> None:
    made = shell("a", "exec sleep 60", daemon=True)
    assert await ready(scheduler, made) == "127.0.0.1"
    result = await ended(scheduler, made)
    assert (result.phase, result.exit_code) == ("Failed", 143)


@pytest.mark.parametrize("kind", ["http", "tcp", "command"])
async def test_a_daemon_is_ready_when_its_probe_is(scheduler: Scheduler, shared: Path, kind: str) -> None:
    port = free_port()
    made = step("a", "python", "-c", f"open({str(shared / 'up')!r}, 'w').close()\n{SERVER}", str(port), daemon=True)
    probe = pb.Probe(period_seconds=0.05, timeout_seconds=1, successes=2)
    if kind == "command":
        probe.command.extend(["test", "-e", str(shared / "up")])
    else:
        probe.port = port
    if kind == "http":
        probe.path = "/ok"
    made.container.readiness.CopyFrom(probe)
    await ready(scheduler, made)
    if kind == "command":
        assert (shared / "up").exists()
    else:
        with contextlib.closing(socket.create_connection(("127.0.0.1", port), 5)):
            pass
    await ended(scheduler, made)


async def test_a_daemon_that_ends_before_it_is_ready_has_ended(scheduler: Scheduler) -> None:
    made = shell("a", "sleep 0.2; exit 3", daemon=True)
    made.container.readiness.CopyFrom(pb.Probe(port=free_port(), period_seconds=0.05, timeout_seconds=1))
    [result] = await scheduler.run(made)
    assert (result.phase, result.message) == ("Failed", "main: Error (exit code 3)")
    assert not scheduler.daemons


async def test_that_a_daemon_is_ready_is_told_to_whoever_comes_next(scheduler: Scheduler) -> None:
    made = shell("a", "exec sleep 60", daemon=True)
    await ready(scheduler, made)
    scheduler.daemons.clear()
    port = int(scheduler.address.rpartition(":")[2])
    await scheduler.stop()
    await scheduler.start(port)
    await scheduler.until(lambda: made.id in scheduler.daemons)
    await ended(scheduler, made)


async def test_nothing_of_a_pod_outlives_a_kill(scheduler: Scheduler, shared: Path) -> None:
    side = [container("side", f"echo $$ > {shared}/pid; trap '' TERM; while :; do sleep 0.02; done")]
    made = shell(
        "a", f"until [ -s {shared}/pid ]; do sleep 0.02; done; kill -KILL $$", sidecars=side, grace_seconds=0.1
    )
    [result] = await scheduler.run(made)
    assert (result.phase, result.exit_code) == ("Failed", 137)
    number = int((shared / "pid").read_text())
    if number > 100:  # in a sandbox it is a number of its own space
        with pytest.raises(ProcessLookupError):
            os.kill(number, signal.SIG_DFL)


async def test_a_wait_that_is_cancelled_leaves_nothing_behind() -> None:
    begun, killed = asyncio.Event(), asyncio.Event()

    class Program:
        pids = ()

        async def wait(self) -> Ended:
            begun.set()
            await asyncio.Event().wait()
            return Ended(0)

        def kill(self) -> None:
            killed.set()

    class Programs:
        own_files = True

        async def start(self, spec: ProgramSpec, on_output: OnOutput) -> Any:
            return Program()

    main = PodProgram("main", ProgramSpec("a", "", ["x"]), pb.ContainerWork())
    task = asyncio.create_task(Pod(Programs(), PodPlan([main]), lambda name: lambda data, stdout: None).wait())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert killed.is_set()


# --- how a pod ended --------------------------------------------------------------------------------------------------

WELL = ContainerEnded("main", 0)


@pytest.mark.parametrize(
    ("init", "main", "sidecars", "message"),
    [
        ([], [WELL], [], ""),
        ([], [WELL], [ContainerEnded("s", 143), ContainerEnded("t", 137)], ""),
        ([], [WELL], [ContainerEnded("s", 143), ContainerEnded("t", 1)], "t: Error (exit code 1)"),
        ([], [ContainerEnded("main", 2)], [ContainerEnded("s", 1)], "main: Error (exit code 2)"),
        ([ContainerEnded("i", 5, "odd")], [], [], "i: Error (exit code 5): odd"),
    ],
)
def test_who_tells_for_all(
    init: list[ContainerEnded], main: list[ContainerEnded], sidecars: list[ContainerEnded], message: str
) -> None:
    assert judge(init, main, sidecars).message == message
