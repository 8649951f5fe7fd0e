"""A step that takes too much memory is ended, and says so; the others and the executor go on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from exeunt.executor.memory import Room, _room, judge, own_groups
from tests.executor.conftest import Scheduler, inside, shell

MB = 1 << 20
HUNGRY = "python3 -c \"import time; x = b'1' * (300 << 20); time.sleep(60)\""


async def test_a_step_above_its_limit_is_ended_with_its_processes(scheduler: Scheduler, tmp_path: Path) -> None:
    async with inside(scheduler, tmp_path / "e", step_memory_bytes=100 * MB):
        hungry, modest = await asyncio.gather(
            scheduler.run(shell("hungry", f"{HUNGRY} & wait")), scheduler.run(shell("modest", "sleep 1; echo fine"))
        )
    assert (hungry[0].phase, hungry[0].exit_code) == ("Failed", 137)
    assert hungry[0].message.startswith("main: OOMKilled (exit code 137): the step took ")
    assert hungry[0].message.endswith("and it may have 100 MB (EXEUNT_STEP_MEMORY_BYTES)")
    assert modest[0].phase == "Succeeded"


def test_the_hungriest_step_goes_when_the_executors_room_runs_out() -> None:
    taken = [("a", 300 * MB), ("b", 700 * MB), ("c", 10 * MB)]
    assert judge(taken, 0, Room(2000 * MB, 1800 * MB)) is None
    assert judge(taken, 0, None) is None
    assert judge([], 1, Room(2000 * MB, 1990 * MB)) is None, "it is the executor itself, which nobody can mend here"
    found = judge(taken, 0, Room(2000 * MB, 1900 * MB))
    assert found is not None
    assert found[0] == "b"
    assert "1,900 MB were taken, by this step most (700 MB)" in found[1]
    assert judge(taken, 500 * MB, None) == (
        "b",
        "the step took 700 MB, and it may have 500 MB (EXEUNT_STEP_MEMORY_BYTES)",
    )


@pytest.mark.parametrize(
    ("limit", "used", "inactive"),
    [
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ],
    ids=["version 2", "version 1"],
)
def test_the_nearest_limit_counts_and_files_in_memory_do_not(
    tmp_path: Path, limit: str, used: str, inactive: str
) -> None:
    groups = []
    for name, bound, taken, files in (("own", 1000, 900, 500), ("pod", 2000, 1500, 0), ("all", 1 << 62, 1 << 40, 0)):
        group = tmp_path / name
        group.mkdir()
        (group / limit).write_text(f"{bound}\n")
        (group / used).write_text(f"{taken}\n")
        (group / "memory.stat").write_text(f"anon 1\n{inactive} {files}\n")
        groups.append(group)
    assert _room(groups) == Room(2000, 1500)
    assert _room([groups[0], groups[2]]) == Room(1000, 400)
    (groups[0] / limit).write_text("max\n")
    assert _room(groups[:1]) is None
    assert _room([tmp_path / "gone"]) is None


def test_this_machines_groups_can_be_read() -> None:
    assert all(group.is_dir() for group in own_groups())
