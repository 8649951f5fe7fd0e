"""ExitService: the exit ledger for people and programs."""

# ruff: noqa: N802 - the names of methods are the contract's

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any
from weakref import WeakValueDictionary

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from exeunt import cloudevents
from exeunt.engine.commands import Rejected
from exeunt.exithandler import steer
from exeunt.exithandler.exit_runs import ExitRuns
from exeunt.exithandler.ledger import ExitFilter, Ledger, Line, OtherList
from exeunt.exithandler.record import CANCELLED, AttemptRecord, ExitRecord, shown
from exeunt.exithandler.replay import Replayer
from exeunt.journal.access import NatsAccess, reads, writes
from exeunt.journal.errors import NotOwner
from exeunt.journal.owners import Owners
from exeunt.journal.request_ids import RequestIds, given_or_new
from exeunt.journal.subjects import partition_of
from exeunt.service.bounds import (
    ANSWER_BYTES,
    LISTED_BYTES,
    PAGE_BYTES,
    PART_BYTES,
    check_characters,
    moment,
)
from exeunt.service.channel import open_channel
from exeunt.service.errors import Code, RpcError, invalid, not_found, received, unavailable, wrong_state
from exeunt.service.grpc import ALL
from exeunt.v1 import exit_service_pb2 as pb
from exeunt.v1 import exit_service_pb2_grpc
from exeunt.words import phases

DEFAULT_PAGE = 100
LARGEST_PAGE = 1000
MESSAGE_CHARACTERS = 1000
STATES = {
    "due": pb.Exit.STATE_DUE,
    "running": pb.Exit.STATE_RUNNING,
    "succeeded": pb.Exit.STATE_SUCCEEDED,
    "failed": pb.Exit.STATE_FAILED,
    "skipped": pb.Exit.STATE_SKIPPED,
    "cancelled": pb.Exit.STATE_CANCELLED,
    "parked": pb.Exit.STATE_PARKED,
}
NAMES = {number: name for name, number in STATES.items()}

Kind = pb.WatchExitsResponse.Kind
_POSITION = re.compile(r"\d{1,18}")

Context = grpc.aio.ServicerContext[Any, Any]
Command = Callable[[ExitRecord], Awaitable[ExitRecord]]


