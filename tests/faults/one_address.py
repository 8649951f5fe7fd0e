"""A soak on links: executors know one address that stands before all schedulers, which call themselves something else.

So it is on Kubernetes. Workflows run all the time; in the end each executor has opened one stream to each scheduler,
and none broke. `python -m tests.faults.one_address [--minutes M]` runs it by hand.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
import uuid
from pathlib import Path

from exeunt.client import Client, ClientError
from exeunt.words import phases
from tests.balancer import Balancer
from tests.faults.replicas import Replicas, Service
from tests.nats_server import NatsServer

SCHEDULERS, EXECUTORS, PEOPLE = 2, 3, 4
STEPS = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: w-}
spec:
  entrypoint: main
  onExit: after
  templates:
    - name: main
      steps: [[{name: a, template: say, withSequence: {count: "4"}}]]
    - name: say
      container: {image: alpine, command: [sh, -c, "echo one; sleep 0.2"]}
    - name: after
      container: {image: alpine, command: [echo, over]}
"""


def lines(service: Service) -> list[str]:
    """What the service has logged."""
    return [
        json.loads(line).get("message", "") for line in service.spec.log.read_text().splitlines() if line[:1] == "{"
    ]


async def soak(folder: Path, seconds: float) -> tuple[int, list[str]]:
    """How many workflows ran, and what is wrong: nothing, when all is well."""
    nats = NatsServer(folder / "nats")
    await nats.begin()
    found = Replicas(folder, nats)
    found.plan(SCHEDULERS, 1, EXECUTORS)
    try:
        async with Balancer(*(s.internal for s in found.schedulers)) as seed:
            for scheduler in found.schedulers:
                scheduler.spec.environ["EXEUNT_ADVERTISE"] = scheduler.internal.replace("127.0.0.1", "localhost")
            for executor in found.executors:
                executor.spec.environ["EXEUNT_SCHEDULERS"] = seed.address
                executor.spec.environ["EXEUNT_HEARTBEAT_SECONDS"] = "10"  # a machine that is busy elsewhere breaks none
            await asyncio.gather(*(service.start() for service in found.services))
            ran = await _work(found.schedulers[0], seconds)
            wrong = []
            for executor in found.executors:
                said = lines(executor)
                opened = [line for line in said if line.startswith("connected to scheduler")]
                broken = [line for line in said if "broke" in line]
                if len(opened) != SCHEDULERS or broken:
                    wrong.append(f"{executor.name} opened {len(opened)} streams: {[*opened, *broken][:10]}")
            return ran, wrong
    finally:
        await found.stop()
        await nats.stop()


async def _work(scheduler: Service, seconds: float) -> int:
    """Some people who submit one workflow after the other; how many ran."""
    ends = time.monotonic() + seconds
    counts = await asyncio.gather(*(_person(scheduler.address, ends) for _ in range(PEOPLE)))
    return sum(counts)


async def _person(address: str, ends: float) -> int:
    count = 0
    async with Client(address) as client:
        while time.monotonic() < ends:
            assert await _ran(client, uuid.uuid4().hex) == "Succeeded"
            count += 1
    return count


async def _ran(client: Client, request: str) -> str:
    """Submits one and follows it to its end; comes again when, on a busy machine, partitions change hands."""
    while True:
        try:
            [started] = (await client.submit([("-", STEPS)], request_id=request)).workflows
            async for state in client.follow(started.name, started.namespace):
                if state.final:
                    return phases.word(state.summary.phase)
        except ClientError as error:
            if not error.unreachable:
                raise
            await asyncio.sleep(error.pause)


def main() -> int:
    """One soak."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1)
    minutes = parser.parse_args().minutes
    folder = Path(tempfile.mkdtemp(prefix="exeunt-one-address-"))
    ran, wrong = asyncio.run(soak(folder, minutes * 60))
    print(f"{minutes:g} minutes, {ran} workflows:", "; ".join(wrong) or "no stream broke")
    if wrong:
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
