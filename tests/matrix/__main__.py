"""`python -m tests.matrix`: shapes × ways of ending through the engine, and how many keep their handlers."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from tests.matrix.play import lost
from tests.matrix.shapes import WAYS, Cell, cells


def judged(cell: Cell) -> tuple[Cell, list[str]]:
    try:
        return cell, lost(cell)
    except Exception as error:  # noqa: BLE001 - the next cell may go well
        return cell, [f"crash: {type(error).__name__}: {error}"[:300]]


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.matrix", description=__doc__)
    parser.add_argument("--show", type=int, default=20)
    given = parser.parse_args()
    begun = time.monotonic()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(judged, cells(), chunksize=40))
    bad = [(cell, lines) for cell, lines in found if lines]
    for cell, lines in bad[: given.show]:
        print(f"{cell}\n    " + "\n    ".join(lines[:4]))
    all_, kept = Counter(cell.way for cell, _ in found), Counter(cell.way for cell, lines in found if not lines)
    for way in WAYS:
        print(f"{way:<34}{kept[way]:>5} of {all_[way]:>5} keep their handlers")
    print(f"{kept.total()} of {all_.total()} keep their handlers ({time.monotonic() - begun:.0f} s)")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
