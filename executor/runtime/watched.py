"""What every runtime on this machine has beside it: it ends what an earlier life left, and watches what it starts."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator
from typing import NamedTuple

from exeunt.executor.runtime import survivors
from exeunt.executor.runtime.base import RuntimeContext
from exeunt.executor.runtime.guard import Groups, GuardProcess
from exeunt.executor.runtime.reaper import Reaper, adopting

log = logging.getLogger(__name__)


class Watched(NamedTuple):
    """The process groups that are noted, who takes in what has ended, and the mark of this life of the executor."""

    groups: Groups
    reaper: Reaper
    owner: str


@contextlib.asynccontextmanager
async def watched(context: RuntimeContext) -> AsyncIterator[Watched]:
    """Ends survivors, adopts orphans, and keeps a guard beside the executor that ends all if the executor dies."""
    groups_file, work = context.data_dir / "groups", str(context.data_dir / "work")
    killed = await asyncio.to_thread(survivors.end_survivors, f"{context.mark}/", str(groups_file), work)
    if killed:
        log.warning("ended %d processes that outlived this executor's last life", killed)
    owner = f"{context.mark}/{secrets.token_hex(4)}"
    groups = Groups(groups_file)
    with adopting() as reaper:
        guard = GuardProcess(reaper, f"{owner}/", str(groups_file), work)
        guard.start()
        try:
            yield Watched(groups, reaper, owner)
        finally:
            await guard.close()
