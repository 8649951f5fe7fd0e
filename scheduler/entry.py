"""A run in memory, and how it is looked at: as the log has it, and in slices where it has many nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from exeunt.driver.driver import Driver
from exeunt.engine.decide import Run
from exeunt.engine.shown import count_nodes, head
from exeunt.journal.errors import LogClosed, NotOwner
from exeunt.scheduler.view import Tree, WorkflowView, at_once, looking, resting
from exeunt.service.errors import unavailable

FEW = 100
"""Nodes that are looked through at once."""


class OpenWorkflow:
    """A run in memory. `ready` is done when its first commit is durable."""

    __slots__ = ("_looking", "changed", "closed", "created", "driver", "ending", "ready", "waiters")

    def __init__(self, driver: Driver, created: float) -> None:
        self.driver = driver
        self.created = created
        self.ready: asyncio.Future[None] | None = None
        self.closed = False
        self.ending: Tree | None = None  # the whole workflow, as its last event told it
        self.waiters: list[tuple[asyncio.Future[WorkflowView], bool]] = []  # who wants to see it, and its nodes
        self.changed: set[Callable[[], None]] = set()  # who wants to hear of each commit
        self._looking: asyncio.Future[WorkflowView] | None = None

    @property
    def run(self) -> Run:
        """The run itself."""
        return self.driver.run

    @property
    def place(self) -> tuple[float, str]:
        """Where it stands in lists: by its creation, in milliseconds, and its uid."""
        return round(self.created, 3), self.uid

    @property
    def uid(self) -> str:
        """The workflow's uid."""
        return self.driver.run.uid

    async def ready_now(self) -> None:
        """Waits until the first commit is durable. Raises UNAVAILABLE when it cannot be written here any more."""
        if self.ready is not None and not (self.ready.done() and self.ready.exception() is None):
            try:
                await asyncio.shield(self.ready)
            except (NotOwner, LogClosed):
                raise unavailable("MOVED", "the workflow belongs to another scheduler by now; ask again") from None

    async def view(self, *, nodes: bool = True) -> WorkflowView:
        """The workflow as it is, with nothing in it that might be taken back; or only what stands beside its nodes.

        While many nodes are looked through nothing is decided. What came first is decided before that.
        """
        while self.driver.waits and not self.driver.busy and self._looking is None:
            await self.driver.turns.do(lambda: None)
        if self.driver.busy and not self.driver.dropped:
            waiter: asyncio.Future[WorkflowView] = asyncio.get_running_loop().create_future()
            self.waiters.append((waiter, nodes))
            found = await waiter
        elif not nodes:
            found = self._head()
        elif self.large:
            found = await self._look()
        else:
            found = at_once(self.run)
        return resting(found, self.driver.broken) if self.driver.rests and not self.closed else found

    @property
    def large(self) -> bool:
        """Whether it has more nodes than may be looked through at once."""
        return count_nodes(self.run) > FEW

    def _head(self) -> WorkflowView:
        return WorkflowView(head(self.run), {}, self.run.commits)

    def _look(self) -> asyncio.Future[WorkflowView]:
        """All of it. Who comes while it is being looked through gets the same."""
        if self._looking is None:
            self.driver.hold()
            self._looking = asyncio.ensure_future(self._looked())
        return asyncio.shield(self._looking)

    async def _looked(self) -> WorkflowView:
        try:
            return await self.driver.turns.through(looking(self.run))
        finally:
            self._looking = None
            self.driver.let_go()

    def show(self) -> None:
        """A commit has become durable and nothing has been decided since: show it to all who wait."""
        waiters, self.waiters = self.waiters, []
        whole = [waiter for waiter, nodes in waiters if nodes]
        for waiter, nodes in waiters:
            if not (nodes or waiter.done()):
                waiter.set_result(self._head())
        if whole and self.large:
            self._look().add_done_callback(lambda looked: _give(looked, whole))
        elif whole:
            found = at_once(self.run)
            for waiter in whole:
                if not waiter.done():
                    waiter.set_result(found)
        for tell in list(self.changed):
            tell()

    def gone(self) -> None:
        """The run is somebody else's now: whoever waits asks again and is passed on."""
        for waiter, _ in self.waiters:
            if not waiter.done():
                waiter.set_exception(unavailable("MOVED", "the workflow has just moved to another scheduler"))
        self.waiters.clear()
        for tell in list(self.changed):
            tell()


def _give(looked: asyncio.Future[WorkflowView], waiters: list[asyncio.Future[WorkflowView]]) -> None:
    for waiter in waiters:
        if waiter.done():
            continue
        error = asyncio.CancelledError() if looked.cancelled() else looked.exception()
        if error is None:
            waiter.set_result(looked.result())
        else:
            waiter.set_exception(error)
