"""Every diagram of the pages can be drawn."""

from __future__ import annotations

import pytest

from tests.docs.blocks import Block
from tests.docs.diagrams import diagrams, drawn


@pytest.mark.parametrize("diagram", list(diagrams()), ids=lambda diagram: f"{diagram.page}:{diagram.line}")
def test_a_diagram_can_be_drawn(diagram: Block) -> None:
    assert drawn(diagram).startswith("<svg")


def test_one_that_cannot_be_read_is_noticed() -> None:
    with pytest.raises(ValueError, match="Unterminated"):
        drawn(Block("page.md", 1, "mermaid", "flowchart LR\n  a[b --> c\n"))
