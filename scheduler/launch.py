"""Starting checked workflows: names claimed, bundles stored, first commits durable; and starts that others ask for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exeunt.bundles import Bundles
from exeunt.engine.commands import Rejected, SetNodes
from exeunt.engine.facts import RunStarted
from exeunt.join import ARRIVE, decode_arrival
from exeunt.journal.access import NatsAccess
from exeunt.journal.blobs import digest
from exeunt.journal.log import Log
from exeunt.journal.names import NameTaken, RequestUsed
from exeunt.journal.projections import Projections
from exeunt.journal.repeat import RepeatOnReconnect
from exeunt.journal.request_ids import used
from exeunt.journal.subjects import MailboxMessage, partition_of
from exeunt.language.manifest import Bundle, Metadata
from exeunt.language.metadata import CREATOR
from exeunt.launch import START, names_for, read_start_message, repository_for
from exeunt.scheduler.archive import Archived, Archiver
from exeunt.scheduler.entry import OpenWorkflow
from exeunt.scheduler.runs import Runs
from exeunt.scheduler.submit import Accepted, Checked
from exeunt.service import telemetry
from exeunt.service.errors import Code, RpcError, unavailable

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AdmissionLimits:
    """What keeps new work out: `fullness` is a part of the log's room, 0 to 1."""

    fullness: float = 0.8
    open_workflows: int = 100_000


