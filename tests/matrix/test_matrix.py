"""Every shape keeps its handlers, whatever ends it: the whole matrix through the engine."""

from __future__ import annotations

import pytest

from tests.matrix.play import lost
from tests.matrix.shapes import MIDWAY, MOMENTS, SHAPES, WAYS, cells

pytestmark = pytest.mark.timeout(600)  # it is much work, on a machine that others may keep busy


@pytest.mark.parametrize("way", WAYS)
def test_handlers_are_kept(way: str) -> None:
    found = {str(cell): lost(cell) for cell in cells() if cell.way == way}
    assert len(found) == len(SHAPES) * (len(MOMENTS) if way in MIDWAY else 1)
    assert not {name: lines[:3] for name, lines in found.items() if lines}
