"""The log stays as small as it was, and so do memory and restarts, however many workflows have gone through."""

from __future__ import annotations

from pathlib import Path

import pytest

from exeunt.words import finalizations, phases
from tests.faults.small_log import MEBIBYTE, course

pytestmark = [pytest.mark.services, pytest.mark.faults, pytest.mark.timeout(300), pytest.mark.xdist_group("faults")]

WINDOW = 1_000
COUNT = 1_500
STAY = 50
FEWEST_MESSAGES = 6  # that a short workflow with a handler writes
GROWTH = 16 * MEBIBYTE  # of memory, for 1,100 workflows more: a leak of 16 KB for each would show


async def test_nothing_grows_with_the_number_of_finished_workflows(tmp_path: Path) -> None:
    report = await course(tmp_path, workflows_=COUNT, window=WINDOW, stay=STAY)
    print(report.before, report.after, f"largest {report.largest}", sep="\n")

    assert report.cut > COUNT * FEWEST_MESSAGES - 3 * WINDOW, "the log went through its window many times"
    assert report.after.messages <= 3 * WINDOW, "this is what a restart reads"
    assert report.after.bytes <= max(2 * report.before.bytes, 4 * MEBIBYTE)
    for service, used in report.after.memory.items():
        assert used <= report.before.memory[service] + GROWTH, f"{service} has grown: {report.before} → {report.after}"

    assert len(report.passed) == COUNT
    assert {(phases.word(w.phase), finalizations.word(w.finalization)) for w in report.passed} == {
        ("Succeeded", "Succeeded")
    }
    assert len(report.stayed) == STAY
    assert {(phases.word(w.phase), finalizations.word(w.finalization)) for w in report.stayed} == {
        ("Succeeded", "Succeeded")
    }
