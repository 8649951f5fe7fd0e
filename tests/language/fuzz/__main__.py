"""`python -m tests.language.fuzz [--runs N] [--seed S] [--seconds T] [--keep]`: exits 1 when there was a fault."""

from __future__ import annotations

import argparse
import faulthandler
import sys

from tests.language.fuzz.campaign import CORPUS, campaign, written

parser = argparse.ArgumentParser(prog="tests.language.fuzz")
parser.add_argument("--runs", type=int, default=100_000)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--seconds", type=float, default=float("inf"))
parser.add_argument("--keep", type=int, default=0, metavar="N", help="add the N shortest of what was new to the corpus")
given = parser.parse_args()
faulthandler.enable()
report = campaign(given.runs, given.seed, seconds=given.seconds, told=lambda at: print(f"{at} runs", flush=True))
for fault in report.faults[:40]:
    print(f"--- {fault.target}: {fault.what}\n    {written(fault.source)[:500]}")
if given.keep:
    with CORPUS.open("a") as lines:
        lines.writelines(f"{written(source)}\n" for source in sorted(report.found, key=len)[: given.keep])
values = sum(count for outcome, count in report.outcomes.items() if " error " not in outcome)
print(f"{values} values, {sum(report.outcomes.values()) - values} errors, {len(report.outcomes)} kinds of outcome")
print(f"slowest {report.slowest[0]:.3f} s: {written(report.slowest[1])[:200]}")
told = f"{report.runs} runs in {report.seconds:.0f} s, seed {given.seed}, {report.memory // 1024} MiB"
print(f"{told}, {len(report.faults)} faults")
sys.exit(1 if report.faults else 0)
