"""The whole on a virtual clock: the same runs each time, and each planted mistake is found.

More runs are done by hand (`python -m tests.simulation --runs N`) and by `make soak`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.planted import PLANTED

ROOT = Path(__file__).parents[2]
SAME_RUNS = 300  # in each of the parts, which may run side by side
RUNS = 2000


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the order of sets is part of a run, and services are changed for it."""
    command = [sys.executable, "-m", "tests.simulation", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", [0, 1])
def test_nothing_is_wrong_whatever_dies_and_whenever(part: int) -> None:
    done = simulate("--first", str(part * SAME_RUNS), "--runs", str(SAME_RUNS))
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_seed_is_the_same_run_again() -> None:
    first, second = simulate("--seed", "4"), simulate("--seed", "4")
    assert "commit 1 " in first.stdout
    assert first.stdout == second.stdout


@pytest.mark.parametrize("mistake", PLANTED)
def test_a_planted_mistake_is_found(mistake: str) -> None:
    done = simulate("--plant", mistake, "--runs", str(RUNS))
    assert done.returncode == 0, done.stdout + done.stderr
    assert PLANTED[mistake].told in done.stdout
