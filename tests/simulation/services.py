"""The services as processes of the simulation: their own parts, put together on a made-up connection.

Nothing of a service is rewritten here: what `main.py` of each joins to NATS, gRPC and the operating system is joined to
`nats`, `network` and `stores` instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

from nats.errors import Error as NatsError

from exeunt.actions import ActionSettings
from exeunt.driver.ports import Clock
from exeunt.executor.attempts import Attempts
from exeunt.executor.book import NotedAttempt
from exeunt.executor.limits import OutputLimits
from exeunt.executor.links import Links
from exeunt.executor.run_step import StepWork
from exeunt.executor.runtime.base import Ended, NotStarted, ProgramSpec
from exeunt.executor.session import ExecutorIdentity
from exeunt.executor.slots import Slots
from exeunt.exithandler.parts import ExitHandler
from exeunt.exithandler.settings import Settings as ExitSettings
from exeunt.journal.holdings import Holdings
from exeunt.journal.log import Log
from exeunt.journal.owners import MembershipOwners
from exeunt.journal.ownership import ClusterMember, owner_among
from exeunt.journal.settings import LogSettings
from exeunt.journal.subjects import Role
from exeunt.scheduler.checks import work_here
from exeunt.scheduler.parts import Scheduler
from exeunt.scheduler.settings import Settings
from tests.simulation.loop import Process
from tests.simulation.nats import Link, Server, SimWire, ask
from tests.simulation.network import Endpoint, Network
from tests.simulation.stores import Durable, Stores
from tests.simulation.watch import Watch
from tests.simulation.workloads import MISSING

PARTITIONS = 3
EPOCH = 1_767_323_045.0
GRACE_SECONDS = 4.0
RENEW_SECONDS, GONE_SECONDS = 0.3, 1.0
WINDOW = 30


class World:
    """What the processes share."""

    def __init__(self, server: Server, network: Network, watch: Watch) -> None:
        self.server = server
        self.network = network
        self.watch = watch
        self.loop = server.loop
        self.rng = server.rng
        self.durable = Durable()
        self.books: dict[str, dict[str, NotedAttempt]] = {}
        self.addresses: list[str] = []


class Wall(Clock):
    """The wall clock of one process: it may be wrong and may jump."""

    def __init__(self, world: World, process: Process) -> None:
        self._world, self._process = world, process

    def now(self) -> float:
        return EPOCH + self._world.loop.time() + self._process.wall_offset


class Members:
    """Membership as the server has it (`exeunt.journal.ownership.Membership`)."""

    def __init__(
        self, world: World, link: Link, me: ClusterMember, confirm: Callable[[float], Coroutine[Any, Any, None]]
    ):
        self.me = me
        self.on_change: list[Callable[[], None]] = []
        self._world, self._link, self._confirm = world, link, confirm
        self._seen: tuple[ClusterMember, ...] = ()
        self._left = False

    def members(self, role: Role) -> list[ClusterMember]:
        return [m for m in self._seen if m.role == role]

    def owner_of(self, partition: int, role: Role) -> ClusterMember | None:
        found = {m.replica: m for m in self.members(role)}
        name = owner_among(partition, sorted(found))
        return None if name is None else found[name]

    def mine(self) -> set[int]:
        return {p for p in range(PARTITIONS) if self.owner_of(p, self.me.role) == self.me}

    async def run(self) -> None:
        loop = self._world.loop
        while True:
            sent = loop.time()
            try:
                seen = await ask(self._link, self._renew, 1.0)
            except (NatsError, TimeoutError):
                await asyncio.sleep(0.1)
                continue
            await self._confirm(sent)
            self._world.watch.confirmed(self._link.process, sent)
            if seen != self._seen:
                self._seen = seen
                for told in list(self.on_change):
                    told()
            await asyncio.sleep(RENEW_SECONDS)

    async def leave(self) -> None:
        self._left = True
        await ask(self._link, self._renew, 1.0)

    def _renew(self) -> tuple[ClusterMember, ...]:
        heard, now = self._world.server.heard, self._world.loop.time()
        key = (self.me.role, self.me.replica)
        if self._left:
            heard.pop(key, None)
        else:
            heard[key] = (now, self.me)
        return tuple(m for at, m in heard.values() if now - at < GONE_SECONDS)


class Service:
    """One process with its connection, from its start until it is killed or stopped."""

    role = ""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.process = Process(name)
        self.link = Link(world.server, self.process)
        self.stopping = False
        self.started = False
        self.stop_asked: asyncio.Event | None = None
        self.ended = False

    def start(self) -> None:
        self.world.loop.call_soon(self._begin, context=self.process.context)

    def _begin(self) -> None:
        self.started = True
        task = asyncio.ensure_future(self._main())
        task.add_done_callback(self._over)

    async def _main(self) -> None:
        self.stop_asked = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            await self.open(group)
            await self.stop_asked.wait()
            try:
                async with asyncio.timeout(5.0):
                    await self.finish()
            except (TimeoutError, NatsError):
                pass  # it is killed then
            raise _Stopped

    def _over(self, task: asyncio.Task[None]) -> None:
        self.ended = True
        error = None if task.cancelled() else task.exception()
        if isinstance(error, BaseExceptionGroup):
            error = error.split(_Stopped)[1]
        if error is not None and not self.stopping:
            self.world.watch.wrong(f"{self.name} ended: {_first(error)!r}")
        self.kill()

    def stop(self) -> None:
        """SIGTERM."""
        self.stopping = True
        if self.stop_asked is not None:
            self.world.loop.call_soon(self.stop_asked.set, context=self.process.context)

    def kill(self) -> None:
        """SIGKILL."""
        if self.process.alive:
            self.process.alive = False
            self.link.cut()
            self.world.network.gone(self.process)

    def has(self, partition: int) -> bool:
        """Whether it owns the partition and has loaded it."""
        return False

    async def open(self, group: asyncio.TaskGroup) -> None:
        raise NotImplementedError

    async def finish(self) -> None:
        pass

    def settings(self) -> LogSettings:
        return LogSettings(deadline=3.0, window=WINDOW, renew_distance=12, tick=0.5)


class _Stopped(Exception):  # noqa: N818 - how a service ends itself
    pass


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class SchedulerService(Service):
    """A scheduler: `exeunt.scheduler.main` without signals, health and gRPC's sockets."""

    role = "m"
    parts: Scheduler

    def has(self, partition: int) -> bool:
        return hasattr(self, "parts") and partition in self.parts.runs.loaded

    async def open(self, group: asyncio.TaskGroup) -> None:
        world = self.world
        journal = await Log.open(SimWire(self.link), "m", self.name, self.settings())  # type: ignore[arg-type]  # `wire_of` is replaced
        group.create_task(journal.ended())
        stores = Stores(world.durable, self.link)
        owners = MembershipOwners()
        settings = Settings(replica=self.name, grace=GRACE_SECONDS)
        wall = Wall(world, self.process)
        self.parts = parts = Scheduler(settings, journal, stores, owners, check=work_here, clock=wall)  # type: ignore[arg-type]  # shaped alike
        parts.address = self.name
        methods: dict[str, Any] = {
            "/exeunt.internal.v1.ExecutorService/Session": parts.executors.Session,
            "/exeunt.internal.v1.StepService/Run": parts.steps.Run,
        }
        world.network.endpoints[self.name] = Endpoint(self.process, methods)
        world.watch.join(parts.runs)

        self.members = members = Members(world, self.link, ClusterMember("m", self.name, self.name), parts.confirm)
        owners.join(members)  # type: ignore[arg-type]  # shaped as Membership
        self.holdings = Holdings(members, journal, parts.runs)  # type: ignore[arg-type]  # as above
        group.create_task(members.run())
        for routine in parts.routines().values():
            group.create_task(routine)
        group.create_task(self.holdings.keep())

    async def finish(self) -> None:
        await self.parts.stop_intake()
        await self.holdings.leave(self.parts.finish)