class ExitService(exit_service_pb2_grpc.ExitServiceServicer):
    """The service, over this process's runs and the stored ledger."""

    def __init__(
        self,
        runs: ExitRuns,
        replayer: Replayer,
        ledger: Ledger,
        *,
        owners: Owners,
        access: NatsAccess,
        ids: RequestIds,
    ) -> None:
        self.access = access
        self._runs = runs
        self._replayer = replayer
        self._ledger = ledger
        self._owners = owners
        self._ids = ids
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @reads
    async def GetExit(self, request: pb.GetExitRequest, context: Context) -> pb.Exit:
        """One record."""
        return whole(await self._record(request.id))

    async def ReadExit(self, request: pb.ReadExitRequest, context: Context) -> AsyncIterator[pb.ReadExitResponse]:
        """A whole record, in parts."""
        async with self.access.reading.required():
            record = await self._record(request.id)
        for part in parts(record):
            yield pb.ReadExitResponse(exit=part)
            await asyncio.sleep(0)

    @reads
    async def ListExits(self, request: pb.ListExitsRequest, context: Context) -> pb.ListExitsResponse:
        """Records, newest first."""
        if request.page_size < 0:
            raise invalid("page_size is negative", [("page_size", "0 or more is expected")])
        wanted = _wanted(request)._replace(
            since=moment(request.due_after, "due_after"), until=moment(request.due_before, "due_before")
        )
        size = min(request.page_size or DEFAULT_PAGE, LARGEST_PAGE)
        answer = pb.ListExitsResponse()
        left = PAGE_BYTES

        def room(line: Line) -> bool:
            nonlocal left
            answer.exits.append(_shown(line, request.view))
            left -= answer.exits[-1].ByteSize()
            return left > 0

        try:
            answer.next_page_token = await self._ledger.page(
                wanted, size=size, token=request.page_token, room=room, full=request.view == pb.EXIT_VIEW_FULL
            )
        except OtherList:
            told = "page_token is of a list of other records"
            raise invalid(told, [("page_token", "give it with the same filter, or begin anew")]) from None
        except ValueError:
            raise invalid("page_token is none of ours", [("page_token", "use the one of the answer before")]) from None
        return answer

    async def WatchExits(self, request: pb.WatchExitsRequest, context: Context) -> AsyncIterator[pb.WatchExitsResponse]:
        """Records as they change, for ever."""
        wanted, full = _wanted(request), request.view == pb.EXIT_VIEW_FULL
        if request.position and not _POSITION.fullmatch(request.position):
            raise invalid("position cannot be read", [("position", "give the last position as it came, or none")])
        position = int(request.position) if request.position else None
        async with self.access.reading.required():
            last = await self._ledger.position()
        await context.send_initial_metadata(())
        if position is not None and position > last:
            yield pb.WatchExitsResponse(kind=Kind.KIND_RESET)
            position = None
        async with self._ledger.watching(
            wanted, position=position, changes_only=request.changes_only, full=full
        ) as changes:
            async for told in changes:
                here = str(told.position or "")
                if told.record is None:
                    yield pb.WatchExitsResponse(kind=Kind.KIND_SYNCED, position=here)
                    continue
                kind = Kind.KIND_LEFT if told.left else Kind.KIND_CHANGED
                yield pb.WatchExitsResponse(kind=kind, exit=_shown(told.record, request.view), position=here)

    @writes
    async def ReplayExit(self, request: pb.ReplayExitRequest, context: Context) -> pb.Exit:
        """Runs an exit run again."""
        return await self._command(
            "ReplayExit",
            request,
            lambda record: self._replayer.replay(record, request.request_id, again=request.again),
            nobody=f"no exit handler owns the workflow of {request.id} just now",
        )

    @writes
    async def CancelExit(self, request: pb.CancelExitRequest, context: Context) -> pb.Exit:
        """Ends an exit run for good."""
        check_characters("message", request.message, MESSAGE_CHARACTERS)
        return await self._command(
            "CancelExit",
            request,
            lambda record: steer.cancel(self._runs, record, request.request_id, request.by, request.message),
            nobody=f"no exit handler has taken up the exit run {request.id} yet",
        )

    async def _command(self, method: str, request: Any, do: Command, *, nobody: str) -> pb.Exit:
        """Carries out a command once for each request id, at the revision that was meant; passes on what is another's.

        `nobody` is the text of the error for a run that nobody has.
        """
        record = await self._record(request.id)
        asked = await self._ids.asked(method, request, record.namespace)
        if asked is not None and asked.done:
            return listed(record)
        owner = self._owners.exit_handler_of(partition_of(record.uid))
        given, request.request_id = bool(request.request_id), given_or_new(request.request_id)
        if owner:
            return await _passed_on(owner, method, request)
        if given and asked is None:
            asked = await self._ids.ask(method, request, record.namespace, record.id)
        async with self._turns.setdefault(record.id, asyncio.Lock()):  # a repeat finds what the first one has done
            record = await self._record(request.id)
            if not (asked is not None and asked.done) and request.request_id not in record.requests:
                if method != "CancelExit" or record.state != CANCELLED:
                    _require_revision(record, request.revision)
                try:
                    record = await do(record)
                except Rejected as error:
                    raise wrong_state(error.reason, str(error), ("exit", request.id)) from None
                except NotOwner:
                    raise unavailable("NO_OWNER", nobody) from None
            await self._ids.carried_out(request, record.namespace, asked)
        return listed(record)

    async def _record(self, id: str) -> ExitRecord:
        if not id:
            raise invalid("id is missing", [("id", "the id of an exit run, as lists have it, is expected")])
        record = await self._ledger.get(id) if not set(id) & set(".*> ") else None
        if record is None:
            raise not_found("exit", id)
        return record


def _require_revision(record: ExitRecord, wanted: int) -> None:
    """Raises ABORTED unless the record stands at that revision; any will do for 0."""
    if wanted not in (0, record.commits):
        text = f"{record.id} is at revision {record.commits}, not at {wanted}: look at it again"
        raise RpcError(Code.ABORTED, "REVISION_CHANGED", text, resource=("exit", record.id))


def _wanted(request: pb.ListExitsRequest | pb.WatchExitsRequest) -> ExitFilter:
    """What a list or a watch has. Raises INVALID_ARGUMENT."""
    return ExitFilter(
        namespace=_narrowed(request.namespace),
        workflow=request.workflow,
        uid=request.uid,
        hook=request.hook,
        states=_states(request.states),
    )


