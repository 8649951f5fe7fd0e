"""Steps a second through one executor and its session, against a bare posix_spawn loop in the same run.

`python -m bench.executor [STEPS]`. Each step is /bin/true; the scheduler is a few lines on a real gRPC server that
keeps every lent slot filled. Both measures alternate, since a shared machine changes its speed from second to second.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import sys
import tempfile
import time
from typing import Any

import grpc

from exeunt.internal.v1 import executor_service_pb2 as pb
from exeunt.internal.v1 import executor_service_pb2_grpc, step_pb2
from exeunt.service.grpc import SERVER_OPTIONS

SLOTS = 16
ROUNDS = 5
REACH = 0.6
SERVE = (
    "import asyncio, os\n"
    "from exeunt.executor.main import serve\n"
    "from exeunt.executor.settings import Settings\n"
    "from exeunt.service.settings import load\n"
    "asyncio.run(serve(load(Settings, os.environ)))\n"
)


class Scheduler(executor_service_pb2_grpc.ExecutorServiceServicer):
    """Dispatches as many steps as it has credits for, and acknowledges what comes back."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self.done = asyncio.Event()
        self._stream: Any = None
        self._number = 0
        self._writing = asyncio.Lock()  # a stream takes one frame at a time
        self._left = 0
        self._open = 0
        self._round = 0
        self._sent: list[tuple[int, int]] = []

    async def Session(self, requests: Any, context: Any) -> None:  # type: ignore[override]  # noqa: N802 - the contract
        """The executor's stream."""
        self._stream = context
        await self._say(pb.SessionResponse(welcome=pb.Welcome(replica="bench", grace_seconds=30, format=1)))
        async for frame in requests:
            answer = pb.SessionResponse()
            for update in frame.updates:
                assert update.result.phase == "Succeeded", update.result.message
                answer.acknowledged.append(update.id)
            self._open -= len(frame.updates)
            self._sent = [(number, count) for number, count in self._sent if number > frame.seen]
            self._fill(answer, frame.credits - sum(count for _, count in self._sent))
            self.ready.set()
            if answer.acknowledged or answer.dispatches or not frame.updates:
                await self._say(answer)
            if not self._left and not self._open:
                self.done.set()

    async def run(self, steps: int) -> float:
        """Has so many steps run; the seconds that it took."""
        await self.ready.wait()
        self._round += 1
        self._left = steps
        self.done.clear()
        start = time.perf_counter()
        answer = pb.SessionResponse()
        self._fill(answer, SLOTS)
        await self._say(answer)
        await self.done.wait()
        return time.perf_counter() - start

    def _fill(self, answer: pb.SessionResponse, credits: int) -> None:
        count = min(credits, self._left)
        for _ in range(count):
            name = f"r{self._round}n{self._left}"
            step = answer.dispatches.add(id=f"u/{name}/0", uid="u", node=name, node_name=f"bench.{name}")
            step.container.CopyFrom(step_pb2.ContainerWork(command=["/bin/true"]))
            self._left -= 1
            self._open += 1
        if count > 0:
            self._sent.append((self._number + 1, count))

    async def _say(self, answer: pb.SessionResponse) -> None:
        self._number += 1
        answer.number = self._number
        async with self._writing:
            await self._stream.write(answer)


def spawn(steps: int) -> float:
    """The limit: spawn and wait, one after the other, in the seconds that it takes."""
    start = time.perf_counter()
    null = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)]
    for _ in range(steps):
        os.waitpid(os.posix_spawn("/bin/true", ["/bin/true"], {"PATH": os.defpath}, file_actions=null), 0)
    return time.perf_counter() - start


def script(directory: str) -> str:
    path = os.path.join(directory, "serve.py")
    with open(path, "w") as file:
        file.write(SERVE)
    return path


async def measure(steps: int) -> tuple[float, float]:
    """Steps a second: through the executor, and the bare loop; each the median of the rounds."""
    server = grpc.aio.server(options=SERVER_OPTIONS)
    scheduler = Scheduler()
    executor_service_pb2_grpc.add_ExecutorServiceServicer_to_server(scheduler, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    through, bare = [], []
    with tempfile.TemporaryDirectory() as directory:
        environ = os.environ | {
            "EXEUNT_SCHEDULERS": f"127.0.0.1:{port}",
            "EXEUNT_DATA_DIR": directory,
            "EXEUNT_SLOTS": str(SLOTS),
            "EXEUNT_LOG_LEVEL": "warning",
        }
        profiled = ["-m", "cProfile", "-o", os.environ["PROFILE"]] if "PROFILE" in os.environ else []
        process = await asyncio.create_subprocess_exec(sys.executable, *profiled, script(directory), env=environ)
        try:
            await scheduler.run(steps // 5)
            for _ in range(ROUNDS):
                through.append(steps / await scheduler.run(steps))
                bare.append(steps / spawn(steps))
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()
            await server.stop(None)
    return statistics.median(through), statistics.median(bare)


def main() -> int:
    """Prints the table; 1 when the reach is missed."""
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    through, bare = asyncio.run(measure(steps))
    ratio = through / bare
    print(f"{'through the executor':24} {through:8.0f} steps/s")
    print(f"{'bare posix_spawn loop':24} {bare:8.0f} steps/s")
    print(f"{'ratio':24} {ratio:8.2f}  (reach {REACH}: {'held' if ratio >= REACH else 'missed'})")
    return 0 if ratio >= REACH else 1


if __name__ == "__main__":
    raise SystemExit(main())
