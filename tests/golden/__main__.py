"""`python -m tests.golden [FILES…] [--only ID] [--show N]`: the recorded cases against the engine."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.golden.runner import FILES, run

parser = argparse.ArgumentParser(prog="tests.golden")
parser.add_argument("files", nargs="*", type=Path)
parser.add_argument("--only", default="")
parser.add_argument("--show", type=int, default=10**9)
given = parser.parse_args()
total, agree, by_rule, skipped = run(given.files or FILES, show=given.show, only=given.only)
sys.exit(0 if agree + by_rule + skipped == total else 1)
