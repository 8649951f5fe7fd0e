"""Finding a workflow: open in memory, in the archive, or with another scheduler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc

from exeunt.journal.names import Names
from exeunt.journal.steady import Steady
from exeunt.journal.subjects import partition_of
from exeunt.scheduler.archive import Archived, Archiver
from exeunt.scheduler.entry import Entry
from exeunt.scheduler.peers import Peers
from exeunt.scheduler.runs import Runs
from exeunt.scheduler.unread import Unread
from exeunt.service.errors import invalid, not_found

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True)
class Elsewhere:
    """Another scheduler has it."""

    address: str


class Finder:
    """Finds workflows by name or uid."""

    def __init__(self, runs: Runs, archiver: Archiver, names: Names, peers: Peers, steady: Steady) -> None:
        self._runs = runs
        self._archiver = archiver
        self._names = names
        self._peers = peers
        self._steady = steady

    async def find(
        self, context: Context | None, namespace: str, name: str, uid: str = ""
    ) -> Entry | Archived | Unread | Elsewhere:
        """The workflow of that name or uid. Raises NOT_FOUND, UNAVAILABLE while its partition has no owner or loads."""
        namespace = namespace or "default"
        shown = f"{namespace}/{name}" if name else uid
        if not name and not uid:
            raise invalid("neither name nor uid is given", [("name", "give the workflow's name, or its uid")])
        if name and not uid:
            entry = self._runs.by_name.get((namespace, name))
            if entry is not None:
                await entry.ready_now()
                return entry
            named = await self._steady(lambda: self._names.lookup(namespace, name))
            if not named:
                raise not_found("workflow", shown)
            uid = named
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
            unread.named(namespace, name)
            return unread
        archived = await self._steady(lambda: self._archiver.get(uid))
        if archived is None:
            raise not_found("workflow", shown)
        return archived
