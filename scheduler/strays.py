"""Attempts that executors know and nobody here has asked for: forgotten there once it is certain that nobody will."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping

from exeunt.journal.subjects import partition_of
from exeunt.scheduler.attempts import Executor, Flight, named

log = logging.getLogger(__name__)

Judges = Callable[[int, float | None], bool]
"""Whether this scheduler owns a partition, has loaded it, and has had that confirmed a moment ago, or since then."""


class StrayAttempts:
    """Judges them. `unjudged` is true when something was left open because `judges` was not sure: judge again.

    What nobody here knows is given up only by who was found to be the owner after it had come: a former owner that is
    cut off and does not know it yet would have the executor forget what a new owner waits for.
    """

    def __init__(
        self,
        flights: Mapping[str, Flight],
        judges: Judges,
        forget: Callable[[Executor, str], None],
    ) -> None:
        """`flights` are the attempts that somebody has asked for; `forget` has an executor forget one."""
        self.unjudged = False
        self._flights = flights
        self._judges = judges
        self._forget = forget
        self._swept: set[str] = set()  # what the last sweep found
        self._met: dict[str, float] = {}  # since when executors tell of each

    def begin(self, executors: Iterable[Executor]) -> None:
        """All of them are to be judged."""
        self.unjudged = False
        told = set().union(*(executor.listed for executor in executors))
        self._met = {id: since for id, since in self._met.items() if id in told}

    def judge(self, executor: Executor, partitions: Collection[int] | None) -> None:
        """Has the executor forget those of its attempts that nobody wants. None: of all partitions."""
        for id in [id for id in executor.listed if id not in self._flights]:
            attempt = named(id)
            if attempt is None:
                log.warning("executor %s knows an attempt of no readable name: %r", executor.profile.id, id)
                continue
            if attempt.hook_id or (partitions is not None and partition_of(attempt.uid) not in partitions):
                continue
            if self.nobody_wants(id):
                self._forget(executor, id)

    def nobody_wants(self, id: str) -> bool:
        """True when that is certain: it is a main run's, of a partition that is ours and loaded."""
        attempt = named(id)
        if attempt is None:
            return True
        if attempt.hook_id or id in self._flights:
            return False
        since = self._met.setdefault(id, asyncio.get_running_loop().time())
        if self._judges(partition_of(attempt.uid), since):
            self._met.pop(id)
            return True
        self.unjudged = True
        return False

    def sweep(self, executors: Iterable[Executor], over: Callable[[str, str], bool]) -> None:
        """Executors forget what is left of exit runs that are over, unless it was asked for since the last sweep.

        As a rule `Dispatch.exit_closed` says so. An executor or a scheduler that was away at that moment, or that the
        acknowledgement did not reach, has such an attempt for ever. `over` is told the workflow's uid and the hook's
        id; a replay of the exit run has until the next sweep to ask.
        """
        found: set[str] = set()
        for executor in executors:
            for id in [id for id in executor.listed if id not in self._flights]:
                attempt = named(id)
                if attempt is None or not attempt.hook_id or not over(attempt.uid, attempt.hook_id):
                    continue
                if id in self._swept:
                    self._forget(executor, id)
                else:
                    found.add(id)
        self._swept = found
