"""What is kept beside the log, in memory: events, archive, ledger, names, blobs. Durable; each call is a trip there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from types import SimpleNamespace
from typing import Any

import msgspec
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeout

from exeunt.journal.blobs import BlobMissingError, digest
from exeunt.journal.names import Claim, NameTaken, RequestUsed
from exeunt.journal.public import EventToPublish
from tests.simulation.nats import Link, ask


class Durable:
    """The contents, shared by all processes."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.names: dict[tuple[str, str], str] = {}
        self.tombstones: set[str] = set()
        self.submissions: dict[str, str] = {}
        self.archive: dict[str, tuple[Any, Any]] = {}
        self.ledger: dict[str, tuple[Any, Any]] = {}
        self.versions: dict[str, int] = {}  # of records that have one
        self.events: dict[str, tuple[str, str, str]] = {}  # id → uid, kind, subject; in the order of their coming


class Stores:
    """One process's way to them (`exeunt.journal.projections.Projections`)."""

    def __init__(self, durable: Durable, link: Link) -> None:
        self.durable = durable
        self.link = link
        self.events = _Events(self)
        self.archive = _Records(self, durable.archive)
        self.ledger = _Records(self, durable.ledger)
        self.names = _Names(self)
        self.blobs = _Blobs(self)
        self.logs = _Logs()
        self.manifests = _Manifests()
        self.gatherers = ()  # nothing here is ever refused

    async def trip(self, work: Callable[[], Any]) -> Any:
        """Once, there and back. Raises as nats-py does."""
        try:
            return await ask(self.link, work, 5.0)
        except TimeoutError:
            raise NatsTimeout from None

    async def until_answered(self, work: Callable[[], Any]) -> Any:
        """As often as it takes: what the outbox does."""
        while True:
            try:
                return await self.trip(work)
            except NatsError:
                await asyncio.sleep(0.1)

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def drain(self) -> None:
        pass


class _Events:
    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._last: asyncio.Task[int] | None = None
        self.keeper = SimpleNamespace(emptied=asyncio.Event())  # nobody empties it here

    def post(self, event: EventToPublish) -> asyncio.Future[int]:
        before = self._last
        self._last = asyncio.ensure_future(self._after(before, event))
        return self._last

    async def _after(self, before: asyncio.Task[int] | None, event: EventToPublish) -> int:
        if before is not None and not before.done():
            await asyncio.wait([before])
        found: int = await self._stores.until_answered(lambda: self._put(event))
        return found

    def _put(self, event: EventToPublish) -> int:
        known = self._stores.durable.events
        known.setdefault(event.id, (event.uid, event.kind, event.subject))
        return len(known)

    def out(self) -> asyncio.Future[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._last is None or self._last.done():
            done.set_result(None)
        else:
            self._last.add_done_callback(lambda _: None if done.done() else done.set_result(None))
        return done

    async def published(self, uids: Collection[str], since: float) -> set[str]:
        wanted = set(uids)
        known = self._stores.durable.events
        found: set[str] = await self._stores.trip(lambda: {i for i, (uid, _, _) in known.items() if uid in wanted})
        return found


class _Records:
    """Records whose bodies are bytes, as in the stream."""

    def __init__(self, stores: Stores, kept: dict[str, tuple[Any, bytes]]) -> None:
        self._stores, self._kept = stores, kept

    async def put(self, namespace: str, at: float, key: str, summary: Any, body: Any) -> int:
        def work() -> int:
            self._kept[key] = (summary, msgspec.msgpack.encode(body))
            return 1

        found: int = await self._stores.until_answered(work)
        return found

    async def put_version(self, namespace: str, at: float, key: str, summary: Any, body: Any, *, version: int) -> bool:
        def work() -> bool:
            if self._stores.durable.versions.get(key, 0) > version:
                return False
            self._stores.durable.versions[key] = version
            self._kept[key] = (summary, msgspec.msgpack.encode(body))
            return True

        written: bool = await self._stores.until_answered(work)
        return written

    async def get(self, key: str, namespace: str = "*", type: Any = Any) -> tuple[Any, Any] | None:
        found: tuple[Any, bytes] | None = await self._stores.trip(lambda: self._kept.get(key))
        return None if found is None else (found[0], msgspec.msgpack.decode(found[1], type=type))

    async def walk(self) -> AsyncIterator[tuple[str, Any]]:
        found: list[Any] = await self._stores.trip(lambda: [summary for summary, _ in self._kept.values()])
        for summary in reversed(found):
            yield "", summary

    async def revise(self, key: str, change: Any, namespace: str = "*") -> Any:
        def work() -> Any:
            if key not in self._kept:
                return None
            summary, data = self._kept[key]
            summary, body = change(summary, msgspec.msgpack.decode(data))
            self._kept[key] = (summary, msgspec.msgpack.encode(body))
            return body

        return await self._stores.trip(work)

    async def remove(self, key: str, namespace: str, *, name: str = "", again: bool = False) -> None:
        await self._stores.trip(lambda: self._kept.pop(key, None))


class _Names:
    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    async def claim(self, namespace: str, name: str, uid: str, request_id: str = "") -> bool:
        def work() -> bool | NameTaken:
            names = self._stores.durable.names
            known = names.setdefault((namespace, name), uid)
            if known != uid:
                return NameTaken(Claim(name, known))
            fresh = (uid,) not in names  # type: ignore[comparison-overlap]  # remembered beside the names
            names[(uid,)] = uid  # type: ignore[index]  # as above
            return fresh

        found: bool = await self._stores.trip(work)
        return found

    async def bind(self, uid: str, content: str) -> bool:
        def work() -> bool | RequestUsed:
            known, deleted = self._stores.durable.submissions, uid in self._stores.durable.tombstones
            fresh = uid not in known and not deleted
            return fresh if known.setdefault(uid, content) == content else RequestUsed(uid)

        found: bool = await self._stores.trip(work)
        return found

    async def unbind(self, uid: str) -> None:
        await self._stores.trip(lambda: self._stores.durable.submissions.pop(uid, None))

    async def free(self, namespace: str, name: str, uid: str) -> None:
        def work() -> None:
            if self._stores.durable.names.get((namespace, name)) == uid:
                del self._stores.durable.names[namespace, name]

        await self._stores.trip(work)

    async def deleted(self, uid: str) -> bool:
        found: bool = await self._stores.trip(lambda: uid in self._stores.durable.tombstones)
        return found

    async def release(self, namespace: str, name: str, uid: str) -> None:
        def work() -> None:
            self._stores.durable.tombstones.add(uid)

        await self._stores.trip(work)
        await self.free(namespace, name, uid)


class _Blobs:
    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    async def put(self, content: bytes) -> str:
        name = digest(content)

        def work() -> None:
            self._stores.durable.blobs[name] = content

        await self._stores.trip(work)
        return name

    async def get(self, name: str) -> bytes:
        found: bytes | None = await self._stores.trip(lambda: self._stores.durable.blobs.get(name))
        if found is None:
            raise BlobMissingError(name)
        return found


class _Logs:
    async def put(self, *anything: Any) -> None:
        pass

    async def remove(self, *anything: Any) -> None:
        pass


class _Manifests:
    async def get(self, kind: str, namespace: str, name: str) -> None:
        return None
