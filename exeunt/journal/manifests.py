"""Stored manifests by kind, namespace and name: templates, ConfigMaps, and Secrets, which are sealed.

Stream `EXEUNT_MANIFESTS`, one message for each subject `xt.<kind>.<namespace>.<hash of name>`; an empty message is a
removed one. What is cluster-wide lies in the namespace `_`. A manifest over 512 KB goes to the blobs, and the message
says which one.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import msgspec
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import BadRequestError, NotFoundError

from exeunt.journal.blobs import PART_BYTES, Blobs
from exeunt.natspy import WRONG_LAST_SEQUENCE, whole

STREAM = "EXEUNT_MANIFESTS"
CLUSTER = "_"
BLOB = "Exeunt-Blob"


def config(replicas: int) -> StreamConfig:
    """How the stream is made."""
    return StreamConfig(
        name=STREAM,
        subjects=["xt.>"],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        num_replicas=replicas,
        max_msgs_per_subject=1,
    )


def _subject(kind: str, namespace: str, name: str) -> str:
    return f"xt.{kind}.{namespace or CLUSTER}.{hashlib.blake2b(name.encode(), digest_size=12).hexdigest()}"


class StoredManifest(NamedTuple):
    """A manifest in its place."""

    subject: str
    sequence: int
    tree: Any


class Manifests:
    """Puts, gets and removes stored manifests, as plain trees in Argo's shape."""

    def __init__(self, js: JetStreamContext, blobs: Blobs | None = None) -> None:
        self._js = js
        self._blobs = blobs or Blobs(js)

    async def put(self, kind: str, namespace: str, name: str, manifest: Any) -> None:
        """Stores a manifest in place of the one of that name."""
        await self._write(_subject(kind, namespace, name), manifest, {})

    async def _write(self, subject: str, manifest: Any, headers: dict[str, str]) -> None:
        data = msgspec.json.encode(manifest)
        if len(data) > PART_BYTES:
            headers = {**headers, BLOB: await self._blobs.put(data)}
            data = b""
        await whole(self._js.publish(subject, data, headers=headers or None, timeout=15))

    async def _tree(self, message: RawStreamMsg) -> Any | None:
        blob = (message.headers or {}).get(BLOB)
        data = await self._blobs.get(blob) if blob else message.data
        return msgspec.json.decode(data) if data else None

    async def get(self, kind: str, namespace: str, name: str) -> Any | None:
        """The manifest of that name, or None."""
        try:
            message = await whole(self._js.get_last_msg(STREAM, _subject(kind, namespace, name)))
        except NotFoundError:
            return None
        return await self._tree(message)

    async def each(self, kind: str) -> AsyncIterator[StoredManifest]:
        """Every manifest of a kind, as it is now."""
        info = await whole(self._js.stream_info(STREAM, subjects_filter=f"xt.{kind}.>"))
        for subject in info.state.subjects or {}:
            with contextlib.suppress(NotFoundError):
                message = await whole(self._js.get_last_msg(STREAM, subject))
                tree = await self._tree(message)
                if tree is not None:
                    yield StoredManifest(subject, message.seq or 0, tree)

    async def replace(self, stored: StoredManifest, manifest: Any) -> bool:
        """Puts a manifest in place of the one that was read; False when another one came in between."""
        expected = {"Nats-Expected-Last-Subject-Sequence": str(stored.sequence)}
        try:
            await self._write(stored.subject, manifest, expected)
        except BadRequestError as error:
            if error.err_code == WRONG_LAST_SEQUENCE:
                return False
            raise
        return True

    async def remove(self, kind: str, namespace: str, name: str) -> None:
        """Removes the manifest of that name; what is gone already is fine."""
        await whole(self._js.publish(_subject(kind, namespace, name), b"", timeout=15))