class ExitService(Service):
    """An exit handler: `exeunt.exithandler.main` without signals, health and gRPC's sockets."""

    role = "x"
    parts: ExitHandler

    def has(self, partition: int) -> bool:
        return hasattr(self, "parts") and partition in self.parts.loaded

    async def open(self, group: asyncio.TaskGroup) -> None:
        world = self.world
        journal = await Log.open(SimWire(self.link), "x", self.name, self.settings())  # type: ignore[arg-type]  # as above
        stores: Any = Stores(world.durable, self.link)
        owners = MembershipOwners()
        settings = ExitSettings(replica=self.name, finish_seconds=2.0)
        tools: Any = SimpleNamespace(settings=ActionSettings(), start_workflow=None, wait_workflow=None, secret=None)
        wall = Wall(world, self.process)
        self.parts = parts = ExitHandler(settings, journal, stores, owners, tools=tools, clock=wall)
        world.watch.join_exits(parts.runs, parts.steps)
        self.members = members = Members(world, self.link, ClusterMember("x", self.name, self.name), journal.confirm)
        owners.join(members)  # type: ignore[arg-type]  # shaped as Membership
        self.holdings = Holdings(members, journal, parts)  # type: ignore[arg-type]  # as above
        for routine in parts.routines().values():
            group.create_task(routine)
        group.create_task(members.run())
        group.create_task(self.holdings.keep())
        group.create_task(parts.follow())

    async def finish(self) -> None:
        await self.holdings.leave(self.parts.finish)


