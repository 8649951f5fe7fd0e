"""See `tests.faults.forming`: a start of everything at once, and a kill of all NATS nodes, end no service."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.forming import round_


@pytest.mark.services
@pytest.mark.faults
@pytest.mark.timeout(900)
async def test_nobody_ends_while_three_nodes_find_each_other(tmp_path: Path) -> None:
    assert await round_(tmp_path) == []
