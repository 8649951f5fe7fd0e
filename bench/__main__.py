"""`python -m bench [W0 W1p W2 W3 W4 W5 W6 W7 executor log] [--json FILE]`: figures beside limits.

Without names: W0 to W4. Ends with 1 when an aim is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import crash, engine, executor, journal, limits, lists, told, works
from bench.echo import Echo
from tests.e2e.cluster import Cluster


@dataclass
class Figure:
    """One line of the table. `ratio` compares `value` with `limit`; `met` says whether the aim is reached."""

    name: str
    value: float
    unit: str
    limit: float
    limit_is: str
    ratio: float
    aim: str
    met: bool


def w0(shape: str) -> Figure:
    """The engine alone: the cost of a node must not grow with its workflow."""
    small, large = engine.growth(shape)
    ratio = large.rate / small.rate
    return Figure(
        f"W0 {shape}, {large.bytes_per_node:.0f} B/node",
        large.rate,
        f"nodes/s of {engine.LARGE:,}",
        small.rate,
        f"nodes/s of {engine.SMALL:,}",
        ratio,
        ">= 0.6: as fast in large ones",
        ratio >= 0.6,
    )


def executor_alone() -> Figure:
    """Steps through one executor and its session, against a bare posix_spawn loop."""
    through, bare = asyncio.run(executor.measure(1000))
    aim = executor.REACH
    return Figure(
        "executor",
        through,
        "steps/s",
        bare,
        "posix_spawn loop, one at a time",
        through / bare,
        f">= {aim}",
        through >= aim * bare,
    )


def log_alone() -> Figure:
    """Commits of 300 runs at once, against syncs one at a time: what gathering gives."""
    rate, syncs = asyncio.run(journal.gathered(300))
    return Figure("log", rate, "commits/s, 300 waiting", syncs, "fsyncs/s", rate / syncs, ">= 3", rate >= 3 * syncs)


def _where(cluster: Cluster) -> tuple[str, str]:
    facts = cluster.facts()
    return facts["scheduler"]["address"], facts["token"]


def w1p(cluster: Cluster) -> Figure:
    """1,000 parallel `/bin/true` steps, against a posix_spawn loop."""
    steps = 1000
    before = limits.spawns_per_second()
    taken = asyncio.run(works.one(_where(cluster), works.fan_out(steps)))
    limit = (before + limits.spawns_per_second()) / 2
    rate = steps / taken
    return Figure(
        "W1p", rate, "steps/s", limit, "posix_spawn loop, spawns/s", rate / limit, ">= 0.4", rate >= 0.4 * limit
    )


def w2(cluster: Cluster) -> Figure:
    """A chain of 100 `/bin/true` steps: what a step costs beyond its process."""
    steps = 100
    asyncio.run(works.one(_where(cluster), works.chain(10)))
    taken = asyncio.run(works.one(_where(cluster), works.chain(steps)))
    overhead = taken / steps - limits.spawn_seconds()
    limit = limits.fsync_seconds(cluster.data_dir) + limits.round_trip()
    ratio = overhead / limit
    return Figure(
        "W2",
        overhead * 1000,
        "ms/step beyond the process",
        limit * 1000,
        "one fsync + one round trip, ms",
        ratio,
        "<= 3",
        ratio <= 3,
    )


def w3(cluster: Cluster) -> Figure:
    """1,000 workflows of one http step and an http exit handler."""
    count = 1000
    with Echo() as url:
        nats, text = cluster.facts()["nats"]["url"], works.with_handler(url)
        asyncio.run(works.many(_where(cluster), nats, text, 50))
        taken = asyncio.run(works.many(_where(cluster), nats, text, count))
    rate = count / taken
    syncs = 1 / limits.fsync_seconds(cluster.data_dir)
    return Figure(
        "W3", rate, "workflows/s", syncs, "fsyncs/s, one at a time", rate / syncs, ">= 200 workflows/s", rate >= 200
    )


def w4(cluster: Cluster) -> Figure:
    """Kills in the midst of 100 exit handlers: none is lost, all done within 2 s beyond restart and work."""
    found = asyncio.run(crash.crashes(cluster))
    worst = max(one.beyond for one in found)
    return Figure(
        "W4",
        worst,
        "s beyond restart and work",
        crash.BEYOND,
        "s, the aim",
        worst / crash.BEYOND,
        "<= 2 s, none lost, once is once",
        worst <= crash.BEYOND and all(one.sound for one in found),
    )


def w5(cluster: Cluster) -> Figure:
    """A page of ten of 100,000 kept workflows and exit runs, against the same of 1,000."""
    facts = cluster.facts()
    where = lists.Where(
        facts["scheduler"]["address"], facts["exithandler"]["address"], facts["token"], facts["nats"]["url"]
    )
    found = asyncio.run(lists.measure(where, lambda line: print(f"     {line}", flush=True)))
    ratios = {name: found[name, lists.MANY].alone / found[name, lists.FEW].alone for name, _ in found}
    worst = max(ratios, key=lambda name: ratios[name])
    return Figure(
        "W5",
        found[worst, lists.MANY].alone,
        f"ms, {worst} of {lists.MANY:,}",
        found[worst, lists.FEW].alone,
        f"ms of {lists.FEW:,}",
        ratios[worst],
        "<= 1.5",
        ratios[worst] <= 1.5,
    )


def w6(cluster: Cluster) -> Figure:
    """From the last act of a step until a subscriber has its event."""
    seconds = asyncio.run(told.until_heard(cluster))
    limit = limits.fsync_seconds(cluster.data_dir) + limits.round_trip()
    ratio = seconds / limit
    return Figure(
        "W6",
        seconds * 1000,
        "ms from a step's end to a subscriber",
        limit * 1000,
        "one fsync + one round trip, ms",
        ratio,
        "<= 20",
        ratio <= 20,
    )


def w7(cluster: Cluster) -> Figure:
    """From SIGTERM until a service is gone, with 80 streams open."""
    found = asyncio.run(told.until_gone(cluster))
    for service, seconds in found.items():
        print(f"     {service} {seconds:.2f} s")
    worst = max(found, key=lambda name: found[name])
    return Figure(
        "W7",
        found[worst],
        f"s from SIGTERM to gone, {worst}",
        1.0,
        "s, the aim",
        found[worst],
        "<= 1",
        found[worst] <= 1,
    )


WORKS: dict[str, Callable[[Cluster], Figure]] = {"W1p": w1p, "W2": w2, "W3": w3, "W4": w4, "W5": w5, "W6": w6, "W7": w7}
ALONE: dict[str, Callable[[], list[Figure]]] = {
    "W0": lambda: [w0(shape) for shape in engine.SHAPES],
    "executor": lambda: [executor_alone()],
    "log": lambda: [log_alone()],
}
"""What needs no cluster."""
DEFAULT = ["W0", *(name for name in WORKS if name not in {"W5", "W6", "W7"})]
SLOTS = {"W4": crash.SLOTS}


def main() -> int:
    """Runs what was asked for on a fresh cluster each."""
    known = [*ALONE, *WORKS]
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument(
        "works", nargs="*", default=DEFAULT, help=f"out of {' '.join(known)}; {' '.join(DEFAULT)} when none is named"
    )
    parser.add_argument("--json", default="bench/results/latest.json", help="where the figures are written")
    chosen = parser.parse_args()
    unknown = [w for w in chosen.works if w not in known]
    if unknown:
        parser.error(f"no such work: {', '.join(unknown)}; there are {' '.join(known)}")
    figures = []
    for name in chosen.works:
        for figure in ALONE[name]() if name in ALONE else [_on_a_cluster(name)]:
            figures.append(figure)
            print(
                f"{figure.name:4} {figure.value:9.1f} {figure.unit:28} limit {figure.limit:9.1f} ({figure.limit_is})"
                f"  ratio {figure.ratio:5.2f}  aim {figure.aim}",
                flush=True,
            )
    target = Path(chosen.json)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps([asdict(f) for f in figures], indent=1))
    missed = [f.name for f in figures if not f.met]
    print("reached: all" if not missed else f"missed: {', '.join(missed)}")
    return 1 if missed else 0


def _on_a_cluster(name: str) -> Figure:
    with tempfile.TemporaryDirectory(prefix="exeunt-bench-") as folder:
        cluster = Cluster(Path(folder) / "data", arguments=["--slots", str(SLOTS.get(name, 16))])
        cluster.up()
        try:
            return WORKS[name](cluster)
        finally:
            cluster.down()


if __name__ == "__main__":
    sys.exit(main())
