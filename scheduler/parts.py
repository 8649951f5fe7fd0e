"""The parts of a scheduler, put together: what hears of what. Listeners, membership and signals are `main`'s."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from functools import partial
from typing import Any

from exeunt.artifacts.embedded import EmbeddedStore
from exeunt.bundles import Bundles
from exeunt.chains import Chains
from exeunt.driver.ports import Clock
from exeunt.engine import decide
from exeunt.internal.v1.artifact_service_pb2_grpc import add_ArtifactServiceServicer_to_server
from exeunt.internal.v1.executor_service_pb2_grpc import add_ExecutorServiceServicer_to_server
from exeunt.internal.v1.step_service_pb2_grpc import add_StepServiceServicer_to_server
from exeunt.journal.access import NatsAccess
from exeunt.journal.checks import ServerCheck
from exeunt.journal.log import Log
from exeunt.journal.owners import Owners
from exeunt.journal.projections import Projections
from exeunt.journal.public import EventToPublish
from exeunt.journal.refill import Refill
from exeunt.journal.repeat import RepeatOnReconnect
from exeunt.journal.secrets import Secrets
from exeunt.journal.subjects import PARTITIONS, partition_of
from exeunt.launch import EMBEDDED
from exeunt.replayed import REPLAYED
from exeunt.scheduler import numbers
from exeunt.scheduler.again import Retries
from exeunt.scheduler.announce import RunAnnouncer
from exeunt.scheduler.api import WorkflowService
from exeunt.scheduler.archive import Archiver
from exeunt.scheduler.artifact_reading import ArtifactReader
from exeunt.scheduler.artifact_removal import ArtifactRemoval
from exeunt.scheduler.artifact_stores import ArtifactStores
from exeunt.scheduler.artifacts import ArtifactService
from exeunt.scheduler.callbacks import RunCallbacks
from exeunt.scheduler.claims import ClaimKeeper
from exeunt.scheduler.collector import ArtifactCollector
from exeunt.scheduler.commands import Commands
from exeunt.scheduler.dispatch import Dispatch
from exeunt.scheduler.entry import OpenWorkflow
from exeunt.scheduler.find import Finder
from exeunt.scheduler.launch import AdmissionLimits, Launcher
from exeunt.scheduler.lists import WorkflowLists
from exeunt.scheduler.logs import LogWriter
from exeunt.scheduler.many import WorkflowsWatcher
from exeunt.scheduler.mend import Mender
from exeunt.scheduler.peers import Peers
from exeunt.scheduler.reading import WorkflowReader
from exeunt.scheduler.reading_guard import ReadingGuard, host_of_repository
from exeunt.scheduler.replays import Replays
from exeunt.scheduler.requests import Requests
from exeunt.scheduler.run_steps import RunSteps
from exeunt.scheduler.runs import Runs
from exeunt.scheduler.secrets import StepSecretsOpener
from exeunt.scheduler.sessions import ExecutorService
from exeunt.scheduler.settings import Settings
from exeunt.scheduler.step_service import StepService
from exeunt.scheduler.submissions import Submissions
from exeunt.scheduler.submit import CheckWork, SubmissionChecker
from exeunt.service.grpc import Register
from exeunt.v1.workflow_service_pb2_grpc import add_WorkflowServiceServicer_to_server

log = logging.getLogger(__name__)

WORKFLOWS = "exeunt.v1.WorkflowService"


Fresh = Callable[[int, float | None], bool]
"""Whether it was confirmed a moment ago, or since then, that a partition is ours."""

SWEEP_SECONDS = 10.0  # an exit handler that restarts has asked for its steps by then


class Scheduler:
    """A scheduler without its listeners: its parts, each made with what it needs, and what has to run for them."""

    def __init__(
        self,
        settings: Settings,
        journal: Log,
        projections: Projections,
        owners: Owners,
        *,
        check: CheckWork,
        artifacts: EmbeddedStore | None = None,
        fresh: Fresh | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`check` reads and checks documents; `artifacts`: the embedded store, None for a scheduler without it.

        `fresh` is the log's unless a test has another one (`Log.fresh`).
        """
        clock = clock or Clock()
        self._fresh = fresh or journal.fresh
        self.journal = journal
        self.projections = projections
        self.owners = owners
        self.address = ""
        self.dispatch = Dispatch(grace=settings.grace, judges=self.judges, now=clock.now)
        steps = RunSteps(self.dispatch)
        repeat = RepeatOnReconnect(journal.wire)
        self.access = NatsAccess(journal.wire, [journal.gatherer, *projections.gatherers])
        self.secrets = Secrets(projections.manifests, settings.keys(), repeat)
        self._changing_keys = len(settings.keys()) > 1
        self.bundles = Bundles(projections.blobs, repeat)
        self.runs = Runs(journal, self.bundles, steps, clock, repeat)
        self.loaded_changed = self.runs.loaded_changed
        self.mender = Mender(self.runs, journal, steps, clock)
        self.announcer = RunAnnouncer(projections.events)
        self.archiver = Archiver(self.runs, projections, self.announcer)
        self.stores = ArtifactStores(self.secrets, artifacts, _guard(settings))
        self.collector = ArtifactCollector(
            self.archiver,
            projections,
            self.stores,
            self.runs.turns,
            ours=lambda partition: partition in self.runs.loaded,
            is_open=lambda uid: uid in self.runs.by_uid or uid in self.runs.unread,
        )
        self.claims = ClaimKeeper(self.runs, self.archiver, self.dispatch, self.judges)
        self.logs = LogWriter(projections.logs, self.runs)
        self.peers = Peers(owners)
        self.launcher = self._launcher(settings, repeat)
        self.runs.callbacks = self._callbacks(repeat)
        self.executors = self._executor_service(settings)
        owners.on_members.append(self.executors.peers_changed)
        self.steps = StepService(self.dispatch, self._step_owner, lambda step: self.logs.know(step.uid, step.namespace))
        self.artifacts = artifacts
        self.removal = self._artifact_removal(artifacts) if artifacts is not None else None
        self.lists = WorkflowLists(self.runs, projections.archive, self.peers, self.access)
        self.workflows = self._workflow_service(settings, check, repeat)
        self._looks = bool(settings.nats_monitor)
        self.nats = ServerCheck(journal.wire, settings.nats_monitor)
        numbers.register(journal, self.runs, self.dispatch, self.archiver, self.nats)

    def _executor_service(self, settings: Settings) -> ExecutorService:
        return ExecutorService(
            self.dispatch,
            replica=settings.replica,
            peers=self._addresses,
            on_logs=self.logs.take,
            room=self.logs.room,
            give_secrets=StepSecretsOpener(self.secrets),
        )

    def _artifact_removal(self, store: EmbeddedStore) -> ArtifactRemoval:
        removal = ArtifactRemoval(store, OwnRuns(self), lambda: self.judges(0))
        self.archiver.on_removed.append(removal.put)
        return removal

    def _launcher(self, settings: Settings, repeat: RepeatOnReconnect) -> Launcher:
        return Launcher(
            self.runs,
            self.archiver,
            self.projections,
            self.journal,
            bundles=self.bundles,
            limits=AdmissionLimits(settings.fullness, settings.open_workflows),
            repeat=repeat,
            access=self.access,
            repository=settings.repository() or EMBEDDED,
        )

    def _callbacks(self, repeat: RepeatOnReconnect) -> RunCallbacks:
        """What hears of the runs, and what they ask."""
        launcher, replays = self.launcher, Replays(self.runs, self.archiver, self.announcer, repeat)
        return RunCallbacks(
            told=self.announcer.put,
            told_out=self.announcer.out,
            published=self.projections.events.published,
            closed=self._closed,
            message=lambda message: (replays if message.to == REPLAYED else launcher).message(message),
            loaded=self._loaded,
            lost=self._lost,
            exit_closed=self.dispatch.exit_closed,
            broken=self.mender.broken,
        )

    def _workflow_service(self, settings: Settings, check: CheckWork, repeat: RepeatOnReconnect) -> WorkflowService:
        """What answers users' calls."""
        projections, peers = self.projections, self.peers
        finder = Finder(self.runs, self.archiver, projections.names, peers, repeat)
        requests = Requests(projections.names, finder, repeat)
        reader = WorkflowReader(finder, peers, self.access, self.runs.turns)
        secrets = self.secrets if settings.keys() else None
        checker = SubmissionChecker(
            projections.manifests, check, settings.parameter_bytes, settings.handlers(), secrets
        )
        submissions = Submissions(
            checker=checker,
            launcher=self.launcher,
            requests=requests,
            reader=reader,
            peers=peers,
            chains=Chains(settings.chain_depth, settings.chain_descendants),
            documents=settings.documents,
        )
        commands = Commands(
            requests=requests,
            finder=finder,
            peers=peers,
            archiver=self.archiver,
            collector=self.collector,
            mender=self.mender,
            launcher=self.launcher,
            retries=Retries(self.runs, projections, repeat),
        )
        return WorkflowService(
            checker=checker,
            submissions=submissions,
            reader=reader,
            lists=self.lists,
            many=WorkflowsWatcher(self.runs, self.lists, projections.archive, peers),
            commands=commands,
            dispatch=self.dispatch,
            peers=peers,
            logs=projections.logs,
            artifacts=ArtifactReader(self.stores),
            access=self.access,
            turns=self.runs.turns,
        )

    async def _told_again(self, closed: bool) -> AsyncIterator[list[EventToPublish]]:
        """What the log tells of runs; not of workflows that were deleted since: their deletion is not told again."""
        async for told in self.runs.told_again(closed):
            over = closed and told and told[-1].kind != "workflow.deleted"
            if not (over and await self.archiver.deleted(told[0].uid, told[0].namespace)):
                yield told

    def public(self) -> dict[str, Register]:
        """What users are served."""
        return {WORKFLOWS: partial(add_WorkflowServiceServicer_to_server, self.workflows)}

    def internal(self) -> dict[str, Register]:
        """What the other services are served: also users' calls, which schedulers pass on."""
        found: dict[str, Register] = {
            **self.public(),
            "exeunt.internal.v1.ExecutorService": partial(add_ExecutorServiceServicer_to_server, self.executors),
            "exeunt.internal.v1.StepService": partial(add_StepServiceServicer_to_server, self.steps),
        }
        if self.artifacts is not None:
            servicer = ArtifactService(self.artifacts)
            found["exeunt.internal.v1.ArtifactService"] = partial(add_ArtifactServiceServicer_to_server, servicer)
        return found

    def routines(self) -> dict[str, Coroutine[Any, Any, None]]:
        """What has to run for as long as the scheduler does."""
        routines = {
            "results and messages": self.runs.follow(),
            "events": self.announcer.run(),
            "events that are gone": Refill(self.projections.events, self._told_again).run(),
            "broken runs": self.mender.run(),
            "archive": self.archiver.run(),
            "lists": self.lists.index.run(),
            "output of steps": self.logs.run(),
            "left attempts": self._sweep(),
            "volumes of workflows": self.claims.run(),
            "garbage": self.collector.run(),
        }
        if self.removal is not None:
            routines["artifacts"] = self.removal.run()
        if self._looks:
            routines["nats-server"] = self.nats.keep()
        if self._changing_keys:
            routines["secrets"] = self._reseal()
        return routines

    async def _reseal(self) -> None:
        """Keys are being changed: what was sealed with an older one is sealed with the first."""
        count = await self.secrets.reseal()
        if count:
            log.info("sealed %d secrets with the first key", count)

    @property
    def holder(self) -> Runs:
        """What acts for partitions."""
        return self.runs

    @property
    def complete(self) -> bool:
        """Whether every partition that is ours is loaded, and every other one has an owner."""
        owner = self.owners.scheduler_of
        return all(owner(p) or (owner(p) == "" and p in self.runs.loaded) for p in range(PARTITIONS))

    async def stop_intake(self) -> None:
        """Takes nothing more from executors and exit handlers: they go to another scheduler, or wait for the next."""
        await self.executors.stop()
        await self.steps.stop()

    async def finish(self) -> None:
        """Waits until what follows from closed runs is written, then hands the partitions over."""
        await self.archiver.drained()
        await self.announcer.out()
        self.runs.release(set(self.runs.loaded))
        await self.projections.drain()

    def judges(self, partition: int, since: float | None = None) -> bool:
        """Whether a partition is ours for certain, and loaded; with `since` also at that moment or later."""
        return partition in self.runs.loaded and self._fresh(partition, since)

    async def confirm(self, sent: float) -> None:
        """Membership was renewed by a request sent then: attempts that wait for that can be judged."""
        await self.journal.confirm(sent, verify=self.dispatch.unjudged)
        if self.dispatch.unjudged:
            self.dispatch.judge(self.runs.loaded)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.dispatch.sweep(self._over)

    def _over(self, uid: str, hook_id: str) -> bool:
        """Whether an exit run is over for certain: its partition is ours and loaded, and no open workflow waits."""
        if not self.judges(partition_of(uid)) or uid in self.runs.unread:
            return False
        entry = self.runs.by_uid.get(uid)
        return entry is None or all(o.hook_id != hook_id for o in decide.pending(entry.run).hooks)

    def _step_owner(self, partition: int) -> str | None:
        if partition in self.runs.loaded:
            return ""
        return self.owners.scheduler_of(partition) or None

    def _addresses(self) -> list[str]:
        return [self.address, *self.owners.schedulers()]

    def _closed(self, entry: OpenWorkflow) -> None:
        self.claims.closed(entry)
        self.archiver.put(entry)

    def _loaded(self, partitions: Collection[int]) -> None:
        self.dispatch.loaded(partitions)
        self.collector.look()

    def _lost(self, partitions: Collection[int]) -> None:
        self.steps.moved(partitions)


class OwnRuns:
    """What a scheduler knows for certain of its workflows (`artifact_removal.OwnWorkflows`)."""

    def __init__(self, parts: Scheduler) -> None:
        self._parts = parts

    def may_be(self, uid: str, since: float | None = None) -> bool:
        """It is open, or its partition was not ours at that moment or later."""
        runs = self._parts.runs
        return not self._parts.judges(partition_of(uid), since) or uid in runs.by_uid or uid in runs.unread

    async def is_kept(self, namespace: str, uid: str) -> bool:
        """It is over and in the archive."""
        return await self._parts.projections.archive.has(uid, namespace)

    async def verify(self) -> None:
        """Reads from the log which partitions are ours."""
        await self._parts.journal.confirm(0.0, verify=True)


def _guard(settings: Settings) -> ReadingGuard:
    """What the operator relies on may be read: hosts that are named, and that of the repository."""
    return ReadingGuard([*settings.artifact_hosts, *host_of_repository(settings.repository())])
