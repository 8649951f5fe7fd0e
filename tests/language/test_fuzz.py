"""Expressions made by chance: the kept ones, and as many new ones as there is time for, always the same ones first.

A million at once, or other ones: `python -m tests.language.fuzz --runs 1000000 --seed 7`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.language.fuzz.campaign import TARGETS, Watch, campaign, corpus, written

SECONDS = 120
SEED = 9


@pytest.fixture(scope="module")
def watch() -> Iterator[Watch]:
    with Watch() as made:
        yield made


@pytest.mark.parametrize("target", TARGETS)
def test_a_kept_expression_ends_well(target: str, watch: Watch) -> None:
    faults = [fault for source in corpus() if (fault := watch.run(target, source)[1]) is not None]
    assert not faults


@pytest.mark.timeout(3 * SECONDS)
def test_new_expressions_end_in_a_value_or_an_error() -> None:
    report = campaign(400_000, SEED, seconds=SECONDS)
    assert not [(written(fault.source), fault.what) for fault in report.faults]
    assert report.runs > 1_000, "the campaign hardly ran"
    assert sum(report.outcomes.values()) > report.runs


@pytest.mark.parametrize(
    ("what", "fault"),
    [
        ([].index, "crash ValueError"),
        (lambda source: _spin(), "hangs"),
    ],
)
def test_a_fault_is_noticed(what: object, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TARGETS, "expression", what)
    with Watch() as watching:
        found = watching.run("expression", "1")[1]
    assert found is not None
    assert fault in found.what


def test_memory_is_noticed() -> None:
    """In a process of a small one: the most memory that a process has had counts for those that it starts."""
    tried = (
        "from tests.language.fuzz.campaign import TARGETS, Watch\n"
        "TARGETS['expression'] = lambda source: str(len(bytearray(400 << 20)))\n"
        "with Watch() as watch: print(watch.run('expression', '1')[1].what)"
    )
    command = ["sh", "-c", '"$0" -c "$1"; exit $?', sys.executable, tried]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "MiB" in said.stdout


def _spin() -> str:
    while True:
        pass
