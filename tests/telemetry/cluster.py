"""All three services in one process, and a workflow whose steps say which trace they are in."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from exeunt.client import Client
from exeunt.scheduler.parts import Scheduler
from tests.executor.conftest import inside
from tests.exithandler.conftest import handler_at
from tests.scheduler.rig import final, scheduling

MANIFEST = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: nightly-}
spec:
  entrypoint: main
  onExit: bye
  templates:
    - name: main
      steps:
        - - name: build
            template: show
            withItems: [a, b]
        - - name: test
            template: fail
            hooks: {exit: {template: bye}}
    - name: show
      outputs: {parameters: [{name: trace, valueFrom: {path: trace}}]}
      script: {image: none, command: [sh], source: 'echo "$TRACEPARENT $TRACESTATE" > trace'}
    - name: fail
      script: {image: none, command: [sh], source: 'exit 3'}
    - name: bye
      outputs: {parameters: [{name: trace, valueFrom: {path: trace}}]}
      script: {image: none, command: [sh], source: 'echo "$TRACEPARENT $TRACESTATE" > trace'}
"""


@contextlib.asynccontextmanager
async def cluster(url: str, folder: Path) -> AsyncIterator[Scheduler]:
    """All three services in this process."""
    async with scheduling(url, folder / "m") as parts:
        executor = inside(parts, folder / "e")  # type: ignore[arg-type]  # all it wants is the address
        async with handler_at(url, "x1", parts.address), executor:
            yield parts


async def run(parts: Scheduler, trace: dict[str, str] | None = None) -> dict[str, Any]:
    """Runs the workflow to its end."""
    async with Client(parts.address, trace=trace) as client:
        [started] = (await client.submit([("-", MANIFEST)])).workflows
        tree = await final(client, started.name)
    await parts.archiver.drained()
    return tree
