"""Which partitions this scheduler has: what membership gives it is loaded, what membership takes is handed over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from exeunt.journal.errors import NotOwner
from exeunt.journal.log import Log
from exeunt.journal.ownership import Membership
from exeunt.journal.steady import NATS_AWAY
from exeunt.journal.subjects import PARTITIONS
from exeunt.scheduler.runs import Runs

log = logging.getLogger(__name__)

PAUSE_SECONDS = 0.2  # before partitions that somebody else took at the same moment are looked at again


class Holdings:
    """Keeps what is owned and what membership says in step; says who owns what (`exeunt.scheduler.peers.Owners`)."""

    def __init__(self, journal: Log) -> None:
        self.stopping = False
        self._journal = journal
        self._membership: Membership | None = None
        self._changed = asyncio.Event()
        self.on_members: list[Callable[[], None]] = []

    def join(self, membership: Membership) -> None:
        """From now on membership is known. Before, nobody owns anything."""
        self._membership = membership
        membership.on_change += [self._changed.set, self._members_changed]
        self._changed.set()

    def _members_changed(self) -> None:
        for told in self.on_members:
            told()

    # --- who owns what ------------------------------------------------------------------------------------------------

    def scheduler_of(self, partition: int) -> str | None:
        """The address of the scheduler; empty for this one, None while there is none."""
        membership = self._membership
        member = membership.owner_of(partition, "m") if membership else None
        if membership is None or member is None:
            return None
        return "" if member == membership.me else member.address

    def exit_handler_of(self, partition: int) -> str | None:
        """The address of the exit handler, None while there is none."""
        member = self._membership.owner_of(partition, "x") if self._membership else None
        return None if member is None else member.address

    def schedulers(self) -> list[str]:
        """The addresses of the other schedulers."""
        membership = self._membership
        return [m.address for m in membership.members("m") if m != membership.me] if membership else []

    def fresh(self, partition: int, since: float | None = None) -> bool:
        """Whether it was confirmed a moment ago, or since then, that the partition is ours (`Log.fresh`)."""
        return self._journal.fresh(partition, since)

    # --- following it -------------------------------------------------------------------------------------------------

    def lost(self, partition: int) -> None:
        """Somebody else has taken a partition: look again whose it should be."""
        asyncio.get_running_loop().call_later(PAUSE_SECONDS, self._changed.set)

    async def keep(self, runs: Runs) -> None:
        """Takes and hands over until it is cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            mine = set() if self.stopping else {p for p in range(PARTITIONS) if self.scheduler_of(p) == ""}
            gone = runs.loaded - mine
            if gone:
                log.info("handing over %d partitions", len(gone))
                runs.release(gone)
            new = mine - runs.loaded
            if not new:
                continue
            try:
                await runs.take(new)
            except (NotOwner, *NATS_AWAY) as error:
                log.info("%s; looking again", str(error) or type(error).__name__)
                await asyncio.sleep(PAUSE_SECONDS)
                self._changed.set()
