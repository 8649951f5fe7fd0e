"""Two schedulers share the partitions: each answers for both, and one takes over when the other goes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exeunt.client import Client, ClientError
from exeunt.journal.holdings import Holdings
from exeunt.journal.log import Log
from exeunt.journal.owners import MembershipOwners
from exeunt.journal.ownership import ClusterMember, Membership
from exeunt.journal.projections import open_projections
from exeunt.journal.wire import connect
from exeunt.scheduler.checks import work_here
from exeunt.scheduler.parts import Scheduler
from exeunt.scheduler.settings import Settings
from exeunt.service.grpc import serve_grpc
from exeunt.words import phases
from tests.nats_server import NatsServer, nats_server
from tests.scheduler.rig import final, hands
from tests.scheduler.test_pages import pages
from tests.scheduler.test_service import HELLO, HOLD, submit

__all__ = ["nats_server"]

pytestmark = pytest.mark.services


class Loaded:
    """Waits until schedulers together have loaded everything and agree on who has what."""

    def __init__(self, *schedulers: Scheduler) -> None:
        self._schedulers = schedulers
        self._changed = asyncio.Event()
        for parts in schedulers:
            parts.runs.loaded_changed.append(self._changed.set)

    async def wait(self) -> None:
        async with asyncio.timeout(20):
            while not self._agree():
                self._changed.clear()
                await self._changed.wait()

    def _agree(self) -> bool:
        held = [parts.runs.loaded for parts in self._schedulers]
        return sum(map(len, held)) == 64 and len(set().union(*held)) == 64 and all(held)


async def _nothing() -> None:
    pass


@contextlib.asynccontextmanager
async def scheduler(url: str, folder: Path, replica: str, *, crash: bool = False) -> AsyncIterator[Scheduler]:
    """One of several schedulers. With `crash` it ends without a word to the others."""
    settings = Settings(nats_url=url, data_dir=folder, replica=replica, expected_schedulers=2)
    nc = await connect(url, replica)
    projections = await open_projections(nc)
    log = await Log.open(nc, "m", replica, settings.log())
    owners = MembershipOwners()
    parts = Scheduler(settings, log, projections, owners, check=work_here)
    writing = asyncio.create_task(projections.run())
    try:
        async with serve_grpc("127.0.0.1:0", parts.internal(), grace=0) as server, asyncio.TaskGroup() as group:
            parts.address = server.address
            membership = await Membership.open(nc, ClusterMember("m", replica, parts.address), confirm=parts.confirm)
            owners.join(membership)
            holdings = Holdings(membership, log, parts.runs)
            routines = [membership.run(), holdings.keep(), *parts.routines().values()]
            tasks = [group.create_task(routine) for routine in routines]
            try:
                yield parts
            finally:
                await parts.stop_intake()
                await server.stop(0)
                if not crash:
                    await holdings.leave(_nothing)
                for task in tasks:
                    task.cancel()
    finally:
        parts.runs.lose(range(64))
        await parts.peers.close()
        await log.close()
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await nc.close()


async def test_each_answers_for_both(nats_server: NatsServer, tmp_path: Path) -> None:
    async with (
        scheduler(nats_server.url, tmp_path, "a") as a,
        scheduler(nats_server.url, tmp_path, "b") as b,
        Client(a.address) as at_a,
        Client(b.address) as at_b,
        hands(a, id="one"),
        hands(b, id="two"),
    ):
        await Loaded(a, b).wait()
        names = [name for _ in range(12) for name in await submit(at_a, HOLD.replace("name: held", "generateName: h-"))]
        assert a.runs.by_uid
        assert b.runs.by_uid
        for client in (at_a, at_b):
            assert sorted(w.name for w in await client.list_workflows()) == sorted(names)
            assert [(await client.get(name)).name for name in names] == names
        for name in names:
            await at_b.stop(name)
            assert (await final(at_a, name))["status"]["phase"] == "Failed"


async def test_lists_of_several_are_newest_first(nats_server: NatsServer, tmp_path: Path) -> None:
    async def nothing(names: list[str]) -> None:
        pass

    async with (
        scheduler(nats_server.url, tmp_path, "a") as a,
        scheduler(nats_server.url, tmp_path, "b") as b,
        Client(a.address) as at_a,
        hands(a, id="one"),
        hands(b, id="two"),
    ):
        await Loaded(a, b).wait()
        names: list[str] = []
        for _ in range(6):
            for text in (HELLO, HOLD.replace("name: held", "generateName: h-")):
                names += await submit(at_a, text)
            await final(at_a, names[-2])
        await asyncio.gather(a.archiver.drained(), b.archiver.drained())
        listed = await pages(a, 100, nothing)
        assert listed == names[::-1]
        for parts, size in ((a, 1), (b, 3), (a, 5), (b, 20)):
            assert await pages(parts, size, nothing) == listed


@pytest.mark.parametrize("crash", [False, True], ids=["handing over", "crashing"])
async def test_one_takes_over_when_the_other_goes(nats_server: NatsServer, tmp_path: Path, crash: bool) -> None:
    async with scheduler(nats_server.url, tmp_path, "b") as b, Client(b.address) as at_b:
        async with scheduler(nats_server.url, tmp_path, "a", crash=crash) as a, Client(a.address) as at_a:
            await Loaded(a, b).wait()
            names = [name for _ in range(12) for name in await submit(at_a, HELLO)]  # nobody runs their steps
            assert a.runs.by_uid
            assert b.runs.by_uid
        await Loaded(b).wait()
        async with hands(b):
            for name in names:
                assert (await final(at_b, name))["status"]["phase"] == "Succeeded"


async def test_a_repeat_by_another_scheduler_has_the_first_answer(nats_server: NatsServer, tmp_path: Path) -> None:
    async with (
        scheduler(nats_server.url, tmp_path, "a") as a,
        scheduler(nats_server.url, tmp_path, "b") as b,
        Client(a.address) as at_a,
        Client(b.address) as at_b,
        hands(a, id="one"),
        hands(b, id="two"),
    ):
        await Loaded(a, b).wait()
        for number in range(6):  # wherever its uid belongs to
            name = f"again-{number}"
            text = HELLO.replace("generateName: hello-", f"name: {name}")
            await submit(at_a, text)
            await final(at_a, name)
            child = await at_a.resubmit(name, request_id=f"resubmit-{number}")
            assert await at_a.delete(name, request_id=f"delete-{number}")
            assert (await at_b.resubmit(name, request_id=f"resubmit-{number}")).uid == child.uid
            await submit(at_b, text)
            await final(at_b, name)
            assert await at_b.delete(name, request_id=f"delete-{number}")
            assert await at_a.delete(name, request_id=f"delete-{number}")
            assert phases.word((await at_a.get(name)).phase) == "Succeeded"


async def test_a_verb_is_repeated_by_another_scheduler(nats_server: NatsServer, tmp_path: Path) -> None:
    async with (
        scheduler(nats_server.url, tmp_path, "a") as a,
        scheduler(nats_server.url, tmp_path, "b") as b,
        Client(a.address) as at_a,
        Client(b.address) as at_b,
        hands(a, id="one"),
        hands(b, id="two"),
    ):
        await Loaded(a, b).wait()
        for number in range(6):
            (name,) = await submit(at_a, HOLD.replace("name: held", "generateName: h-"))
            first = await at_a.stop(name, request_id=f"stop-{number}")
            await final(at_b, name)
            assert (await at_b.stop(name, request_id=f"stop-{number}")).uid == first.uid
            with pytest.raises(ClientError, match="was used for another request"):
                await at_b.terminate(name, request_id=f"stop-{number}")
