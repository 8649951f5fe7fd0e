"""The exit handler put together, without what is around it: health, signals, membership."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from nats.aio.client import Client

from exeunt.actions import open_toolbox
from exeunt.chains import Chains
from exeunt.driver import Clock
from exeunt.exithandler import numbers
from exeunt.exithandler.announce import Announcer
from exeunt.exithandler.api import ExitService, OwnerOf
from exeunt.exithandler.bundles import Bundles
from exeunt.exithandler.exit_runs import ExitRuns
from exeunt.exithandler.ledger import Ledger
from exeunt.exithandler.nodes_api import ExitRunService
from exeunt.exithandler.perform import ExitSteps
from exeunt.exithandler.settings import Settings
from exeunt.exithandler.start import Starter
from exeunt.exithandler.steps_client import AddressOf, StepsClient
from exeunt.exithandler.tree import Steps
from exeunt.exithandler.wait import Waiter
from exeunt.journal.log import Log, Record
from exeunt.journal.projections import Projections, open_projections
from exeunt.journal.refill import Refill
from exeunt.journal.request_ids import RequestIds
from exeunt.journal.secrets import Secrets
from exeunt.journal.standing import Standing
from exeunt.journal.steady import Steady


@dataclass(frozen=True)
class Handler:
    """All parts of one exit handler."""

    journal: Log
    projections: Projections
    runs: ExitRuns
    steps: ExitSteps
    client: StepsClient
    service: ExitService
    nodes: ExitRunService
    ledger: Ledger

    async def take(self, partitions: Collection[int]) -> None:
        """Makes the partitions this process's own and goes on with what is open in them."""
        await self.runs.take(partitions)

    def give(self, partitions: Collection[int]) -> None:
        """Hands the partitions over: stops acting in them."""
        self.runs.lose(partitions)
        self.journal.release(partitions)

    def routines(self) -> dict[str, Coroutine[Any, Any, None]]:
        """What has to run for as long as the handler lives."""
        return {
            "projections": self.projections.run(),
            "actions": self.steps.run(),
            "steps": self.client.run(),
            "lists": self.ledger.index.run(),
            "events that are gone": Refill(self.projections.events, self.runs.told_again).run(),
            "log": self.journal.ended(),
        }

    async def finish(self, seconds: float) -> None:
        """Takes up nothing more; lets what is quick come to its end. What is left comes again from the log."""
        self.runs.stopping = True
        try:
            async with asyncio.timeout(seconds):
                await self.steps.idle()
                await self.runs.drain()
        except TimeoutError:
            pass

    async def follow(self) -> None:
        """Takes up obligations as they come into the log; ends with the log."""
        async for what in self.journal.follow():
            if isinstance(what, Record):
                self.runs.oblige(what)
            else:  # nobody writes to exit handlers yet
                self.journal.finish(what)


@asynccontextmanager
async def open_handler(
    nc: Client, settings: Settings, *, address_of: AddressOf, owner_of: OwnerOf, clock: Clock | None = None
) -> AsyncIterator[Handler]:
    """Opens what one exit handler needs on this connection. It owns nothing yet, and its routines do not run."""
    async with AsyncExitStack() as stack:
        projections = await open_projections(
            nc, replicas=settings.replicas, ledger_days=settings.ledger_days, cluster=settings.cluster
        )
        journal = await Log.open(nc, "x", settings.replica, settings.log())
        stack.push_async_callback(journal.close)
        js = nc.jetstream(timeout=15)
        steady = Steady(journal.wire)
        waiter = Waiter(projections, steady, address_of)
        secrets = Secrets(projections.manifests, settings.keys(), steady)
        tools = await stack.enter_async_context(
            open_toolbox(settings.actions(), wait_workflow=waiter.follow, steps=Steps(js), secret=secrets.text)
        )
        ledger = Ledger(projections.ledger)
        bundles = Bundles(projections.blobs, steady)
        runs = ExitRuns(journal, bundles, ledger, Announcer(projections.events), clock)
        starter = Starter(
            journal, projections, Chains(settings.chain_depth, settings.chain_descendants), steady, settings.handlers()
        )
        client = StepsClient(settings.replica, address_of, journal.fence)
        steps = ExitSteps(
            settings.replica,
            journal,
            tools=tools,
            client=client,
            starter=starter.for_run,
            obligation_of=runs.obligation_of,
        )
        runs.steps = steps
        journal.on_lost.append(lambda partition: runs.lose([partition]))
        journal.on_snapshot = runs.snapshot
        stack.push_async_callback(runs.close)
        standing = Standing(journal.wire, [journal.gatherer, *projections.gatherers])
        service = ExitService(runs, ledger, owner_of, standing, RequestIds(projections.names, steady))
        nodes = ExitRunService(runs, owner_of, standing)
        handler = Handler(journal, projections, runs, steps, client, service, nodes, ledger)
        numbers.register(handler)
        yield handler
