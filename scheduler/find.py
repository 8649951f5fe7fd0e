"""Finding a workflow: open in memory, in the archive, or with another scheduler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc

from exeunt.journal.names import WorkflowNames
from exeunt.journal.repeat import RepeatOnReconnect
from exeunt.journal.subjects import partition_of
from exeunt.scheduler.archive import Archived, Archiver
from exeunt.scheduler.entry import OpenWorkflow
from exeunt.scheduler.peers import Peers
from exeunt.scheduler.runs import Runs
from exeunt.scheduler.unread import Unread
from exeunt.service.errors import Code, RpcError, invalid, not_found

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True)
class Elsewhere:
    """Another scheduler has it."""

    address: str


Found = OpenWorkflow | Archived | Unread | Elsewhere


class Finder:
    """Finds workflows by name or uid."""

    def __init__(
        self, runs: Runs, archiver: Archiver, names: WorkflowNames, peers: Peers, repeat: RepeatOnReconnect
    ) -> None:
        self._runs = runs
        self._archiver = archiver
        self._names = names
        self._peers = peers
        self._repeat = repeat

    async def find(self, context: Context | None, namespace: str, name: str, uid: str = "") -> Found:
        """The workflow of that name or uid. Raises NOT_FOUND, UNAVAILABLE while its partition has no owner or loads.

        NOT_FOUND also when the uid is that of a workflow of another name, or in another namespace.
        """
        found = await self._find(context, namespace or "default", name, uid)
        if uid and not isinstance(found, Elsewhere):
            known = named(found)
            if (name and known[1] not in ("", name)) or (
                (name or namespace) and known[0] not in ("", namespace or "default")
            ):
                shown = f"{namespace or 'default'}/{name}" if name else f"in {namespace}"
                raise RpcError(
                    Code.NOT_FOUND,
                    "WORKFLOW_NOT_FOUND",
                    f"no workflow {shown} has the uid {uid}: that is {known[0]}/{known[1]}; leave one of them out",
                    resource=("workflow", f"{namespace or 'default'}/{name}"),
                )
        return found

    async def _find(self, context: Context | None, namespace: str, name: str, uid: str) -> Found:
        shown = f"{namespace}/{name}" if name else uid
        if not name and not uid:
            raise invalid("neither name nor uid is given", [("name", "give the workflow's name, or its uid")])
        by_name = False
        if name and not uid:
            entry = self._runs.by_name.get((namespace, name))
            if entry is not None:
                await entry.ready_now()
                return entry
            taken = await self._repeat(lambda: self._names.lookup(namespace, name))
            if not taken:
                raise not_found("workflow", shown)
            uid, by_name = taken, True
        partition = partition_of(uid)
        address = self._peers.address(partition, context)
        if address:
            return Elsewhere(address)
        self._runs.require(partition)
        entry = self._runs.by_uid.get(uid)
        if entry is not None:
            await entry.ready_now()
            return entry
        unread = self._runs.unread.get(uid)
        if unread is not None:
            if by_name:
                unread.named(namespace, name)
            return unread
        archived = await self._repeat(lambda: self._archiver.get(uid))
        if archived is None:
            raise not_found("workflow", shown)
        return archived


def named(found: OpenWorkflow | Archived | Unread) -> tuple[str, str]:
    """Namespace and name; empty where they cannot be told."""
    if isinstance(found, OpenWorkflow):
        return found.run.namespace, found.run.name
    if isinstance(found, Archived):
        metadata = found.head["metadata"]
        return metadata["namespace"], metadata["name"]
    return found.namespace, found.name
