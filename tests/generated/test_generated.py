"""A part of the generated workflows, the same each time; `make soak` and `python -m tests.generated` play more."""

from __future__ import annotations

import pytest

from tests.generated.play import RefusedError, wrongs

pytestmark = pytest.mark.timeout(600)  # it is much work, on a machine that others may keep busy

RUNS = 200
PARTS = 8
FOUND = (20_001_386, 20_004_415, 20_004_879, 50_000_907, 50_018_916, 50_022_944)
"""Seeds that once found something: what stood in a DAG that failed fast was left alone when the DAG had ended; what met
a limit in a DAG that a stop had ended was not looked at before the next decision; in steps that failed fast at a
deadline a group still began; in a handler a loop's own hook waited for the handlers of its items, and they for it.
"""


@pytest.mark.parametrize("part", range(PARTS))
def test_every_invariant_holds_in_every_delivery(part: int) -> None:
    found, refused = {}, 0
    for seed in range(part, RUNS, PARTS):
        try:
            found[seed] = wrongs(seed)
        except RefusedError:
            refused += 1
    assert refused < RUNS / PARTS / 4, "most of what is drawn is refused"
    assert not {seed: lines[:3] for seed, lines in found.items() if lines}


@pytest.mark.parametrize("seed", FOUND)
def test_what_was_found_once_is_right(seed: int) -> None:
    assert not wrongs(seed)
