"""The sweep of the embedded store: what no workflow, no artifact and no transfer has any use for.

Deaths leave it behind: a workflow was deleted and its artifacts not yet, a transfer broke off, an artifact never got
its content. Safe beside saves, removals and other sweeps.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable

import msgspec

from exeunt.artifacts.embedded import ArtifactRecord, EmbeddedStore
from exeunt.artifacts.embedded_content import ABANDONED_SECONDS, StoredContent, UploadMark, drop
from exeunt.artifacts.embedded_port import ArtifactHolder

Exists = Callable[[ArtifactHolder], Awaitable[bool]]
"""Whether there is such a workflow. In doubt there is."""


async def at_once() -> None:
    """A pace: as fast as it goes."""


class Sweep:
    """Looks through the store. `pace` is awaited before each look at a workflow, an artifact or a content."""

    def __init__(
        self,
        store: EmbeddedStore,
        pace: Callable[[], Awaitable[None]] = at_once,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._stream = store.stream
        self._pace = pace
        self._now = now

    async def of_workflows(self, exists: Exists) -> int:
        """Removes all artifacts of workflows that are not there; of how many workflows."""
        holders = set()
        for kind in ("s", "r"):
            async for subject in self._stream.subjects(f"xf.{kind}.>"):
                holders.add(_holder(subject))
        swept = 0
        for holder in sorted(holders):
            await self._pace()
            if not await exists(holder):
                await self._store.delete_workflow(holder)
                swept += 1
        return swept

    async def of_contents(self) -> int:
        """Removes what no artifact names, transfers that came to no end, and artifacts without content; how many."""
        swept = 0
        async for subject in self._stream.subjects("xf.r.>"):
            await self._pace()
            swept += await self._if_hollow(subject)
        uploads = set()
        async for subject in self._stream.subjects("xf.b.>"):
            await self._pace()
            found = await self._stream.last(subject)
            if found is None or await self._store.contents.forget(subject.removeprefix("xf.b."), found):
                swept += found is not None
            else:
                uploads.add(msgspec.json.decode(found.data, type=StoredContent).upload)
        async for subject in self._stream.subjects("xf.u.>"):
            if subject.removeprefix("xf.u.") not in uploads:
                await self._pace()
                swept += await self._if_abandoned(subject)
        return swept

    async def _if_hollow(self, subject: str) -> bool:
        """Removes an artifact that has no content, though there was time enough to write it."""
        if await self._stream.last(f"xf.b.{subject.rpartition('.')[2]}") is not None:
            return False
        found = await self._stream.last(subject)
        if found is None:
            return False
        if self._now() - msgspec.msgpack.decode(found.data, type=ArtifactRecord).at < ABANDONED_SECONDS:
            return False
        await self._stream.remove(found.sequence)
        return True

    async def _if_abandoned(self, subject: str) -> bool:
        """Removes a transfer that is old and whose content nobody has come to name. Its mark is `dead` before that."""
        mark = await self._stream.last(subject)
        if mark is None:
            return False
        upload = msgspec.json.decode(mark.data, type=UploadMark)
        if self._now() - upload.at < ABANDONED_SECONDS:
            return False
        dead = msgspec.json.encode(UploadMark(upload.at, dead=True, by=secrets.token_hex(8)))
        if not await self._stream.swap(subject, dead, mark.sequence):
            return False
        name = subject.removeprefix("xf.u.")
        async for one in self._stream.all("xf.b.>"):
            if msgspec.json.decode(one.data, type=StoredContent).upload == name:
                return False
        await self._stream.purge(f"xf.p.{name}.*")
        await drop(self._stream, name, 0)
        return True


def _holder(subject: str) -> ArtifactHolder:
    _, _, namespace, uid, *_ = subject.split(".")
    return ArtifactHolder(namespace, uid)
