"""Three NATS nodes and all services start in the same moment, as after `kubectl apply`: nobody ends while they find
each other. Then all nodes are killed and come again, and again nobody does.

`python -m tests.faults.forming [--rounds N]` runs it by hand.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import uuid
from pathlib import Path

from exeunt.client import Client, ClientError
from exeunt.words import phases
from tests.faults.replicas import Replicas, Service
from tests.nats_server import NatsServer, free_ports

SECONDS = 300.0
"""Who has not ended by then is only slow, as on a busy machine; who ended is seen at once."""

WORKFLOW = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: w-}
spec:
  entrypoint: main
  onExit: after
  templates:
    - name: main
      container: {image: alpine, command: [echo, one]}
    - name: after
      container: {image: alpine, command: [echo, over]}
"""


async def round_(folder: Path) -> list[str]:
    """One start, one kill of all nodes. What is wrong; nothing, when all is well."""
    routes = free_ports(3)
    nodes = [
        NatsServer(folder / f"nats{i}", name=f"n{i}", cluster_port=port, routes=routes) for i, port in enumerate(routes)
    ]
    urls = ",".join(node.url for node in nodes)
    found = Replicas(folder, nodes[0], {"EXEUNT_NATS_URL": urls, "EXEUNT_REPLICAS": "3"})
    found.plan(2, 2, 3)
    try:
        for node in nodes:
            node.start()
        await asyncio.gather(*(service.start(SECONDS) for service in found.services))
        await _works(found)
        pids = [service.pid for service in found.services]
        await asyncio.gather(*(node.kill() for node in nodes))
        for node in nodes:
            node.start()
        await _works(found)
        ended = [s.name for s, pid in zip(found.services, pids, strict=True) if not s.runs or s.pid != pid]
        return [f"ended: {name}" for name in ended] + [f"traceback: {s.name}" for s in found.services if _broke(s)]
    except (AssertionError, TimeoutError, ClientError) as error:
        return [str(error) or type(error).__name__]
    finally:
        await found.stop()
        await asyncio.gather(*(node.stop() for node in nodes))


async def _works(found: Replicas) -> None:
    """A workflow runs to its end; whoever submits comes again while there is no leader yet."""
    request = uuid.uuid4().hex
    async with Client(found.schedulers[0].address) as client, asyncio.timeout(SECONDS):
        while True:
            try:
                [started] = (await client.submit([("-", WORKFLOW)], request_id=request)).workflows
                break
            except ClientError as error:
                if not error.unreachable:
                    raise
                await asyncio.sleep(error.pause)
        async for state in client.follow(started.name, started.namespace):
            phase = phases.word(state.summary.phase)
    assert phase == "Succeeded", f"{started.name}: {phase}"


def _broke(service: Service) -> bool:
    return "Traceback" in service.spec.log.read_text()


def main() -> int:
    """So many rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    rounds = parser.parse_args().rounds
    bad = 0
    for number in range(1, rounds + 1):
        folder = Path(tempfile.mkdtemp(prefix="exeunt-forming-"))
        wrong = asyncio.run(round_(folder))
        print(f"{number}/{rounds}:", "; ".join(wrong) or "nobody ended", flush=True)
        if wrong:
            bad += 1
            print(f"  logs: {folder}/logs")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
