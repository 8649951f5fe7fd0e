"""Every shape keeps its handlers, whatever ends it: the whole matrix through the engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.matrix.play import lost
from tests.matrix.shapes import WAYS, cells

KNOWN = {line for line in Path(__file__).with_name("lost.txt").read_text().split("\n") if not line.startswith("#")}
"""Cells that are known to lose handlers."""


@pytest.mark.parametrize("way", WAYS)
def test_handlers_are_kept(way: str) -> None:
    found = {str(cell): lost(cell) for cell in cells() if cell.way == way and str(cell) not in KNOWN}
    assert len(found) + len(KNOWN) > 40
    assert not {name: lines[:3] for name, lines in found.items() if lines}
