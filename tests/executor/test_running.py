"""What becomes of the steps that an executor is given."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from exeunt.internal.v1 import step_pb2 as pb
from tests.executor.conftest import Scheduler, inside, shell, step

pytestmark = pytest.mark.usefixtures("executor")


async def test_a_program_that_exits_with_zero_succeeds(scheduler: Scheduler) -> None:
    [result] = await scheduler.run(shell("a", "echo hello; echo there >&2"))
    assert (result.phase, result.message, result.exit_code) == ("Succeeded", "", 0)
    assert list(result.log_tail) == ["hello", "there"]
    assert result.finish_time.ToNanoseconds() >= result.start_time.ToNanoseconds() > 0
    assert scheduler.output("u1/a/0") == "hello\nthere\n"


@pytest.mark.parametrize("result", [False, True])
async def test_each_line_is_of_the_stream_that_it_was_written_to(scheduler: Scheduler, result: bool) -> None:
    text = "for i in 1 2 3; do echo out $i; sleep 0.02; echo err $i >&2; sleep 0.02; done; exec >&-; echo last >&2"
    await scheduler.run(shell("a", text, result=result))
    lines = [(n, f"{word} {n}") for n in (1, 2, 3) for word in ("out", "err")]
    told = scheduler.lines("u1/a/0")
    assert told == [(line[:3] == "out", line) for _, line in lines] + [(False, "last")]


async def test_a_step_that_writes_much_to_both_streams_loses_nothing(scheduler: Scheduler) -> None:
    text = "seq 1 60000 & seq 1 60000 >&2; wait"
    [result] = await scheduler.run(shell("a", text))
    assert result.phase == "Succeeded"
    told = scheduler.lines("u1/a/0")
    for stdout in (True, False):
        assert [line for where, line in told if where == stdout] == [str(n) for n in range(1, 60001)]
    assert set(result.log_tail) <= {str(n) for n in range(1, 60001)}
    assert "60000" in result.log_tail


async def test_a_program_that_fails_says_its_exit_code(scheduler: Scheduler) -> None:
    [result] = await scheduler.run(shell("a", "exit 3"))
    assert (result.phase, result.message, result.exit_code) == ("Failed", "main: Error (exit code 3)", 3)


async def test_a_signal_counts_as_a_shell_counts_it(scheduler: Scheduler) -> None:
    [result] = await scheduler.run(shell("a", "kill -KILL $$"))
    assert (result.phase, result.exit_code) == ("Failed", 137)


async def test_an_unknown_command_fails_as_in_argo(scheduler: Scheduler) -> None:
    missing, elsewhere = await scheduler.run(step("a", "no-such-thing"), step("b", "/no/such/thing"))
    assert missing.phase == elsewhere.phase == "Failed"
    assert missing.exit_code == 64
    assert missing.message == (
        "main: Error (exit code 64): failed to find name in PATH: "
        'exec: "no-such-thing": executable file not found in $PATH'
    )
    assert '"/no/such/thing": no such file or directory' in elsewhere.message


async def test_an_image_without_command_is_an_error_that_says_what_to_do(scheduler: Scheduler) -> None:
    [result] = await scheduler.run(step("a", image="docker/whalesay:latest"))
    assert result.phase == "Error"
    assert "docker/whalesay:latest" in result.message
    assert "--images" in result.message


async def test_a_script_is_given_to_its_command(scheduler: Scheduler) -> None:
    results = await scheduler.run(
        step("a", "sh", source="echo one\necho two\n", script=True, result=True),
        step("b", "sh", "-c", source="echo called as a program", script=True, result=True),
        step("c", "python", source="print(6 * 7)", script=True, result=True),
    )
    assert [(r.phase, r.result) for r in results] == [
        ("Succeeded", "one\ntwo"),
        ("Succeeded", "called as a program"),
        ("Succeeded", "42"),
    ]


async def test_the_result_is_standard_output_without_its_last_line_end(scheduler: Scheduler) -> None:
    wanted, not_wanted, long = await scheduler.run(
        shell("a", "printf 'x\\n\\n'; echo noise >&2", result=True),
        shell("b", "echo x"),
        shell("c", "head -c 300000 /dev/zero | tr '\\0' a; echo z", result=True),
    )
    assert wanted.result == "x\n"
    assert not not_wanted.HasField("result")
    assert len(long.result) == 256 * 1024
    assert long.result.endswith("az")


async def test_output_parameters_are_read_from_their_files(scheduler: Scheduler, tmp_path: Path) -> None:
    path, absent = tmp_path / "out", tmp_path / "absent"
    outputs = [
        pb.OutputParameter(name="text", path=str(path)),
        pb.OutputParameter(name="other", path=str(absent), default="d\n"),
        pb.OutputParameter(name="own", path="relative"),
    ]
    [result] = await scheduler.run(shell("a", f"printf 'v\\n\\n' > {path}; echo r > relative", outputs=outputs))
    assert result.phase == "Succeeded"
    assert {p.name: p.value for p in result.parameters} == {"text": "v\n", "other": "d", "own": "r"}


async def test_a_missing_output_file_is_an_error_unless_the_step_failed_anyway(
    scheduler: Scheduler, tmp_path: Path
) -> None:
    outputs = [pb.OutputParameter(name="o", path=str(tmp_path / "absent"))]
    good, bad = await scheduler.run(shell("a", "true", outputs=outputs), shell("b", "exit 2", outputs=outputs))
    assert (good.phase, good.message) == ("Error", "wait: Error (exit code 1): missing output parameter o")
    assert (bad.phase, bad.message) == ("Failed", "main: Error (exit code 2)")


async def test_a_file_that_lay_there_before_is_no_output(scheduler: Scheduler, tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_text("from somebody else")
    await scheduler.run(shell("before", "sleep 0.05"))
    [result] = await scheduler.run(shell("a", "true", outputs=[pb.OutputParameter(name="o", path=str(old))]))
    assert result.message == "wait: Error (exit code 1): missing output parameter o"
    assert old.read_text() == "from somebody else"


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("head -c 262145 /dev/zero > {path}", "262145 bytes, which is more than the 262144"),
        ("mkdir {path}", "not a regular file"),
        ("mkfifo {path}", "not a regular file"),
    ],
)
async def test_a_file_that_cannot_be_a_parameter_is_an_error(
    scheduler: Scheduler, tmp_path: Path, command: str, complaint: str
) -> None:
    path = tmp_path / "out"
    outputs = [pb.OutputParameter(name="o", path=str(path), default="never used")]
    [result] = await scheduler.run(shell("a", command.format(path=path), outputs=outputs))
    assert result.phase == "Error"
    assert "output parameter o" in result.message
    assert complaint in result.message


async def test_attempts_that_write_the_same_file_do_not_read_each_others(scheduler: Scheduler, tmp_path: Path) -> None:
    path = tmp_path / "message"
    outputs = [pb.OutputParameter(name="o", path=str(path))]
    names = [f"n{i}" for i in range(8)]
    results = await scheduler.run(*(shell(n, f"echo {n} > {path}; sleep 0.02", outputs=outputs) for n in names))
    assert [r.parameters[0].value for r in results] == names


async def test_a_step_sees_its_own_environment_and_not_the_executors(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXEUNT_NATS_URL", "nats://secret@somewhere")
    [result] = await scheduler.run(
        step(
            "a",
            "sh",
            "-c",
            "echo $B $(A); echo $EXEUNT_NODE_NAME $TRACEPARENT [$EXEUNT_NATS_URL]; pwd; python -c 'print(1)'; cat",
            env={"A": "x", "B": "$(A)y $$(A)"},
            result=True,
            trace_context={"traceparent": "00-1-2-3"},
        )
    )
    first, second, directory, one = result.result.split("\n")
    assert first == "xy $(A) x"
    assert second == "wf.a 00-1-2-3 []"
    assert directory not in ("", str(Path.cwd()))
    assert one == "1"


async def test_a_working_directory_is_made(scheduler: Scheduler, tmp_path: Path) -> None:
    wanted = tmp_path / "new" / "place"
    here = Path.cwd()
    [result] = await scheduler.run(step("a", "pwd", working_dir=str(wanted), result=True))
    assert result.result == str(wanted)
    assert Path.cwd() == here


async def test_what_a_step_leaves_in_its_own_directory_is_cleared_away(scheduler: Scheduler, tmp_path: Path) -> None:
    async with inside(scheduler, tmp_path / "second", executor_id="e2"):
        await scheduler.until(lambda: scheduler.hellos[-1].hello.id == "e2")
        [result] = await scheduler.run(shell("a", "mkdir -p x/y; echo z > x/y/z; pwd", result=True))
        assert result.result.startswith(str(tmp_path))
    assert not os.listdir(tmp_path / "second" / "work")


async def test_a_step_that_takes_too_long_fails(scheduler: Scheduler) -> None:
    [result] = await scheduler.run(shell("a", "sleep 1000", timeout_seconds=0.1))
    assert result.phase == "Failed"
    assert result.message == "Pod was active on the node longer than the specified deadline"


async def test_the_last_twenty_lines_come_with_the_result(scheduler: Scheduler) -> None:
    [result] = await scheduler.run(shell("a", "seq 1 1000"))
    assert list(result.log_tail) == [str(n) for n in range(981, 1001)]
    assert scheduler.output("u1/a/0").split() == [str(n) for n in range(1, 1001)]


async def test_bytes_that_are_no_text_do_no_harm(scheduler: Scheduler) -> None:
    [result] = await scheduler.run(shell("a", "printf '\\377\\376\\n'", result=True))
    assert result.phase == "Succeeded"
    assert result.result == "��"


async def test_output_is_seen_while_the_step_runs(scheduler: Scheduler) -> None:
    await scheduler.ready()
    await scheduler.say(dispatches=[shell("a", "echo early; sleep 1000")])
    await scheduler.until(lambda: scheduler.output("u1/a/0") == "early\n")
    await scheduler.say(forgotten=["u1/a/0"])


async def test_an_http_step_needs_no_process(scheduler: Scheduler) -> None:
    request = pb.Step(id="u1/h/0", node="h", http=pb.HttpWork(url="http://127.0.0.1:9/"))
    [result] = await scheduler.run(request)
    assert result.phase in ("Failed", "Error")
    assert result.message


async def test_a_step_of_an_unknown_kind_is_an_error(scheduler: Scheduler) -> None:
    [result] = await scheduler.run(pb.Step(id="u1/x/0", node="x"))
    assert result.phase == "Error"


async def test_many_short_steps_through_few_slots(scheduler: Scheduler, tmp_path: Path) -> None:
    async with inside(scheduler, tmp_path / "second", slots=16, executor_id="e2"):
        await scheduler.until(lambda: scheduler.hellos[-1].hello.id == "e2")
        steps = [step(f"n{i}", "true") for i in range(500)]
        results = await scheduler.run(*steps)
        assert all(r.phase == "Succeeded" for r in results)
        assert sorted(set(scheduler.reports)) == sorted(s.id for s in steps)


async def test_a_step_that_follows_another_costs_one_frame(scheduler: Scheduler) -> None:
    """What the scheduler itself has taken of the slots need not be told to it."""
    scheduler.acknowledges = False
    before = "n0"
    await scheduler.run(step(before, "true"))
    began = scheduler.frames
    for name in (f"n{n}" for n in range(1, 31)):
        await scheduler.say(dispatches=[step(name, "true")], acknowledged=[f"u1/{before}/0"])
        await scheduler.until(lambda id=f"u1/{name}/0": id in scheduler.results)  # type: ignore[misc]
        before = name
    beats = 10  # at most: nothing else may come unasked
    assert scheduler.frames - began <= 30 + beats
