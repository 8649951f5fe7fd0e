"""Stores of objects through obstore: what S3, GCS, Azure and OSS have in common."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterable, AsyncIterator
from datetime import timedelta
from typing import Any

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, PreconditionError, UnauthenticatedError

from exeunt.artifacts.stores import CHUNK, MOST_OBJECTS, Store, StoreAccess, StoredObject, StoreError, shortened
from exeunt.language.place_parts import ArtifactPlace

_METADATA_SERVICE = "169.254.169.254"
PART = 8 << 20
"""Bytes of a part of an upload; what is smaller goes in one request."""
MOST_PARTS = 9000
"""Parts of an upload at most; S3 takes 10,000. What is larger than this many of PART has larger parts."""
PARTS_AT_ONCE = 4
"""Parts of one upload in flight: it holds PARTS_AT_ONCE + 2 of them in memory."""
RESUMES = 5
"""How often a read that broke off goes on from where it was."""
BACKOFF_SECONDS = 0.5
"""Before a broken read goes on; doubled each time."""
ABORT_SECONDS = 10
"""What an upload that is given up gets to remove its parts."""
CLIENT: dict[str, Any] = {"connect_timeout": "10s", "read_timeout": "60s", "timeout": "1h"}
"""Time limits of the client: to connect, without a byte, for a request."""
RETRY: dict[str, Any] = {"max_retries": 4, "retry_timeout": timedelta(minutes=3)}
"""How the client tries requests again that are safe to repeat."""

_CODE = re.compile(r"<Code>([^<]{1,100})</Code>")
_SAID = re.compile(r"<Message>([^<]{1,500})</Message>")
_STATUS = re.compile(r"status code: (\d{3})")
_WRONG_FOR_EVER = ("certificate", "invalid url", "builder error", "unable to", "decode", "parse")


class ObjectStore(Store):
    """Objects of one bucket (in Azure: a container)."""

    def __init__(self, place: ArtifactPlace, access: StoreAccess, client: Any) -> None:
        super().__init__(place, access)
        self._client = client

    def connect(self, client: Any) -> None:
        """Gives it obstore's store."""
        self._client = client

    def client(self, key: str) -> Any:
        """obstore's store for one key."""
        return self._client

    async def prepare(self) -> None:
        """What has to be done before something is kept."""

    async def open(self, key: str) -> AsyncIterator[bytes]:
        at, tries, tag = 0, 0, None
        size = -1
        client = self.client(key)
        while at != size:
            options: Any = {"range": {"offset": at}, "if_match": tag} if at else {}
            try:
                found = await obstore.get_async(client, key, options=options)
                size, tag = int(found.meta["size"]), found.meta["e_tag"]
                async for chunk in found.stream(min_chunk_size=CHUNK):
                    at += len(chunk)
                    yield bytes(chunk)
                if at != size:
                    raise self.failed(f"{at} of {size} bytes came", key=key, temporary=True)
            except PreconditionError as error:
                raise self.failed("it was written anew while it was read", key=key, temporary=True) from error
            except (BaseError, StoreError, OSError) as error:
                failure = error if isinstance(error, StoreError) else self.of(error, key)
                if at == size:
                    return
                if not failure.temporary or tries >= RESUMES or (at and not tag):
                    raise failure from error
                await asyncio.sleep(BACKOFF_SECONDS * 2**tries)
                tries += 1

    async def save(self, key: str, stream: AsyncIterable[bytes], size: int | None = None) -> int:
        await self.prepare()
        source = _Source(self, key, stream, size)
        head = await source.head(PART)
        part = max(PART, -(-(size or 0) // MOST_PARTS))
        data: Any = head if source.ended else source.rest(head)
        more: dict[str, Any] = {} if source.ended else {"chunk_size": part, "max_concurrency": PARTS_AT_ONCE}
        put = asyncio.ensure_future(obstore.put_async(self.client(key), key, data, use_multipart=bool(more), **more))
        try:
            await asyncio.shield(put)
        except asyncio.CancelledError:
            source.stopped = True  # then obstore removes the parts that were sent
            await asyncio.wait([put], timeout=ABORT_SECONDS)
            put.cancel()
            raise
        except (BaseError, FileNotFoundError) as error:
            raise self.of(error, key) from error
        return source.count

    async def list(self, prefix: str) -> AsyncIterator[StoredObject]:
        count = 0
        try:
            async for batch in obstore.list(self.client(prefix), prefix.strip("/") or None):
                count += len(batch)
                if count > MOST_OBJECTS:
                    raise self.failed(f"more than {MOST_OBJECTS} objects lie there", key=prefix)
                for one in batch:
                    yield StoredObject(one["path"], int(one["size"]))
        except (BaseError, OSError) as error:
            raise self.of(error, prefix) from error

    async def is_directory(self, key: str) -> bool:
        found = self.list(key)
        try:
            async for _ in found:
                return True
            return False
        finally:
            await found.aclose()  # type: ignore[attr-defined]

    async def delete(self, key: str) -> None:
        try:
            await obstore.delete_async(self.client(key), key)
        except FileNotFoundError:
            return
        except (BaseError, OSError) as error:
            raise self.of(error, key) from error

    def of(self, error: Exception, key: str) -> StoreError:
        """What an error of obstore means."""
        text = str(error).partition("Debug source:")[0]
        code, said = _CODE.search(text), _SAID.search(text)
        words = shortened(f"{code[1]}: {said[1]}" if code and said else code[1] if code else text)
        name = code[1] if code else ""
        if name in ("NoSuchBucket", "ContainerNotFound") or "bucket does not exist" in text:
            return self.failed(f"there is no such bucket; create it{self.how_to_create}", key=key)
        if isinstance(error, FileNotFoundError):
            return self.failed("there is no such object", key=key, missing=True)
        if isinstance(error, PermissionDeniedError | UnauthenticatedError):
            return self.failed(
                f"access denied ({words}); look at the secrets of the place, and what they allow", key=key
            )
        if _METADATA_SERVICE in text:  # where obstore asks when nothing else gives it credentials
            return self.failed(
                "no credentials: name the secrets of the place, or give the executor's environment some", key=key
            )
        status = _STATUS.search(text)
        if status is not None:
            temporary = status[1][0] == "5" or status[1] in ("408", "429")
        else:
            temporary = isinstance(error, BaseError) and not any(one in text.lower() for one in _WRONG_FOR_EVER)
        return self.failed(words, key=key, temporary=temporary)

    how_to_create = ""
    """What can be said of how a bucket is created."""


class _Source:
    """A stream on its way into a store: counted, held against its size, and ended on demand."""

    def __init__(self, store: Store, key: str, stream: AsyncIterable[bytes], size: int | None) -> None:
        self._store, self._key, self._size = store, key, size
        self._chunks = aiter(stream)
        self.count = 0
        self.ended = self.stopped = False

    async def head(self, least: int) -> bytes:
        """The first bytes, about as many; `ended` where there are no more."""
        head = bytearray()
        while len(head) < least and not self.ended:
            head += await self._next()
        return bytes(head)

    async def rest(self, head: bytes) -> AsyncIterator[bytes]:
        """The whole, its head before."""
        yield head
        while not self.ended:
            chunk = await self._next()
            if chunk:
                yield chunk

    async def _next(self) -> bytes:
        if self.stopped:
            raise self._store.failed("the upload was given up", key=self._key, temporary=True)
        try:
            chunk = await anext(self._chunks)
        except StopAsyncIteration:
            self.ended = True
            chunk = b""
        self.count += len(chunk)
        size = self._size
        if size is not None and (self.count > size or (self.ended and self.count != size)):
            raise self._store.failed(f"{self.count} bytes came to be kept, {size} were said", key=self._key)
        return chunk


def fixed(key_id: str, key: str, token: str = "") -> Any:
    """A provider of these credentials, so that none of the environment are mixed in; None without any."""
    if not key_id:
        return None
    found = {"access_key_id": key_id.strip(), "secret_access_key": key.strip(), "token": token or None}
    return lambda: {**found, "expires_at": None}


def client_of(
    kind: Any, bucket: str, config: dict[str, Any], options: dict[str, Any], *, store: Store, provider: Any = None
) -> Any:
    """obstore's store. Raises StoreError where its parts cannot be used."""
    if config.get("endpoint"):
        store.may_use(config["endpoint"])
    more = {} if provider is None else {"credential_provider": provider}
    try:
        return kind(bucket, config=config, client_options={**CLIENT, **options}, retry_config=RETRY, **more)
    except Exception as error:
        words = shortened(str(error).partition("Debug source:")[0])
        raise store.failed(f"its client cannot be made: {words}; look at the place and its secrets") from error
