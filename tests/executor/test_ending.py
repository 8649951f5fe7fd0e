"""How steps, schedulers and executors end, in any order, and what becomes of the results."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path

import pytest

from exeunt.executor.runtime import survivors
from tests.executor.conftest import Scheduler, Service, inside, shell, step, vanished

LONG = "sleep 1000"


def pids(text: str) -> list[int]:
    """The process ids that a step printed."""
    return [int(word) for word in text.split()]


def children(pid: int) -> list[int]:
    """The processes that this one started."""
    return pids(Path(f"/proc/{pid}/task/{pid}/children").read_text())


@pytest.mark.usefixtures("executor")
class TestCancelling:
    """A step is ended while its executor lives on."""

    async def test_a_step_may_end_in_its_own_way(self, scheduler: Scheduler) -> None:
        await scheduler.ready()
        await scheduler.say(dispatches=[shell("a", f"trap 'echo bye; exit 9' TERM; echo up; {LONG} & wait")])
        await scheduler.until(lambda: scheduler.output("u1/a/0") == "up\n")
        await scheduler.say(cancels=["u1/a/0"])
        await scheduler.until(lambda: "u1/a/0" in scheduler.results)
        result = scheduler.results["u1/a/0"]
        assert (result.phase, result.exit_code, list(result.log_tail)) == ("Failed", 9, ["up", "bye"])

    async def test_one_that_does_not_listen_is_killed_with_its_children(self, scheduler: Scheduler) -> None:
        await scheduler.ready()
        stubborn = f"trap '' TERM; {LONG} & {LONG} & echo $$ $(jobs -p) $!; wait; wait; {LONG}"
        await scheduler.say(dispatches=[shell("a", stubborn, grace_seconds=0.2)])
        await scheduler.until(lambda: scheduler.output("u1/a/0"))
        await scheduler.say(cancels=["u1/a/0"])
        await scheduler.until(lambda: "u1/a/0" in scheduler.results)
        assert scheduler.results["u1/a/0"].message == "main: Error (exit code 137)"
        await vanished(*pids(scheduler.output("u1/a/0")))

    async def test_one_that_listens_by_default_ends_at_once(self, scheduler: Scheduler) -> None:
        await scheduler.ready()
        await scheduler.say(dispatches=[step("a", "sleep", "1000", grace_seconds=1000)])
        await scheduler.say(cancels=["u1/a/0"])
        await scheduler.until(lambda: "u1/a/0" in scheduler.results)
        assert scheduler.results["u1/a/0"].exit_code == 143

    async def test_children_do_not_outlive_their_step(self, scheduler: Scheduler) -> None:
        [result] = await scheduler.run(shell("a", f"{LONG} & echo $!"))
        assert result.phase == "Succeeded"
        await vanished(*pids(scheduler.output("u1/a/0")))

    async def test_a_forgotten_step_is_killed_and_not_reported(self, scheduler: Scheduler) -> None:
        await scheduler.ready()
        await scheduler.say(dispatches=[shell("a", f"echo $$; trap '' TERM; {LONG}")])
        await scheduler.until(lambda: scheduler.output("u1/a/0"))
        await scheduler.say(forgotten=["u1/a/0"])
        await vanished(*pids(scheduler.output("u1/a/0")))
        await scheduler.run(step("b", "true"))
        assert "u1/a/0" not in scheduler.reports

    async def test_a_step_that_waits_for_a_slot_never_starts(self, scheduler: Scheduler, tmp_path: Path) -> None:
        await scheduler.ready()
        long = [step(f"n{i}", "sleep", "1000") for i in range(4)]
        await scheduler.say(dispatches=[*long, shell("late", f"touch {tmp_path}/started")])
        await scheduler.say(cancels=["u1/late/0"])
        await scheduler.until(lambda: "u1/late/0" in scheduler.results)
        assert scheduler.results["u1/late/0"].phase == "Failed"
        await scheduler.say(forgotten=[s.id for s in long])
        await scheduler.run(step("b", "true"))
        assert "started" not in os.listdir(tmp_path)

    async def test_an_action_is_ended_too(self, scheduler: Scheduler) -> None:
        async with contextlib.AsyncExitStack() as stack:
            server = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
            stack.callback(server.close)
            port = server.sockets[0].getsockname()[1]
            waiting = step("h")
            waiting.http.url = f"http://127.0.0.1:{port}/"
            waiting.http.timeout_seconds = 1000
            await scheduler.ready()
            await scheduler.say(dispatches=[waiting])
            await scheduler.say(cancels=["u1/h/0"])
            await scheduler.until(lambda: "u1/h/0" in scheduler.results)
            assert scheduler.results["u1/h/0"].phase in ("Failed", "Error")


@pytest.mark.usefixtures("executor")
class TestSlots:
    """What is lent to the scheduler."""

    async def test_free_slots_are_lent_and_taken(self, scheduler: Scheduler) -> None:
        await scheduler.ready()
        assert (scheduler.credits, scheduler.exit_credits) == (4, 1)
        ids = [f"u1/n{i}/0" for i in range(3)]
        await scheduler.say(dispatches=[step(f"n{i}", "sleep", "1000", exit=i == 0) for i in range(3)])
        await scheduler.until(lambda: (scheduler.credits, scheduler.exit_credits) == (2, 0))
        await scheduler.say(forgotten=ids)
        await scheduler.until(lambda: (scheduler.credits, scheduler.exit_credits) == (4, 1))

    async def test_ordinary_steps_leave_the_exit_slot_free(self, scheduler: Scheduler) -> None:
        await scheduler.ready()
        await scheduler.say(dispatches=[step(f"n{i}", "sleep", "1000") for i in range(6)])
        [result] = await scheduler.run(step("exit", "true", exit=True))
        assert result.phase == "Succeeded"

    async def test_a_step_that_is_dispatched_twice_runs_once(self, scheduler: Scheduler, tmp_path: Path) -> None:
        scheduler.acknowledges = False
        one = shell("a", f"echo x >> {tmp_path}/count")
        await scheduler.run(one)
        scheduler.results.clear()
        await scheduler.run(one)
        assert (tmp_path / "count").read_text() == "x\n"
        await scheduler.say(acknowledged=[one.id])

    async def test_a_result_is_told_again_until_it_is_acknowledged(self, scheduler: Scheduler) -> None:
        scheduler.acknowledges = False
        await scheduler.run(step("a", "true"))
        await scheduler.until(lambda: scheduler.reports.count("u1/a/0") > 1)
        scheduler.acknowledges = True
        await scheduler.until(lambda: scheduler.reports.count("u1/a/0") > 2)


class TestSchedulersThatGo:
    """The executor lives on while its scheduler dies."""

    async def test_steps_go_on_and_their_results_are_told_to_the_next(
        self, scheduler: Scheduler, tmp_path: Path
    ) -> None:
        port = int(scheduler.address.rpartition(":")[2])
        async with inside(scheduler, tmp_path / "e"):
            await scheduler.ready()
            gate = tmp_path / "gate"
            os.mkfifo(gate)
            await scheduler.say(
                dispatches=[shell("a", f"echo before; cat {gate}; echo after"), shell("b", "echo quick")]
            )
            await scheduler.until(lambda: scheduler.output("u1/a/0") and "u1/b/0" in scheduler.results)
            await scheduler.stop()
            with gate.open("w") as file:
                file.write("while nobody listened\n")
            following = Scheduler(replica="s2")
            await following.start(port)
            try:
                await following.until(lambda: "u1/a/0" in following.results)
                assert following.hellos[0].hello.id == "e1"
                assert "u1/a/0" in following.hellos[0].hello.attempts
                assert following.results["u1/a/0"].phase == "Succeeded"
                assert following.output("u1/a/0") == "before\nwhile nobody listened\nafter\n"
            finally:
                await following.stop()

    async def test_a_fenced_step_is_ended_when_nobody_is_heard(self, scheduler: Scheduler, tmp_path: Path) -> None:
        scheduler.grace = 0.4
        port = int(scheduler.address.rpartition(":")[2])
        async with inside(scheduler, tmp_path / "e"):
            await scheduler.ready()
            await scheduler.say(
                dispatches=[
                    shell("fenced", f"echo $$; {LONG}", fenced=True),
                    shell("free", f"echo $$; {LONG}"),
                ]
            )
            await scheduler.until(lambda: scheduler.output("u1/fenced/0") and scheduler.output("u1/free/0"))
            await scheduler.stop()
            await vanished(*pids(scheduler.output("u1/fenced/0")))
            following = Scheduler()
            await following.start(port)
            try:
                await following.until(lambda: "u1/fenced/0" in following.results)
                assert following.lost == {"u1/fenced/0"}
                assert survivors.start_time(*pids(scheduler.output("u1/free/0")))
                await following.say(forgotten=["u1/free/0"])
            finally:
                await following.stop()

    async def test_schedulers_are_learned_from_each_other_and_share_the_slots(
        self, scheduler: Scheduler, tmp_path: Path
    ) -> None:
        other = Scheduler(replica="s2")
        await other.start()
        scheduler.peers = [scheduler.address, other.address, scheduler.address.replace("127.0.0.1", "localhost")]
        try:
            async with inside(scheduler, tmp_path / "e"):
                await other.ready()
                await other.until(lambda: other.credits == 2)
                await scheduler.until(lambda: scheduler.credits == 2)
                [result] = await other.run(step("a", "true"))
                assert result.phase == "Succeeded"
        finally:
            await other.stop()

    async def test_a_result_that_its_scheduler_does_not_take_is_told_to_the_others(
        self, scheduler: Scheduler, tmp_path: Path
    ) -> None:
        scheduler.acknowledges = False
        other = Scheduler(replica="s2")
        await other.start()
        scheduler.peers = [other.address]
        try:
            async with inside(scheduler, tmp_path / "e"):
                await other.ready()
                await scheduler.run(step("a", "true"))
                await other.until(lambda: "u1/a/0" in other.results)
        finally:
            await other.stop()


@pytest.mark.faults
class TestExecutorsThatGo:
    """The executor ends, in order or not."""

    async def test_no_step_outlives_a_killed_executor_by_a_second(self, scheduler: Scheduler, tmp_path: Path) -> None:
        async with Service(scheduler, tmp_path / "e") as service:
            await scheduler.ready()
            await scheduler.say(
                dispatches=[
                    shell("group", f"{LONG} & echo $$ $!; {LONG}"),
                    shell("left", f"setsid {LONG} & echo $!; {LONG}"),
                    shell("bare", f"echo $$; exec env -i {LONG}"),
                ]
            )
            names = ["u1/group/0", "u1/left/0", "u1/bare/0"]
            await scheduler.until(lambda: all(scheduler.output(name) for name in names))
            running = [pid for name in names for pid in pids(scheduler.output(name))]
            assert all(survivors.start_time(pid) for pid in running)
            await service.end(signal.SIGKILL)
            killed = time.monotonic()
            await vanished(*running)
            assert time.monotonic() - killed < 1  # the promise itself, not a guess at the machine's speed

    async def test_a_restarted_executor_reports_what_ended_and_what_was_lost(
        self, scheduler: Scheduler, tmp_path: Path
    ) -> None:
        scheduler.acknowledges = False
        async with Service(scheduler, tmp_path / "e") as service:
            await scheduler.run(shell("done", "echo result; exit 4", result=True))
            await scheduler.say(dispatches=[shell("running", f"echo $$; {LONG}")])
            await scheduler.until(lambda: scheduler.output("u1/running/0"))
            await service.end(signal.SIGKILL)
        scheduler.results.clear()
        scheduler.acknowledges = True
        async with inside(scheduler, tmp_path / "e"):
            await scheduler.until(lambda: {"u1/done/0", "u1/running/0"} <= scheduler.results.keys())
            assert sorted(scheduler.hellos[-1].hello.attempts) == ["u1/done/0", "u1/running/0"]
            assert scheduler.results["u1/done/0"].result == "result"
            assert scheduler.results["u1/running/0"].phase == "Error"
            assert "lost" in scheduler.results["u1/running/0"].message
            assert scheduler.lost == {"u1/running/0"}
            await scheduler.run(step("next", "true"))
        async with inside(scheduler, tmp_path / "e"):
            await scheduler.until(lambda: len(scheduler.hellos) == 3)
            assert not scheduler.hellos[-1].hello.attempts

    async def test_what_escaped_the_guard_is_ended_before_the_next_hello(
        self, scheduler: Scheduler, tmp_path: Path
    ) -> None:
        async with Service(scheduler, tmp_path / "e") as service:
            await scheduler.ready()
            await scheduler.say(dispatches=[shell("a", f"echo $$; {LONG}")])
            await scheduler.until(lambda: scheduler.output("u1/a/0"))
            running = pids(scheduler.output("u1/a/0"))
            [guard] = set(children(service.pid)) - set(running)
            os.kill(service.pid, signal.SIGSTOP)  # so that it does not start another guard
            os.kill(guard, signal.SIGKILL)
            await service.end(signal.SIGKILL)
        assert survivors.start_time(running[0])
        async with inside(scheduler, tmp_path / "e"):
            await scheduler.until(lambda: len(scheduler.hellos) == 2)
            assert survivors.start_time(running[0]) is None

    async def test_a_killed_guard_is_replaced(self, scheduler: Scheduler, tmp_path: Path) -> None:
        async with Service(scheduler, tmp_path / "e") as service:
            await scheduler.ready()
            [guard] = children(service.pid)
            os.kill(guard, signal.SIGKILL)
            await vanished(guard)
            await scheduler.run(shell("first", "sleep 0.3"))
            await scheduler.say(dispatches=[shell("a", f"echo $$; {LONG}")])
            await scheduler.until(lambda: scheduler.output("u1/a/0"))
            await service.end(signal.SIGKILL)
            await vanished(*pids(scheduler.output("u1/a/0")))

    async def test_an_executor_that_is_told_to_stop_drains(self, scheduler: Scheduler, tmp_path: Path) -> None:
        async with Service(scheduler, tmp_path / "e", drain_seconds=20.0) as service:
            await scheduler.ready()
            gate = tmp_path / "gate"
            os.mkfifo(gate)
            await scheduler.say(dispatches=[shell("a", f"echo up; cat {gate}")])
            await scheduler.until(lambda: scheduler.output("u1/a/0") == "up\n")
            os.kill(service.pid, signal.SIGTERM)
            await scheduler.until(lambda: scheduler.draining)
            assert scheduler.credits == scheduler.exit_credits == 0
            [refused] = await scheduler.run(step("late", "true"))
            assert refused.phase == "Error"
            with gate.open("w") as file:
                file.write("done\n")
            await scheduler.until(lambda: "u1/a/0" in scheduler.results)
            assert scheduler.results["u1/a/0"].phase == "Succeeded"
            assert scheduler.lost == {"u1/late/0"}
            assert await service.end(0) == 0

    async def test_what_does_not_end_in_time_is_ended_and_reported(self, scheduler: Scheduler, tmp_path: Path) -> None:
        async with Service(scheduler, tmp_path / "e", drain_seconds=0.0) as service:
            await scheduler.ready()
            await scheduler.say(dispatches=[shell("a", f"echo $$; {LONG}")])
            await scheduler.until(lambda: scheduler.output("u1/a/0"))
            assert await service.end(signal.SIGTERM) == 0
            assert scheduler.lost == {"u1/a/0"}
            assert scheduler.results["u1/a/0"].exit_code == 143
            await vanished(*pids(scheduler.output("u1/a/0")))

    async def test_two_executors_do_not_share_a_directory(self, scheduler: Scheduler, tmp_path: Path) -> None:
        async with inside(scheduler, tmp_path / "e"):
            await scheduler.ready()
            async with Service(scheduler, tmp_path / "e") as second:
                assert await second.end(0) != 0
