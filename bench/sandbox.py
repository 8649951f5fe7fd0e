"""What a sandboxed step costs beside a plain one, and beside `bwrap` and `unshare` where they are installed.

`python -m bench.sandbox [STEPS]`. Each step is /bin/true, one after the other, then eight at once; the kinds take turns
in each round, since a shared machine changes its speed from second to second. Figures are medians of the rounds.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from exeunt.executor.runtime.base import ProgramSpec, Runtime, RuntimeContext
from exeunt.executor.runtime.registry import RUNTIMES

ROUNDS = 5
AT_ONCE = 8
REACH = 0.6
TOOLS = {
    "bwrap": "bwrap --unshare-all --share-net --die-with-parent --new-session --cap-drop ALL --bind / / --proc /proc "
    "--dev /dev --tmpfs /tmp /bin/true",
    "unshare": "unshare --mount --pid --ipc --fork --mount-proc /bin/true",
}


def step_of(runtime: Runtime, command: list[str]) -> Callable[[], Awaitable[None]]:
    """Starts a program in the runtime and waits for its end."""

    async def once() -> None:
        program = await runtime.start(ProgramSpec(id="b", image="", command=command), lambda *_: None)
        ended = await program.wait()
        program.release()
        assert ended.exit_code == 0, f"{command[0]} ended with {ended.exit_code}"

    return once


async def seconds(once: Callable[[], Awaitable[None]], steps: int, at_once: int) -> float:
    """Seconds for each of so many steps."""
    left = steps

    async def work() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await once()

    start = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(at_once)))
    return (time.perf_counter() - start) / steps


async def measure(steps: int) -> dict[tuple[str, int], float]:
    """Seconds by kind and number at once."""
    found: dict[tuple[str, int], list[float]] = {}
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR"))))
        kinds: dict[str, Callable[[], Awaitable[None]]] = {}
        for name in ("process", "sandbox"):
            (folder / name).mkdir()
            runtime = await stack.enter_async_context(RUNTIMES[name](RuntimeContext(folder / name, str(folder), {})))
            kinds[name] = step_of(runtime, ["/bin/true"])
            if name == "process":
                kinds.update(
                    {tool: step_of(runtime, line.split()) for tool, line in TOOLS.items() if shutil.which(tool)}
                )
        for tool in list(kinds):
            try:
                await kinds[tool]()
            except AssertionError as error:
                print(f"{tool}: left out: {error}")
                del kinds[tool]
        for _ in range(ROUNDS):
            for at_once in (1, AT_ONCE):
                for kind, once in kinds.items():
                    found.setdefault((kind, at_once), []).append(await seconds(once, steps, at_once))
    return {key: statistics.median(values) for key, values in found.items()}


def main() -> int:
    """Prints the table; 1 when a sandboxed step starts less than `REACH` times as fast as the fastest tool's."""
    found = asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 100))
    for (kind, at_once), each in sorted(found.items(), key=lambda one: (one[0][1], one[1])):
        print(f"{kind:10} {at_once:2} at once {1000 * each:8.2f} ms a step {1 / each:8.0f} steps/s")
    missed = False
    for at_once in (1, AT_ONCE):
        tools = {kind: each for (kind, n), each in found.items() if n == at_once and kind == "bwrap"}
        for kind, each in tools.items():
            ratio = each / found["sandbox", at_once]
            missed |= ratio < REACH
            print(f"sandbox against {kind}, {at_once} at once: {ratio:.2f}  (reach {REACH})")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
