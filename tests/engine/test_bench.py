"""The engine's benchmark runs what it measures to the end."""

from __future__ import annotations

import pytest

from bench.engine import SHAPES, run


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_that_is_measured_ends(shape: str) -> None:
    cost = run(SHAPES[shape](400))
    assert cost.nodes > 300
    assert cost.bytes_per_node > 0