class ExecutorProcess(Service):
    """An executor with programs that only take time. Its book outlives it, its programs do not."""

    role = "e"

    async def open(self, group: asyncio.TaskGroup) -> None:
        limits = OutputLimits(output_bytes=10_000, step_output_bytes=20_000, log_bytes=10_000)
        book: Any = Book(self.world.books.setdefault(self.name, {}))
        self.attempts = attempts = Attempts(
            work=StepWork(Programs(self.world, self.process), _no_actions, self.name, limits, address="10.0.0.1"),
            spawn=group.create_task,
            book=book,
            slots=Slots(3, 1),
            limits=limits,
        )
        self.world.watch.join_executor(attempts)
        profile = ExecutorIdentity(self.name, {}, ("process",), 1.0)
        group.create_task(Links(self.world.addresses, profile, attempts).run())

    async def finish(self) -> None:
        await self.attempts.drain()
        self.attempts.stop_running(0.5)
        await self.attempts.until(
            lambda: self.attempts.idle() and (self.attempts.delivered() or not self.attempts.links)
        )


async def _no_actions(step: Any, secrets: Any) -> Any:
    raise AssertionError("the workloads have only containers in their main runs")


class Book:
    """What the file of `exeunt.executor.book` holds."""

    def __init__(self, entries: dict[str, NotedAttempt]) -> None:
        self.entries = entries

    def begun(self, id: str, partition: int) -> None:
        self.entries[id] = NotedAttempt(partition)

    def ended(self, id: str, partition: int, update: bytes) -> None:
        self.entries[id] = NotedAttempt(partition, update)

    def forget(self, ids: list[str]) -> None:
        for id in ids:
            self.entries.pop(id, None)


class Programs:
    """A runtime whose programs take a while and end as their first argument says (`exit N`)."""

    own_files = True

    def __init__(self, world: World, process: Process) -> None:
        self._world, self._process = world, process

    async def start(self, job: ProgramSpec, on_output: Any) -> Program:
        if job.id.count("/") == _OF_ATTEMPT:  # the others stand beside one that is watched
            self._world.watch.program(job.id, self._process)
        if job.command[-1] == str(MISSING):
            raise NotStarted("there is no such program")
        return Program(self._world, job)


FOR_EVER_SECONDS = 1e6
_OF_ATTEMPT = 2
"""So many slashes has the id of an attempt; that of a further container has one more."""


class Program:
    pids = ()

    def __init__(self, world: World, job: ProgramSpec) -> None:
        self._loop = world.loop
        self._ended: asyncio.Future[Ended] = world.loop.create_future()
        code = int(job.command[-1]) if job.command[-1].isdigit() else 0
        serves = job.command[-1] == "serve" and world.rng.random() < 0.8  # the others die
        seconds = FOR_EVER_SECONDS if serves else world.rng.choice([0.0, 0.05, 0.3, 1.0, 3.0])
        self._timer = self._loop.call_later(seconds, self._end, code)

    def _end(self, code: int) -> None:
        if not self._ended.done():
            self._ended.set_result(Ended(code))

    async def wait(self) -> Ended:
        return await self._ended

    def _soon(self, seconds: float, code: int) -> None:
        self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._end, code)

    def end(self, grace: float) -> None:
        self._soon(min(0.05, grace), 143)

    def kill(self) -> None:
        self._soon(0.0, 137)

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass

    async def read(self, path: str, limit: int) -> bytes | None:
        return None

    async def open(self, path: str) -> int | None:
        return None

    def release(self) -> None:
        pass


SERVICES: dict[str, type[Service]] = {"m": SchedulerService, "x": ExitService, "e": ExecutorProcess}
