"""From memory to the archive: what is kept of a workflow that is over, and what goes when it is deleted."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import msgspec

from exeunt import traces
from exeunt.cloudevents import Ending
from exeunt.engine.decide import Run
from exeunt.engine.facts import BAD
from exeunt.engine.shown import each_node, ending, head
from exeunt.journal.index import Place
from exeunt.journal.projections import Projections
from exeunt.journal.records import ArchiveSummary, Revision
from exeunt.scheduler.announce import RunAnnouncer, deleted
from exeunt.scheduler.entry import OpenWorkflow
from exeunt.scheduler.garbage import GarbageNote, note_of
from exeunt.scheduler.runs import Runs
from exeunt.scheduler.unread import Unread
from exeunt.scheduler.view import Tree, WorkflowView, summary
from exeunt.service import telemetry
from exeunt.service.metrics import Histogram

log = logging.getLogger(__name__)

NIL = msgspec.Raw(b"\xc0")
TOGETHER = 200
PAUSE_SECONDS = 1.0
_NONE = msgspec.msgpack.encode({})

durations = Histogram("cicd.pipeline.run.duration", "How long workflows took, exit handlers included")


@dataclass(frozen=True)
class Archived:
    """A workflow that is over, as it is kept: everything but its nodes, and these as MessagePack, by id.

    `requests` are the commands that were carried out on it.
    """

    head: Tree
    nodes: dict[str, msgspec.Raw]
    version: int
    requests: tuple[str, ...] = ()
    state: msgspec.Raw | None = None  # of one that did not succeed: what a retry goes on from
    ending: Ending | None = None  # as its last event told it
    outgoing: int = 0  # events that it has told
    garbage: GarbageNote | None = None  # where artifacts of it go by themselves

    def looking(self) -> Generator[None, None, WorkflowView]:
        """All of it, as it is shown."""
        nodes: dict[str, bytes] = {}
        for id, node in self.nodes.items():
            nodes[id] = msgspec.json.encode(msgspec.msgpack.decode(node))
            yield
        return WorkflowView(self.head, nodes, self.version)


class _Workflow(msgspec.Struct, rename="camel"):
    """The workflow in a record. Its nodes are not looked into: there may be many."""

    api_version: str
    kind: str
    metadata: dict[str, Any]
    spec: dict[str, Any]
    status: dict[str, msgspec.Raw]


class _Record(msgspec.Struct):
    workflow: _Workflow
    requests: tuple[str, ...] = ()
    state: msgspec.Raw = NIL
    ending: Ending | None = None
    outgoing: int = 0
    garbage: GarbageNote | None = None


class Archiver:
    """Writes the records of closed runs; then the log and the memory need to keep nothing of them."""

    def __init__(self, runs: Runs, projections: Projections, announcer: RunAnnouncer) -> None:
        self._runs = runs
        self._projections = projections
        self._announcer = announcer
        self._queue: asyncio.Queue[OpenWorkflow] = asyncio.Queue()
        self.waiting = 0
        self.on_removed: list[Callable[[str, str], None]] = []
        """Hear namespace and uid of each workflow of which nothing is kept any more."""
        self.on_garbage: list[Callable[[str], None]] = []
        """Hear the uid of each workflow whose record says that artifacts are to go."""
        self._idle = asyncio.Event()
        self._asked: dict[str, asyncio.Future[None]] = {}

    def put(self, entry: OpenWorkflow) -> None:
        """A run is over."""
        self.waiting += 1
        self._queue.put_nowait(entry)

    async def run(self) -> None:
        """Works until it is cancelled. What fails is tried again."""
        while True:
            batch = [await self._queue.get()]
            while len(batch) < TOGETHER and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            await self._announcer.out()  # subscribers hear of the end before the log may forget it
            answers = await asyncio.gather(*(self._keep(entry) for entry in batch), return_exceptions=True)
            failed = [(e, a) for e, a in zip(batch, answers, strict=True) if isinstance(a, BaseException)]
            self.waiting -= len(batch) - len(failed)
            if not self.waiting:
                self._idle.set()
            if failed:
                log.warning("%d workflows could not be archived; trying again: %r", len(failed), failed[0][1])
                await asyncio.sleep(PAUSE_SECONDS)
                for entry, _ in failed:
                    self._queue.put_nowait(entry)

    async def _keep(self, entry: OpenWorkflow) -> None:
        run = entry.run
        if self._runs.by_uid.get(run.uid) is not entry:
            self._asked.pop(run.uid, asyncio.get_running_loop().create_future()).cancel()
            return  # somebody else's by now
        note = await self._kept_note(run, note_of(run))
        if run.deleted and note is None:
            await self.remove(run.namespace, run.name, run.uid)
        else:
            tree = entry.ending
            if tree is None:
                tree = await self._runs.turns.through(_packed(run))
            shown = summary(tree, run.commits)
            shown.created_at = round(run.created_at, 3)
            shown.collect = note is not None
            at, _ = place_of(shown)  # that of an attempt before, too
            await self._projections.archive.put(run.namespace, at, run.uid, shown, body(run, tree, note))
        measure(run)
        self._runs.done(entry)
        if note is not None:
            for hear in self.on_garbage:
                hear(run.uid)
        asked = self._asked.pop(run.uid, None)
        if asked is not None and not asked.done():
            asked.set_result(None)

    async def _kept_note(self, run: Run, note: GarbageNote | None) -> GarbageNote | None:
        """The note of a record that is written anew after a crash: that it is to be deleted is not forgotten."""
        before = None if note is None else await self._projections.archive.get(run.uid, type=_Record)
        if before is None or before[0].version != run.commits:
            return note
        kept: GarbageNote | None = before[1].garbage
        return kept or note

    async def keep_unread(self, one: Unread, *, deleted: bool = False) -> None:
        """A run that could not be read is closed: what can be shown of it is kept, or it goes as a whole."""
        if deleted:
            await self.remove(one.namespace, one.name, one.family.uid)
        elif one.name:
            tree = one.tree()
            kept = {"format": 1, "workflow": tree, "commits": one.number, "requests": []}
            shown = summary(tree, one.number)
            shown.created_at = round(one.created, 3)
            at, _ = place_of(shown)
            await self._projections.archive.put(one.namespace, at, one.family.uid, shown, kept)
        self._runs.read_no_more(one)

    async def drained(self) -> None:
        """Waits until no closed run waits."""
        while self.waiting:
            self._idle.clear()
            await self._idle.wait()

    async def settled(self, entry: OpenWorkflow) -> None:
        """Waits until the closed run is in the archive."""
        uid = entry.run.uid
        if self._runs.by_uid.get(uid) is not entry:
            return
        asked = self._asked.get(uid)
        if asked is None:
            asked = self._asked[uid] = asyncio.get_running_loop().create_future()
        await asyncio.shield(asked)

    async def get(self, uid: str) -> Archived | None:
        """The archived workflow of that uid."""
        found = await self._projections.archive.get(uid, type=_Record)
        if found is None:
            return None
        kept, record = found
        workflow = msgspec.structs.asdict(record.workflow)
        status = record.workflow.status
        nodes = msgspec.msgpack.decode(status.pop("nodes", _NONE), type=dict[str, msgspec.Raw])
        head = {"apiVersion": workflow.pop("api_version"), **workflow}
        head["status"] = {name: msgspec.msgpack.decode(value) for name, value in status.items()}
        state = None if record.state == NIL else record.state
        ending, told = record.ending, record.outgoing
        return Archived(head, nodes, kept.version, record.requests, state, ending, told, record.garbage)

    async def deleted(self, uid: str, namespace: str) -> bool:
        """Whether the workflow was over and was deleted lately."""
        return await self._projections.archive.removed(uid, namespace)

    async def revise(self, uid: str, change: Revision[ArchiveSummary]) -> Any:
        """Changes the record of a workflow that is over; answers its body, None where there is none."""
        return await self._projections.archive.revise(uid, change)

    async def delete(self, archived: Archived, by: str, why: str) -> None:
        """Removes a workflow that is over since somebody wants it, and tells of that."""
        if archived.ending is not None:  # else an older release has written it
            self._announcer.put([deleted(archived.ending, archived.outgoing + 1, by, why, time.time())])
        metadata = archived.head["metadata"]
        await self.remove(metadata["namespace"], metadata["name"], metadata["uid"])

    async def delete_collected(self, archived: Archived) -> None:
        """Removes a workflow whose artifacts went before it."""
        note, metadata = archived.garbage, archived.head["metadata"]
        if note is None or note.told:
            await self.remove(metadata["namespace"], metadata["name"], metadata["uid"])
        else:
            await self.delete(archived, note.by, note.why)

    async def remove(self, namespace: str, name: str, uid: str) -> None:
        """Removes all that is kept of a workflow: its tombstone first, so that a late repeat is known."""
        await self._projections.names.release(namespace, name, uid)
        await self._projections.archive.remove(uid, namespace, name=name)
        await self._projections.logs.remove(namespace, uid)
        for told in self.on_removed:
            told(namespace, uid)


def place_of(record: ArchiveSummary) -> Place:
    """Where a finished workflow stands in lists, and where it did while it was open (`OpenWorkflow.place`)."""
    return record.created_at, record.uid


def _packed(run: Run) -> Generator[None, None, Tree]:
    """The whole workflow, with its nodes encoded one by one."""
    nodes: dict[str, msgspec.Raw] = {}
    for id, tree in each_node(run):
        nodes[id] = msgspec.Raw(msgspec.msgpack.encode(tree))
        yield
    tree = head(run)
    return {**tree, "status": {**tree["status"], "nodes": nodes}}


def measure(run: Run) -> None:
    """What telemetry tells of a workflow that is over, its exit handlers included."""
    labels = (("cicd.pipeline.name", traces.pipeline(run)), ("cicd.pipeline.result", traces.result(run)))
    durations.record(run.state.finished_at - run.state.started_at, labels)
    if telemetry.current.tracer is not None:
        traces.export_run(run)


def body(run: Run, tree: Tree, note: GarbageNote | None = None) -> dict[str, object]:
    """What an archive record holds."""
    kept: dict[str, object] = {"format": 1, "workflow": tree, "commits": run.commits}
    kept["requests"] = list(run.state.requests)
    kept["ending"] = ending(run)
    kept["outgoing"] = run.state.outgoing
    if note is not None:
        kept["garbage"] = note
    if run.phase in BAD:
        kept["state"] = run.state
    return kept
