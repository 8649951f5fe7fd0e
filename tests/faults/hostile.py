"""A soak on hostile subscribers: all harm at once that may be done to the public events, and a thousand consumers.

The same workflows, each with a handler and a step that waits for a child, run twice: in peace, and while the events are
acknowledged by strangers, lied on, purged, removed, filled and edited. All end as in peace, in about the same time, and
when the stream is emptied once more it is filled again as far as the log reaches, each workflow's events in order.
`python -m tests.faults.hostile [--workflows N] [--consumers N]` runs it by hand.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import nats
from nats.aio.client import Client as Nats

from exeunt.client import Client
from exeunt.cloudevents import STREAM
from tests.e2e.cluster import Cluster
from tests.e2e.harm import acknowledge, done, edit, fill, lie, made_again, purge, remove, workflow

AT_ONCE = 16
TURN_SECONDS = 1.0
"""So long one kind of harm is done to the stream, then the next."""
REFILL_SECONDS = 120


def client(cluster: Cluster) -> Client:
    """At the cluster's scheduler."""
    facts = cluster.facts()
    return Client(facts["scheduler"]["address"], token=facts["token"], timeout=100)


async def run_all(cluster: Cluster, count: int, lines: Path) -> tuple[float, list[str]]:
    """Runs so many workflows at once: the seconds until the last one is final, and their uids."""
    async with client(cluster) as at:
        began = time.monotonic()
        gate = asyncio.Semaphore(AT_ONCE)

        async def one() -> str:
            async with gate:
                answer = await at.submit([("hostile", workflow(lines))])
            uid = answer.workflows[0].uid
            async for state in at.follow(uid=uid):
                phase = state.object["status"]["phase"]
            assert phase == "Succeeded", state.object["status"]
            return uid

        uids = await asyncio.gather(*(one() for _ in range(count)))
        return time.monotonic() - began, uids


def wrong_lines(lines: Path, count: int) -> list[str]:
    """What is wrong with what the handlers wrote: each of the workflows and children once."""
    written = [line.split() for line in lines.read_text().splitlines()]
    names = {name for _, name, _ in written}
    if len(written) != 2 * count or len(names) != 2 * count or {phase for _, _, phase in written} != {"Succeeded"}:
        return [f"{len(written)} lines of {len(names)} workflows were written by the handlers of {2 * count}"]
    return []


async def consumers(nc: Nats, count: int) -> None:
    """So many subscribers that take nothing, made again whenever the stream was removed."""

    async def make(number: int) -> bool:
        config = {"durable_name": f"idle-{number}", "ack_policy": "explicit", "deliver_policy": "all"}
        request = json.dumps({"stream_name": STREAM, "config": config}).encode()
        with contextlib.suppress(nats.errors.Error):
            told = await nc.request(f"$JS.API.CONSUMER.CREATE.{STREAM}.idle-{number}", request, timeout=5)
            return b'"error"' not in told.data
        return False

    while not nc.is_closed:
        made = 0
        while made < count and await make(made):
            made += 1
        await asyncio.sleep(TURN_SECONDS)


async def all_harm(nc: Nats, count: int) -> None:
    """Every kind at once, of those that exclude each other one after the other."""

    async def in_turn() -> None:
        while not nc.is_closed:
            for harm in (edit, purge, fill, remove):
                with contextlib.suppress(TimeoutError, KeyError, nats.errors.Error):
                    await asyncio.wait_for(harm(nc), TURN_SECONDS)

    async with asyncio.TaskGroup() as group:
        for work in (acknowledge(nc), lie(nc), in_turn(), consumers(nc, count)):
            group.create_task(work)


async def elsewhere(cluster: Cluster, idle: int) -> None:
    """All harm, by a process of its own that has the rest of the machine: its own work is not to be measured."""
    call = [sys.executable, "-m", "tests.faults.hostile", "--harm", cluster.facts()["nats"]["url"]]
    process = await asyncio.create_subprocess_exec(*call, "--consumers", str(idle))
    try:
        await process.wait()
    finally:
        process.kill()
        await process.wait()


