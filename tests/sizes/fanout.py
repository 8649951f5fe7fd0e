"""`python -m tests.sizes.fanout --steps 100000` or `--handlers 10000`: one workflow of a very large loop.

Each item is a step that goes through the executor and starts `/bin/true`; with `--handlers` each has an exit handler
that does so too. The workflow is watched while it runs, read, listed and deleted; small workflows run beside it. Prints
how long each took and the most memory of each service; exits 1 when something is not as it should be.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from exeunt.client import Client
from exeunt.v1 import exit_service_pb2 as exits
from tests.e2e.cluster import Cluster
from tests.sizes import calls as by_client
from tests.sizes.manifests import Tree, canary, steps, text, workflow

SERVICES = ("scheduler", "exithandler", "executor", "nats")
TRUE: Tree = {"container": {"image": "none", "command": ["/bin/true"]}}
EVERY = 20.0
"""A small workflow begins so many seconds after the one before has ended."""


def fan_out(items: int, handlers: bool) -> str:
    """So many steps side by side, each with a handler or none, and a handler of the whole."""
    hooks = {"hooks": {"exit": {"template": "bye"}}} if handlers else {}
    each = {"name": "s", "template": "true", "withSequence": {"count": str(items)}, **hooks}
    named = [{"name": name, **TRUE} for name in ("true", "bye")]
    return text(workflow("fanout", steps("main", each), *named, onExit="bye"))


class Report:
    """What was measured, printed as it comes, and what was wrong."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self._begun = time.monotonic()

    def say(self, what: str, figure: str) -> None:
        """A line, with the time since the start."""
        print(f"{time.monotonic() - self._begun:7.1f} s  {what:<34} {figure}", flush=True)

    def lap(self, what: str, begun: float, more: str = "") -> None:
        """How long something took."""
        self.say(what, f"{time.monotonic() - begun:.2f} s{more}")

    def expect(self, what: str, seen: object, wanted: object) -> None:
        """Notes what is not as it should be."""
        if seen != wanted:
            self.wrong.append(f"{what}: {seen}, not {wanted}")

    def memory(self, cluster: Cluster, when: str) -> None:
        """Of each service: what it has now, and the most that it had."""
        for service in SERVICES:
            for pid in cluster.pids(service):
                now, most = _resident(pid)
                self.say(f"{service} {when}", f"{now:,.0f} MB, at most {most:,.0f} MB")


def _resident(pid: int) -> tuple[float, float]:
    """Resident memory now and at its peak, in MB (proc(5))."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return tuple(int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))  # type: ignore[return-value]


async def measure(cluster: Cluster, items: int, handlers: bool) -> list[str]:
    """Plays it, and gives what was wrong."""
    report = Report()
    report.memory(cluster, "at rest")
    async with by_client.client(cluster) as calls:
        begun = time.monotonic()
        [made] = (await calls.submit([("f", fan_out(items, handlers))])).workflows
        report.lap("submitted", begun)
        small: list[float] = []
        beside = asyncio.create_task(_beside(calls, small))
        found, states = await _watched(calls, made.uid)
        took = time.monotonic() - begun
        report.lap(
            "ended, with its handlers", begun, f": {items * (1 + handlers) / took:,.0f} steps/s, {states} states"
        )
        report.memory(cluster, "at the end")
        beside.cancel()
        slow = [one for one in await asyncio.gather(beside, return_exceptions=True) if isinstance(one, Exception)]
        report.wrong += [f"beside it: {error}" for error in slow]
        _judge(report, found, items, handlers)
        report.say("small workflows beside it", " ".join(f"{one:.1f}" for one in small) + " s")
        await _looked_at(report, calls, cluster, made.name, found)
        await _ledger(report, calls, made.name, items if handlers else 0)
        begun = time.monotonic()
        report.expect("deleted", await calls.delete(made.name), True)
        report.lap("deleted", begun)
        report.expect("listed after that", [one for one in await calls.list_workflows() if one.uid == made.uid], [])
        report.memory(cluster, "at last")
    return report.wrong


async def _beside(calls: Client, took: list[float]) -> None:
    """Small workflows, one after the other, until cancelled; notes how long each takes."""
    while True:
        begun = time.monotonic()
        [uid] = await by_client.submit(calls, text(canary()))
        status = (await by_client.ended(calls, uid))["status"]
        if (status["phase"], status["finalization"]) != ("Succeeded", "Succeeded"):
            raise AssertionError(f"a small workflow is {status['phase']}, {status['finalization']}")
        took.append(time.monotonic() - begun)
        await asyncio.sleep(EVERY)


async def _watched(calls: Client, uid: str) -> tuple[Tree, int]:
    """The workflow once it and its handlers have ended, and in how many states it was seen."""
    found: Tree = {}
    states = 0
    async for state in calls.follow(uid=uid):
        found, states = state.object, states + 1
    return found, states


def _judge(report: Report, found: Tree, items: int, handlers: bool) -> None:
    status = found["status"]
    report.expect("phase", (status["phase"], status["finalization"]), ("Succeeded", "Succeeded"))
    pods = [node for node in status["nodes"].values() if node["type"] == "Pod"]
    report.expect("steps", len(pods), items * (1 + handlers) + 1)
    report.expect("not succeeded", [node["name"] for node in pods if node["phase"] != "Succeeded"][:3], [])


async def _looked_at(report: Report, calls: Client, cluster: Cluster, name: str, found: Tree) -> None:
    begun = time.monotonic()
    _, whole = await calls.read(name)
    report.lap("read by the client", begun, f": {len(json.dumps(whole)) / 1e6:,.0f} MB of JSON")
    report.expect("nodes", len(whole["status"]["nodes"]), len(found["status"]["nodes"]))
    begun = time.monotonic()
    listed = [one for one in await calls.list_workflows() if one.name == name]
    report.lap("listed", begun)
    report.expect("in the list", len(listed), 1)
    for command in ("get", "watch", "list", "logs"):
        begun = time.monotonic()
        done: Any = await asyncio.to_thread(cluster.call, command, *([] if command == "list" else [name]), timeout=600)
        report.lap(f"exeunt {command}", begun, f": {len(done.stdout.splitlines()):,} lines")
        report.expect(f"exeunt {command}", done.returncode and done.stderr[-300:], 0)


async def _ledger(report: Report, calls: Client, name: str, handlers: int) -> None:
    begun = time.monotonic()
    records = await calls.list_exits(workflow=name)
    report.lap("ledger listed", begun, f": {len(records):,} records")
    report.expect("records", len(records), handlers + 1)
    report.expect("states", {one.state for one in records}, {exits.Exit.STATE_SUCCEEDED})


def main() -> int:
    """Plays what is asked for, and prints all that went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.sizes.fanout")
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--steps", type=int, help="a loop of so many steps")
    chosen.add_argument("--handlers", type=int, help="a loop of so many steps, with a handler on each")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="exeunt-fanout-") as directory:
        cluster = Cluster(Path(directory) / "data")
        cluster.up()
        try:
            wrong = asyncio.run(measure(cluster, given.steps or given.handlers, bool(given.handlers)))
        finally:
            cluster.down()
    print("\n".join(wrong) or "nothing went wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
