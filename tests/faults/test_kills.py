"""Whatever is killed, whenever: every handler runs to its end, and starts its child once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.kills import one_round

pytestmark = [pytest.mark.services, pytest.mark.faults, pytest.mark.timeout(240), pytest.mark.xdist_group("faults")]


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_nothing_is_lost_and_no_child_comes_twice(tmp_path: Path, seed: int) -> None:
    report = await one_round(tmp_path, seed, count=60)
    print(report)
    assert not report.wrong, str(report)
