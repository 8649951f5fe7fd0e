"""`python -m tests.golden [FILES…]`: the recorded cases against the engine; `--case ID` prints one of them in full."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from tests.golden.runner import DIFFERING, NAMES, judged, keep, known, report
from tests.golden.show import show

parser = argparse.ArgumentParser(prog="tests.golden", description=__doc__)
parser.add_argument("files", nargs="*", help="hand, hand2, examples, random, hooks, or a path; all when none is named")
parser.add_argument("--case", metavar="ID", help="print this case: manifest, and node by node ours, Argo's, mended")
parser.add_argument("--only", metavar="ID", default="", help="judge this case alone")
parser.add_argument("--show", metavar="N", type=int, default=10**9, help="print at most N differing cases")
parser.add_argument("--lines", metavar="N", type=int, default=12, help="at most N lines of each")
parser.add_argument("--ids", metavar="FILE", type=Path, help="write the ids that differ to this file, one a line")
parser.add_argument("--against", metavar="FILE", type=Path, help="say what differs now and did not in this file")
parser.add_argument("--keep", action="store_true", help="write what differs to differing.txt, the ids that may differ")
parser.add_argument("--jobs", metavar="N", type=int, default=os.cpu_count() or 1)
given = parser.parse_args()
names = given.files or NAMES
if given.case:
    sys.exit(show(names, given.case))
found = list(judged(names, given.only, given.jobs))
differing = report(found, given.show, given.lines)
if given.ids:
    given.ids.write_text("".join(f"{identity}\n" for identity in differing))
if given.keep:
    keep({one.id for one in found}, set(differing))
before = set(given.against.read_text().split()) if given.against else known()
judged_ids = {one.id for one in found}
for text, ids in (
    ("differ anew", set(differing) - before),
    ("do not differ any more", (before & judged_ids) - set(differing)),
):
    if ids:
        print(f"{text} ({given.against or DIFFERING.name}): " + " ".join(sorted(ids)), file=sys.stderr)
sys.exit(1 if differing else 0)