class Launcher:
    """Starts workflows on this scheduler."""

    def __init__(
        self,
        runs: Runs,
        archiver: Archiver,
        projections: Projections,
        journal: Log,
        *,
        bundles: Bundles,
        limits: AdmissionLimits,
        repeat: RepeatOnReconnect,
        access: NatsAccess,
        repository: Mapping[str, Any],
    ) -> None:
        """`repository`: where artifacts of workflows go that say nothing of it."""
        self._runs = runs
        self._archiver = archiver
        self._projections = projections
        self._journal = journal
        self._bundles = bundles
        self._limits = limits
        self._repeat = repeat
        self._access = access
        self._repository = repository

    async def submit(
        self, checked: Checked, uids: Sequence[str], request_id: str, by: str = "", content: str = ""
    ) -> list[OpenWorkflow | Archived]:
        """Starts all workflows of a request. One that this request has started before is answered as it is now.

        `content` is what the request id stands for: unless given, what is submitted (`content_of`).
        """
        content = content or content_of(checked, by)
        tenures = [self._runs.tenure(partition_of(uid)) for uid in uids]
        known = [self._runs.by_uid.get(uid) for uid in uids]
        if None in known:
            self.admit(known.count(None))
        prepared = await self._repeat(lambda: self._prepare(checked, uids, request_id, content))
        jobs = zip(checked.workflows, uids, prepared, tenures, strict=True)
        if len(uids) == 1:
            return [await self._start(*next(jobs), request_id=request_id, by=by)]
        return await asyncio.gather(*(self._start(*job, request_id=request_id, by=by) for job in jobs))

    async def _prepare(
        self, checked: Checked, uids: Sequence[str], request_id: str, content: str
    ) -> list[str | OpenWorkflow | Archived]:
        """Stores what the workflows need, and claims their names. Safe to repeat.

        Answers the name of each, or the workflow that this request has started before.
        """
        try:
            fresh = await self._projections.names.bind(uids[0], content)
        except RequestUsed:
            raise used(request_id) from None
        await self._store(checked)
        for accepted in checked.workflows:
            await self._projections.blobs.put(accepted.content)
            self._bundles.keep(accepted.digest, accepted.bundle, len(accepted.content))
        return await self._claim_all(checked.workflows, uids, request_id, fresh)

    async def store(self, checked: Checked) -> None:
        """Keeps what a submission has beside workflows: templates, config maps, secrets. Safe to repeat."""
        await self._repeat(lambda: self._store(checked))

    async def _store(self, checked: Checked) -> None:
        for manifest in checked.stored:
            await self._projections.manifests.put(manifest.kind, manifest.namespace, manifest.name, manifest.tree)

    def admit(self, count: int) -> None:
        """Raises UNAVAILABLE or RESOURCE_EXHAUSTED when there is no room for so many more workflows."""
        if not self._access.reading.trouble and self._access.writing.trouble:
            raise unavailable(
                "NO_WRITES",
                f"{self._access.writing.trouble}; workflows that run wait for it, and so must new ones",
                5.0,
            )
        if self._journal.fullness > self._limits.fullness:
            raise RpcError(
                Code.RESOURCE_EXHAUSTED,
                "LOG_FULL",
                f"the log is {self._journal.fullness:.0%} full; workflows that run have the rest. "
                "Wait until some have finished, or give it more room",
                retry_after=5.0,
            )
        most, unfinished = self._limits.open_workflows, len(self._runs.by_uid)
        if most - count < unfinished <= 2 * most:  # without those that have ended and wait for the archive
            unfinished = sum(not entry.closed for entry in self._runs.by_uid.values())
        if unfinished + count > most:
            raise RpcError(
                Code.RESOURCE_EXHAUSTED,
                "TOO_MANY_WORKFLOWS",
                f"{unfinished} workflows are open and the limit is {most}; wait until some have finished",
                retry_after=5.0,
            )

    async def _claim_all(
        self, workflows: Sequence[Accepted], uids: Sequence[str], request_id: str, fresh: bool
    ) -> list[str | OpenWorkflow | Archived]:
        """Names for all, or for none. When the request is not `fresh`, its workflows may be there already."""
        found: list[str | OpenWorkflow | Archived] = []
        claimed: list[tuple[str, str, str]] = []
        try:
            for accepted, uid in zip(workflows, uids, strict=True):
                known = self._runs.by_uid.get(uid) or (None if fresh else await self._known(uid))
                if known is not None:
                    found.append(known)
                    continue
                name, new = await self._claim(accepted.namespace, accepted.bundle.workflow.metadata, uid, request_id)
                found.append(name)
                if new:
                    claimed.append((accepted.namespace, name, uid))
        except RpcError:
            for namespace, name, uid in claimed:
                await self._projections.names.free(namespace, name, uid)
            if fresh:
                await self._projections.names.unbind(uids[0])
            raise
        return found

    async def _claim(self, namespace: str, metadata: Metadata, uid: str, request_id: str) -> tuple[str, bool]:
        name = ""
        for name in names_for(metadata, uid):
            with contextlib.suppress(NameTaken):
                return name, await self._projections.names.claim(namespace, name, uid, request_id)
        raise _exists(namespace, name)

    async def check_names(self, checked: Checked, uids: Sequence[str]) -> None:
        """Raises ALREADY_EXISTS where a name that a workflow asks for is another one's."""
        for accepted, uid in zip(checked.workflows, uids, strict=True):
            namespace, name = accepted.namespace, accepted.bundle.workflow.metadata.name
            if name and await self._taken(namespace, name) not in (None, uid):
                raise _exists(namespace, name)

    async def _taken(self, namespace: str, name: str) -> str | None:
        return await self._repeat(lambda: self._projections.names.lookup(namespace, name))

    async def _start(
        self,
        accepted: Accepted,
        uid: str,
        prepared: str | OpenWorkflow | Archived,
        tenure: int,
        *,
        request_id: str,
        by: str,
    ) -> OpenWorkflow | Archived:
        if isinstance(prepared, OpenWorkflow):
            await prepared.ready_now()  # an earlier try of the request may still be on its way
        if not isinstance(prepared, str):
            return prepared
        annotations = dict(accepted.bundle.workflow.metadata.annotations)
        if by:
            annotations[CREATOR] = by
        started = RunStarted(
            uid=uid,
            name=prepared,
            namespace=accepted.namespace,
            bundle=accepted.digest,
            parameters=accepted.parameters,
            entrypoint=accepted.entrypoint,
            labels=accepted.labels,
            annotations=annotations,
            request_id=request_id,
            trace=telemetry.current.headers(),
            repository=repository_for(accepted.bundle, self._repository),
        )
        return await self._runs.begin(started, accepted.bundle, tenure)

    async def _known(self, uid: str) -> Archived | None:
        """The workflow of that uid, if it is over. Raises NOT_FOUND when it was deleted."""
        archived = await self._archiver.get(uid)
        if archived is None and await self._projections.names.deleted(uid):
            raise RpcError(
                Code.NOT_FOUND,
                "WORKFLOW_DELETED",
                "this request started a workflow that has been deleted since; use another request id to start it anew",
            )
        return archived

    # --- starts that others ask for -----------------------------------------------------------------------------------

    async def message(self, message: MailboxMessage) -> None:
        """Acts on a message of an exit run: it starts a workflow, or arrives at a join. A repeat changes nothing."""
        if message.to == ARRIVE:
            await self._arrived(message)
            return
        if message.to != START:
            log.warning("a message for %r is not known here", message.to)
            return
        try:
            started = read_start_message(message.data)
        except ValueError:
            log.exception("the message %s starts nothing", message.id)
            return
        known = self._runs.by_uid.get(started.uid)
        if known is not None:
            await known.ready_now()
            return
        tenure = self._runs.tenure(partition_of(started.uid))
        try:
            bundle = await self._repeat(lambda: self._wanted(started))
        except NameTaken as error:
            log.error("%s/%s cannot be started: %s", started.namespace, started.name, error)  # noqa: TRY400 - no fault of ours
            return
        if bundle is not None:
            await self._runs.begin(started, bundle, tenure)

    async def _arrived(self, message: MailboxMessage) -> None:
        """A member of a join has arrived: its node in the join's run ends. A repeat or a late one changes nothing."""
        try:
            arrival = decode_arrival(message.data)
        except ValueError:
            log.exception("the message %s says nothing of an arrival", message.id)
            return
        uid = arrival.uid
        entry = self._runs.by_uid.get(uid)
        if entry is None:
            known = await self._repeat(lambda: self._archiver.get(uid))
            if known is None and not await self._repeat(lambda: self._projections.names.deleted(uid)):
                raise LookupError(f"the run of the join {uid} is not there yet")  # the next load tries again
            return
        await entry.ready_now()
        ended = SetNodes(
            selector=f"displayName={arrival.member}",
            parameters={"parameters": arrival.parameters},
            phase="Succeeded",
            message=f"{arrival.by} has arrived",
            request_id=f"arrival of {arrival.member}",
        )
        try:
            await entry.driver.ask(ended)
        except Rejected as error:
            log.warning("%s arrives in vain at %s: %s", arrival.by, entry.run.name, error)

    async def _wanted(self, started: RunStarted) -> Bundle | None:
        """The bundle of a workflow that is to be started, its name claimed; None when it was started before."""
        if await self._archiver.get(started.uid) is not None:
            return None
        if await self._projections.names.deleted(started.uid):
            return None
        await self._projections.names.claim(started.namespace, started.name, started.uid)
        return await self._bundles.get(started.bundle)


def content_of(checked: Checked, by: str) -> str:
    """A hash of what a submission asks for, and of who asks. The names of files are no part of it."""
    return digest(f"{checked.content}\0{by}".encode()) if by else checked.content


def _exists(namespace: str, name: str) -> RpcError:
    return RpcError(
        Code.ALREADY_EXISTS,
        "WORKFLOW_EXISTS",
        f"a workflow named {name!r} exists already in {namespace}; delete it, or use generateName",
        resource=("workflow", f"{namespace}/{name}"),
    )
