"""Draws the diagrams of the pages: `python -m tests.docs.diagrams FOLDER` writes an SVG for each."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import mmdr

from tests.docs.blocks import PAGES, Block, blocks


def diagrams() -> Iterator[Block]:
    """Those of all pages."""
    for page in PAGES:
        yield from (block for block in blocks(page) if block.language == "mermaid")


def drawn(diagram: Block) -> str:
    """The SVG. Raises ValueError where it cannot be read."""
    return str(mmdr.render(diagram.text).svg())


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for diagram in diagrams():
        path = folder / f"{Path(diagram.page).stem}-{diagram.line}.svg"
        path.write_text(drawn(diagram))
        print(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
