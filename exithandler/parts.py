"""The parts of an exit handler, put together: what hears of what. Listeners, membership and signals are `main`'s."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from nats.aio.client import Client

from exeunt.actions import Toolbox, open_toolbox
from exeunt.bundles import Bundles
from exeunt.chains import Chains
from exeunt.driver.ports import Clock
from exeunt.exithandler import numbers
from exeunt.exithandler.announce import ExitAnnouncer
from exeunt.exithandler.api import ExitService
from exeunt.exithandler.exit_runs import ExitRuns
from exeunt.exithandler.ledger import Ledger
from exeunt.exithandler.nodes_api import ExitRunService
from exeunt.exithandler.obligations import Obligations
from exeunt.exithandler.open_run import obligation_of_driver
from exeunt.exithandler.perform import ExitSteps
from exeunt.exithandler.replay import Replayer
from exeunt.exithandler.restore import Restorer
from exeunt.exithandler.settings import Settings
from exeunt.exithandler.start import ChildStarter
from exeunt.exithandler.steps_client import StepsClient
from exeunt.exithandler.tree import StepLister
from exeunt.exithandler.wait import ChildWaiter
from exeunt.internal.v1.exit_run_service_pb2_grpc import add_ExitRunServiceServicer_to_server
from exeunt.journal.access import NatsAccess
from exeunt.journal.log import Log
from exeunt.journal.owners import Owners
from exeunt.journal.projections import Projections, open_projections
from exeunt.journal.refill import Refill
from exeunt.journal.repeat import RepeatOnReconnect
from exeunt.journal.request_ids import RequestIds
from exeunt.journal.secrets import Secrets
from exeunt.journal.subjects import Record
from exeunt.launch import EMBEDDED
from exeunt.service.grpc import Register
from exeunt.v1.exit_service_pb2_grpc import add_ExitServiceServicer_to_server

SERVICE = "exeunt.v1.ExitService"
NODES = "exeunt.internal.v1.ExitRunService"


class ExitHandler:
    """An exit handler without its listeners: its parts, each made with what it needs, and what has to run for them.

    It owns nothing before `take` (`exeunt.journal.holdings.Holder`).
    """

    def __init__(
        self,
        settings: Settings,
        journal: Log,
        projections: Projections,
        owners: Owners,
        *,
        tools: Toolbox,
        clock: Clock | None = None,
    ) -> None:
        self.journal = journal
        self.projections = projections
        self.complete = False  # the first load is
        self.loaded_changed: list[Callable[[], None]] = []
        self._finish_seconds = settings.finish_seconds
        repeat = RepeatOnReconnect(journal.wire)
        bundles = Bundles(projections.blobs, repeat)
        chains = Chains(settings.chain_depth, settings.chain_descendants)
        starter = ChildStarter(
            journal,
            projections,
            bundles,
            chains,
            repeat=repeat,
            handlers=settings.handlers(),
            repository=settings.repository() or EMBEDDED,
        )
        self.client = StepsClient(settings.replica, lambda p: owners.scheduler_of(p) or None, journal.fence)
        owners.on_members.append(self.client.owners_changed)
        self.steps = ExitSteps(
            settings.replica,
            journal,
            tools=tools,
            client=self.client,
            starter=starter.for_run,
            obligation_of=obligation_of_driver,
        )
        self.ledger = Ledger(projections.ledger)
        announcer = ExitAnnouncer(projections.events)
        self.runs = ExitRuns(journal, self.ledger, announcer, self.steps, clock)
        self.obligations = Obligations(journal, self.runs, bundles)
        self.replayer = Replayer(journal, self.runs, bundles, self.ledger)
        self.restorer = Restorer(
            journal, self.runs, self.obligations, bundles=bundles, ledger=self.ledger, announcer=announcer
        )
        journal.on_lost.append(lambda partition: self.runs.lose([partition]))
        journal.on_snapshot.append(self.runs.snapshot)
        self.access = NatsAccess(journal.wire, [journal.gatherer, *projections.gatherers])
        self.service = ExitService(
            self.runs,
            self.replayer,
            self.ledger,
            owners=owners,
            access=self.access,
            ids=RequestIds(projections.names, repeat),
        )
        self.nodes = ExitRunService(self.runs, owners, self.access, lambda: self.complete)
        numbers.register(journal, self.runs, self.obligations, self.steps, self.client)

    def public(self) -> dict[str, Register]:
        """What users are served."""
        return {SERVICE: partial(add_ExitServiceServicer_to_server, self.service)}

    def internal(self) -> dict[str, Register]:
        """What the other services are served."""
        return {**self.public(), NODES: partial(add_ExitRunServiceServicer_to_server, self.nodes)}

    # --- partitions ---------------------------------------------------------------------------------------------------

    @property
    def holder(self) -> ExitHandler:
        """What acts for partitions."""
        return self

    @property
    def loaded(self) -> set[int]:
        """The partitions in which this process acts."""
        return self.runs.loaded

    async def take(self, partitions: Collection[int]) -> None:
        """Makes the partitions this process's own and goes on with what is open in them."""
        await self.journal.take(partitions)
        await self.restorer.restore(await self.journal.load(partitions))
        self.runs.loaded |= {p for p in partitions if self.journal.owns(p)}
        self.complete = True
        for told in self.loaded_changed:
            told()

    def release(self, partitions: Collection[int]) -> None:
        """Hands the partitions over: stops acting in them."""
        self.runs.lose(partitions)
        self.journal.release(partitions)

    # --- from beginning to end ----------------------------------------------------------------------------------------

    def routines(self) -> dict[str, Coroutine[Any, Any, None]]:
        """What has to run for as long as the exit handler does."""
        return {
            "projections": self.projections.run(),
            "actions": self.steps.run(),
            "steps": self.client.run(),
            "lists": self.ledger.index.run(),
            "events that are gone": Refill(self.projections.events, self.restorer.told_again).run(),
            "log": self.journal.ended(),
        }

    async def follow(self) -> None:
        """Takes up obligations as they come into the log; ends with the log."""
        async for what in self.journal.follow():
            if isinstance(what, Record):
                self.obligations.take(what)
            else:  # nobody writes to exit handlers yet
                self.journal.finish(what)

    async def finish(self) -> None:
        """Takes up nothing more; lets what is quick come to its end. What is left comes again from the log."""
        self.obligations.stopping = True
        try:
            async with asyncio.timeout(self._finish_seconds):
                await self.steps.idle()
                await self.runs.drain()
        except TimeoutError:
            pass


@asynccontextmanager
async def open_parts(
    nc: Client, settings: Settings, owners: Owners, clock: Clock | None = None
) -> AsyncIterator[ExitHandler]:
    """The parts of an exit handler on this connection. Their routines do not run yet."""
    projections = await open_projections(
        nc, replicas=settings.replicas, ledger_days=settings.ledger_days, cluster=settings.cluster
    )
    journal = await Log.open(nc, "x", settings.replica, settings.log())
    try:
        repeat = RepeatOnReconnect(journal.wire)
        waiter = ChildWaiter(projections, repeat, owners)
        secrets = Secrets(projections.manifests, settings.keys(), repeat)
        lister = StepLister(nc.jetstream(timeout=15))
        async with open_toolbox(
            settings.actions(), wait_workflow=waiter.follow, steps=lister, secret=secrets.text
        ) as tools:
            parts = ExitHandler(settings, journal, projections, owners, tools=tools, clock=clock)
            try:
                yield parts
            finally:
                await parts.runs.close()
    finally:
        await journal.close()
