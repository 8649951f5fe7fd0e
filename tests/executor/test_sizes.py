"""How much a step may give back, a hair below and a hair above each limit, and what becomes of long output."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from exeunt.executor.attempt import LocalAttempt
from exeunt.executor.book import Book
from exeunt.executor.limits import MESSAGE_BYTES, OutputLimits
from exeunt.executor.session import FRAME_BYTES
from exeunt.internal.v1 import executor_service_pb2 as session_pb
from exeunt.internal.v1 import step_pb2 as pb
from tests.executor.conftest import Scheduler, inside, shell, step

ONE, ALL = 256 * 1024, 2 * 1024 * 1024


def outputs(count: int) -> list[pb.OutputParameter]:
    return [pb.OutputParameter(name=f"p{n}", path=f"p{n}") for n in range(count)]


def files(count: int, size: int, character: str = "x") -> str:
    return f"for n in $(seq 0 {count - 1}); do head -c {size} /dev/zero | tr '\\000' '{character}' > p$n; done"


@pytest.mark.usefixtures("executor")
class TestOutputs:
    """Each, and all of a step together."""

    async def test_one_of_the_largest_size_is_taken_and_a_byte_more_is_not(self, scheduler: Scheduler) -> None:
        below, above = await scheduler.run(
            shell("a", files(1, ONE), outputs=outputs(1)), shell("b", files(1, ONE + 1), outputs=outputs(1))
        )
        assert below.phase == "Succeeded"
        assert [len(p.value) for p in below.parameters] == [ONE]
        assert above.phase == "Error"
        assert f"output parameter p0: {ONE + 1} bytes, which is more than the {ONE}" in above.message
        assert "EXEUNT_OUTPUT_BYTES" in above.message

    async def test_what_is_no_text_counts_as_what_it_becomes(self, scheduler: Scheduler) -> None:
        below, above = await scheduler.run(
            shell("a", files(1, ONE // 3, "\\377"), outputs=outputs(1)),
            shell("b", files(1, ONE // 3 + 1, "\\377"), outputs=outputs(1)),
        )
        assert below.parameters[0].value == "\N{REPLACEMENT CHARACTER}" * (ONE // 3)
        assert above.phase == "Error"
        assert "EXEUNT_OUTPUT_BYTES" in above.message

    async def test_all_together_have_a_limit_too(self, scheduler: Scheduler) -> None:
        size = ALL // 8 - len("p0")
        below, above, far = await scheduler.run(
            shell("a", files(8, size), outputs=outputs(8)),
            shell("b", files(8, size + 1), outputs=outputs(8)),
            shell("c", files(300, 250_000), outputs=outputs(300)),
        )
        assert below.phase == "Succeeded"
        assert sum(len(p.name + p.value) for p in below.parameters) == ALL
        for result in (above, far):
            assert (result.phase, len(result.parameters)) == ("Error", 0)
            assert f"more than the {ALL} bytes" in result.message
            assert "EXEUNT_STEP_OUTPUT_BYTES" in result.message
        assert len(scheduler.hellos) == 1
        assert scheduler.largest < 2 * FRAME_BYTES

    async def test_a_failed_step_keeps_its_failure(self, scheduler: Scheduler) -> None:
        [result] = await scheduler.run(shell("a", files(9, 250_000) + "; exit 3", outputs=outputs(9)))
        assert (result.phase, result.exit_code) == ("Failed", 3)
        assert not result.parameters

    async def test_the_result_counts_and_is_valid_text(self, scheduler: Scheduler) -> None:
        text = files(8, 230 * 1024) + "; head -c 300000 /dev/zero | tr '\\000' '\\377'"
        [result] = await scheduler.run(shell("a", text, outputs=outputs(8), result=True))
        assert result.phase == "Error"
        assert "EXEUNT_STEP_OUTPUT_BYTES" in result.message
        [result] = await scheduler.run(shell("b", "head -c 300000 /dev/zero | tr '\\000' '\\377'", result=True))
        assert result.result == "\N{REPLACEMENT CHARACTER}" * (ONE // 3)

    async def test_a_long_message_is_cut_with_a_mark(self, scheduler: Scheduler) -> None:
        [result] = await scheduler.run(step("a", "y" * 100_000))
        assert len(result.message.encode()) <= MESSAGE_BYTES
        assert result.message.endswith("bytes are left out]")


async def test_an_update_of_an_earlier_version_is_bounded_before_it_is_told(
    scheduler: Scheduler, tmp_path: Path
) -> None:
    """What gRPC would refuse must not be told again and again."""
    result = pb.StepResult(phase="Succeeded", parameters=[pb.ParameterOutput(name="p", value="x" * 40_000_000)])
    directory = tmp_path / "e"
    directory.mkdir()
    book = Book(directory / "attempts")
    book.ended("u1/huge/0", 3, session_pb.AttemptUpdate(id="u1/huge/0", partition=3, result=result).SerializeToString())
    book.ended("u1/torn/0", 3, b"\xff\xff")
    book.close()
    async with inside(scheduler, directory):
        await scheduler.until(lambda: {"u1/huge/0", "u1/torn/0"} <= scheduler.results.keys())
        assert scheduler.results["u1/huge/0"].phase == "Error"
        assert "EXEUNT_OUTPUT_BYTES" in scheduler.results["u1/huge/0"].message
        assert scheduler.lost == {"u1/torn/0"}


async def test_many_large_results_go_in_several_frames(scheduler: Scheduler, tmp_path: Path) -> None:
    scheduler.acknowledges = False
    async with inside(scheduler, tmp_path / "e", slots=8):
        steps = [shell(f"n{n}", files(7, 256 * 1024) + "; seq 100000", outputs=outputs(7)) for n in range(12)]
        results = await scheduler.run(*steps)
        assert {r.phase for r in results} == {"Succeeded"}
        await scheduler.stop()
        following = Scheduler(replica="s2")
        await following.start(int(scheduler.address.rpartition(":")[2]))
        try:
            await following.until(lambda: len(following.results) == 12)
            assert max(scheduler.largest, following.largest) < 2 * FRAME_BYTES
        finally:
            await following.stop()


def test_the_book_takes_no_more_than_the_limits() -> None:
    limits = OutputLimits(output_bytes=1000, step_output_bytes=1500, log_bytes=65536)
    attempt = LocalAttempt("u/a/0", 1)
    lines = ["z" * 5000] * 300
    update = attempt.conclude(pb.StepResult(phase="Succeeded", log_tail=lines, answer_json="j" * 2000), limits)
    assert update.result.phase == "Error"
    assert update.ByteSize() < 60_000


@pytest.mark.usefixtures("executor")
class TestOutput:
    """What a step says."""

    async def test_a_burst_is_passed_on_whole(self, scheduler: Scheduler) -> None:
        [result] = await scheduler.run(shell("a", "seq 1 1500000"))
        assert result.phase == "Succeeded"
        assert scheduler.output("u1/a/0") == "".join(f"{n}\n" for n in range(1, 1_500_001))
        assert scheduler.largest < 2 * FRAME_BYTES

    async def test_one_endless_line_is_passed_on_whole(self, scheduler: Scheduler) -> None:
        await scheduler.run(shell("a", "head -c 5000000 /dev/zero | tr '\\000' a"))
        assert scheduler.output("u1/a/0") == "a" * 5_000_000

    async def test_a_line_is_seen_when_it_ends(self, scheduler: Scheduler) -> None:
        await scheduler.ready()
        await scheduler.say(dispatches=[shell("a", "printf 'one '; sleep 0.3; echo two; sleep 1000")])
        await scheduler.until(lambda: scheduler.output("u1/a/0") == "one two\n")
        await scheduler.say(forgotten=["u1/a/0"])


async def test_without_a_scheduler_a_step_goes_on_and_its_last_lines_are_kept(
    scheduler: Scheduler, tmp_path: Path
) -> None:
    port = int(scheduler.address.rpartition(":")[2])
    async with inside(scheduler, tmp_path / "e"):
        await scheduler.ready()
        text = f"echo up; until [ -e {tmp_path}/go ]; do sleep 0.05; done; seq 1 1000000; touch {tmp_path}/said"
        await scheduler.say(dispatches=[shell("a", text)])
        await scheduler.until(lambda: scheduler.output("u1/a/0") == "up\n")
        await scheduler.stop()
        (tmp_path / "go").touch()
        async with asyncio.timeout(30):
            while not (tmp_path / "said").exists():  # noqa: ASYNC110 - the step says it with a file
                await asyncio.sleep(0.05)
        following = Scheduler(replica="s2")
        await following.start(port)
        try:
            await following.until(lambda: "u1/a/0" in following.results)
            said = following.output("u1/a/0")
        finally:
            await following.stop()
    assert "bytes of output are left out here]" in said
    assert said.endswith("\n999999\n1000000\n")
    assert 900_000 < len(said) <= 1_100_000


async def test_a_step_that_waits_to_be_read_can_be_ended(scheduler: Scheduler, tmp_path: Path) -> None:
    async with inside(scheduler, tmp_path / "e", step_log_bytes=64 * 1024, heartbeat_seconds=5.0):
        await scheduler.ready()
        endless = shell("a", "trap '' TERM; while :; do echo yes; done", timeout_seconds=1, grace_seconds=0.1)
        async with scheduler.deaf():
            await scheduler.say(dispatches=[endless])
            await asyncio.sleep(1.5)
        await scheduler.until(lambda: "u1/a/0" in scheduler.results)
        assert scheduler.results["u1/a/0"].exit_code == 137
        said = scheduler.output("u1/a/0")
        assert "left out" not in said
        assert set(said.split()) <= {"yes", "y", "ye"}
