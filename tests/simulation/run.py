"""One run of the simulation: workflows come, faults happen, faults stop, and then everything has to come to its end."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from exeunt.engine.commands.inputs import Rejected, ResumeRun, ShutdownRun, SuspendRun
from exeunt.engine.facts.work import StepOutcome
from exeunt.journal.blobs import digest
from exeunt.journal.errors import NotOwner
from exeunt.journal.repeat import NATS_AWAY
from exeunt.journal.subjects import partition_of
from exeunt.language.decode import decode
from exeunt.language.load import Document
from exeunt.language.manifest import Bundle, Workflow
from exeunt.launch import encode_bundle
from exeunt.scheduler.submit import Accepted, Checked
from exeunt.service.errors import RpcError
from tests.simulation import loop as loops
from tests.simulation.faults import Cluster
from tests.simulation.loop import SimLoop
from tests.simulation.nats import WORLD, Server
from tests.simulation.network import Network
from tests.simulation.services import EPOCH, PARTITIONS, World
from tests.simulation.watch import Watch
from tests.simulation.workloads import workflow

PATIENCE = 240.0
"""Virtual seconds after the last fault within which everything has to end: retries, graces and repeats fit in."""


COMMANDS = [
    ["Stop"],
    ["Terminate"],
    ["Delete"],
    ["Suspend", "Resume"],
    ["Replay"],
    ["Stop", "Replay", "Delete"],
    ["Replay", "Replay"],
]
STEERING: dict[str, Callable[[str], Any]] = {
    "Stop": partial(ShutdownRun, "Stop"),
    "Terminate": partial(ShutdownRun, "Terminate"),
    "Suspend": SuspendRun,
    "Resume": ResumeRun,
}


class Result(NamedTuple):
    seed: int
    wrongs: list[str]
    lines: list[str]
    counts: dict[str, int]


def install() -> None:
    """Makes this process one for simulations: few partitions, made-up connections, the virtual clock everywhere."""
    from exeunt.actions import http
    from exeunt.executor import session
    from exeunt.exithandler import steps_client
    from exeunt.journal import cut, log, ownership, subjects
    from exeunt.scheduler import parts

    for module in (subjects, log, cut, ownership, parts):
        module.PARTITIONS = PARTITIONS  # type: ignore[attr-defined]  # each has its own name for it
    setattr(log, "wire_of", _same)  # noqa: B010 - the wire is made by whoever opens the log
    for client in (session, steps_client):
        setattr(client, "open_channel", _channel)  # noqa: B010 - a name that the modules import
    http.perform = _http  # an effect on the world that takes a while
    asyncio.tasks._all_tasks.add = lambda task: None  # type: ignore[method-assign]  # nobody asks, and it takes its time
    time.time = lambda: EPOCH + _Current.loop.time()


class _Current:
    loop: SimLoop
    network: Network
    rng: random.Random


async def _same(wire: Any) -> Any:
    return wire


def _channel(address: str, **options: Any) -> Any:
    return _Current.network.channel(address)


async def _http(work: Any, context: Any) -> StepOutcome:
    await asyncio.sleep(_Current.rng.choice([0.0, 0.01, 0.4, 2.0]))
    good = _Current.rng.random() < 0.8
    return StepOutcome(phase="Succeeded" if good else "Failed", message="" if good else "HTTP 500")


class Simulation:
    """A world, made from the seed."""

    def __init__(self, seed: int, *, trace: bool = False) -> None:
        self.seed = seed
        random.seed(seed)
        loops._Numbered._numbers = itertools.count()
        self.rng = rng = random.Random(seed)
        self.loop = loop = SimLoop()
        server = Server(loop, random.Random(rng.random()))
        network = Network(loop, random.Random(rng.random()))
        self.watch = watch = Watch(loop, lambda: self.world.durable.blobs)
        watch.lines = [] if trace else None
        server.on_stored, server.on_cut = watch.stored, watch.cut
        self.world = World(server, network, watch)
        watch.kept = lambda uid: uid in self.world.durable.archive or uid in self.world.durable.tombstones
        _Current.loop, _Current.network, _Current.rng = loop, network, random.Random(rng.random())
        self.uids: list[str] = []
        self.names: dict[str, str] = {}
        self.accepted: set[str] = set()
        self.healed = False
        self._clients: set[asyncio.Task[None]] = set()

    def run(self) -> Result:
        rng, loop = self.rng, self.loop
        asyncio.events._set_running_loop(loop)
        self.cluster = Cluster(self.world, rng, rng.randint(1, 2), rng.randint(1, 2), 2)
        trouble = rng.choice([0.0, 5.0, 12.0, 25.0])
        for i in range(rng.randint(1, 4)):
            uid = f"{rng.getrandbits(64):016x}-{i}"
            self.uids.append(uid)
            self.names[uid] = f"w{i}"
            manifest = workflow(rng, f"w{i}")
            commands = [(rng.uniform(0, 12), c) for c in rng.choice(COMMANDS)] if rng.random() < 0.5 else []
            loop.call_later(rng.uniform(0, 5), self._start, self._client(uid, manifest, commands), context=WORLD)
        self.cluster.later(0.0, lambda: self.cluster.trouble(trouble))
        loop.run(lambda: bool(self.watch.wrongs), trouble)
        if not self.watch.wrongs:
            self.cluster.later(0.0, self._heal)
            if not loop.run(self._over, trouble + PATIENCE):
                self.watch.wrong(f"not everything has ended {PATIENCE:g} s after the last fault")
            if self.watch.wrongs == [] or "not everything" in self.watch.wrongs[-1]:
                self.watch.ended(self.world.durable.ledger, self.world.durable.events)
        self.watch.wrongs += [p for p in loop.problems if "Error(" in p and "Stopped" not in p]
        result = Result(
            self.seed,
            self.watch.wrongs,
            self.watch.lines or [],
            {
                "virtual seconds": int(loop.time()),
                "workflows": sum(not f.hook_id for f in self.watch.runs),
                "handlers": len(self.watch.due),
                "actions": self.watch.actions,
                "commits": self.watch.commits,
                "cuts": self.watch.cuts,
            },
        )
        loop.close()
        asyncio.events._set_running_loop(None)
        return result

    def _heal(self) -> None:
        self.healed = True
        self.cluster.heal()

    def _over(self) -> bool:
        if self.watch.wrongs:
            return True
        if not self.healed or len(self.accepted) < len(self.uids) or self._clients or self.watch.open:
            return False
        kept = self.watch.kept
        return all(kept(uid) for uid in self.uids) and all(kept(uid) for uid in self.watch.asked)

    def _start(self, work: Any) -> None:
        def over(task: asyncio.Task[None]) -> None:
            self._clients.discard(task)
            if not task.cancelled() and task.exception() is not None:
                self.watch.wrong(f"a client got what it does not know: {task.exception()!r}")

        task = asyncio.ensure_future(work)
        self._clients.add(task)
        task.add_done_callback(over)

    # --- a client -----------------------------------------------------------------------------------------------------

    async def _client(self, uid: str, manifest: dict[str, Any], commands: list[tuple[float, str]]) -> None:
        model = decode(Document("w", manifest, 0))
        assert isinstance(model, Workflow)
        bundle = Bundle(workflow=model)
        content = encode_bundle(bundle)
        accepted = Accepted(bundle, content, digest(content), "default", "", {}, {})
        await self._until_done(uid, "m", partial(self._submit, uid, accepted))
        self.accepted.add(uid)
        self.watch.say(f"{uid} is accepted")
        if not any(f.uid == uid for f in self.watch.runs):
            self.watch.wrong(f"{uid} was accepted and is not in the log")
        for i, (seconds, command) in enumerate(commands):
            await asyncio.sleep(seconds)
            match command:
                case "Replay":
                    ended = sorted(id for id in self.watch.results if self.watch.due[id][0].uid == uid)
                    if ended:
                        chosen, again = self.rng.choice(ended), self.rng.random() < 0.3
                        await self._until_done(uid, "x", partial(self._replay, chosen, f"r{i}", again))
                case "Delete":
                    await self._until_done(uid, "m", partial(self._delete, uid, f"r{i}"))
                case _:
                    await self._until_done(uid, "m", partial(self._command, uid, STEERING[command](f"r{i}")))

    async def _until_done(self, uid: str, role: str, make: Any) -> None:
        while not await self._on_owner(uid, role, make):  # noqa: ASYNC110 - a client knows of nothing better
            await asyncio.sleep(0.3)

    async def _on_owner(self, uid: str, role: str, make: Any) -> bool:
        """Has the service that owns the workflow do it, and waits for a while."""
        partition = partition_of(uid)
        for service in self.cluster.of_role(role):
            if service.process.paused or not service.has(partition):
                continue
            task = asyncio.get_running_loop().create_task(make(service), context=service.process.context.copy())
            await asyncio.wait([task], timeout=4.0)
            if task.done() and not task.cancelled():
                return bool(task.result())
        return False

    async def _submit(self, uid: str, accepted: Accepted, service: Any) -> bool:
        try:
            await service.parts.launcher.submit(Checked([accepted]), [uid], f"request-{uid}")
        except (RpcError, NotOwner, *NATS_AWAY):
            return False
        return True

    async def _command(self, uid: str, command: Any, service: Any) -> bool:
        entry = service.parts.runs.by_uid.get(uid)
        if entry is None:
            return self.watch.kept(uid)
        try:
            await entry.driver.ask(command)
        except Rejected:
            return True
        except Exception:  # noqa: BLE001 - it moved: ask again
            return False
        return True

    async def _delete(self, uid: str, request: str, service: Any) -> bool:
        entry = service.parts.runs.by_uid.get(uid)
        if entry is not None and not entry.closed:
            return await self._command(uid, ShutdownRun("Stop", request, deleted=True), service)
        if uid not in self.world.durable.archive:
            return uid in self.world.durable.tombstones
        try:
            await service.parts.archiver.remove("default", self.names[uid], uid)
        except NATS_AWAY:
            return False
        return True

    async def _replay(self, id: str, request: str, again: bool, service: Any) -> bool:
        try:
            record = await service.parts.ledger.get(id)
            if record is None:
                return False
            if request not in record.requests:
                await service.parts.replayer.replay(record, request, again=again)
        except Rejected as error:
            return error.reason != "EXIT_RUNNING"
        except (NotOwner, *NATS_AWAY):
            return False
        return True
