"""Attempts that write the same files of this machine take turns; otherwise one would read what another wrote."""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
from collections import deque
from collections.abc import AsyncIterator

from exeunt.executor.programs import main_of
from exeunt.internal.v1 import step_pb2 as pb


class FileTurns:
    """Which attempt has which files. Each file goes to the attempts in the order in which they asked for it."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[_Turn]] = {}

    @contextlib.asynccontextmanager
    async def taken(self, paths: tuple[str, ...]) -> AsyncIterator[None]:
        """Waits for all of these files, and holds them within the block."""
        turn = _Turn(paths)
        for path in paths:
            self._queues.setdefault(path, deque()).append(turn)
        try:
            if not self._first(turn):
                await turn.come.wait()
            yield
        finally:
            self._leave(turn)

    def _first(self, turn: _Turn) -> bool:
        return all(self._queues[path][0] is turn for path in turn.paths)

    def _leave(self, turn: _Turn) -> None:
        for path in turn.paths:
            queue = self._queues[path]
            queue.remove(turn)
            if not queue:
                del self._queues[path]
            elif self._first(queue[0]):
                queue[0].come.set()


class _Turn:
    """An attempt that wants files."""

    def __init__(self, paths: tuple[str, ...]) -> None:
        self.paths = paths
        self.come = asyncio.Event()


def shared_paths(step: pb.Step) -> tuple[str, ...]:
    """The output files of a step that other attempts see, too; relative paths are in its own directory."""
    here = main_of(step).working_dir
    paths = (posixpath.normpath(posixpath.join(here, o.path)) for o in step.outputs)
    return tuple(dict.fromkeys(path for path in paths if path.startswith("/")))
