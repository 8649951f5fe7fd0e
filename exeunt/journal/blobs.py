"""Big things by the hash of their content: manifest bundles, and what is too large for one record.

Stream `EXEUNT_BLOBS`, subjects `xb.<hash>.<part>`, parts of 512 KB. The same content is stored once; a blob is whole
when its last part is there, which is written last. Reads go to the stream's leader: a replica may lag behind.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict

from nats.js import JetStreamContext
from nats.js.api import RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from exeunt.natspy import whole

STREAM = "EXEUNT_BLOBS"
PART_BYTES = 512 * 1024
CACHED_BYTES = 64 * 1024 * 1024


class BlobMissingError(LookupError):
    """There is no blob of that hash."""


def config(replicas: int) -> StreamConfig:
    """How the stream is made."""
    return StreamConfig(
        name=STREAM,
        subjects=["xb.>"],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        num_replicas=replicas,
        max_msgs_per_subject=1,
    )


def digest(content: bytes) -> str:
    """The name of a content: 128 bits of BLAKE2b, as hex."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


class Blobs:
    """Puts and gets blobs; keeps the latest ones in memory."""

    def __init__(self, js: JetStreamContext) -> None:
        self._js = js
        self._cache: OrderedDict[str, bytes] = OrderedDict()
        self._cached = 0

    async def put(self, content: bytes) -> str:
        """Stores a content unless it is there; answers its hash once it is durable."""
        name = digest(content)
        if name in self._cache:
            return name
        parts = [content[i : i + PART_BYTES] for i in range(0, len(content), PART_BYTES)] or [b""]
        last = len(parts) - 1
        if not await self._there(name):
            async with asyncio.TaskGroup() as group:
                for i, part in enumerate(parts[:-1]):
                    group.create_task(self._js.publish(f"xb.{name}.{i}", part, timeout=15))
            await whole(self._js.publish(f"xb.{name}.end", parts[-1], headers={"Exeunt-Parts": str(last)}, timeout=15))
        self._remember(name, content)
        return name

    async def get(self, name: str) -> bytes:
        """The content of that hash. Raises BlobMissingError."""
        if name in self._cache:
            self._cache.move_to_end(name)
            return self._cache[name]
        try:
            end = await whole(self._js.get_last_msg(STREAM, f"xb.{name}.end"))
            count = int((end.headers or {}).get("Exeunt-Parts", "0"))
            parts = [(await whole(self._js.get_last_msg(STREAM, f"xb.{name}.{i}"))).data or b"" for i in range(count)]
        except NotFoundError:
            raise BlobMissingError(f"there is no blob {name}: it was removed, or the store is another one") from None
        content = b"".join(parts) + (end.data or b"")
        if digest(content) != name:
            raise BlobMissingError(f"the blob {name} is damaged: its content has another hash")
        self._remember(name, content)
        return content

    async def _there(self, name: str) -> bool:
        try:
            await whole(self._js.get_last_msg(STREAM, f"xb.{name}.end"))
        except NotFoundError:
            return False
        return True

    def _remember(self, name: str, content: bytes) -> None:
        if name not in self._cache:
            self._cache[name] = content
            self._cached += len(content)
        self._cache.move_to_end(name)
        while self._cached > CACHED_BYTES and len(self._cache) > 1:
            _, dropped = self._cache.popitem(last=False)
            self._cached -= len(dropped)
