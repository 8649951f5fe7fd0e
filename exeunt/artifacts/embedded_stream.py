"""The stream under the embedded store: reads and writes that outlast a broken connection.

Stream `EXEUNT_ARTIFACTS`, one message for each subject: `xf.s.<namespace>.<uid>.<hash of key>.s` is a small artifact
with its bytes, `xf.r.<namespace>.<uid>.<hash of key>.<digest>` a larger one, `xf.b.<digest>` its content,
`xf.u.<upload>` a transfer, and `xf.p.<upload>.<n>` the parts that it brought. What decides something is written on the
condition of what stood there, and reads of it go to the stream's leader.

NATS' own object store keeps the parts of an object on one subject: a lost answer cannot be asked for again there, and
so each part is waited for before the next one is sent.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple, TypeVar

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.js.api import DiscardPolicy, RawStreamMsg, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError, ServiceUnavailableError

from exeunt.artifacts.embedded_port import EmbeddedStoreError
from exeunt.natspy import WRONG_LAST_SEQUENCE, whole

T = TypeVar("T")
STREAM = "EXEUNT_ARTIFACTS"
ANSWER_SECONDS = 10.0
"""A request without an answer for so long is made again."""
STALL_SECONDS = 60.0
"""A transfer that does not get on for so long is given up."""
PAUSE_SECONDS = 0.25
AT_ONCE = 64
"""Requests on their way when many messages are read."""
_FULL = frozenset({10023, 10047, 10077})


class Stored(NamedTuple):
    """A message of the stream: where it stands, its subject and content."""

    sequence: int
    subject: str
    data: bytes


def config(replicas: int, max_bytes: int) -> StreamConfig:
    """How the stream is made: it refuses when it is full."""
    return StreamConfig(
        name=STREAM,
        subjects=["xf.>"],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        num_replicas=replicas,
        max_bytes=max_bytes,
        max_msgs_per_subject=1,
        allow_direct=True,
    )


class ArtifactStream:
    """What can be done with the stream. Everything raises EmbeddedStoreError where NATS stays away."""

    def __init__(self, nc: Client, stall_seconds: float = STALL_SECONDS, *, api: str = "$JS.API") -> None:
        """`api`: under which JetStream's API is reached."""
        self._nc = nc
        self._api = api
        self._js = nc.jetstream(prefix=api)
        self._stall = stall_seconds

    async def _again(self, what: str, call: Callable[[], Awaitable[T]]) -> T:
        """Does it until NATS answers, or for `stall_seconds`."""
        until = time.monotonic() + self._stall
        while True:
            try:
                return await whole(call())
            except (nats.errors.Error, TimeoutError, OSError) as error:
                if not passing(error):
                    raise
                if time.monotonic() > until:
                    raise EmbeddedStoreError(
                        f"{what}: NATS has not answered for {self._stall:.0f} s ({_named(error)})", temporary=True
                    ) from error
            await asyncio.sleep(PAUSE_SECONDS)

    async def put(self, subject: str, data: bytes) -> None:
        """Writes something that nobody else writes; twice is as once."""
        try:
            await self._again(f"writing {subject}", lambda: self._publish(subject, data, 0))
        except APIError as error:
            if error.err_code != WRONG_LAST_SEQUENCE:
                raise _refused(error) from error

    async def swap(self, subject: str, data: bytes, expected: int) -> int:
        """Writes in the place of the message at that position (0: of none); 0 where another one stands there.

        The data have to be unlike all others: by them it knows its own write, whose answer was lost.
        """
        try:
            return await self._again(f"writing {subject}", lambda: self._publish(subject, data, expected))
        except APIError as error:
            if error.err_code != WRONG_LAST_SEQUENCE:
                raise _refused(error) from error
        found = await self.last(subject)
        return found.sequence if found is not None and found.data == data else 0

    async def _publish(self, subject: str, data: bytes, expected: int) -> int:
        headers = {"Nats-Expected-Last-Subject-Sequence": str(expected)}
        answer = await self._js.publish(subject, data, timeout=ANSWER_SECONDS, headers=headers, stream=STREAM)
        return answer.seq

    async def write(self, subject: str, data: bytes) -> int:
        """Writes whatever stood there before; answers the position."""

        async def publish() -> int:
            return (await self._js.publish(subject, data, timeout=ANSWER_SECONDS, stream=STREAM)).seq

        try:
            return await self._again(f"writing {subject}", publish)
        except APIError as error:
            raise _refused(error) from error

    async def last(self, subject: str) -> Stored | None:
        """The latest message on a subject, which may have wildcards, as the leader has it."""
        return await self._got(lambda: self._js.get_msg(STREAM, subject=subject), subject)

    async def all(self, subject: str) -> AsyncIterator[Stored]:
        """The messages on a subject with wildcards, by position."""
        after = 0
        while True:
            found = await self._got(
                lambda seq=after + 1: self._js.get_msg(STREAM, seq=seq, subject=subject, next=True),  # type: ignore[misc]
                subject,
            )
            if found is None:
                return
            yield found
            after = found.sequence

    async def each(self, filter: str) -> AsyncIterator[Stored]:
        """The messages on the subjects that are there now, many at once, in the order of subjects."""
        coming: deque[asyncio.Task[Stored | None]] = deque()
        try:
            async for subject in self.subjects(filter):
                coming.append(asyncio.create_task(self.last(subject)))
                if len(coming) >= AT_ONCE and (found := await coming.popleft()) is not None:
                    yield found
            while coming:
                if (found := await coming.popleft()) is not None:
                    yield found
        finally:
            for task in coming:
                task.cancel()
            await asyncio.gather(*coming, return_exceptions=True)

    async def subjects(self, filter: str) -> AsyncIterator[str]:
        """The subjects on which messages stand, by a subject with wildcards: what is there when it is asked."""
        offset = 0
        while True:
            body = msgspec.json.encode({"subjects_filter": filter, "offset": offset})
            page = await self._again(f"reading {filter}", lambda body=body: self._subjects(body))  # type: ignore[misc]
            for subject in page:
                yield subject
            offset += len(page)
            if not page:
                return

    async def _subjects(self, body: bytes) -> list[str]:
        answer = await self._nc.request(f"{self._api}.STREAM.INFO.{STREAM}", body, timeout=ANSWER_SECONDS)
        said = msgspec.json.decode(answer.data)
        if "error" in said:
            raise APIError.from_error(said["error"])
        return sorted(said["state"].get("subjects") or {})

    async def part(self, subject: str) -> bytes | None:
        """A part, from whichever server has it; None where the leader has none either."""
        found = await self._got(lambda: self._js.get_msg(STREAM, subject=subject, direct=True), subject)
        if found is None:
            found = await self.last(subject)
        return None if found is None else found.data

    async def _got(self, call: Callable[[], Awaitable[RawStreamMsg]], subject: str) -> Stored | None:
        try:
            message = await self._again(f"reading {subject}", call)
        except NotFoundError:
            return None
        except APIError as error:
            raise _refused(error) from error
        return Stored(message.seq or 0, message.subject or subject, message.data or b"")

    async def purge(self, subject: str) -> None:
        """Removes all on a subject with wildcards."""
        try:
            await self._again(f"removing {subject}", lambda: self._js.purge_stream(STREAM, subject=subject))
        except APIError as error:
            raise _refused(error) from error

    async def remove(self, sequence: int) -> None:
        """Removes one message; one that is gone is fine."""
        try:
            await self._again("removing a message", lambda: self._js.delete_msg(STREAM, sequence))
        except APIError as error:
            if await self._js_has(sequence):
                raise _refused(error) from error

    async def _js_has(self, sequence: int) -> bool:
        return await self._got(lambda: self._js.get_msg(STREAM, seq=sequence), "a message") is not None


def passing(error: BaseException) -> bool:
    """Whether the same request may get another answer soon: a connection, a leader, a server that is just away."""
    if isinstance(error, APIError):
        return isinstance(error, ServiceUnavailableError) and error.err_code not in _FULL
    return not isinstance(error, nats.errors.MaxPayloadError | nats.errors.ConnectionClosedError) or isinstance(
        error, NoStreamResponseError
    )


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _refused(error: APIError) -> EmbeddedStoreError:
    if error.err_code in _FULL:
        return EmbeddedStoreError(
            f"NATS has no room for artifacts: the stream {STREAM} or the server's storage is full; delete workflows, "
            "give the stream more room, or name an artifact repository"
        )
    return EmbeddedStoreError(f"NATS refuses: {error.description} ({error.err_code})")
