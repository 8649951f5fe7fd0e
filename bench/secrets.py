"""What a step with a large secret costs more than one without, from its dispatch until its result is there.

`python -m bench.secrets [ROUNDS]`. The secret has 250 KB in 1,500 lines; the step is a program that gets one variable
of it and says a line. Both measures alternate, since a shared machine changes its speed from second to second.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import string
import sys
import tempfile
import time

import grpc

from bench.executor import script
from exeunt.internal.v1 import executor_service_pb2 as pb
from exeunt.internal.v1 import executor_service_pb2_grpc, step_pb2
from exeunt.service.grpc import SERVER_OPTIONS

LIMIT_MS = 20.0
LINES, WIDTH = 1500, 166


class Scheduler(executor_service_pb2_grpc.ExecutorServiceServicer):
    """Has one step run at a time."""

    def __init__(self) -> None:
        self.steps: asyncio.Queue[step_pb2.Step] = asyncio.Queue()
        self.results: asyncio.Queue[step_pb2.StepResult] = asyncio.Queue()

    async def Session(self, requests: object, context: object) -> None:  # type: ignore[override]  # noqa: N802 - the contract
        """The executor's stream."""
        number = 1
        welcome = pb.Welcome(replica="bench", grace_seconds=30, format=1)
        await context.write(pb.SessionResponse(number=number, welcome=welcome))  # type: ignore[attr-defined]

        async def dispatch() -> None:
            nonlocal number
            while True:
                step = await self.steps.get()
                number += 1
                await context.write(pb.SessionResponse(number=number, dispatches=[step]))  # type: ignore[attr-defined]

        async with asyncio.TaskGroup() as group:
            group.create_task(dispatch())
            async for frame in requests:  # type: ignore[attr-defined]
                for update in frame.updates:
                    number += 1
                    await context.write(pb.SessionResponse(number=number, acknowledged=[update.id]))  # type: ignore[attr-defined]
                    self.results.put_nowait(update.result)

    async def time(self, step: step_pb2.Step) -> float:
        """The milliseconds that a step takes."""
        start = time.perf_counter()
        self.steps.put_nowait(step)
        result = await self.results.get()
        assert result.phase == "Succeeded", result.message
        return (time.perf_counter() - start) * 1000


def step(name: str, lines: list[str]) -> step_pb2.Step:
    """A step with a secret of these lines; none for no lines."""
    made = step_pb2.Step(id=f"u/{name}/0", uid="u", node=name, node_name=name)
    made.container.command.extend(["echo", "hello"])
    if lines:
        made.secrets.add(name="s", values={"k": "\n".join(lines).encode(), "token": lines[0].encode()})
        made.container.env.add(name="T", secret=step_pb2.SecretKey(name="s", key="token"))
    return made


async def measure(rounds: int) -> tuple[float, float]:
    """Milliseconds for a step without a secret and for one with it, medians."""
    lines = ["".join(random.choices(string.ascii_letters + string.digits, k=WIDTH)) for _ in range(LINES)]
    server = grpc.aio.server(options=SERVER_OPTIONS)
    scheduler = Scheduler()
    executor_service_pb2_grpc.add_ExecutorServiceServicer_to_server(scheduler, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    without, with_it = [], []
    with tempfile.TemporaryDirectory() as directory:
        environ = os.environ | {
            "EXEUNT_SCHEDULERS": f"127.0.0.1:{port}",
            "EXEUNT_DATA_DIR": directory,
            "EXEUNT_LOG_LEVEL": "warning",
        }
        process = await asyncio.create_subprocess_exec(sys.executable, script(directory), env=environ)
        try:
            await scheduler.time(step("first", lines))
            for n in range(rounds):
                without.append(await scheduler.time(step(f"a{n}", [])))
                with_it.append(await scheduler.time(step(f"b{n}", lines)))
        finally:
            process.terminate()
            await process.wait()
            await server.stop(None)
    return statistics.median(without), statistics.median(with_it)


def main() -> int:
    """Prints the figures; 1 when the limit is missed."""
    without, with_it = asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 30))
    more = with_it - without
    print(f"{'a step without a secret':32} {without:8.1f} ms")
    print(f"{'with one of 250 KB, 1,500 lines':32} {with_it:8.1f} ms")
    print(f"{'more':32} {more:8.1f} ms  (limit {LIMIT_MS:g}: {'held' if more <= LIMIT_MS else 'missed'})")
    return 0 if more <= LIMIT_MS else 1


if __name__ == "__main__":
    raise SystemExit(main())
