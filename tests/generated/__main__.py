"""`python -m tests.generated --runs N [--first SEED] [--jobs N]`, `--seconds S`, or `--seed SEED` for one in full."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import yaml

from tests.generated.manifests import generate
from tests.generated.play import RefusedError, wrongs, wrongs_of
from tests.generated.reduce import reduced

CHUNK = 50


def some(seeds: range) -> tuple[int, int, list[tuple[int, list[str]]]]:
    """How many ran, how many were refused, and what was wrong."""
    refused, found = 0, []
    for seed in seeds:
        try:
            lines = wrongs(seed)
        except RefusedError:
            refused += 1
            continue
        if lines:
            found.append((seed, lines))
    return len(seeds), refused, found


def chunks(first: int, runs: int, until: float) -> Iterator[range]:
    """Seeds, until there are enough or the time is over."""
    for start in range(first, first + runs, CHUNK):
        if time.monotonic() > until:
            return
        yield range(start, min(start + CHUNK, first + runs))


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.generated", description=__doc__)
    parser.add_argument("--runs", type=int, default=10**9)
    parser.add_argument("--seconds", type=float, default=10.0**9)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--show", type=int, default=10)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--reduce", metavar="KIND", help="with --seed: make it smaller while this kind stays wrong")
    given = parser.parse_args()
    if given.seed is not None:
        made = generate(given.seed)
        if given.reduce:
            made = reduced(given.seed, made, given.reduce)
        print(yaml.safe_dump(made.spec, sort_keys=False, width=120) + f"operations: {made.operations}  bad: {made.bad}")
        lines = wrongs_of(given.seed, made)
        print("\n".join(lines))
        return 1 if lines else 0
    begun = time.monotonic()
    total, refused, seeds, kinds = _all(given, begun + given.seconds)
    bad = len(seeds)
    took = time.monotonic() - begun
    print(f"{total} workflows in three deliveries in {took:.0f} s, {refused} refused, {bad} wrong")
    if kinds:
        print("by kind: " + ", ".join(f"{kind} {count}" for kind, count in kinds.most_common()))
    return 1 if bad else 0


def _all(given: argparse.Namespace, until: float) -> tuple[int, int, list[int], Counter[str]]:
    total = refused = 0
    bad: list[int] = []
    kinds: Counter[str] = Counter()
    with ProcessPoolExecutor(given.jobs) as pool:
        waiting = chunks(given.first, given.runs, until)
        under_way = [pool.submit(some, one) for _, one in zip(range(given.jobs * 2), waiting, strict=False)]
        while under_way:
            ran, no, found = under_way.pop(0).result()
            total, refused = total + ran, refused + no
            for seed, lines in found:
                bad.append(seed)
                kinds.update({line.split(": ")[1] for line in lines})
                if len(bad) <= given.show:
                    print(f"seed {seed}, after {total}:\n" + "\n".join(f"    {line}" for line in lines[:6]), flush=True)
            following = next(waiting, None)
            if following is not None:
                under_way.append(pool.submit(some, following))
    return total, refused, bad, kinds


if __name__ == "__main__":
    sys.exit(main())
