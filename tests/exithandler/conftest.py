"""An exit handler on a real nats-server, and the scheduler's side of the log as a test writes and reads it."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from exeunt.engine.facts import commit
from exeunt.engine.facts.events import Event, HookDue, HookOutcome, Obligation, RunClosed
from exeunt.exithandler.parts import ExitHandler, open_parts
from exeunt.exithandler.settings import Settings
from exeunt.journal.blobs import Blobs
from exeunt.journal.log import Log
from exeunt.journal.owners import FixedOwners
from exeunt.journal.subjects import PARTITIONS, Family, MailboxMessage, Record, partition_of
from exeunt.journal.wire import connect
from exeunt.language.decode import load_manifests
from exeunt.language.manifest import Bundle, Workflow
from exeunt.launch import encode_bundle
from tests.actions.conftest import World, world
from tests.nats_server import NatsServer, nats_server

__all__ = ["nats_server", "world"]

ALL = range(PARTITIONS)


def bundle_of(text: str) -> Bundle:
    """The bundle of a manifest that names nothing else."""
    workflow = load_manifests(text)[0].model
    assert isinstance(workflow, Workflow)
    return Bundle(workflow=workflow)


@dataclass
class Main:
    """What the scheduler would do: it owes handlers, and reads what became of them."""

    journal: Log
    blobs: Blobs
    results: dict[str, list[RunClosed]] = field(default_factory=dict)
    messages: list[MailboxMessage] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    async def owe(self, manifest: str, template: str = "bye", **facts: Any) -> Obligation:
        """A handler is owed, in the log."""
        digest = await self.blobs.put(encode_bundle(bundle_of(manifest)))
        obligation = obligation_of(next(self.numbers), digest, template, **facts)
        await self.write(obligation.uid, [HookDue(obligation=obligation)])
        return obligation

    async def write(self, uid: str, events: list[Event], data: bytes | None = None) -> None:
        """A commit of kind `h`."""
        family = Family(partition_of(uid), uid)
        await self.journal.append(family, next(self.numbers), "h", data or commit.encode(time.time(), events))

    async def follow(self) -> None:
        async for what in self.journal.follow():
            if isinstance(what, Record):
                closed = next(e for e in commit.decode(what.data).events if isinstance(e, RunClosed))
                self.results.setdefault(what.family.hook_id, []).append(closed)
            else:
                self.messages.append(what)
            self.journal.finish(what)
            self.changed.set()

    async def until(self, fits: Callable[[], bool], seconds: float = 20) -> None:
        """Waits until something that is read makes it true."""
        async with asyncio.timeout(seconds):
            while not fits():
                self.changed.clear()
                await self.changed.wait()

    async def result(self, obligation: Obligation, count: int = 1) -> HookOutcome:
        """What became of a handler, when it has closed so many times."""
        await self.until(lambda: len(self.results.get(obligation.hook_id, [])) >= count)
        outcome = self.results[obligation.hook_id][-1].hook
        assert outcome is not None
        return outcome


def obligation_of(number: int, digest: str, template: str = "bye", **facts: Any) -> Obligation:
    """An obligation as the engine makes it when workflow `wf-N` ends."""
    name = f"wf-{number}"
    scope = {
        "workflow.name": name,
        "workflow.namespace": "ns",
        "workflow.uid": f"uid-{number}",
        "workflow.status": "Failed",
        "workflow.duration": "1.5",
        "workflow.failures": '"null"',
    }
    made: dict[str, Any] = {
        "hook_id": f"hook{number}",
        "hook": "exit",
        "node": name,
        "node_name": name,
        "hook_node": f"{name}-777",
        "hook_node_name": f"{name}.onExit",
        "boundary": None,
        "uid": f"uid-{number}",
        "name": name,
        "namespace": "ns",
        "bundle": digest,
        "caller": {"template": template},
        "caller_scope": "",
        "arguments": {},
        "scope": scope,
        "reason": "Failed",
        "phase": "Failed",
        "due_at": time.time(),
    }
    return Obligation(**{**made, **facts})


@pytest.fixture
async def main(nats_server: NatsServer) -> AsyncIterator[Main]:
    nc = await connect(nats_server.url, "main")
    from exeunt.journal.projections import open_projections

    projections = await open_projections(nc)
    journal = await Log.open(nc, "m", "scheduler")
    await journal.take(ALL)
    await journal.load(ALL)
    main = Main(journal, projections.blobs)
    following = asyncio.create_task(main.follow())
    yield main
    await journal.close()
    await following
    await nc.close()


Start = Callable[..., Awaitable[ExitHandler]]


@asynccontextmanager
async def handler_at(url: str, replica: str, scheduler: str = "", **settings: Any) -> AsyncIterator[ExitHandler]:
    """A running exit handler that owns everything."""
    nc = await connect(url, replica)
    chosen = Settings(nats_url=url, replica=replica, **{"allow_loopback": True, **settings})
    try:
        owners = FixedOwners(scheduler=lambda: scheduler or None, exit_handler=lambda: "")
        async with open_parts(nc, chosen, owners) as handler:

            async def confirm() -> None:  # what membership does with its heartbeat
                while True:
                    await handler.journal.confirm(asyncio.get_running_loop().time())
                    await asyncio.sleep(0.2)

            tasks = [asyncio.create_task(work) for work in (confirm(), *handler.routines().values())]
            try:
                await handler.take(ALL)
                tasks.append(asyncio.create_task(handler.follow()))
                yield handler
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        await nc.close()


class Handlers:
    """Exit handlers, one after the other."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stacks: dict[str, AsyncExitStack] = {}
        self._count = 0

    async def start(self, **settings: Any) -> ExitHandler:
        self._count += 1
        stack = AsyncExitStack()
        replica = f"x{self._count}"
        handler = await stack.enter_async_context(handler_at(self._url, replica, **settings))
        self._stacks[replica] = stack
        return handler

    async def kill(self, handler: ExitHandler) -> None:
        """It stops in the middle of whatever it does."""
        await self._stacks.pop(handler.journal.replica).aclose()

    async def close(self) -> None:
        for stack in self._stacks.values():
            await stack.aclose()


@pytest.fixture
async def handlers(nats_server: NatsServer) -> AsyncIterator[Handlers]:
    handlers = Handlers(nats_server.url)
    yield handlers
    await handlers.close()


__all__ += ["Handlers", "Main", "World"]