async def harm_alone(url: str, idle: int) -> None:
    """Until it is killed."""
    os.nice(15)
    await all_harm(await nats.connect(url), idle)


async def emptied(cluster: Cluster) -> None:
    """The stream is removed, once more."""
    nc = await nats.connect(cluster.facts()["nats"]["url"])
    await nc.request(f"$JS.API.STREAM.DELETE.{STREAM}", b"", timeout=5)
    await nc.close()


async def told(cluster: Cluster) -> dict[str, list[tuple[str, str]]]:
    """The events that are there of each workflow, without those of exit runs: id and subject."""
    nc = await nats.connect(cluster.facts()["nats"]["url"])
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    try:
        read = await nc.jetstream().subscribe("exeunt.events.>", ordered_consumer=True)
        with contextlib.suppress(nats.errors.TimeoutError):
            while True:
                event = await read.next_msg(timeout=2)
                if ".exit." not in event.subject:
                    found[event.subject.split(".")[3]].append(((event.headers or {})["ce-id"], event.subject))
    finally:
        await nc.close()
    return found


def in_a_row(ids: list[str]) -> bool:
    """Whether they are numbered without a gap."""
    numbers = [int(id.rpartition(".")[2]) for id in ids]
    return numbers == list(range(numbers[0], numbers[0] + len(numbers)))


async def wrong_events(cluster: Cluster, uids: list[str]) -> list[str]:
    """What is wrong with the events of these workflows, when there was time to fill the stream again.

    As far as the log reaches: of who ended longer ago the first are missing, or all.
    """
    ends = time.monotonic() + REFILL_SECONDS
    while True:
        there = await told(cluster)
        wrong = [
            f"{uid} has the events {[id for id, _ in there[uid]]}"
            for uid in there.keys() & set(uids)
            if not in_a_row([id for id, _ in there[uid]]) or not there[uid][-1][1].endswith("workflow.succeeded")
        ]
        if uids[-1] not in there:
            wrong.append("there is nothing of who ended last")
        if not wrong or time.monotonic() > ends:
            print(f"of {len(there)} workflows and children the events are there again")
            return wrong


async def soak(folder: Path, workflows: int, idle: int) -> list[str]:
    """Prints both times; what is wrong: nothing, when all is well."""
    cluster = Cluster(folder / "data")
    await asyncio.to_thread(cluster.up)
    try:
        await run_all(cluster, 10, folder / "warm")
        peace, first = await run_all(cluster, workflows, folder / "peace")
        async with done(cluster, lambda _: elsewhere(cluster, idle)):
            harm, second = await run_all(cluster, workflows, folder / "harm")
        print(f"{workflows} workflows: {peace:.1f} s in peace, {harm:.1f} s in harm, ratio {harm / peace:.2f}")
        await made_again(cluster)
        wrong = wrong_lines(folder / "peace", workflows) + wrong_lines(folder / "harm", workflows)
        _, third = await run_all(cluster, 10, folder / "after")
        await emptied(cluster)
        await made_again(cluster)
        return wrong + await wrong_events(cluster, first + second + third)
    finally:
        await asyncio.to_thread(cluster.down)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workflows", type=int, default=200)
    parser.add_argument("--consumers", type=int, default=1000)
    parser.add_argument("--harm", metavar="URL", default="", help="only do harm to this NATS, until it is killed")
    given = parser.parse_args()
    if given.harm:
        asyncio.run(harm_alone(given.harm, given.consumers))
    with tempfile.TemporaryDirectory() as folder:
        wrong = asyncio.run(soak(Path(folder), given.workflows, given.consumers))
    for line in wrong[:20]:
        print(line)
    print(f"{len(wrong)} wrong")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