def _shown(line: Line, view: int) -> pb.Exit:
    """A record as a list or a watch has it."""
    if isinstance(line, ExitRecord) and view == pb.EXIT_VIEW_FULL:
        return listed(line)
    summary = line.summary() if isinstance(line, ExitRecord) else line
    return pb.Exit(
        id=summary.id,
        namespace=summary.namespace,
        workflow=summary.workflow,
        uid=summary.uid,
        node=summary.node,
        hook=summary.hook,
        state=STATES.get(summary.state, pb.Exit.STATE_UNSPECIFIED),
        error=summary.error,
        due_time=_time(summary.due_at),
        start_time=_time(summary.started_at),
        finish_time=_time(summary.finished_at),
        replays=summary.replays,
        attempt_count=summary.attempts,
        revision=summary.revision,
    )


def _narrowed(namespace: str) -> str:
    """The one namespace that is asked for; empty for all."""
    return "" if namespace == ALL else namespace


def _states(numbers: Iterable[pb.Exit.State.ValueType]) -> list[str]:
    unknown = [number for number in numbers if number not in NAMES]
    if unknown:
        raise invalid("states holds one that does not exist", [("states", f"{unknown[0]} is no state")])
    return [NAMES[number] for number in numbers]


async def _passed_on(address: str, method: str, request: pb.ReplayExitRequest | pb.CancelExitRequest) -> pb.Exit:
    async with open_channel(address) as channel:
        try:
            answer: pb.Exit = await getattr(exit_service_pb2_grpc.ExitServiceStub(channel), method)(request)
        except grpc.aio.AioRpcError as error:
            raise received(error) from None
        except asyncio.CancelledError:
            raise RpcError(grpc.StatusCode.CANCELLED, "CANCELLED", "the call was cancelled") from None
    return answer


def whole(record: ExitRecord) -> pb.Exit:
    """A record as one message. Raises RESOURCE_EXHAUSTED where it is too large for that."""
    found = message(record, text_of(record), record.attempts)
    if found.ByteSize() > ANSWER_BYTES:
        text = f"the record has more than {ANSWER_BYTES // 2**20} MB; ReadExit gives it in parts"
        raise RpcError(Code.RESOURCE_EXHAUSTED, "EXIT_TOO_LARGE", text)
    return found


def parts(record: ExitRecord) -> Iterator[pb.Exit]:
    """A record in parts."""
    yield message(record, "", [])
    some = pb.Exit()
    for one in record.attempts:
        some.attempts.append(_attempt(one))
        if some.ByteSize() > PART_BYTES:
            yield some
            some = pb.Exit()
    if some.attempts:
        yield some
    text = text_of(record)
    for start in range(0, len(text), PART_BYTES):
        yield pb.Exit(json=text[start : start + PART_BYTES])


def listed(record: ExitRecord) -> pb.Exit:
    """A record as lists show it: of a large one the largest things are left out."""
    text = cloudevents.body(shown(record), LISTED_BYTES).decode()
    found = message(record, text, [])
    size = 0
    for one in reversed(record.attempts):
        attempt = _attempt(one)
        if size + attempt.ByteSize() > LISTED_BYTES:
            attempt.answer_json = ""
        size += attempt.ByteSize()
        if size > 2 * LISTED_BYTES:
            break
        found.attempts.insert(0, attempt)
    return found


def text_of(record: ExitRecord) -> str:
    """A record as JSON."""
    return json.dumps(shown(record), default=str)


def _attempt(one: AttemptRecord) -> pb.ExitAttempt:
    return pb.ExitAttempt(
        node=one.node or one.id,
        start_time=_time(one.started_at),
        finish_time=_time(one.finished_at),
        phase=phases.number(one.phase),
        error=one.error,
        answer_json="" if one.answer is None else json.dumps(one.answer),
    )


def message(record: ExitRecord, text: str, attempts: Iterable[AttemptRecord]) -> pb.Exit:
    """A record as the API shows it, with this JSON and these attempts."""
    return pb.Exit(
        id=record.id,
        namespace=record.namespace,
        workflow=record.workflow,
        uid=record.uid,
        node=record.node,
        hook=record.hook,
        state=STATES.get(record.state, pb.Exit.STATE_UNSPECIFIED),
        attempts=map(_attempt, attempts),
        error=record.error,
        due_time=_time(record.due_at),
        start_time=_time(record.started_at),
        finish_time=_time(record.finished_at),
        json=text,
        replays=record.replays,
        attempt_count=len(record.attempts) + record.dropped_attempts,
        revision=record.commits,
        children=[
            pb.ExitChild(name=c.get("name", ""), namespace=c.get("namespace", ""), uid=c.get("uid", ""))
            for c in record.children
        ],
    )


def _time(seconds: float) -> Timestamp | None:
    if not seconds:
        return None
    micros = round(seconds * 1e6)
    return Timestamp(seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1000)
