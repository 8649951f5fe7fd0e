"""`python -m tests.simulation`: runs of the simulation, by number, by time, or one seed with its whole trace."""

from __future__ import annotations

import argparse
import gc
import importlib
import logging
import os
import subprocess
import sys
import time
import warnings
from collections import Counter

TOLD_RUNS = 1000
"""After so many a line says how far it has come."""


def main() -> int:
    """Answers 0 when nothing was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="one run, with its trace")
    parser.add_argument("--first", type=int, default=0, help="the seed to begin with")
    parser.add_argument("--runs", type=int, default=0, help="how many runs")
    parser.add_argument("--jobs", type=int, default=1, help="so many processes side by side share the runs")
    parser.add_argument("--seconds", type=float, default=0.0, help="runs for so long")
    parser.add_argument("--plant", default="", help="a mistake to plant (planted.py): 0 when a run finds it")
    parser.add_argument("--mend", default="", help="a module to import that changes something")
    parser.add_argument("--all", action="store_true", help="go on when something was wrong")
    parser.add_argument("--logs", action="store_true", help="also what the services log")
    arguments = parser.parse_args()
    if arguments.jobs > 1:
        return _side_by_side(arguments.first, arguments.runs, arguments.jobs)
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets is part of a run
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])
    logging.basicConfig(level=logging.INFO if arguments.logs else logging.CRITICAL + 1, format="%(name)s: %(message)s")
    warnings.simplefilter("ignore")  # tasks of killed processes are never awaited
    sys.unraisablehook = lambda unraisable: None  # generators of killed processes end when they are collected
    clock = time.perf_counter

    from tests.simulation.planted import PLANTED
    from tests.simulation.run import Simulation, install

    install()
    if arguments.mend:
        importlib.import_module(arguments.mend)
    plant = PLANTED[arguments.plant] if arguments.plant else None
    if plant is not None:
        plant.sow()
    gc.disable()
    gc.freeze()
    if arguments.seed is not None:
        result = Simulation(arguments.seed, trace=True).run()
        print("\n".join(result.lines))
        print("\n".join(result.wrongs) or "nothing wrong")
        return bool(result.wrongs)
    began = clock()
    total: Counter[str] = Counter()
    while (not arguments.runs or total["runs"] < arguments.runs) and (
        not arguments.seconds or clock() - began < arguments.seconds
    ):
        result = Simulation(arguments.first + total["runs"]).run()
        total.update(result.counts, runs=1)
        if plant is not None and any(plant.told in wrong for wrong in result.wrongs):
            print(f"found in run {total['runs']}: {next(w for w in result.wrongs if plant.told in w)}")
            return 0
        if plant is None and result.wrongs:
            total["wrong"] += 1
            print(f"seed {result.seed}, run {total['runs']}:", *result.wrongs[:5], sep="\n    ")
            print(f"again with: python -m tests.simulation --seed {result.seed}", flush=True)
            if not arguments.all:
                return 1
        del result
        gc.collect()
        if total["runs"] % TOLD_RUNS == 0:
            print(f"{total['runs']} runs, {total['wrong']} of them wrong", flush=True)
    taken = clock() - began
    print(f"{total['runs']} runs in {taken:.1f} s ({total['runs'] / taken:.1f}/s):", *map(_told, total.items()))
    return bool(plant or total["wrong"])


def _side_by_side(first: int, runs: int, jobs: int) -> int:
    """Processes of their own for a part of the runs each; one that finds something goes on."""
    command = [sys.executable, "-m", "tests.simulation", "--all"]
    parts = [(first + i * runs // jobs, (i + 1) * runs // jobs - i * runs // jobs) for i in range(jobs)]
    processes = [subprocess.Popen([*command, "--first", str(f), "--runs", str(n)]) for f, n in parts]
    return max([process.wait() for process in processes])


def _told(item: tuple[str, int]) -> str:
    return f"{item[1]} {item[0]}"


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # what is left of killed processes is not to be taken apart
