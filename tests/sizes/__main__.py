"""`python -m tests.sizes --runs N [--seed S]`: so many workflows at the limits, on a cluster of their own."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from pathlib import Path

from tests.e2e.cluster import Cluster
from tests.sizes.play import play


def main() -> int:
    """Runs them, and prints all that went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.sizes")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.randrange(2**31))
    given = parser.parse_args()
    print(f"seed {given.seed}, {given.runs} workflows", flush=True)
    with tempfile.TemporaryDirectory(prefix="exeunt-sizes-") as directory:
        cluster = Cluster(Path(directory) / "data", arguments=["--slots", "32"])
        cluster.up()
        try:
            wrong = asyncio.run(play(cluster, given.runs, given.seed))
        finally:
            cluster.down()
    print("\n".join(wrong) or "nothing went wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
